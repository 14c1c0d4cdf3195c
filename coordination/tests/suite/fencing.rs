//! What makes leases safe: the data path refuses those whose time is over.

use crate::support::*;
use futures_util::FutureExt;
use leasehold_coordination::{Guarded, Lost, Token};
use leasehold_core::{Bytes, Capability, ErrorKind, Store};

fn text(value: Option<Bytes>) -> Option<String> {
    value.map(|bytes| String::from_utf8(bytes.into()).unwrap())
}

#[tokio::test]
async fn a_holder_paused_past_its_time_finds_it_lost_and_its_writes_fenced() {
    let (probe, clock, store, a) = world("a").await;
    let lease = take(&a, "nightly").await;
    let guarded = lease.guard(store.namespace("data").unwrap());
    let lost = lease.lost();
    // Its renewals do not arrive, as if the machine was suspended.
    probe.all_puts(Some(Fault::Refused));
    clock.advance(TTL);
    assert_eq!(lost.await, Lost::Expired);
    assert!(!lease.is_valid());
    assert!(lease.remaining().is_zero());
    probe.all_puts(None);
    probe.take();
    assert_eq!(guarded.put("k", "late").await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(guarded.get("k").await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(probe.take(), Counts::default(), "not even a request");
    assert_eq!(lease.release().await.unwrap_err().kind(), ErrorKind::Fenced);
}

/// The lease of `a`, and of `b` which took over from it after `a` was paused.
async fn takeover() -> (Probe, Store, Guarded, Guarded, Token) {
    let (probe, clock, store, a) = world("a").await;
    let old = take(&a, "nightly").await;
    let data = store.namespace("data").unwrap();
    let stale = old.guard(data.clone()).trusting_only_the_store();
    stale.put("k", "from a").await.unwrap();
    let b = connect(&store, "b").await;
    assert!(b.acquire("nightly").wait(leasehold_coordination::Wait::Try).await.unwrap().is_none());
    probe.all_puts(Some(Fault::Refused));
    clock.advance(TTL * 2);
    assert_eq!(old.lost().await, Lost::Expired);
    probe.all_puts(None);
    let new = take(&b, "nightly").await;
    assert!(new.token() > old.token());
    let (fresh, token) = (new.guard(data.clone()), new.token());
    // The lease of b stays valid without its handle: the test is about the data path.
    std::mem::forget(new);
    (probe, data, stale, fresh, token)
}

#[tokio::test]
async fn the_store_refuses_a_stale_writer_once_the_new_holder_has_read() {
    let (_probe, data, stale, fresh, token) = takeover().await;
    assert_eq!(text(fresh.get("k").await.unwrap()).as_deref(), Some("from a"));
    for error in [
        stale.put("k", "late").await.unwrap_err(),
        stale.delete("k").await.unwrap_err(),
        stale.get("k").await.unwrap_err(),
        stale.update("k", Ok).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        assert!(!error.is_indeterminate());
    }
    let record = Guarded::read_unfenced(&data, "k").await.unwrap().unwrap();
    assert_eq!((record.token, text(record.value).as_deref()), (token, Some("from a")));
}

#[tokio::test]
async fn reading_an_absent_key_fences_its_creation_too() {
    let (_probe, data, stale, fresh, token) = takeover().await;
    assert_eq!(fresh.get("new").await.unwrap(), None);
    assert_eq!(stale.put("new", "late").await.unwrap_err().kind(), ErrorKind::Fenced);
    let record = Guarded::read_unfenced(&data, "new").await.unwrap().unwrap();
    assert_eq!((record.token, record.value), (token, None));
}

#[tokio::test]
async fn a_write_that_was_in_flight_during_takeover_lands_nowhere() {
    let (probe, data, stale, fresh, _token) = takeover().await;
    probe.next_puts([Fault::Late]);
    // Dropped while its write is out: nobody will ever hear what became of it.
    {
        let put = stale.put("k", "ghost").now_or_never();
        assert!(put.is_none(), "it waits to be sent again");
    }
    fresh.get("k").await.unwrap();
    assert!(
        probe.deliver().await.iter().all(|result| result.as_ref().is_err_and(|error| error.is_conflict()))
    );
    let record = Guarded::read_unfenced(&data, "k").await.unwrap().unwrap();
    assert_eq!(text(record.value).as_deref(), Some("from a"));
}

#[tokio::test]
async fn a_guarded_value_is_written_read_updated_and_removed_for_one_request_each() {
    let (probe, _clock, store, a) = world("a").await;
    let lease = take(&a, "nightly").await;
    let guarded = lease.guard(store.clone());
    probe.take();
    guarded.put("k", "1").await.unwrap();
    assert_eq!(probe.take(), Counts { gets: 1, puts: 1, ..Counts::default() }, "first touch");
    guarded.put("k", "2").await.unwrap();
    assert_eq!(probe.take(), Counts { puts: 1, ..Counts::default() }, "steady state");
    assert_eq!(text(guarded.get("k").await.unwrap()).as_deref(), Some("2"));
    assert_eq!(probe.take(), Counts { gets: 1, ..Counts::default() });
    let stored = guarded
        .update("k", |value| Ok(text(value).map(|value| Bytes::from(format!("{value}+")))))
        .await
        .unwrap();
    assert_eq!(text(stored).as_deref(), Some("2+"));
    assert_eq!(probe.take(), Counts { gets: 1, puts: 1, ..Counts::default() });
    guarded.delete("k").await.unwrap();
    assert_eq!(probe.take(), Counts { puts: 1, ..Counts::default() });
    assert_eq!(guarded.get("k").await.unwrap(), None);
    let raw = store.get("k").await.unwrap().expect("a tombstone stays").text().await.unwrap();
    assert!(
        raw.starts_with("leasehold-guarded/1 lease=nightly token=1 sequence=4 ")
            && raw.ends_with("tombstone\n")
    );
}

#[tokio::test]
async fn tasks_of_one_holder_share_a_key_without_losing_updates() {
    let (_probe, _clock, store, a) = world("a").await;
    let lease = take(&a, "nightly").await;
    let guarded = lease.guard(store);
    let add = |value: Option<Bytes>| {
        let number: u64 = text(value).map_or(0, |value| value.parse().unwrap());
        Ok(Some(Bytes::from((number + 1).to_string())))
    };
    futures_util::future::join_all((0..20).map(|_| guarded.update("n", add)))
        .await
        .into_iter()
        .for_each(|result| drop(result.unwrap()));
    assert_eq!(text(guarded.get("n").await.unwrap()).as_deref(), Some("20"));
}

#[tokio::test]
async fn a_lost_reply_to_a_guarded_write_is_resolved_and_not_repeated() {
    for fault in [Fault::ReplyLost, Fault::Refused, Fault::Late] {
        let (probe, clock, store, a) = world("a").await;
        let lease = take(&a, "nightly").await;
        let guarded = lease.guard(store.clone());
        guarded.put("k", "old").await.unwrap();
        probe.next_puts([fault]);
        let put = async {
            guarded.put("k", "new").await.unwrap();
        };
        let tick = async {
            probe.until(|counts| counts.puts >= 2).await;
            loop {
                clock.advance(std::time::Duration::from_millis(5));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { () = put => {}, () = tick => {} }
        assert!(probe.deliver().await.iter().all(Result::is_err), "the late one is refused");
        let record = Guarded::read_unfenced(&store, "k").await.unwrap().unwrap();
        assert_eq!((record.sequence, text(record.value).as_deref()), (2, Some("new")), "{fault:?}");
    }
}

#[tokio::test]
async fn what_was_not_written_through_a_guard_is_refused_and_left_alone() {
    let (_probe, _clock, store, a) = world("a").await;
    let (lease, other) = (take(&a, "nightly").await, take(&a, "hourly").await);
    let guarded = lease.guard(store.clone());
    store.put("plain", "mine").await.unwrap();
    store.put("newer", "leasehold-guarded/2 x\n").await.unwrap();
    other.guard(store.clone()).put("theirs", "x").await.unwrap();
    for (key, kind, says) in [
        ("plain", ErrorKind::Corrupt, "not written through a guard"),
        ("newer", ErrorKind::Invalid, "upgrade"),
        ("theirs", ErrorKind::Invalid, "one lease"),
    ] {
        let before = store.head(key).await.unwrap();
        for error in [guarded.put(key, "v").await.unwrap_err(), guarded.get(key).await.unwrap_err()] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(says) && error.to_string().contains(key), "{error}");
        }
        assert_eq!(store.head(key).await.unwrap(), before);
    }
}

#[tokio::test]
async fn a_store_that_is_not_linearizable_cannot_be_guarded() {
    let (_probe, _clock, _store, a) = world("a").await;
    let lease = take(&a, "nightly").await;
    let guarded = lease.guard(Store::new(Probe::without(Capability::Linearizable)));
    let error = guarded.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported(Capability::Linearizable));
}

#[tokio::test]
async fn a_value_that_a_later_holder_could_not_seal_is_refused_before_it_is_written() {
    let (_, _, store, a) = world("a").await;
    let limit = store.capabilities().limits().value_bytes_max as usize;
    let data = store.namespace("data").unwrap();
    let lease = take(&a, "nightly").await;
    let refused = lease.guard(data.clone()).put("k", vec![7; limit - 200]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(data.head("k").await.unwrap().is_none());
    lease.guard(data.clone()).put("k", vec![7; limit - 4096]).await.unwrap();
    lease.release().await.unwrap();
    for _ in 0..10 {
        let lease = take(&a, "nightly").await;
        let sealed = lease.guard(data.clone()).get("k").await.unwrap();
        assert_eq!(sealed.map(|value| value.len()), Some(limit - 4096));
        lease.release().await.unwrap();
    }
}
