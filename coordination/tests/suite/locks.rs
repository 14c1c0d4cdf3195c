//! Locks: alone, shared, counted, in line, several at once; who dies, who gives up, who waits in a circle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use leasehold_coordination::{Deadlock, Guarded, Lock, Locks, Lost, Node, Ttl, Wait, locks::LockRequest};
use leasehold_core::{ErrorKind, Store};
use leasehold_fs::Fs;
use leasehold_layers::Faults;
use leasehold_memory::Memory;

use crate::support::*;

/// Locks of `node` by a way of its own to the store of `probe`. Its session outlives the test by far: the thread that
/// renews it takes no part in what a test sees when it moves the time.
async fn locks_of(probe: &Probe, clock: &ManualClock, node: &str) -> (Probe, Locks) {
    locks_for(probe, clock, node, LONG).await
}

async fn locks_for(probe: &Probe, clock: &ManualClock, node: &str, ttl: Duration) -> (Probe, Locks) {
    let (probe, ttl) = (probe.beside(), Ttl::new(ttl).unwrap());
    let locks = Locks::connect(store(&probe, clock), Node::new(node).unwrap()).ttl(ttl).await.unwrap();
    (probe, locks)
}

async fn try_for(request: LockRequest) -> Option<Lock> {
    request.wait(Wait::Try).await.unwrap()
}

async fn get(request: LockRequest) -> Lock {
    try_for(request).await.expect("the lock is free")
}

/// Whether `future` is not done yet, after everything that can happen at this time has happened.
async fn waits<F: Future + Unpin>(future: &mut F, clock: &ManualClock, sleepers: usize) -> bool {
    let is_ready = future.now_or_never().is_some();
    clock.settled(sleepers).await;
    !is_ready
}

#[tokio::test]
async fn requests_of_a_lock_are_two_cold_one_warm_and_one_to_release() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (probe, locks) = locks_of(&probe, &clock, "a").await;
    probe.take();
    let lock = get(locks.exclusive("l")).await;
    assert_eq!(probe.take(), Counts { gets: 1, puts: 1, ..Counts::default() }, "cold");
    lock.release().await.unwrap();
    assert_eq!(probe.take(), Counts { puts: 1, ..Counts::default() }, "release");
    let lock = get(locks.exclusive("l")).await;
    assert_eq!(probe.take(), Counts { puts: 1, ..Counts::default() }, "warm");
    assert_eq!(lock.token().get(), 2);
}

#[tokio::test]
async fn alone_excludes_all_and_shared_excludes_only_alone() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (_a, a) = locks_of(&probe, &clock, "a").await;
    let (_b, b) = locks_of(&probe, &clock, "b").await;
    let reader = get(a.shared("l")).await;
    let second = get(b.shared("l")).await;
    assert!(second.token() > reader.token());
    assert!(try_for(b.exclusive("l")).await.is_none());
    assert!(reader.guard(Store::new(Memory::new())).unwrap_err().message().contains("fence each other"));
    reader.release().await.unwrap();
    second.release().await.unwrap();
    let writer = get(b.exclusive("l")).await;
    assert!(try_for(a.shared("l")).await.is_none());
    assert!(try_for(a.exclusive("l")).await.is_none());
    let view = a.observe("l").await.unwrap().unwrap();
    assert_eq!((view.holders[0].node.as_str(), view.holders[0].token), ("b", Some(writer.token())));
    assert!(!view.is_free() && a.observe("other").await.unwrap().is_none());
}

