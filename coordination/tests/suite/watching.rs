//! Watches of keys and prefixes: the last state always comes, whatever becomes of hints, stores and those who wait.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use futures_util::{
    FutureExt, StreamExt,
    future::{Either, select},
};
use leasehold_coordination::{Difference, KeyWatch, PrefixWatch, Watch};
use leasehold_core::{Environment, Error, ErrorKind, Result, Store, SystemRandom};
use leasehold_fs::Fs;
use leasehold_layers::{Fault, Faults, ReadOnly, Verb};
use leasehold_memory::Memory;

use crate::{
    hints::{Counted, Hints, soon},
    support::{ManualClock, Probe, store},
};

/// So long that nothing in a test ever comes from a poll.
const NEVER: Duration = Duration::from_secs(100_000);

async fn text(watch: &mut KeyWatch) -> Option<String> {
    match watch.next().await.unwrap() {
        Some(object) => Some(object.text().await.unwrap()),
        None => None,
    }
}

fn names(difference: &Difference) -> [Vec<&str>; 3] {
    [
        difference.added.iter().map(|entry| entry.key.as_str()).collect(),
        difference.changed.iter().map(|entry| entry.key.as_str()).collect(),
        difference.removed.iter().map(|key| key.as_str()).collect(),
    ]
}

/// A store on memory whose time is `clock`, through `counted`.
fn distorted(counted: &Counted, clock: &ManualClock, hints: Hints) -> Store {
    let environment = Environment { clock: Arc::new(clock.clone()), random: Arc::new(SystemRandom) };
    counted.around(Store::new(Memory::new()), hints).with_environment(environment)
}

/// What comes of `future` within this time of a clock that moves.
async fn within<T>(clock: &ManualClock, limit: Duration, future: impl Future<Output = T>) -> T {
    match select(Box::pin(future), Box::pin(clock.advance_settled(limit, 1))).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => panic!("not within {limit:?}"),
    }
}

async fn directory(path: &Path) -> Store {
    Store::new(Fs::open(path).durable(false).await.unwrap())
}

#[tokio::test]
async fn a_key_is_told_as_it_is_and_then_whenever_it_differs() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let store = store(&probe, &clock);
    let mut watch = Watch::key(&store, "k").unwrap();
    assert_eq!(text(&mut watch).await, None);
    assert_eq!(probe.take().gets, 1);
    for (value, wanted) in
        [(Some("a"), Some("a")), (Some("a"), Some("a")), (None, None), (Some("b"), Some("b"))]
    {
        assert!(watch.next().now_or_never().is_none(), "nothing is different");
        match value {
            Some(value) => drop(store.put("k", value).await.unwrap()),
            None => store.delete("k").await.unwrap(),
        }
        let seen = within(&clock, Duration::from_secs(1), text(&mut watch)).await;
        assert_eq!(seen.as_deref(), wanted);
    }
    probe.take();
    // Unchanged: one read each time, half a second to a second apart.
    let waiting = tokio::spawn(async move { watch.next().await.map(drop) });
    clock.advance_settled(Duration::from_secs(60), 1).await;
    assert!((59..=121).contains(&probe.take().gets));
    waiting.abort();
}

#[tokio::test]
async fn a_prefix_is_told_as_it_is_and_then_by_what_differs() {
    let store = Store::new(Memory::new());
    store.put("jobs/1", "v").await.unwrap();
    store.put("other", "v").await.unwrap();
    let mut watch = Watch::prefix(&store, "jobs/").unwrap();
    assert_eq!(names(&watch.next().await.unwrap()), [vec!["jobs/1"], vec![], vec![]]);
    assert!(watch.next().now_or_never().is_none());
    store.put("other", "w").await.unwrap();
    store.put("jobs/2", "v").await.unwrap();
    store.put("jobs/1", "w").await.unwrap();
    let version = store.put("jobs/2", "w").await.unwrap();
    let difference = watch.next().await.unwrap();
    assert_eq!(names(&difference), [vec!["jobs/2"], vec!["jobs/1"], vec![]]);
    assert_eq!(difference.added[0].metadata.version, version);
    store.delete("jobs/1").await.unwrap();
    // What came and went in between is not told.
    store.put("jobs/3", "v").await.unwrap();
    store.delete("jobs/3").await.unwrap();
    assert_eq!(names(&watch.next().await.unwrap()), [vec![], vec![], vec!["jobs/1"]]);
    let mut empty = Watch::prefix(&store, "none/").unwrap();
    assert!(empty.next().await.unwrap().is_empty());
    assert!(Watch::prefix(&store, "/").is_err() && Watch::key(&store, "").is_err());
}

