//! Counters, ids, latches and barriers.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use leasehold_coordination::{Counter, IdRange, Ids, Latch, Locks, Node, Wait};
use leasehold_core::{ErrorKind, Store};
use leasehold_layers::Faults;
use leasehold_memory::Memory;
use parking_lot::Mutex;

use crate::support::*;

/// Faults over a store in memory, with writes that land late while others go on.
async fn faulty(seed: u64) -> (Store, Store, Faults, tokio::task::JoinHandle<()>) {
    let faults = Faults::seeded(seed).before(0.05).after(0.1).ghost(0.05);
    let bare = Store::new(Memory::new());
    Counter::connect(bare.clone(), "certify").await.unwrap();
    let landing = tokio::spawn({
        let faults = faults.clone();
        async move {
            loop {
                faults.release_ghosts().await;
                tokio::task::yield_now().await;
            }
        }
    });
    (bare.clone().layer(faults.clone()), bare, faults, landing)
}

#[tokio::test]
async fn a_counter_costs_two_requests_cold_and_one_warm() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let counter = Counter::connect(store(&probe, &clock), "c").await.unwrap();
    probe.take();
    assert_eq!(counter.add(5).await.unwrap(), 5);
    assert_eq!(probe.take(), Counts { gets: 1, puts: 1, ..Counts::default() });
    assert_eq!(counter.next().await.unwrap(), 6);
    assert_eq!(probe.take(), Counts { puts: 1, ..Counts::default() });
    assert_eq!(counter.add(i64::MAX).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(counter.get().await.unwrap(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_counter_counts_once_through_lost_replies_and_late_writes() {
    for seed in 0..6 {
        let (store, bare, faults, landing) = faulty(seed).await;
        let (sum, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(HashSet::new())));
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (store, sum, seen) = (store.clone(), sum.clone(), seen.clone());
                tokio::spawn(async move {
                    let mut unknown = 0;
                    let counter = Counter::connect(store, "c").await.unwrap();
                    for _ in 0..25 {
                        match counter.next().await {
                            Ok(number) => {
                                sum.fetch_add(1, Ordering::SeqCst);
                                assert!(seen.lock().insert(number), "seed {seed}: {number} twice");
                            }
                            Err(error) if error.is_indeterminate() => unknown += 1,
                            Err(error) => assert!(error.is_retryable() || error.is_conflict(), "{error}"),
                        }
                    }
                    unknown
                })
            })
            .collect();
        let mut unknown = 0;
        for task in tasks {
            unknown += task.await.unwrap();
        }
        landing.abort();
        faults.release_ghosts().await;
        let counted = Counter::connect(bare, "c").await.unwrap().get().await.unwrap() as u64;
        let sum = sum.load(Ordering::SeqCst);
        assert!((sum..=sum + unknown).contains(&counted), "seed {seed}: {counted} of {sum} and {unknown}");
        assert!(faults.injected().after > 0);
    }
}