#[tokio::test]
async fn a_semaphore_admits_its_number() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (_a, a) = locks_of(&probe, &clock, "a").await;
    let (_b, b) = locks_of(&probe, &clock, "b").await;
    let (first, _second) = (get(a.semaphore("s", 2)).await, get(b.semaphore("s", 2)).await);
    assert!(try_for(a.semaphore("s", 2)).await.is_none());
    let error = a.semaphore("s", 3).wait(Wait::Try).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("semaphore of 2"), "{error}");
    for permits in [0, 1001] {
        assert_eq!(a.semaphore("other", permits).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    first.release().await.unwrap();
    drop(get(b.semaphore("s", 2)).await);
}

#[tokio::test]
async fn who_dies_is_put_out_after_its_time_and_its_writes_are_fenced() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (a_probe, a) = locks_for(&probe, &clock, "a", TTL).await;
    let (_b, b) = locks_of(&probe, &clock, "b").await;
    let data = Store::new(Memory::new());
    let old = get(a.exclusive("l")).await;
    let stale = old.guard(data.clone()).unwrap();
    stale.put("k", "from a").await.unwrap();
    assert!(try_for(b.exclusive("l")).await.is_none());
    let began = clock.now();
    a_probe.all_puts(Some(Fault::Refused));
    let lost = old.lost();
    let waiting = tokio::spawn(b.exclusive("l").into_future());
    let lock = clock.advance_until(waiting, 2).await.unwrap().unwrap();
    assert!(clock.now() - began >= TTL, "not before its time");
    assert!(lock.token() > old.token());
    assert_eq!(lock.guard(data.clone()).unwrap().get("k").await.unwrap().unwrap(), "from a");
    assert_eq!(lost.await, Lost::Expired);
    assert!(!old.is_valid() && old.remaining().is_zero());
    assert_eq!(stale.put("k", "late").await.unwrap_err().kind(), ErrorKind::Fenced);
    assert!(Guarded::read_unfenced(&data, "k").await.unwrap().unwrap().token > old.token());
    a_probe.all_puts(None);
    assert_eq!(old.release().await.unwrap_err().kind(), ErrorKind::Fenced);
}

async fn competing(stores: Vec<Store>, rounds: u64, fair: bool) {
    let (inside, last, done) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = stores
        .into_iter()
        .map(|store| {
            let (inside, last, done) = (inside.clone(), last.clone(), done.clone());
            tokio::spawn(async move {
                let locks = Locks::connect(store, Node::new("twin").unwrap()).await.unwrap();
                for _ in 0..rounds {
                    let mut request = locks.exclusive("hot").wait(Wait::For(Duration::from_secs(100)));
                    if fair {
                        request = request.fair();
                    }
                    let lock = request.await.unwrap().expect("in time");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    assert!(last.swap(lock.token().get(), Ordering::SeqCst) < lock.token().get());
                    tokio::task::yield_now().await;
                    assert!(lock.is_valid());
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lock.release().await.unwrap();
                    done.fetch_add(1, Ordering::SeqCst);
                }
                locks.close().await.unwrap();
            })
        })
        .collect();
    let count = tasks.len() as u64;
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(done.load(Ordering::SeqCst), count * rounds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn competitors_for_a_lock_exclude_each_other() {
    for fair in [false, true] {
        competing(vec![Store::new(Memory::new()); 4], 5, fair).await;
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Fs::open(directory.path()).await.unwrap());
        competing(vec![store.clone(); 4], 5, fair).await;
        let left: Vec<_> = store.list("_locks/.sessions").stream().collect().await;
        assert!(left.is_empty(), "closed sessions leave nothing behind: {left:?}");
    }
}

#[tokio::test]
async fn those_in_line_are_let_in_by_whoever_leaves_in_their_order() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (_a, a) = locks_of(&probe, &clock, "a").await;
    let held = get(a.exclusive("l")).await;
    let mut line = Vec::new();
    for position in 0..3 {
        let mut waiting = a.exclusive("l").fair().into_future();
        // The session and those who wait sleep.
        assert!(waits(&mut waiting, &clock, position + 2).await);
        // Waits on by itself, whoever else is looked at.
        line.push(tokio::spawn(waiting));
        clock.settled(position + 2).await;
    }
    assert_eq!(a.observe("l").await.unwrap().unwrap().queue.len(), 3);
    // One that is not in line does not go before them, and one that gives up leaves it.
    line.remove(1).abort();
    held.release().await.unwrap();
    assert!(try_for(a.exclusive("l")).await.is_none());
    let mut tokens = Vec::new();
    for waiting in line {
        let lock = clock.advance_until(waiting, 1).await.unwrap().unwrap();
        tokens.push(lock.token());
        lock.release().await.unwrap();
    }
    assert!(tokens.is_sorted());
    drop(get(a.exclusive("l")).await);
}

/// Moves the time until `future` is done, while at least `sleepers` sleep.
async fn finish<F>(future: F, clock: &ManualClock, sleepers: usize) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    clock.advance_until(tokio::spawn(future), sleepers).await
}

/// Moves the time until `future` is done.
async fn loop_until<F>(future: F, clock: &ManualClock) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    finish(future, clock, 2).await
}

