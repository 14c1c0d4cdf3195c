//! Acquiring, releasing, handing over, on a store in memory; and what each costs.

use crate::support::*;
use leasehold_coordination::{LeaseState, Lost, Node, Wait};
use leasehold_core::ErrorKind;

#[tokio::test]
async fn requests_are_two_cold_one_warm_and_one_to_release() {
    let (probe, _clock, _store, leases) = world("a").await;

    let lease = take(&leases, "nightly").await;
    assert_eq!(probe.take(), Counts { gets: 1, puts: 1, ..Counts::default() }, "cold");
    assert_eq!(lease.token().get(), 1);

    lease.release().await.unwrap();
    assert_eq!(probe.take(), Counts { puts: 1, ..Counts::default() }, "release");

    let lease = take(&leases, "nightly").await;
    assert_eq!(probe.take(), Counts { puts: 1, ..Counts::default() }, "warm");
    assert_eq!(lease.token().get(), 2);
}

#[tokio::test]
async fn certification_costs_one_read_the_second_time() {
    let (probe, _clock, store, _leases) = world("a").await;
    connect(&store, "b").await;
    assert_eq!(probe.take(), Counts { gets: 1, ..Counts::default() });
}

#[tokio::test]
async fn a_held_lease_is_not_given_to_another_nor_to_another_start_of_the_same_node() {
    let (_probe, _clock, store, first) = world("a").await;
    let held = take(&first, "nightly").await;
    for leases in [&connect(&store, "b").await, &connect(&store, "a").await, &first] {
        assert!(leases.acquire("nightly").wait(Wait::Try).await.unwrap().is_none());
    }
    held.release().await.unwrap();
    let second = take(&connect(&store, "a").await, "nightly").await;
    assert_eq!(second.token().get(), 2);
}

#[tokio::test]
async fn a_record_is_never_deleted_and_tells_who_held_it() {
    let (_probe, _clock, store, leases) = world("a").await;
    assert!(leases.observe("nightly").await.unwrap().is_none());
    take(&leases, "nightly").await.release().await.unwrap();
    let view = leases.observe("nightly").await.unwrap().expect("the record stays");
    assert_eq!((view.token.get(), view.state, view.holder), (1, LeaseState::Released, leases.node().clone()));
    assert!(store.head("_locks/nightly").await.unwrap().is_some());
}

#[tokio::test]
async fn release_ends_the_lease_at_once_and_lost_says_so() {
    let (_probe, _clock, _store, leases) = world("a").await;
    let lease = take(&leases, "nightly").await;
    let lost = lease.lost();
    assert!(lease.is_valid());
    lease.release().await.unwrap();
    assert_eq!(lost.await, Lost::Released);
}

#[tokio::test]
async fn a_dropped_lease_is_released() {
    let (probe, _clock, _store, leases) = world("a").await;
    let lease = take(&leases, "nightly").await;
    probe.take();
    drop(lease);
    probe.until(|counts| counts.puts == 1).await;
    let view = leases.observe("nightly").await.unwrap().unwrap();
    assert_eq!(view.state, LeaseState::Released);
}

#[tokio::test]
async fn a_lease_handed_over_is_for_that_node_at_once_and_for_others_later() {
    let (_probe, clock, store, a) = world("a").await;
    let (b, c) = (connect(&store, "b").await, connect(&store, "c").await);
    take(&a, "nightly").await.hand_over("b").await.unwrap();
    assert!(c.acquire("nightly").wait(Wait::Try).await.unwrap().is_none(), "kept for b");
    let lease = take(&b, "nightly").await;
    assert_eq!(lease.token().get(), 2);

    lease.hand_over("gone").await.unwrap();
    assert!(c.acquire("nightly").wait(Wait::Try).await.unwrap().is_none(), "kept for gone");
    clock.advance(TTL * 2);
    let lease = take(&c, "nightly").await;
    assert_eq!(lease.token().get(), 3);
}

#[tokio::test]
async fn unsound_names_are_refused_before_any_request() {
    let (probe, _clock, _store, leases) = world("a").await;
    let long = "n".repeat(129);
    for name in ["", ".certification/x", "a//b", "../x", "a\n", long.as_str()] {
        assert_eq!(leases.acquire(name).await.unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
        assert_eq!(leases.observe(name).await.unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
    }
    assert!(Node::new("a/b").is_err());
    let lease = take(&leases, "x").await;
    assert_eq!(lease.hand_over("a/b").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(probe.take().unconditional, 0);
}

#[tokio::test]
async fn what_is_no_record_of_ours_is_refused_by_name_and_left_alone() {
    let (_probe, _clock, store, leases) = world("a").await;
    for (text, kind, says) in [
        ("hello", ErrorKind::Corrupt, "not a lease record"),
        (r#"{"format":2}"#, ErrorKind::Invalid, "upgrade"),
    ] {
        store.put("_locks/nightly", text).await.unwrap();
        let error = leases.acquire("nightly").await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains("_locks/nightly") && error.to_string().contains(says), "{error}");
        let stored = store.get("_locks/nightly").await.unwrap().unwrap().text().await.unwrap();
        assert_eq!(stored, text, "left alone");
    }
}
