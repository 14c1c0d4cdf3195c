use futures_util::{FutureExt, future::join};
use leasehold_core::{BatchOptions, Body, ErrorKind, Key, Operation, Precondition, Store};
use leasehold_memory::Memory;

use crate::{Fault, Faults, Verb};

fn faulty() -> (Faults, Store, Store) {
    let (faults, bare) = (Faults::new(), Store::new(Memory::new()));
    (faults.clone(), bare.clone().layer(faults), bare)
}

async fn text(store: &Store, key: &str) -> Option<String> {
    match store.get(key).await.unwrap() {
        Some(object) => Some(object.text().await.unwrap()),
        None => None,
    }
}

#[tokio::test]
async fn a_fault_before_changes_nothing_and_may_be_sent_again() {
    let (faults, store, bare) = faulty();
    faults.next(Verb::Put, Fault::Before);
    let error = store.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable() && !error.is_indeterminate());
    assert_eq!(text(&bare, "k").await, None);
    store.put("k", "v").await.unwrap();
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_is_applied_and_unknown() {
    let (faults, store, bare) = faulty();
    faults.times(2, Verb::Increment, Fault::After);
    for _ in 0..2 {
        let error = store.increment("n", 1).await.unwrap_err();
        assert!(error.is_indeterminate() && !error.is_retryable(), "{error}");
        assert!(error.to_string().contains("increment \"n\" in mem:"), "{error}");
    }
    assert_eq!(text(&bare, "n").await.unwrap(), "2");
    assert_eq!(faults.injected().after, 2);
}

#[tokio::test]
async fn a_read_whose_reply_is_lost_may_be_sent_again() {
    let (faults, store, _) = faulty();
    for (verb, fault) in [(Verb::Get, Fault::After), (Verb::Get, Fault::Ghost), (Verb::Head, Fault::After)] {
        faults.next(verb, fault);
    }
    for _ in 0..2 {
        let error = store.get("k").await.unwrap_err();
        assert!(error.is_retryable() && !error.is_indeterminate());
    }
    assert!(store.head("k").await.is_err());
    assert!(store.get("k").await.unwrap().is_none());
}

#[tokio::test]
async fn a_ghost_is_applied_when_it_is_released() {
    let (faults, store, bare) = faulty();
    store.put("k", "old").await.unwrap();
    faults.next(Verb::Put, Fault::Ghost);
    faults.next(Verb::Delete, Fault::Ghost);
    let error = store.put("k", "new").await.unwrap_err();
    assert_eq!((error.kind(), error.is_indeterminate()), (ErrorKind::Timeout, true));
    assert!(store.delete("other").await.unwrap_err().is_indeterminate());
    assert_eq!(text(&bare, "k").await.unwrap(), "old");
    assert_eq!(faults.ghosts(), 2);
    assert!(faults.release_ghosts().await.iter().all(Result::is_ok));
    assert_eq!(text(&bare, "k").await.unwrap(), "new");
    assert!(faults.release_ghosts().await.is_empty());
}

#[tokio::test]
async fn a_ghost_meets_its_precondition_when_it_lands() {
    let (faults, store, bare) = faulty();
    faults.next(Verb::Put, Fault::Ghost);
    store.put("k", "late").if_absent().await.unwrap_err();
    store.put("k", "first").if_absent().await.unwrap();
    assert!(faults.release_ghosts().await[0].as_ref().unwrap_err().is_conflict());
    assert_eq!(text(&bare, "k").await.unwrap(), "first");
}

#[tokio::test]
async fn a_held_call_waits_for_its_release() {
    let (faults, store, bare) = faulty();
    let gate = faults.hold(Verb::Put);
    let test = async {
        gate.reached().await;
        assert_eq!(text(&bare, "k").await, None);
        gate.release();
    };
    join(async { store.put("k", "v").await.unwrap() }, test).await;
    assert_eq!(text(&bare, "k").await.unwrap(), "v");
}

#[tokio::test]
async fn a_held_reply_comes_after_the_write() {
    let (faults, store, bare) = faulty();
    let gate = faults.hold_reply(Verb::Put);
    let mut put = Box::pin(async { store.put("k", "v").await });
    assert!((&mut put).now_or_never().is_none());
    assert!(gate.is_reached());
    assert_eq!(text(&bare, "k").await.unwrap(), "v");
    gate.release();
    put.await.unwrap();
}

#[tokio::test]
async fn a_fault_can_wait_for_one_key() {
    let (faults, store, _) = faulty();
    faults.next_on("b", Verb::Put, Fault::Before).unwrap();
    store.put("a", "1").await.unwrap();
    store.put("b", "1").await.unwrap_err();
    store.put("b", "1").await.unwrap();
}