#[tokio::test]
async fn a_writer_that_waits_keeps_new_readers_out() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (_a, a) = locks_of(&probe, &clock, "a").await;
    let reader = get(a.shared("l")).await;
    let mut writer = a.exclusive("l").into_future();
    assert!((&mut writer).now_or_never().is_none());
    assert!(try_for(a.shared("l")).await.is_none());
    reader.release().await.unwrap();
    loop_until(writer, &clock).await.unwrap().unwrap().release().await.unwrap();
    drop(get(a.shared("l")).await);
}

#[tokio::test]
async fn a_wait_ends_at_its_deadline_and_leaves_the_line() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (_a, a) = locks_of(&probe, &clock, "a").await;
    let held = get(a.exclusive("l")).await;
    let waiting = a.exclusive("l").fair().wait(Wait::For(Duration::from_secs(3))).into_future();
    let began = clock.now();
    assert!(loop_until(waiting, &clock).await.unwrap().is_none());
    assert!(clock.now() - began >= Duration::from_secs(3));
    assert!(a.observe("l").await.unwrap().unwrap().queue.is_empty());
    held.release().await.unwrap();
}

#[tokio::test]
async fn who_is_outrun_again_and_again_waits_on() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    // No renewal comes between.
    let connect = Locks::connect(store(&probe, &clock), Node::new("a").unwrap()).ttl(Ttl::MAX);
    let locks = connect.await.unwrap();
    let outrun = |times| probe.next_puts(std::iter::repeat_n(Fault::Outrun, times));
    outrun(150);
    let lock = finish(locks.exclusive("l").into_future(), &clock, 1).await.unwrap().expect("waits for ever");
    lock.release().await.unwrap();
    outrun(250);
    assert!(finish(locks.exclusive("l").wait(Wait::Try).into_future(), &clock, 1).await.unwrap().is_none());
    let short = locks.exclusive("l").wait(Wait::For(Duration::from_secs(1))).into_future();
    assert!(finish(short, &clock, 1).await.unwrap().is_none());
}

#[tokio::test]
async fn a_name_is_a_lock_or_a_lease_and_not_both() {
    let (_probe, _clock, store, leases) = world("a").await;
    let locks = Locks::connect(store, Node::new("a").unwrap()).await.unwrap();
    take(&leases, "lease").await.release().await.unwrap();
    get(locks.exclusive("lock")).await.release().await.unwrap();
    let error = leases.acquire("lock").wait(Wait::Try).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("name of a lock"), "{error}");
    let error = locks.exclusive("lease").wait(Wait::Try).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("name of a \"lease\""), "{error}");
    for name in ["", ".hidden", "a//b", "x\n"] {
        assert_eq!(locks.exclusive(name).await.unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
    }
}

