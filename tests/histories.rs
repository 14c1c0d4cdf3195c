//! What clients of locks, elections, counters and ids are told could have happened one call at a time, though replies are lost
//! and writes land late. Each kind goes through the checker with its own model.

use std::{
    future::{Future, IntoFuture},
    sync::Arc,
    time::Duration,
};

use leasehold::{
    Error, Store,
    coordination::{Counter, Elections, Ids, Leadership, Lock as Held, Locks, Node, Token, Ttl, Wait},
    layers::Faults,
    memory::Memory,
};
use leasehold_conformance::history::{
    Action, IdsAction, IdsReply, Lock, LockAction, LockReply, Mode, Pending, Recorder, Reply, Verdict, check,
    check_ids, check_with,
};

const CLIENTS: u64 = 5;
const CALLS: u64 = 30;

/// Runs the clients over a store whose faults are determined by `seed`, and that is certified before they begin.
async fn play<F>(seed: u64, client: impl Fn(u64, Store) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let faults = Faults::seeded(seed).before(0.05).after(0.05).ghost(0.03);
    let bare = Store::new(Memory::new());
    Counter::connect(bare.clone(), "certify").await.expect("memory can carry it");
    let landing = tokio::spawn({
        let faults = faults.clone();
        async move {
            loop {
                faults.release_ghosts().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let store = bare.layer(faults.clone());
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(number, store.clone()))).collect();
    for client in clients {
        client.await.expect("no client panics");
    }
    landing.abort();
    assert!(faults.injected().after > 0, "seed {seed}: no faults");
}

/// Takes an error for what it is: an outcome that nobody knows is left open, anything else did not take place.
fn failed<A, R: Default>(pending: Pending<A, R>, error: &Error) {
    if error.is_indeterminate() {
        drop(pending);
    } else {
        pending.withdraw();
    }
}

/// Longer than any run: nothing ends by itself.
fn ttl() -> Ttl {
    Ttl::new(Duration::from_secs(3600)).expect("an hour is allowed")
}

fn node(number: u64) -> Node {
    Node::new(format!("node-{number}")).expect("a sound name")
}

/// Connects, however often that fails.
async fn persistently<T, F: Future<Output = leasehold::Result<T>>>(connect: impl Fn() -> F) -> T {
    loop {
        if let Ok(connected) = connect().await {
            return connected;
        }
    }
}

/// Asks once, and gives back what it got.
async fn tenure<H, R: Future<Output = leasehold::Result<()>>>(
    recorder: &Arc<Recorder<LockAction, LockReply>>,
    number: u64,
    mode: Mode,
    asked: impl IntoFuture<Output = leasehold::Result<Option<H>>>,
    token: impl FnOnce(&H) -> Token,
    give_back: impl FnOnce(H) -> R,
) {
    let pending = recorder.begin(number, "held", LockAction::Acquire(mode));
    let held = match asked.await {
        Ok(Some(held)) => held,
        Ok(None) => return pending.end(LockReply::Refused),
        Err(error) => return failed(pending, &error),
    };
    let token = token(&held).get();
    pending.end(LockReply::Granted(token));
    tokio::task::yield_now().await;
    let pending = recorder.begin(number, "held", LockAction::Release(token));
    match give_back(held).await {
        Ok(()) => pending.end(LockReply::Released),
        // It is given up in the background, now or later.
        Err(_) => drop(pending),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_alone_and_shared() {
    for seed in 0..4 {
        let recorder: Arc<Recorder<LockAction, LockReply>> = Arc::default();
        play(seed, |number, store| {
            let recorder = recorder.clone();
            async move {
                let locks = persistently(|| {
                    let connect = Locks::connect(store.clone(), node(number)).ttl(ttl());
                    connect.into_future()
                })
                .await;
                for call in 0..CALLS {
                    let shared = (number + call) % 3 == 0;
                    let (mode, request) = match shared {
                        true => (Mode::Shared, locks.shared("l")),
                        false => (Mode::Exclusive, locks.exclusive("l")),
                    };
                    let asked = request.wait(Wait::Try);
                    tenure(&recorder, number, mode, asked, Held::token, Held::release).await;
                }
            }
        })
        .await;
        let verdict = check_with(&Lock::new(), &recorder.records());
        assert_eq!(verdict, Verdict::Linearizable, "seed {seed}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_and_their_terms() {
    for seed in 0..4 {
        let recorder: Arc<Recorder<LockAction, LockReply>> = Arc::default();
        play(seed, |number, store| {
            let recorder = recorder.clone();
            async move {
                let elections = persistently(|| Elections::connect(store.clone(), node(number))).await;
                for _ in 0..CALLS {
                    let asked = elections.campaign("e").ttl(ttl()).wait(Wait::Try);
                    tenure(&recorder, number, Mode::Exclusive, asked, Leadership::term, Leadership::resign)
                        .await;
                }
            }
        })
        .await;
        let verdict = check_with(&Lock::new(), &recorder.records());
        assert_eq!(verdict, Verdict::Linearizable, "seed {seed}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters() {
    for seed in 0..4 {
        let recorder: Arc<Recorder> = Arc::default();
        play(seed, |number, store| {
            let recorder = recorder.clone();
            async move {
                let counter = persistently(|| Counter::connect(store.clone(), "c")).await;
                let mut random = fastrand::Rng::with_seed(seed * 100 + number);
                for _ in 0..CALLS {
                    // Sums of random numbers do not meet by chance.
                    let delta = random.i64(1..1 << 40);
                    let pending = recorder.begin(number, "c", Action::Increment(delta));
                    match counter.add(delta).await {
                        Ok(sum) => pending.end(Reply::Sum(sum)),
                        Err(error) => failed(pending, &error),
                    }
                }
            }
        })
        .await;
        let verdict = check(&recorder.records());
        assert_eq!(verdict, Verdict::Linearizable, "seed {seed}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids() {
    for seed in 0..4 {
        let recorder: Arc<Recorder<IdsAction, IdsReply>> = Arc::default();
        play(seed, |number, store| {
            let recorder = recorder.clone();
            async move {
                let ids = persistently(|| Ids::connect(store.clone(), "i")).await;
                let mut random = fastrand::Rng::with_seed(seed * 100 + number);
                for _ in 0..CALLS {
                    let count = random.u64(1..10);
                    let pending = recorder.begin(number, "i", IdsAction::Take(count));
                    let mut range = match ids.take(count).await {
                        Ok(range) => range,
                        Err(error) => {
                            failed(pending, &error);
                            continue;
                        }
                    };
                    pending.end(IdsReply::Taken(range.start()..range.end()));
                    let used = random.u64(range.start()..=range.end());
                    range.use_up_to(used).expect("it is in the range");
                    if used < range.end() && random.bool() {
                        let pending = recorder.begin(number, "i", IdsAction::Return(used..range.end()));
                        match ids.give_back(range).await {
                            Ok(()) => pending.end(IdsReply::Returned),
                            // In part it may have come back, or may yet.
                            Err(_) => drop(pending),
                        }
                    }
                }
            }
        })
        .await;
        let verdict = check_ids(&recorder.records());
        assert_eq!(verdict, Verdict::Linearizable, "seed {seed}: {verdict}");
    }
}
