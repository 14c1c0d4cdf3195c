//! Many that want one lease, in one process and in several, in memory and in a directory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use leasehold_coordination::{Leases, Node, Ttl, Wait};
use leasehold_core::Store;
use leasehold_fs::Fs;
use leasehold_memory::Memory;

use crate::support::{Fault, TTL, connect, take, world};

/// Tasks of several nodes go for one lease again and again; each round must be alone, with a greater token.
async fn compete(stores: Vec<Store>, rounds: u64) {
    let (inside, last, done) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = stores
        .into_iter()
        .map(|store| {
            let (inside, last, done) = (inside.clone(), last.clone(), done.clone());
            tokio::spawn(async move {
                // All have one name: what tells them apart is the incarnation.
                let leases = Leases::connect(store, Node::new("twin").unwrap()).await.unwrap();
                for _ in 0..rounds {
                    let ttl = Ttl::new(Duration::from_secs(5)).unwrap();
                    let mut waiting = Wait::Try;
                    let lease = loop {
                        match leases.acquire("hot").ttl(ttl).wait(waiting).await.unwrap() {
                            Some(lease) => break lease,
                            None => waiting = Wait::For(Duration::from_secs(60)),
                        }
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    assert!(last.swap(lease.token().get(), Ordering::SeqCst) < lease.token().get());
                    tokio::task::yield_now().await;
                    assert!(lease.is_valid());
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lease.release().await.unwrap();
                    done.fetch_add(1, Ordering::SeqCst);
                }
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
async fn concurrent_acquirers_exclude_each_other_and_tokens_only_grow() {
    let store = Store::new(Memory::new());
    compete(vec![store; 4], 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_openings_of_one_directory_exclude_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let stores = [Fs::open(directory.path()).await.unwrap(), Fs::open(directory.path()).await.unwrap()];
    compete(stores.map(Store::new).into(), 5).await;
}

#[tokio::test]
async fn a_directory_that_is_removed_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(Fs::open(directory.path()).await.unwrap());
    let leases = Leases::connect(store.clone(), Node::new("a").unwrap()).await.unwrap();
    let short = Ttl::new(Duration::from_millis(300)).unwrap();
    let lease = leases.acquire("nightly").ttl(short).wait(Wait::Try).await.unwrap().unwrap();
    let guarded = lease.guard(store);
    guarded.put("k", "v").await.unwrap();
    std::fs::remove_dir_all(directory.path()).unwrap();
    // What a store makes of that is its own affair: the record is gone, or the store is.
    for outcome in [
        guarded.put("k", "w").await.err().map(|error| error.to_string()),
        lease.release().await.err().map(|error| error.to_string()),
    ] {
        assert!(outcome.is_some_and(|message| !message.is_empty()));
    }
}

#[tokio::test]
async fn a_wait_that_was_cancelled_has_not_watched_in_vain() {
    let (probe, clock, store, a) = world("a").await;
    let lease = take(&a, "nightly").await;
    let b = connect(&store, "b").await;
    let mut waiting = Box::pin(b.acquire("nightly").into_future());
    for _ in 0..50 {
        assert!((&mut waiting).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(waiting);
    probe.all_puts(Some(Fault::Refused));
    clock.advance(TTL * 2);
    lease.lost().await;
    probe.all_puts(None);
    let taken = b.acquire("nightly").wait(Wait::Try).await.unwrap();
    assert_eq!(taken.expect("the record was watched for long enough").token().get(), 2);
}