/// Adds one while the time goes on, and delivers what is late once `puts` were sent.
async fn add_one(counter: &Counter, probe: &Probe, clock: &ManualClock, puts: usize) -> i64 {
    let before = probe.counts().puts;
    let others = async {
        loop {
            if probe.counts().puts >= before + puts {
                probe.deliver().await;
            }
            clock.advance(Duration::from_millis(5));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { sum = counter.add(1) => sum.unwrap(), () = others => unreachable!("it never ends") }
}

#[tokio::test]
async fn what_was_not_there_when_it_was_looked_for_may_land_yet() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let counter = Counter::connect(store(&probe, &clock), "c").await.unwrap();
    assert_eq!(counter.add(1).await.unwrap(), 1);
    // Lost on its way, then not taken; it lands before it is sent for the third time.
    probe.next_puts([Fault::Late, Fault::Refused]);
    assert_eq!(add_one(&counter, &probe, &clock, 2).await, 2);
    assert_eq!(counter.get().await.unwrap(), 2, "added once");
}

#[tokio::test]
async fn a_write_that_was_lost_is_not_mistaken_for_one_of_somebody_else() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let beside = probe.beside();
    let counter = Counter::connect(store(&probe, &clock), "c").await.unwrap();
    let other = Counter::connect(store(&beside, &clock), "c").await.unwrap();
    assert_eq!(counter.add(1).await.unwrap(), 1);
    probe.next_puts([Fault::Late]);
    let mut adding = std::pin::pin!(counter.add(1));
    assert!(adding.as_mut().now_or_never().is_none(), "it waits to be sent again");
    // The other one is faster, and what was lost is refused for ever.
    assert_eq!(other.add(10).await.unwrap(), 11);
    assert!(probe.deliver().await.iter().all(Result::is_err));
    let time = async {
        loop {
            clock.advance(Duration::from_millis(5));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { sum = adding => assert_eq!(sum.unwrap(), 12), () = time => {} }
    assert_eq!(counter.get().await.unwrap(), 12);
}

#[tokio::test]
async fn a_range_of_ids_is_divided_and_given_back_once() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let store = store(&probe, &clock);
    let ids = Ids::connect(store.clone(), "orders").await.unwrap();
    probe.take();
    let first = ids.take(100).await.unwrap();
    assert_eq!(probe.take(), Counts { gets: 1, puts: 1, ..Counts::default() }, "cold");
    let second = ids.take(100).await.unwrap();
    assert_eq!(probe.take(), Counts { puts: 1, ..Counts::default() }, "warm");
    assert_eq!((first.start(), first.end(), second.start()), (0, 100, 100));

    let kept: IdRange = first.to_string().parse().unwrap();
    let mut parts = ids.divide(first, 3).await.unwrap();
    for again in [ids.divide(kept.clone(), 2).await.unwrap_err(), ids.give_back(kept).await.unwrap_err()] {
        assert!(again.kind() == ErrorKind::Invalid && again.message().contains("divided already"), "{again}");
    }
    let mut part = parts.remove(1);
    let part_kept: IdRange = part.to_string().parse().unwrap();
    assert_eq!(part.by_ref().take(3).collect::<Vec<_>>(), [34, 35, 36]);
    ids.give_back(part).await.unwrap();
    // Somebody else has them by now: to give them back again must not give them out again.
    let taken = ids.take(30).await.unwrap();
    assert_eq!((taken.start(), taken.end()), (37, 67));
    let error = ids.give_back(part_kept).await.unwrap_err();
    assert!(error.message().contains("given back already"), "{error}");
    assert_eq!(ids.take(5).await.unwrap().start(), 200);
    let other = Ids::connect(store, "others").await.unwrap();
    assert_eq!(other.give_back(second).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(ids.take(0).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_id_is_out_twice_through_lost_replies_and_late_writes() {
    for seed in 0..6 {
        let (store, _bare, faults, landing) = faulty(seed).await;
        let used = Arc::new(Mutex::new(HashSet::new()));
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let (store, used) = (store.clone(), used.clone());
                tokio::spawn(async move {
                    let ids = Ids::connect(store, "i").await.unwrap();
                    let mut random = fastrand::Rng::with_seed(seed * 100 + task);
                    for _ in 0..15 {
                        // Whatever fails is a gap; the same range is never used again.
                        let Ok(range) = ids.take(random.u64(2..20)).await else { continue };
                        let copy: IdRange = range.to_string().parse().unwrap();
                        let mut parts = match ids.divide(range, 2).await {
                            Ok(parts) => parts,
                            Err(_) => continue,
                        };
                        for mut part in parts.drain(..) {
                            let wanted = random.usize(0..10);
                            for id in part.by_ref().take(wanted) {
                                assert!(used.lock().insert(id), "seed {seed}: {id} twice");
                            }
                            let mut again: IdRange = part.to_string().parse().unwrap();
                            again.use_up_to(part.position()).unwrap();
                            let is_empty = part.position() == part.end();
                            if ids.give_back(part).await.is_ok() && !is_empty {
                                assert!(ids.give_back(again).await.is_err());
                            }
                        }
                        assert!(ids.give_back(copy).await.is_err());
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        landing.abort();
        assert!(faults.injected().after > 0);
    }
}

#[tokio::test]
async fn a_latch_opens_once_and_wakes_who_waits() {
    let store = Store::new(Memory::new());
    let latch = Latch::connect(store.clone(), "l", 3).await.unwrap();
    let waiting = tokio::spawn({
        let latch = latch.clone();
        async move { latch.wait(Wait::Forever).await }
    });
    assert_eq!(latch.count_down(2).await.unwrap(), 1);
    assert!(!latch.wait(Wait::Try).await.unwrap());
    assert!(!latch.wait(Wait::For(Duration::from_millis(20))).await.unwrap());
    let other = Latch::connect(store.clone(), "l", 3).await.unwrap();
    assert_eq!(other.count_down(5).await.unwrap(), 0);
    assert!(waiting.await.unwrap().unwrap());
    assert_eq!(latch.count_down(1).await.unwrap(), 0);
    assert_eq!(Latch::connect(store.clone(), "l", 4).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(Latch::connect(store, "m", 0).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_passes_a_barrier_before_all_are_there() {
    for seed in 0..3 {
        let (store, _bare, _faults, landing) = faulty(seed).await;
        let rounds: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let (store, rounds) = (store.clone(), rounds.clone());
                tokio::spawn(async move {
                    let node = Node::new(format!("node-{task}")).unwrap();
                    let locks = loop {
                        if let Ok(locks) = Locks::connect(store.clone(), node.clone()).await {
                            break locks;
                        }
                    };
                    for (round, arrived) in rounds.iter().enumerate() {
                        arrived.fetch_add(1, Ordering::SeqCst);
                        let passed = locks.barrier("b", 4).await.unwrap();
                        assert_eq!(passed, Some(round as u64 + 1), "seed {seed}");
                        assert_eq!(arrived.load(Ordering::SeqCst), 4, "seed {seed}");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        landing.abort();
    }
}

#[tokio::test]
async fn who_leaves_a_barrier_or_dies_there_is_not_counted() {
    let store = Store::new(Memory::new());
    let locks =
        |name: &str| Locks::connect(store.clone(), Node::new(name).unwrap()).ttl("500ms".parse().unwrap());
    let (a, b) = (locks("a").await.unwrap(), locks("b").await.unwrap());
    assert_eq!(a.barrier("b", 2).wait(Wait::For(Duration::from_millis(20))).await.unwrap(), None);
    // One that is gone without a word: its arrival is forged with a session that nobody renews.
    let waiting = tokio::spawn({
        let b = b.clone();
        async move { b.barrier("b", 3).wait(Wait::For(Duration::from_secs(60))).await }
    });
    let record = loop {
        let object = store.get("_cluster/barriers/b").await.unwrap().unwrap();
        let text = object.text().await.unwrap();
        if text.contains("\"session\"") {
            break text;
        }
        tokio::task::yield_now().await;
    };
    let start = record.find("\"arrived\":[").unwrap() + "\"arrived\":[".len();
    let dead = r#"{"id":"dead","node":"dead","session":"00000000000000000000000000000000"},"#;
    store
        .put("_cluster/barriers/b", format!("{}{dead}{}", &record[..start], &record[start..]))
        .await
        .unwrap();
    while store.get("_cluster/barriers/b").await.unwrap().unwrap().text().await.unwrap().contains("dead") {
        tokio::task::yield_now().await;
    }
    assert_eq!(a.barrier("b", 3).wait(Wait::For(Duration::from_millis(1500))).await.unwrap(), None);
    let third = locks("c").await.unwrap();
    let (x, y) = tokio::join!(a.barrier("b", 3), third.barrier("b", 3));
    assert_eq!((x.unwrap(), y.unwrap()), (Some(1), Some(1)));
    assert_eq!(waiting.await.unwrap().unwrap(), Some(1));
    assert_eq!(a.barrier("b", 0).await.unwrap_err().kind(), ErrorKind::Invalid);
}
