//! Writers that are killed at any moment lose nothing that was acknowledged, tear nothing, and block nobody.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use leasehold_conformance::values::{check_pattern, pattern};
use leasehold_core::{Bytes, Clock, Store, SystemClock};
use tempfile::TempDir;

use crate::{
    child::{hear, tell},
    directory, is_reusing, open,
    parent::{Lines, Process},
};

const PROCESSES: usize = 4;
const KILLS: usize = 100;
const LARGE: [&str; 3] = ["large/0", "large/1", "large"];

fn plus_one(current: Option<Bytes>) -> leasehold_core::Result<Option<Bytes>> {
    let sum = leasehold_core::add_to(current.as_deref(), 1)?;
    Ok(Some(sum.to_string().into()))
}

async fn torn(store: &Store, key: &str) -> Option<String> {
    let object = store.get(key).await.expect("get works")?;
    check_pattern(&object.bytes().await.expect("the value can be read")).err()
}

/// Counts by compare-and-swap and by increment, overwrites large values, reads those of others; until told to stop.
pub(crate) async fn child(store: Store) {
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = stopped.clone();
    thread::spawn(move || {
        while hear().is_some() {}
        stop.store(true, Ordering::SeqCst);
    });
    let mut random = fastrand::Rng::with_seed(std::process::id().into());
    while !stopped.load(Ordering::SeqCst) {
        let key = LARGE[random.usize(..LARGE.len())];
        match random.u8(..6) {
            0 | 1 => {
                store.update("swapped", plus_one).await.expect("an update works");
                tell("swapped");
            }
            2 => {
                store.increment("added", 1).await.expect("an increment works");
                tell("added");
            }
            3 => {
                let largest = if random.bool() { 600_000 } else { 60_000 };
                let bytes = pattern(random.u64(..), random.usize(16..largest));
                store.put(key, bytes).await.expect("a large put works");
            }
            4 => {
                let head = store.head("created").await.expect("head works");
                let done = match head {
                    None => store.put("created", pattern(1, 5000)).if_absent().await.map(drop),
                    Some(head) => store.delete("created").if_match(head.version).await,
                };
                assert!(done.as_ref().err().is_none_or(|error| error.is_conflict()), "{done:?}");
            }
            _ => {
                if let Some(why) = torn(&store, key).await {
                    tell(&format!("torn: {why}"));
                }
            }
        }
    }
}

#[derive(Default)]
struct Counted {
    swapped: u64,
    added: u64,
    ended: usize,
}

impl Counted {
    fn note(&mut self, line: &str) {
        match line {
            "swapped" => self.swapped += 1,
            "added" => self.added += 1,
            "" => self.ended += 1,
            other => panic!("a child says {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_killed_at_any_moment_lose_tear_and_block_nothing() {
    killed(&directory(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_reuse_files_and_are_killed_lose_tear_and_block_nothing() {
    killed(&directory(true)).await;
}

async fn killed(directory: &TempDir) {
    let seed = std::env::var("LEASEHOLD_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("replay the moments of the kills with LEASEHOLD_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (store, lines, mut counted) = (open(directory.path()).await, Lines::new(), Counted::default());
    let start = |number| Process::start("write", directory.path(), number, &lines);
    let mut processes: Vec<Process> = (0..PROCESSES).map(start).collect();
    for kills in 0..KILLS {
        for _ in 0..random.usize(1..40) {
            counted.note(&lines.next().1);
            assert!(counted.ended <= kills, "a child ended by itself");
        }
        let number = random.usize(..PROCESSES);
        let killed = std::mem::replace(&mut processes[number], start(number));
        killed.kill();
        let key = LARGE[random.usize(..LARGE.len())];
        assert_eq!(torn(&store, key).await, None, "after a kill, {key:?}");
    }
    processes.into_iter().for_each(Process::stop);
    lines.rest().iter().for_each(|(_, line)| counted.note(line));

    let checks = aftermath(directory.path(), &counted);
    let late = SystemClock.sleep(Duration::from_secs(20));
    let ended = futures_util::future::select(Box::pin(checks), late).await;
    assert!(matches!(ended, futures_util::future::Either::Left(_)), "the store is wedged");
}

async fn aftermath(path: &std::path::Path, counted: &Counted) {
    let store = open(path).await;
    for (key, acknowledged) in [("swapped", counted.swapped), ("added", counted.added)] {
        let last: u64 = store
            .get(key)
            .await
            .expect("the call works")
            .expect("a value")
            .text()
            .await
            .expect("the call works")
            .parse()
            .expect("a number");
        let most = acknowledged + KILLS as u64;
        println!("{key}: {acknowledged} acknowledged, {last} stored, {KILLS} killed");
        assert!((acknowledged..=most).contains(&last), "{key}: {acknowledged} acknowledged, {last} stored");
    }
    let known: BTreeSet<&str> = LARGE.into_iter().chain(["swapped", "added", "created"]).collect();
    for entry in store.list("").await.expect("the call works") {
        assert!(known.contains(entry.key.as_str()), "a leftover is visible: {:?}", entry.key);
    }
    let keys = known.len();
    for key in known {
        store.put(key, "1").await.expect("the call works");
        store.increment(key, 1).await.expect("the call works");
        assert!(store.compare_and_swap(key, Some("2"), Some("3")).await.expect("the call works"));
        store.delete(key).await.expect("the call works");
    }
    assert!(store.list("").await.expect("the call works").is_empty());
    // What remains in the place for values in the making belongs to the handle that has just written, and to the
    // parent's own.
    let staged: Vec<_> = fs::read_dir(path.join(".leasehold/stage"))
        .expect("the place exists")
        .flatten()
        .map(|e| e.path())
        .collect();
    let areas = staged.iter().filter(|path| path.is_dir()).count();
    assert!(areas <= 2, "the dead left {staged:?}");
    for area in staged.iter().filter(|path| path.is_dir()) {
        let left = fs::read_dir(area).expect("the area is a directory").count();
        // The handle that has just written may have replaced what was there before under each key, and kept it.
        let kept = if is_reusing(path) { keys } else { 0 };
        assert!(left <= kept, "{left} values in the making are left in {area:?}");
    }
}
