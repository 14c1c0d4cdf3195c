//! Locks and compare-and-swap on a directory beside etcd, both durable: free, contended, hot.
//!
//! `cargo bench -p leasehold-benches --bench locks`; `PLACE` says where both keep their data (the current directory).

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{cell::RefCell, path::Path};

use futures_util::future::join_all;
use leasehold::{
    Store,
    coordination::{Counter, Locks, Node, Wait},
    fs::Fs,
    layers::{Meter, Verb},
};
use leasehold_benches::{
    Contest, Measure,
    etcd::{Client, Etcd},
};
use tokio::runtime::Runtime;

const WAITERS: usize = 8;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let place = std::env::var("PLACE").unwrap_or_else(|_| ".".to_owned());
    let root = tempfile::Builder::new().prefix("leasehold-bench-").tempdir_in(place).unwrap();
    let etcd = Etcd::start(&root.path().join("etcd")).unwrap();
    let clients = etcd
        .as_ref()
        .map(|etcd| runtime.block_on(async { join_all((0..WAITERS).map(|_| etcd.client())).await }));
    let clients: Option<Vec<Client>> =
        clients.map(|clients| clients.into_iter().collect::<Result<_, _>>().unwrap());
    if clients.is_none() {
        println!("etcd is not installed here: what follows is Leasehold alone");
    }
    let meter = Meter::new();
    let store = open(&runtime, &root.path().join("directory")).layer(meter.clone());
    let locks: Vec<Locks> = (0..WAITERS).map(|number| connect(&runtime, &store, number)).collect();
    let clients = RefCell::new(clients);

    free(&runtime, &locks[0], &clients);
    requests(&runtime, &locks[0], &meter);
    contended(&runtime, &locks, &clients);
    hot(&runtime, &store, &clients);
}

fn open(runtime: &Runtime, path: &Path) -> Store {
    Store::new(runtime.block_on(Fs::open(path).into_future()).unwrap())
}

fn connect(runtime: &Runtime, store: &Store, number: usize) -> Locks {
    let node = Node::new(format!("node-{number}")).unwrap();
    runtime.block_on(Locks::connect(store.clone(), node).into_future()).unwrap()
}

type Clients = RefCell<Option<Vec<Client>>>;

fn free(runtime: &Runtime, locks: &Locks, clients: &Clients) {
    let ours = |operations: usize, _: usize| {
        runtime.block_on(async {
            for _ in 0..operations {
                let lock = locks.exclusive("free").wait(Wait::Try).await.unwrap().unwrap();
                lock.release().await.unwrap();
            }
        });
    };
    let contest = Contest::new("a free lock, locked and unlocked", 200, 1).enter("directory", ours);
    let theirs = |operations: usize, _: usize| {
        let mut clients = clients.borrow_mut();
        let client = &mut clients.as_mut().unwrap()[0];
        runtime.block_on(async {
            for _ in 0..operations {
                let key = client.lock("free").await.unwrap();
                client.unlock(key).await.unwrap();
            }
        });
    };
    beside(contest, clients, theirs, 1.0);
}

fn requests(runtime: &Runtime, locks: &Locks, meter: &Meter) {
    let before = meter.counts();
    runtime.block_on(async {
        locks.exclusive("free").await.unwrap().unwrap().release().await.unwrap();
    });
    let spent = meter.counts().since(&before);
    let (gets, puts) = (spent.requests(Verb::Get), spent.requests(Verb::Put));
    println!("  requests, locked and unlocked: {gets} gets, {puts} puts");
}

fn contended(runtime: &Runtime, locks: &[Locks], clients: &Clients) {
    let race = |fair: bool| {
        move |operations: usize, _: usize| {
            let tasks = locks.iter().map(|locks| async move {
                for _ in 0..operations / WAITERS {
                    let mut request = locks.exclusive("contended");
                    if fair {
                        request = request.fair();
                    }
                    request.await.unwrap().unwrap().release().await.unwrap();
                }
            });
            runtime.block_on(join_all(tasks));
        }
    };
    let contest = Contest::new("a lock that eight wait for, handed on", 400, WAITERS)
        .enter("directory, in line", race(true))
        .enter("directory", race(false));
    let theirs = |operations: usize, _: usize| {
        let mut clients = clients.borrow_mut();
        let tasks = clients.as_mut().unwrap().iter_mut().map(|client| async move {
            for _ in 0..operations / WAITERS {
                let key = client.lock("contended").await.unwrap();
                client.unlock(key).await.unwrap();
            }
        });
        runtime.block_on(join_all(tasks));
    };
    beside(contest, clients, theirs, 5.0);
}

fn hot(runtime: &Runtime, store: &Store, clients: &Clients) {
    let swaps = |operations: usize, tasks: usize| {
        let tasks = (0..tasks).map(|_| async {
            for _ in 0..operations / WAITERS {
                let add = |value: Option<leasehold::Bytes>| {
                    let text = value.map(|value| String::from_utf8(value.into()).unwrap());
                    let sum = text.map_or(0, |text| text.parse::<u64>().unwrap()) + 1;
                    Ok(Some(leasehold::Bytes::from(sum.to_string())))
                };
                store.update("hot", add).await.unwrap();
            }
        });
        runtime.block_on(join_all(tasks));
    };
    let counters = |operations: usize, tasks: usize| {
        let tasks = (0..tasks).map(|_| async {
            let counter = Counter::connect(store.clone(), "hot").await.unwrap();
            for _ in 0..operations / WAITERS {
                counter.next().await.unwrap();
            }
        });
        runtime.block_on(join_all(tasks));
    };
    let contest = Contest::new("one hot key, swapped by eight", 800, WAITERS)
        .enter("directory, update", swaps)
        .enter("directory, Counter", counters);
    let theirs = |operations: usize, _: usize| {
        let mut clients = clients.borrow_mut();
        let tasks = clients.as_mut().unwrap().iter_mut().map(|client| async move {
            for _ in 0..operations / WAITERS {
                client.increment("hot").await.unwrap();
            }
        });
        runtime.block_on(join_all(tasks));
    };
    beside(contest, clients, theirs, 1.0);
}

/// Runs a contest with etcd in it, where there is one.
fn beside<'a>(contest: Contest<'a>, clients: &Clients, theirs: impl FnMut(usize, usize) + 'a, floor: f64) {
    if clients.borrow().is_some() {
        contest.enter("etcd", theirs).floor("etcd", Measure::Rate, floor).run();
    } else {
        contest.run();
    }
}
