use std::{fs, path::Path, time::Duration};

use futures_util::{FutureExt, StreamExt};
use leasehold_core::{Clock, Key, Prefix, SystemClock};

use super::*;

fn root(path: &Path) -> Arc<Root> {
    Arc::new(Root::open(path, false).unwrap())
}

fn key(text: &str) -> Scope {
    Scope::Key(Key::new(text).unwrap())
}

fn prefix(text: &str) -> Scope {
    Scope::Prefix(Prefix::new(text).unwrap())
}

/// A listener whose thread is the test.
struct Hand(Listener);

impl Hand {
    fn new(path: &Path) -> Self {
        Self(Listener::new(root(path), Names::Plain, Arc::default()).unwrap())
    }

    fn watch(&mut self, scope: &Scope) -> Option<Changes> {
        let (reply, answer) = oneshot::channel();
        assert!(self.0.line.send(Command::Watch(Target::new(Names::Plain, scope), reply)).is_ok());
        assert!(!self.0.obey());
        answer.now_or_never().unwrap().unwrap()
    }

    /// Takes in all that happened.
    fn hear(&mut self) {
        let mut sources = [PollFd::new(self.0.table.inotify(), PollFlags::IN)];
        while poll(&mut sources, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0 {
            self.0.hear();
            sources = [PollFd::new(self.0.table.inotify(), PollFlags::IN)];
        }
    }

    fn woken(&mut self, changes: &mut Changes) -> Option<Option<()>> {
        self.hear();
        changes.next().now_or_never()
    }
}

#[tokio::test]
async fn there_is_a_thread_from_the_first_watch_to_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let (root, watches) = (root(directory.path()), Watches::default());
    assert!(watches.0.lock().is_none());
    for _ in 0..3 {
        let one = watches.changes(&root, Names::Plain, &key("a")).await.unwrap();
        let other = watches.changes(&root, Names::Plain, &prefix("")).await.unwrap();
        drop(one);
        assert!(watches.0.lock().is_some());
        drop(other);
        while watches.0.lock().is_some() {
            SystemClock.sleep(Duration::from_millis(1)).await;
        }
    }
    let mut kept = watches.changes(&root, Names::Plain, &key("a")).await.unwrap();
    drop(watches);
    assert_eq!(kept.next().await, None);
    // The root was the thread's, too.
    while Arc::strong_count(&root) > 1 {
        SystemClock.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_key_is_watched_by_the_nearest_directory_that_exists() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut hand = Hand::new(path);
    let mut changes = hand.watch(&key("a/b/k")).unwrap();
    assert_eq!(hand.0.table.directories(), [""]);
    fs::create_dir(path.join("a%")).unwrap();
    assert_eq!(hand.woken(&mut changes), Some(Some(())));
    assert_eq!(hand.0.table.directories(), ["a%"]);
    fs::create_dir(path.join("b%")).unwrap();
    fs::create_dir(path.join("a%/c%")).unwrap();
    assert_eq!(hand.woken(&mut changes), None);
    fs::create_dir(path.join("a%/b%")).unwrap();
    fs::write(path.join("a%/b%/k"), "v").unwrap();
    assert_eq!(hand.woken(&mut changes), Some(Some(())));
    assert_eq!(hand.0.table.directories(), ["a%/b%"]);
    fs::write(path.join("a%/b%/other"), "v").unwrap();
    assert_eq!(hand.woken(&mut changes), None);
    fs::remove_dir_all(path.join("a%")).unwrap();
    assert_eq!(hand.woken(&mut changes), Some(Some(())));
    assert_eq!(hand.0.table.directories(), [""]);
    fs::create_dir_all(path.join("a%/b%")).unwrap();
    assert_eq!(hand.woken(&mut changes), Some(Some(())));
    assert_eq!(hand.0.table.directories(), ["a%/b%"]);
    drop(changes);
    assert!(!hand.0.obey());
    assert_eq!(hand.0.table.directories(), [""; 0]);
}

#[test]
fn a_directory_that_is_shared_is_watched_until_the_last_one_goes() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("a%/b%")).unwrap();
    let mut hand = Hand::new(directory.path());
    let one = hand.watch(&key("a/k")).unwrap();
    let mut other = hand.watch(&prefix("a/")).unwrap();
    let same = hand.watch(&key("a/k")).unwrap();
    assert_eq!(hand.0.table.directories(), ["a%", "a%/b%"]);
    drop((one, same));
    assert!(!hand.0.obey());
    assert_eq!(hand.0.table.directories(), ["a%", "a%/b%"]);
    fs::write(directory.path().join("a%/k"), "v").unwrap();
    assert_eq!(hand.woken(&mut other), Some(Some(())));
    drop(other);
    assert!(!hand.0.obey());
    assert!(hand.0.table.directories().is_empty() && hand.0.table.is_empty());
}