#[tokio::test]
async fn too_many_keys_are_an_error_that_says_so_and_the_watch_goes_on() {
    let store = Store::new(Memory::new());
    for key in ["a/1", "a/2", "a/3"] {
        store.put(key, "v").await.unwrap();
    }
    let mut watch = Watch::prefix(&store, "a/").unwrap().keys_max(2);
    let error = watch.next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("more than 2 keys"), "{error}");
    store.delete("a/2").await.unwrap();
    assert_eq!(names(&watch.next().await.unwrap())[0], ["a/1", "a/3"]);
}

#[tokio::test]
async fn what_is_told_needs_no_time() {
    let (counted, clock) = (Counted::default(), ManualClock::default());
    let store = distorted(&counted, &clock, Hints::Kept);
    let (mut one, mut all) = (Watch::key(&store, "a/k").unwrap(), Watch::prefix(&store, "a/").unwrap());
    assert_eq!(text(&mut one).await, None);
    assert!(all.next().await.unwrap().is_empty());
    for number in 0..5 {
        store.put("a/k", number.to_string()).await.unwrap();
        assert_eq!(soon(text(&mut one), "a state").await, Some(number.to_string()));
        assert!(!soon(all.next(), "a difference").await.unwrap().is_empty());
    }
    assert_eq!((counted.reads(), counted.watches()), (12, 2));
    drop((one, all));
    assert_eq!(counted.alive(), 0);
}

#[tokio::test]
async fn a_change_while_the_watch_begins_is_not_slept_through() {
    let (counted, clock) = (Counted::default(), ManualClock::default());
    let store = distorted(&counted, &clock, Hints::Kept);
    let writer = store.clone();
    // Before the store begins to tell, and so never told: only a look afterwards sees it.
    counted.meanwhile(move || async move {
        writer.put("k", "meanwhile").await.unwrap();
    });
    let mut watch = Watch::key(&store, "k").unwrap();
    let seen = async { while text(&mut watch).await.as_deref() != Some("meanwhile") {} };
    soon(seen, "what was written while the watch began").await;
}

#[tokio::test]
async fn what_is_not_told_is_found_by_looking() {
    for (hints, longest) in [(Hints::Lost, 10), (Hints::Ended, 1), (Hints::None, 1)] {
        let (counted, clock) = (Counted::default(), ManualClock::default());
        let store = distorted(&counted, &clock, hints);
        let mut watch = Watch::key(&store, "k").unwrap();
        assert_eq!(text(&mut watch).await, None);
        for number in 0..3 {
            if hints == Hints::Ended {
                // The end of a watch is reason to look, once; what is awaited is to come after that.
                assert!(watch.next().now_or_never().is_none());
            }
            store.put("k", number.to_string()).await.unwrap();
            assert!(watch.next().now_or_never().is_none(), "{hints:?}: nobody told");
            let seen = within(&clock, Duration::from_secs(longest), text(&mut watch)).await;
            assert_eq!(seen, Some(number.to_string()), "{hints:?}");
        }
        let watches = counted.watches();
        assert!(if hints == Hints::Lost { watches == 1 } else { (3..=9).contains(&watches) }, "{watches}");
    }
}

#[tokio::test]
async fn who_is_told_without_end_does_not_look_without_end() {
    let (counted, clock) = (Counted::default(), ManualClock::default());
    let store = distorted(&counted, &clock, Hints::Kept);
    let mut watch = Watch::key(&store, "k").unwrap();
    assert_eq!(text(&mut watch).await, None);
    counted.reads();
    let mut seen = 0;
    for number in 0..100 {
        store.put("k", number.to_string()).await.unwrap();
        seen += usize::from(watch.next().now_or_never().is_some());
    }
    assert_eq!((seen, counted.reads()), (8, 8));
    let last = within(&clock, Duration::from_millis(100), text(&mut watch)).await;
    assert_eq!(last.as_deref(), Some("99"));
}