#[tokio::test]
async fn while_cut_nothing_passes() {
    let (faults, store, _) = faulty();
    faults.cut(true);
    assert!(store.get("k").await.is_err());
    assert!(store.list("").await.is_err());
    assert!(store.get_many(["a", "b"]).await.iter().all(Result::is_err));
    faults.cut(false);
    assert!(store.get("k").await.unwrap().is_none());
}

#[tokio::test]
async fn a_list_breaks_off_on_the_way() {
    let (faults, store, _) = faulty();
    store.put_many([("a", "1"), ("b", "2")]).await;
    faults.next(Verb::List, Fault::After);
    assert!(store.list("").await.unwrap_err().is_retryable());
    assert_eq!(store.list("").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_fault_hits_one_entry_of_a_batch_or_all() {
    let (faults, store, bare) = faulty();
    faults.next_on("b", Verb::Put, Fault::Before).unwrap();
    faults.next_on("c", Verb::Put, Fault::After).unwrap();
    let results = store.put_many([("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]).await;
    let seen: Vec<_> =
        results.iter().map(|result| result.as_ref().map(drop).map_err(|e| e.is_indeterminate())).collect();
    assert_eq!(seen, [Ok(()), Err(false), Err(true), Ok(())]);
    assert_eq!((text(&bare, "b").await, text(&bare, "c").await.as_deref()), (None, Some("1")));

    faults.next(Verb::Batch, Fault::After);
    let results = store.put_many([("x", "1"), ("y", "1")]).await;
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| error.is_indeterminate())));
    assert!(text(&bare, "y").await.is_some());
}

#[tokio::test]
async fn an_atomic_batch_is_hit_as_a_whole() {
    let (faults, store, bare) = faulty();
    faults.next(Verb::Batch, Fault::Ghost);
    let operations = ["a", "b"]
        .map(|key| Operation::Put(Key::new(key).unwrap(), Body::from("1"), Precondition::Absent.into()));
    let results = store.batch(operations.into(), BatchOptions::atomic()).await;
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| error.is_indeterminate())));
    assert!(bare.list("").await.unwrap().is_empty());
    faults.release_ghosts().await;
    assert_eq!(bare.list("").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_seed_replays_its_faults() {
    let run = |seed| async move {
        let store = Store::new(Memory::new()).layer(Faults::seeded(seed).before(0.2).after(0.2).ghost(0.1));
        let mut seen = Vec::new();
        for _ in 0..200 {
            seen.push(
                store.increment("n", 1).await.map_err(|error| (error.kind(), error.is_indeterminate())),
            );
        }
        seen
    };
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    assert!(first.iter().any(Result::is_ok) && first.iter().any(Result::is_err));
}

#[tokio::test]
async fn random_faults_keep_to_the_verbs_named() {
    let faults = Faults::seeded(1).before(1.0).only([Verb::Delete]);
    let store = Store::new(Memory::new()).layer(faults.clone());
    store.put("k", "v").await.unwrap();
    store.delete("k").await.unwrap_err();
    faults.calm();
    store.delete("k").await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_cut_short_still_claims_its_size() {
    let faults = Faults::new();
    let store = Store::new(Memory::new()).layer(faults.clone());
    store.put("k", "0123456789").await.unwrap();
    faults.next(Verb::Get, Fault::Truncate);
    let object = store.get("k").await.unwrap().unwrap();
    assert_eq!(object.body.size(), Some(10));
    let error = object.bytes().await.expect_err("half of a value is not taken for the whole");
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
    faults.next(Verb::Get, Fault::Truncate);
    assert!(store.get_many(["k"]).await.remove(0).unwrap().unwrap().bytes().await.is_err());
    assert_eq!(faults.injected().truncated, 2);
}

#[tokio::test]
async fn a_list_can_come_out_of_order() {
    let faults = Faults::new();
    let store = Store::new(Memory::new()).layer(faults.clone());
    store.put_many((0..25).map(|n| (format!("{n:02}"), ""))).await;
    faults.next(Verb::List, Fault::Disorder);
    let keys: Vec<_> = store.list("").await.unwrap().into_iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!((&*keys[0], &*keys[9], &*keys[24], keys.len()), ("09", "00", "20", 25));
}

#[tokio::test]
async fn a_delay_holds_a_call_up_and_nothing_else() {
    let faults = Faults::seeded(1).delay(1.0, std::time::Duration::from_micros(10));
    let store = Store::new(Memory::new()).layer(faults.clone());
    store.put("k", "v").await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1);
    store.put_many([("a", ""), ("b", "")]).await.into_iter().for_each(|result| drop(result.unwrap()));
    assert_eq!(faults.injected().delayed, 5);
}