#[test]
fn a_prefix_needs_watches_only_where_its_keys_can_be() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["ab%/x%", "ac%/x%", "%41b%", ".leasehold/locks", "no directory of ours"] {
        fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    let mut hand = Hand::new(directory.path());
    let mut changes = hand.watch(&prefix("ab")).unwrap();
    assert_eq!(hand.0.table.directories(), ["", "ab%", "ab%/x%"]);
    for name in ["ac%/y%", ".leasehold/stage", "ac%/x%/z%"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("ac"), "v").unwrap();
    assert_eq!(hand.woken(&mut changes), None);
    fs::write(directory.path().join("abc"), "v").unwrap();
    assert_eq!(hand.woken(&mut changes), Some(Some(())));
    fs::write(directory.path().join("ab%/x%/anything"), "v").unwrap();
    assert_eq!(hand.woken(&mut changes), Some(Some(())));
}

#[test]
fn what_a_stranger_moves_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir_all(path("a%/b%/c%")).unwrap();
    let mut hand = Hand::new(directory.path());
    let mut one = hand.watch(&key("a/b/k")).unwrap();
    let mut all = hand.watch(&prefix("")).unwrap();
    fs::rename(path("a%/b%"), path("a%/d%")).unwrap();
    assert_eq!((hand.woken(&mut one), hand.woken(&mut all)), (Some(Some(())), Some(Some(()))));
    assert_eq!(hand.0.table.directories(), ["", "a%", "a%/d%", "a%/d%/c%"]);
    fs::write(path("a%/d%/c%/k"), "v").unwrap();
    assert_eq!((hand.woken(&mut one), hand.woken(&mut all)), (None, Some(Some(()))));
    fs::rename(path("a%/d%"), path("a%/b%")).unwrap();
    hand.hear();
    assert_eq!((hand.woken(&mut one), hand.woken(&mut all)), (Some(Some(())), Some(Some(()))));
    fs::write(path("a%/b%/k"), "v").unwrap();
    assert_eq!((hand.woken(&mut one), hand.woken(&mut all)), (Some(Some(())), Some(Some(()))));
}

#[test]
fn a_watch_that_would_need_too_many_directories_is_none_or_ends() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a%/1%", "a%/2%", "a%/3%", "b%/1%"] {
        fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    let mut hand = Hand::new(directory.path());
    hand.0.table.directories_max(3);
    assert!(hand.watch(&prefix("a/")).is_none());
    assert!(hand.0.table.is_empty() && hand.0.table.directories().is_empty());
    let mut fits = hand.watch(&prefix("b/")).unwrap();
    let mut one = hand.watch(&key("b/k")).unwrap();
    fs::create_dir(directory.path().join("b%/2%")).unwrap();
    assert_eq!(hand.woken(&mut fits), Some(Some(())));
    fs::create_dir(directory.path().join("b%/3%")).unwrap();
    assert_eq!(hand.woken(&mut fits), Some(None));
    assert_eq!(hand.0.table.directories(), ["b%"]);
    fs::write(directory.path().join("b%/k"), "v").unwrap();
    assert_eq!(hand.woken(&mut one), Some(Some(())));
}

#[test]
fn events_that_were_lost_wake_everybody_and_nothing_made_meanwhile_is_overlooked() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 100_000 {
        return eprintln!("NOTICE: {limit} events fit into a queue here; that it overflows is not tried");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("busy%")).unwrap();
    let mut hand = Hand::new(directory.path());
    let mut all = hand.watch(&prefix("")).unwrap();
    let mut one = hand.watch(&key("a/k")).unwrap();
    for _ in 0..limit / 2 + 1 {
        fs::write(path("busy%/k"), "v").unwrap();
        fs::remove_file(path("busy%/k")).unwrap();
    }
    // No event tells of these.
    fs::create_dir_all(path("a%/b%")).unwrap();
    assert_eq!((hand.woken(&mut one), hand.woken(&mut all)), (Some(Some(())), Some(Some(()))));
    assert_eq!(hand.0.table.directories(), ["", "a%", "a%/b%", "busy%"]);
    fs::write(path("a%/b%/k"), "v").unwrap();
    assert_eq!((hand.woken(&mut one), hand.woken(&mut all)), (None, Some(Some(()))));
    fs::write(path("a%/k"), "v").unwrap();
    assert_eq!((hand.woken(&mut one), hand.woken(&mut all)), (Some(Some(())), Some(Some(()))));
}

#[test]
fn a_store_that_is_removed_ends_its_watches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::create_dir_all(path.join(".leasehold/locks")).unwrap();
    fs::create_dir(path.join("a%")).unwrap();
    let mut hand = Hand::new(&path);
    let mut changes = hand.watch(&prefix("")).unwrap();
    fs::remove_dir_all(&path).unwrap();
    while let Some(woken) = hand.woken(&mut changes) {
        if woken.is_none() {
            break;
        }
    }
    assert_eq!(hand.woken(&mut changes), Some(None));
    assert!(hand.watch(&prefix("")).is_none() && hand.watch(&key("a/k")).is_none());
    assert!(hand.0.table.directories().is_empty());
}
