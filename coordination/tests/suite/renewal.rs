//! How a lease is kept, and how it is lost.

use std::time::Duration;

use futures_util::FutureExt;
use leasehold_coordination::{LeaseState, Leases, Lost, Node, Token, Ttl, Wait};
use leasehold_core::Store;
use leasehold_memory::Memory;

use crate::support::*;

#[tokio::test]
async fn a_lease_is_renewed_within_each_third_of_its_time() {
    let (probe, clock, _store, leases) = world("a").await;
    let lease = take(&leases, "nightly").await;
    let lost = lease.lost();
    probe.take();
    clock.advance_settled(TTL * 3, 1).await;
    let counts = probe.take();
    assert!((9..=13).contains(&counts.puts) && counts.gets == 0, "{counts:?}");
    assert!(lease.is_valid() && lease.remaining() > TTL / 2);
    assert!(lost.now_or_never().is_none());
}

#[tokio::test]
async fn renewals_survive_transient_errors_and_lost_replies() {
    for faults in [
        [Fault::Refused, Fault::Refused, Fault::Refused],
        [Fault::ReplyLost, Fault::ReplyLost, Fault::ReplyLost],
        [Fault::Late, Fault::Refused, Fault::ReplyLost],
        [Fault::Hangs, Fault::Late, Fault::Refused],
    ] {
        let (probe, clock, _store, leases) = world("a").await;
        let lease = take(&leases, "nightly").await;
        probe.next_puts(faults);
        clock.advance_settled(TTL * 2, 1).await;
        assert!(lease.is_valid(), "{faults:?}");
        probe.deliver().await;
        clock.advance_settled(TTL, 1).await;
        assert!(lease.is_valid(), "{faults:?}, after what was late came in");
        let view = leases.observe("nightly").await.unwrap().unwrap();
        assert_eq!(view.token, lease.token());
    }
}

#[tokio::test]
async fn a_store_that_hangs_loses_the_lease_on_time_and_not_before() {
    let (probe, clock, _store, leases) = world("a").await;
    let lease = take(&leases, "nightly").await;
    let lost = tokio::spawn(lease.lost());
    probe.all_puts(Some(Fault::Hangs));
    clock.advance_settled(TTL * 98 / 100, 2).await;
    assert!(!lost.is_finished() && lease.is_valid());
    clock.advance(TTL * 2 / 100);
    assert_eq!(lost.await.unwrap(), Lost::Expired);
    assert!(!lease.is_valid());
}

#[tokio::test]
async fn another_token_ends_a_lease_before_its_deadline() {
    let (_probe, clock, store, leases) = world("a").await;
    let lease = take(&leases, "nightly").await;
    let text = store.get("_locks/nightly").await.unwrap().unwrap().text().await.unwrap();
    let theirs = text.replace("\"token\":1", "\"token\":99").replace("\"op_id\":\"", "\"op_id\":\"x");
    store.put("_locks/nightly", theirs).await.unwrap();
    clock.settled(1).await;
    clock.advance(TTL / 3);
    assert_eq!(lease.lost().await, Lost::Superseded { by: Token::new(99) });
}

#[tokio::test]
async fn a_record_removed_by_hand_ends_the_lease() {
    let (_probe, clock, store, leases) = world("a").await;
    let lease = take(&leases, "nightly").await;
    store.delete("_locks/nightly").await.unwrap();
    clock.settled(1).await;
    clock.advance(TTL / 3);
    assert_eq!(lease.lost().await, Lost::Removed);
}

#[tokio::test]
async fn an_acquire_that_is_dropped_in_flight_leaves_no_lease_behind() {
    let (probe, clock, _store, leases) = world("a").await;
    for fault in [Fault::Hangs, Fault::ReplyLost, Fault::Late] {
        probe.take();
        probe.all_puts(Some(fault));
        let mut acquire = leases.acquire("nightly").ttl(ttl()).into_future();
        assert!((&mut acquire).now_or_never().is_none(), "it waits for the store");
        probe.all_puts(None);
        drop(acquire);
        if fault == Fault::Hangs {
            // It was cut off in the call itself: there is a pause before the next.
            clock.settled(1).await;
            clock.advance(Duration::from_secs(1));
        }
        // The claim, the claim once more, which settles it, and the release.
        probe.until(|counts| counts.puts == 3).await;
        let view = leases.observe("nightly").await.unwrap().unwrap();
        assert_eq!(view.state, LeaseState::Released, "{fault:?}");
        assert!(probe.deliver().await.iter().all(Result::is_err));
    }
}

#[tokio::test]
async fn user_code_that_blocks_its_runtime_does_not_lose_the_lease() {
    let leases = Leases::connect(Store::new(Memory::new()), Node::new("a").unwrap()).await.unwrap();
    let short = Ttl::new(Duration::from_millis(300)).unwrap();
    let lease = leases.acquire("nightly").ttl(short).wait(Wait::Try).await.unwrap().unwrap();
    // The only thread of this runtime is blocked for three times the time to live.
    let (_never, nothing) = std::sync::mpsc::channel::<()>();
    assert!(nothing.recv_timeout(Duration::from_millis(900)).is_err());
    assert!(lease.is_valid());
    lease.release().await.unwrap();
}