#[tokio::test]
async fn several_at_once_are_all_or_none_and_in_the_order_of_the_call() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (_a, a) = locks_of(&probe, &clock, "a").await;
    let held = get(a.exclusive("m")).await;
    assert!(a.all(["z", "m", "b"]).wait(Wait::Try).await.unwrap().is_none());
    get(a.exclusive("b")).await.release().await.unwrap();
    held.release().await.unwrap();
    let locks = a.all(["z", "m", "b", "z"]).await.unwrap().unwrap();
    assert_eq!(locks.iter().map(Lock::name).collect::<Vec<_>>(), ["z", "m", "b"]);
    assert!(a.all(["ok", ""]).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_for_several_locks_never_wait_in_a_circle() {
    let locks = Locks::connect(Store::new(Memory::new()), Node::new("a").unwrap()).await.unwrap();
    let names = ["a", "b", "c", "d"];
    let tasks = (0..6_usize).map(|task| {
        let locks = locks.clone();
        tokio::spawn(async move {
            for round in 0..5 {
                let mut wanted = names.to_vec();
                wanted.rotate_left((task + round) % 4);
                locks
                    .all(wanted[..3].to_vec())
                    .wait(Wait::For(Duration::from_secs(100)))
                    .await
                    .unwrap()
                    .unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_broken_and_the_victim_knows_the_circle() {
    let store = Store::new(Memory::new());
    let connect = |node| Locks::connect(store.clone(), Node::new(node).unwrap()).into_future();
    let names = ["a", "b", "c"];
    let mut tasks = Vec::new();
    let barrier = Arc::new(tokio::sync::Barrier::new(names.len()));
    for position in 0..names.len() {
        let locks = connect(["x", "y", "z"][position]).await.unwrap().owner();
        let barrier = barrier.clone();
        tasks.push(tokio::spawn(async move {
            let first = locks.exclusive(names[position]).await.unwrap().unwrap();
            barrier.wait().await;
            let second = locks.exclusive(names[(position + 1) % 3]).await;
            let victim = match &second {
                Ok(lock) => {
                    assert!(lock.is_some());
                    None
                }
                Err(error) => {
                    Some((first.owner().to_owned(), Deadlock::of(error).expect("a deadlock").clone()))
                }
            };
            first.release().await.unwrap();
            victim
        }));
    }
    let mut victims = Vec::new();
    for task in tasks {
        victims.extend(task.await.unwrap());
    }
    assert_eq!(victims.len(), 1, "one gives way and the others go on: {victims:?}");
    let (owner, Deadlock { circle, .. }) = &victims[0];
    assert_eq!((circle.len(), &circle[0].owner), (3, owner));
    assert_eq!(circle.iter().map(|waiting| &waiting.owner).max(), Some(owner), "by the stated rule");
    for waiting in circle {
        let held = names.iter().position(|name| *name == waiting.holds).unwrap();
        assert_eq!(waiting.waits_for, names[(held + 1) % 3]);
    }
    // Nothing is left that says that anybody waits.
    for name in names {
        let record = store.get(format!("_locks/{name}")).await.unwrap().unwrap().text().await.unwrap();
        assert!(!record.contains("waiting"), "{record}");
    }
}

#[tokio::test]
async fn one_owner_that_waits_for_itself_is_told_and_two_owners_of_a_process_are_not() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (_a, a) = locks_of(&probe, &clock, "a").await;
    let owner = a.owner();
    let held = get(owner.exclusive("l")).await;
    let error = loop_until(owner.exclusive("l").into_future(), &clock).await.unwrap_err();
    assert!(error.is_conflict() && Deadlock::of(&error).unwrap().circle.len() == 1, "{error}");
    let patient = a.owner().exclusive("l").wait(Wait::For(Duration::from_secs(10))).into_future();
    assert!(loop_until(patient, &clock).await.unwrap().is_none());
    held.release().await.unwrap();
}

/// A program under a lock, and one that it started and waits for: two participants with a session each.
async fn nested(store: &Store, node: &str, outer: &str) -> (Lock, Locks) {
    let connect = || Locks::connect(store.clone(), Node::new(node).unwrap()).into_future();
    let held = connect().await.unwrap().owner().exclusive(outer).await.unwrap().unwrap();
    let inner = connect().await.unwrap().owner_from(&held.heritage()).unwrap();
    (held, inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_between_programs_that_were_started_under_locks_is_broken_once() {
    let store = Store::new(Memory::new());
    let (x, y) = (nested(&store, "x", "a").await, nested(&store, "y", "b").await);
    let ask = |(held, inner): (Lock, Locks), other: &'static str| async move {
        let got = inner.exclusive(other).await;
        held.release().await.unwrap();
        got.map(|lock| lock.is_some())
    };
    let outcomes: [_; 2] = tokio::join!(ask(x, "b"), ask(y, "a")).into();
    let victims: Vec<_> =
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err().and_then(Deadlock::of)).collect();
    assert_eq!(victims.len(), 1, "one gives way and the other goes on: {outcomes:?}");
    let circle = &victims[0].circle;
    assert_eq!(circle.len(), 2);
    assert_eq!(
        circle.iter().map(|waiting| &waiting.owner).max(),
        Some(&circle[0].owner),
        "by the stated rule"
    );
    for name in ["a", "b"] {
        let record = store.get(format!("_locks/{name}")).await.unwrap().unwrap().text().await.unwrap();
        assert!(!record.contains("waiting"), "{record}");
    }
}

#[tokio::test]
async fn what_was_started_under_a_lock_is_told_that_it_waits_for_it_and_may_wait_for_its_sibling() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (_a, a) = locks_of(&probe, &clock, "a").await;
    let (_b, b) = locks_of(&probe, &clock, "b").await;
    let outer = get(a.owner().exclusive("outer")).await;
    let (one, other) = (b.owner_from(&outer.heritage()).unwrap(), b.owner_from(&outer.heritage()).unwrap());
    let error = loop_until(one.exclusive("outer").into_future(), &clock).await.unwrap_err();
    assert_eq!(Deadlock::of(&error).unwrap().circle[0].owner, outer.owner(), "{error}");
    let held = get(one.exclusive("inner")).await;
    let patient = other.exclusive("inner").wait(Wait::For(Duration::from_secs(10))).into_future();
    assert!(loop_until(patient, &clock).await.unwrap().is_none(), "the sibling goes on by itself");
    // What was handed down and is over by now does no harm.
    outer.release().await.unwrap();
    let late = one.exclusive("outer").await.unwrap().unwrap();
    let patient = other.exclusive("outer").wait(Wait::For(Duration::from_secs(10))).into_future();
    assert!(loop_until(patient, &clock).await.unwrap().is_none());
    drop((held, late));
    assert_eq!(a.owner_from("garbage").unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn who_closes_leaves_no_claim_and_who_only_looks_no_session() {
    let store = Store::new(Memory::new());
    let connect = |node| Locks::connect(store.clone(), Node::new(node).unwrap());
    let (a, b) = (connect("a").await.unwrap(), connect("b").await.unwrap());
    let held = a.exclusive("l").await.unwrap().unwrap();
    let mut waiting = b.exclusive("l").fair().into_future();
    let onlooker = connect("onlooker").lazily().await.unwrap();
    while onlooker.observe("l").await.unwrap().unwrap().queue.is_empty() {
        assert!((&mut waiting).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(waiting);
    b.close().await.unwrap();
    assert!(onlooker.observe("l").await.unwrap().unwrap().queue.is_empty());
    held.release().await.unwrap();
    a.close().await.unwrap();
    let keys = |prefix: &'static str| {
        let entries = store.list(prefix).stream();
        entries.map(|entry| entry.unwrap().key.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert!(keys("_locks/.sessions/").await.is_empty());
    assert_eq!(onlooker.names().map(Result::unwrap).collect::<Vec<_>>().await, ["l"]);
}

#[tokio::test]
async fn a_request_that_is_dropped_in_flight_never_gets_the_lock() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (a_probe, a) = locks_of(&probe, &clock, "a").await;
    let (_b, b) = locks_of(&probe, &clock, "b").await;
    a_probe.next_puts([Fault::Late]);
    {
        let mut asking = a.exclusive("l").into_future();
        // The sessions sleep, and what was lost waits to be sent again.
        assert!(waits(&mut asking, &clock, 3).await);
    }
    // Its claim is nowhere, and the record is written all the same: what is late is based on nothing.
    let record = store(&probe.beside(), &clock);
    let written = async {
        while record.head("_locks/l").await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written).await.expect("the claim is withdrawn by a write");
    assert!(a_probe.deliver().await.iter().all(Result::is_err), "refused for ever");
    drop(get(b.exclusive("l")).await);
}

/// Counters in plain records, one for each lock: with the locks right, no increment is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn locks_hold_through_lost_replies_and_late_writes() {
    for seed in 0..4 {
        let faults = Faults::seeded(seed).before(0.05).after(0.05).ghost(0.03);
        let bare = Store::new(Memory::new());
        let store = bare.clone().layer(faults.clone());
        Locks::connect(bare.clone(), Node::new("certifier").unwrap()).await.unwrap().close().await.unwrap();
        let landing = tokio::spawn({
            let faults = faults.clone();
            async move {
                loop {
                    faults.release_ghosts().await;
                    tokio::task::yield_now().await;
                }
            }
        });
        let tasks: Vec<_> = (0..5_u64)
            .map(|task| {
                let (store, bare) = (store.clone(), bare.clone());
                tokio::spawn(async move {
                    let node = Node::new(format!("node-{task}")).unwrap();
                    let ttl = Ttl::new(Duration::from_secs(60)).unwrap();
                    let locks = loop {
                        if let Ok(locks) = Locks::connect(store.clone(), node.clone()).ttl(ttl).await {
                            break locks;
                        }
                    };
                    for round in 0..12 {
                        let mut request = locks.exclusive("l");
                        if (round + task) % 2 == 0 {
                            request = request.fair();
                        }
                        let Ok(Some(lock)) = request.await else { continue };
                        let seen = match bare.get("counter").await.unwrap() {
                            Some(object) => object.text().await.unwrap().parse().unwrap(),
                            None => 0_u64,
                        };
                        tokio::task::yield_now().await;
                        bare.put("counter", (seen + 1).to_string()).await.unwrap();
                        bare.increment("reference", 1).await.unwrap();
                        let _ = lock.release().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        landing.abort();
        let mut counted = Vec::new();
        for key in ["counter", "reference"] {
            counted.push(bare.get(key).await.unwrap().unwrap().text().await.unwrap());
        }
        assert_eq!(counted[0], counted[1], "seed {seed}");
        assert!(faults.injected().after > 0, "seed {seed}: no faults");
    }
}
