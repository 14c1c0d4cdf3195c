//! Who waits for a lease is woken by its release, where the store tells of changes: in a time that does not move.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use leasehold_coordination::{Leases, Ttl, Wait};
use leasehold_core::{Environment, Store, SystemRandom};
use leasehold_fs::Fs;
use leasehold_memory::Memory;

use crate::{
    hints::{Counted, Hints, soon},
    support::{ManualClock, connect, take},
};

/// The same time for everybody, which stands still.
fn still(store: Store, clock: &ManualClock) -> Store {
    let environment = Environment { clock: Arc::new(clock.clone()), random: Arc::new(SystemRandom) };
    store.with_environment(environment)
}

fn day() -> Ttl {
    Ttl::new(Duration::from_secs(24 * 60 * 60)).unwrap()
}

async fn held(leases: &Leases) -> leasehold_coordination::Lease {
    leases.acquire("nightly").ttl(day()).wait(Wait::Try).await.unwrap().expect("the lease is free")
}

/// One after the other waits for the other; nobody's clock moves, so no poll can ever find the lease free.
async fn woken_in_turn(first: Store, second: Store) {
    let clock = ManualClock::default();
    let counted = Counted::default();
    let (a, b) = (still(first, &clock), still(second, &clock));
    let (a, b) = (counted.around(a, Hints::Kept), counted.around(b, Hints::Kept));
    let (a, b) = (connect(&a, "a").await, connect(&b, "b").await);
    let mut lease = held(&a).await;
    for round in 0..6 {
        counted.reads();
        let watched = counted.watches();
        let waiting = if round % 2 == 0 { b.clone() } else { a.clone() };
        let waiter =
            tokio::spawn(async move { waiting.acquire("nightly").ttl(day()).await.unwrap().unwrap() });
        // It has seen that the lease is held, and is on its way to sleep, or asleep.
        soon(counted.until_watched(watched + 1), "the waiter watches").await;
        lease.release().await.unwrap();
        lease = soon(waiter, "the release wakes the waiter").await.unwrap();
        // One to see that it is held, one more once the watch is there, and one when it was woken.
        assert!(counted.reads() <= 4, "it polls");
        assert_eq!(counted.watches(), watched + 1, "one watch for one wait");
    }
    lease.release().await.unwrap();
    drop((a, b));
    assert_eq!(counted.alive(), 0);
}

#[tokio::test]
async fn a_waiter_in_memory_is_woken_by_the_release() {
    let store = Store::new(Memory::new());
    woken_in_turn(store.clone(), store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_on_a_directory_is_woken_by_the_release_of_another_handle() {
    let directory = tempfile::tempdir().unwrap();
    let open = || async { Store::new(Fs::open(directory.path()).durable(false).await.unwrap()) };
    woken_in_turn(open().await, open().await).await;
}

#[tokio::test]
async fn a_release_between_the_look_and_the_watch_is_seen() {
    let (clock, counted) = (ManualClock::default(), Counted::default());
    let store = still(Store::new(Memory::new()), &clock);
    let (a, b) = (connect(&store, "a").await, connect(&counted.around(store, Hints::Kept), "b").await);
    let lease = held(&a).await;
    // Before the store begins to tell, and so never told.
    counted.meanwhile(move || async move { lease.release().await.unwrap() });
    let lease = soon(b.acquire("nightly").into_future(), "a release while the watch began").await.unwrap();
    assert_eq!(lease.unwrap().token().get(), 2);
}

#[tokio::test]
async fn a_waiter_whose_hints_are_lost_polls() {
    for hints in [Hints::Lost, Hints::Ended, Hints::None] {
        let (clock, counted) = (ManualClock::default(), Counted::default());
        let store = still(Store::new(Memory::new()), &clock);
        let (a, b) = (connect(&store, "a").await, connect(&counted.around(store, hints), "b").await);
        let lease = held(&a).await;
        let waiter = tokio::spawn(async move { b.acquire("nightly").await.unwrap().unwrap() });
        clock.settled(2).await;
        lease.release().await.unwrap();
        clock.settled(1).await;
        counted.reads();
        assert!(!waiter.is_finished(), "{hints:?}");
        clock.advance(Duration::from_secs(1));
        let lease = soon(waiter, "a poll").await.unwrap();
        assert_eq!((lease.token().get(), counted.reads()), (2, 1), "{hints:?}");
    }
}

#[tokio::test]
async fn a_renewal_wakes_a_waiter_for_one_read() {
    let (clock, counted) = (ManualClock::default(), Counted::default());
    let store = still(Store::new(Memory::new()), &clock);
    let (a, b) =
        (connect(&store, "a").await, connect(&counted.around(store.clone(), Hints::Kept), "b").await);
    let lease = take(&a, "nightly").await;
    let mut waiting = Box::pin(b.acquire("nightly").into_future());
    assert!((&mut waiting).now_or_never().is_none());
    counted.reads();
    let record = store.get("_locks/nightly").await.unwrap().unwrap().text().await.unwrap();
    for _ in 0..5 {
        // As a renewal: another version of the same tenure.
        store.put("_locks/nightly", record.as_str()).await.unwrap();
        assert!((&mut waiting).now_or_never().is_none());
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(counted.reads(), 1);
    }
    // A neighbour who writes without pause does not make it read without pause.
    for _ in 0..500 {
        store.put("_locks/nightly", record.as_str()).await.unwrap();
        assert!((&mut waiting).now_or_never().is_none());
    }
    assert!(counted.reads() <= 250);
    drop(lease);
}