#[tokio::test]
async fn failures_that_pass_are_ridden_out_and_those_that_last_are_told() {
    let (faults, clock) = (Faults::new(), ManualClock::default());
    let environment = Environment { clock: Arc::new(clock.clone()), random: Arc::new(SystemRandom) };
    let below = Store::new(Memory::new());
    let store = below.clone().layer(faults.clone()).with_environment(environment);
    let mut watch = Watch::key(&store, "k").unwrap().patience(Duration::from_secs(20));
    faults.times(5, Verb::Get, Fault::Before);
    let seen = within(&clock, Duration::from_secs(4), text(&mut watch)).await;
    assert_eq!((seen, faults.injected().before), (None, 5));
    below.put("k", "v").await.unwrap();
    faults.cut(true);
    for _ in 0..2 {
        let error = within(&clock, Duration::from_secs(45), watch.next()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    faults.cut(false);
    let seen = within(&clock, Duration::from_secs(10), text(&mut watch)).await;
    assert_eq!(seen.as_deref(), Some("v"));
}

#[tokio::test]
async fn who_stops_waiting_and_comes_back_misses_nothing() {
    let (counted, clock) = (Counted::default(), ManualClock::default());
    let store = distorted(&counted, &clock, Hints::Kept);
    let mut watch = Watch::key(&store, "k").unwrap();
    assert_eq!(text(&mut watch).await, None);
    for number in 0..8 {
        for _ in 0..3 {
            assert!(watch.next().now_or_never().is_none());
        }
        store.put("k", number.to_string()).await.unwrap();
        assert_eq!(soon(text(&mut watch), "a state").await, Some(number.to_string()));
    }
    assert_eq!((counted.alive(), counted.watches()), (1, 1));
    let waiting = tokio::spawn(async move { watch.next().await.map(drop) });
    tokio::task::yield_now().await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(counted.alive(), 0);
}

#[tokio::test]
async fn a_watch_is_a_stream() {
    let store = Store::new(Memory::new()).layer(ReadOnly);
    let first: Vec<Result<bool>> = Watch::key(&store, "k")
        .unwrap()
        .take(1)
        .map(|state| state.map(|object| object.is_some()))
        .collect()
        .await;
    assert_eq!(first.into_iter().collect::<Result<Vec<_>>>().unwrap(), [false]);
    let first = Watch::prefix(&store, "").unwrap().take(1).next().await;
    assert!(first.unwrap().unwrap().is_empty());
}

/// Waits until the last state comes, by what is told alone.
async fn until_last(mut one: KeyWatch, mut all: PrefixWatch, store: Store, key: &str) {
    while text(&mut one).await.as_deref() != Some("last") {}
    loop {
        let difference = all.next().await.unwrap();
        let entries = difference.added.iter().chain(&difference.changed);
        let Some(entry) = entries.rev().find(|entry| entry.key.as_str() == key) else { continue };
        // The key watch has seen the end, so nothing is written any more.
        if store.head(key).await.unwrap().is_some_and(|head| head.version == entry.metadata.version) {
            return;
        }
    }
}

async fn race(stores: [Store; 3], rounds: usize) {
    for round in 0..rounds {
        let key = format!("a/{}/k", round % 4);
        let one = Watch::key(&stores[0], key.as_str()).unwrap().interval(NEVER);
        let all = Watch::prefix(&stores[0], "a/").unwrap().interval(NEVER);
        let writers = stores[1..].iter().map(|store| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move {
                for number in 0..5 {
                    store.put(&key, number.to_string()).await?;
                    store.delete(&key).await?;
                }
                Ok::<(), Error>(())
            })
        });
        let (last, name) = (stores[1].clone(), key.clone());
        let writers: Vec<_> = writers.collect();
        let writing = tokio::spawn(async move {
            for writer in writers {
                writer.await.unwrap().unwrap();
            }
            last.put(&name, "last").await.unwrap();
        });
        soon(until_last(one, all, stores[0].clone(), &key), "the last state").await;
        writing.await.unwrap();
        stores[2].delete(&key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_in_memory_never_hide_the_last_state() {
    let store = Store::new(Memory::new());
    race([store.clone(), store.clone(), store], 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_in_a_directory_never_hide_the_last_state() {
    let at = tempfile::tempdir().unwrap();
    race([directory(at.path()).await, directory(at.path()).await, directory(at.path()).await], 20).await;
}

#[tokio::test]
async fn a_directory_that_comes_and_goes_is_watched_all_the_while() {
    let at = tempfile::tempdir().unwrap();
    let (store, writer) = (directory(at.path()).await, directory(at.path()).await);
    let mut one = Watch::key(&store, "jobs/deep/1").unwrap().interval(NEVER);
    let mut all = Watch::prefix(&store, "jobs/").unwrap().interval(NEVER);
    assert_eq!(text(&mut one).await, None);
    assert!(all.next().await.unwrap().is_empty());
    for _ in 0..3 {
        writer.put("jobs/deep/1", "v").await.unwrap();
        assert_eq!(soon(text(&mut one), "a key in a new directory").await.as_deref(), Some("v"));
        assert_eq!(names(&soon(all.next(), "the same").await.unwrap())[0], ["jobs/deep/1"]);
        std::fs::remove_dir_all(at.path().join("jobs%")).unwrap();
        assert_eq!(soon(text(&mut one), "the end of the directory").await, None);
        assert_eq!(names(&soon(all.next(), "the same").await.unwrap())[2], ["jobs/deep/1"]);
    }
}

#[tokio::test]
async fn a_store_that_is_removed_is_told_and_no_panic() {
    let at = tempfile::tempdir().unwrap();
    let store = directory(&at.path().join("store")).await;
    store.put("k", "v").await.unwrap();
    let mut watch = Watch::key(&store, "k").unwrap().interval(NEVER).patience(Duration::ZERO);
    assert_eq!(text(&mut watch).await.as_deref(), Some("v"));
    std::fs::remove_dir_all(at.path().join("store")).unwrap();
    let seen = soon(watch.next(), "the end of the store").await;
    assert!(seen.map_or(true, |object| object.is_none()), "there is nothing, or an error");
}

const CHILD: &str = "LEASEHOLD_WATCHED_DIRECTORY";

/// What a child process runs; as a test of its own it does nothing.
#[tokio::test]
async fn child_that_writes() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = directory(Path::new(&path)).await;
    for number in 0..200 {
        store.put(format!("a/{}/k", number % 3), number.to_string()).await.unwrap();
    }
    store.delete("a/1/k").await.unwrap();
    store.put("a/0/k", "last").await.unwrap();
    store.put("a/last", "v").await.unwrap();
}

#[tokio::test]
async fn what_another_process_writes_is_told() {
    let at = tempfile::tempdir().unwrap();
    let store = directory(at.path()).await;
    let mut one = Watch::key(&store, "a/0/k").unwrap().interval(NEVER);
    let mut all = Watch::prefix(&store, "a/").unwrap().interval(NEVER);
    assert_eq!(text(&mut one).await, None);
    assert!(all.next().await.unwrap().is_empty());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["watching::child_that_writes", "--exact"])
        .env(CHILD, at.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    soon(async { while text(&mut one).await.as_deref() != Some("last") {} }, "the last value").await;
    let mut keys = std::collections::BTreeSet::new();
    let whole = async {
        while !keys.contains("a/last") {
            let Difference { added, removed, .. } = all.next().await.unwrap();
            keys.retain(|key: &String| removed.iter().all(|removed| removed.as_str() != key));
            keys.extend(added.into_iter().map(|entry| entry.key.to_string()));
        }
    };
    soon(whole, "the last key").await;
    assert!(child.wait().unwrap().success());
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["a/0/k", "a/2/k", "a/last"]);
}
