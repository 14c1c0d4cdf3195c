//! Files of replaced values are written again, and nobody who reads the old value ever sees that.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    fs::{self, File, Permissions},
    io::Read,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leasehold_core::{Clock, Store, SystemClock, Version};
use leasehold_fs::Fs;
use parking_lot::Mutex;
use rustix::fs::{XattrFlags, listxattr, setxattr};
use tempfile::TempDir;

fn directory() -> TempDir {
    // On a disk, where the target directory is: what is kept in memory is not synced, and its files are not kept.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

async fn open(path: &Path) -> Store {
    Store::new(Fs::open(path).reuse_files(true).await.unwrap())
}

fn inode(root: &TempDir, name: &str) -> u64 {
    fs::metadata(root.path().join(name)).unwrap().ino()
}

/// Whether files are written again here at all; says so where they are not.
async fn is_reused() -> bool {
    let root = directory();
    let store = open(root.path()).await;
    store.put("k", "1").await.unwrap();
    let first = inode(&root, "k");
    for value in ["2", "3"] {
        store.put("k", value).await.unwrap();
    }
    let reused = inode(&root, "k") == first;
    if !reused {
        eprintln!("SKIPPED: this filesystem does not write files again");
    }
    reused
}

/// How many files the handles of a store keep or make.
fn staged(root: &TempDir) -> usize {
    let areas =
        fs::read_dir(root.path().join(".leasehold/stage")).unwrap().map(|entry| entry.unwrap().path());
    areas.filter(|area| area.is_dir()).map(|area| fs::read_dir(area).unwrap().count()).sum()
}

#[tokio::test]
async fn a_replaced_file_is_a_value_again() {
    if !is_reused().await {
        return;
    }
    let root = directory();
    let store = open(root.path()).await;
    let mut versions = Vec::new();
    for round in 0..10 {
        for name in ["a", "b/c"] {
            let value = format!("{name} {round}");
            versions.push(store.put(name, value.clone()).await.unwrap());
            let read = store.get(name).await.unwrap().unwrap();
            assert_eq!(Some(read.version()), versions.last());
            assert_eq!(read.text().await.unwrap(), value);
            let head = store.head(name).await.unwrap().unwrap();
            assert_eq!((Some(&head.version), head.size), (versions.last(), value.len() as u64));
        }
    }
    let listed: Vec<_> =
        store.list("").await.unwrap().into_iter().map(|entry| entry.metadata.version).collect();
    assert_eq!(listed, versions[18..]);
    let inodes: std::collections::HashSet<_> =
        versions.iter().map(|version| version.as_str().split_once('-').unwrap().1.to_owned()).collect();
    assert_eq!(inodes.len(), 3, "two values and one file to write next");
    assert_eq!(staged(&root), 1);
    drop(store);
    assert_eq!(staged(&root), 0, "a handle leaves none behind");
}

#[tokio::test]
async fn a_value_is_as_long_as_the_last_one_whatever_the_file_held() {
    let root = directory();
    let store = open(root.path()).await;
    for size in [5_000, 4_097, 100, 0, 1, 4_096, 8_192, 70_000, 5_001, 0, 65_536, 65_535] {
        let value = vec![size as u8; size];
        store.put("k", value.clone()).await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().bytes().await.unwrap(), value);
        store.put("l", vec![0xff; size]).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_is_not_written_again_when_somebody_would_notice() {
    if !is_reused().await {
        return;
    }
    type Notices = Box<dyn FnOnce(&Path) -> Box<dyn Fn()>>;
    let ways: Vec<(&str, Notices)> = vec![
        (
            "an open file",
            Box::new(|path| {
                let file = File::open(path).unwrap();
                Box::new(move || {
                    let mut read = [0; 4];
                    assert_eq!(file.read_at(&mut read, 0).unwrap(), 3);
                    assert_eq!(&read, b"old\0");
                })
            }),
        ),
        (
            "a link",
            Box::new(|path| {
                let link = path.with_file_name("link");
                fs::hard_link(path, &link).unwrap();
                Box::new(move || assert_eq!(fs::read_to_string(&link).unwrap(), "old"))
            }),
        ),
        (
            "another mode",
            Box::new(|path| {
                let path = path.to_owned();
                let mode = fs::metadata(&path).unwrap().mode();
                fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
                Box::new(move || assert_eq!(fs::metadata(&path).unwrap().mode(), mode))
            }),
        ),
        (
            "an attribute",
            Box::new(|path| {
                let path = path.to_owned();
                setxattr(&path, "user.note", b"x", XattrFlags::empty()).unwrap();
                Box::new(move || assert_eq!(listxattr(&path, &mut [0; 64]).unwrap(), 0))
            }),
        ),
    ];
    for (what, notice) in ways {
        let root = directory();
        let store = open(root.path()).await;
        store.put("k", "old").await.unwrap();
        let check = notice(&root.path().join("k"));
        for value in ["second", "third", "fourth"] {
            store.put("k", value).await.unwrap();
            eprintln!("{what}, {value}");
            check();
            assert_eq!(store.get("k").await.unwrap().unwrap().text().await.unwrap(), value);
        }
    }
}

#[tokio::test]
async fn a_date_in_the_future_does_not_come_to_other_values() {
    let root = directory();
    let store = open(root.path()).await;
    store.put("k", "1").await.unwrap();
    let future = SystemClock.wall() + Duration::from_secs(1 << 32);
    File::options().write(true).open(root.path().join("k")).unwrap().set_modified(future).unwrap();
    for value in ["2", "3"] {
        store.put("k", value).await.unwrap();
        store.put("other", value).await.unwrap();
        assert!(store.head("other").await.unwrap().unwrap().modified.unwrap() < future, "{value}");
    }
}

#[tokio::test]
async fn a_file_that_another_program_put_there_is_a_value() {
    let root = directory();
    let store = open(root.path()).await;
    store.put("k", "1").await.unwrap();
    for value in ["by hand", "by hand again", "once more"] {
        // Its date is that of its last change, as that of a file in the making may be.
        fs::write(root.path().join("hand"), value).unwrap();
        let head = store.head("hand").await.unwrap().unwrap();
        assert_eq!(head.size, value.len() as u64);
        assert_eq!(store.list("hand").await.unwrap()[0].metadata.version, head.version);
        let read = store.get("hand").await.unwrap().unwrap();
        assert_eq!(read.version(), &head.version);
        assert_eq!(read.text().await.unwrap(), value);
    }
}

#[tokio::test]
async fn a_value_that_was_given_the_mode_of_one_in_the_making_is_a_value() {
    let root = directory();
    let store = open(root.path()).await;
    for value in ["1", "2", "3"] {
        let version = store.put("k", value).await.unwrap();
        fs::set_permissions(root.path().join("k"), Permissions::from_mode(0o1755)).unwrap();
        assert_eq!(store.head("k").await.unwrap().unwrap().version, version);
        assert_eq!(store.list("").await.unwrap()[0].metadata.version, version);
        assert_eq!(store.get("k").await.unwrap().unwrap().text().await.unwrap(), value);
    }
}

#[tokio::test]
async fn nothing_is_written_again_unless_asked_for() {
    let root = directory();
    let store = Store::new(Fs::open(root.path()).await.unwrap());
    for value in ["1", "2", "3"] {
        store.put("k", value).await.unwrap();
        assert_eq!(staged(&root), 0);
    }
}

/// A value that tells whether it is whole, and whose: its name, a number, and a length of one repeated byte.
fn value(name: &str, number: u64) -> String {
    let byte = char::from(b'a' + (number % 26) as u8);
    let length = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as usize;
    format!("{name} {number} {}", byte.to_string().repeat(length))
}

/// The number of a value of `name`, if it is one and whole.
fn number(name: &str, text: &str) -> u64 {
    let (prefix, _) = text.rsplit_once(' ').unwrap_or_else(|| panic!("{name} holds {text:.40?}"));
    let (owner, number) = prefix.rsplit_once(' ').unwrap();
    let number = number.parse().unwrap();
    assert!(owner == name && text == value(name, number), "{name} holds {text:.40?}");
    number
}

/// What is known of the versions of each name: the number and the size of its value.
type Known = Mutex<HashMap<(String, Version), (Option<u64>, u64)>>;

fn learn(known: &Known, name: &str, version: &Version, number: Option<u64>, size: u64) {
    let mut known = known.lock();
    let entry = known.entry((name.to_owned(), version.clone())).or_insert((number, size));
    assert_eq!(entry.1, size, "{name} at {version}");
    if let (Some(known), Some(number)) = (entry.0, number) {
        assert_eq!(known, number, "{name} at {version}");
    }
    entry.0 = entry.0.or(number);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_read_while_files_are_written_again_is_a_value_of_that_key() {
    const NAMES: [&str; 5] = ["a", "b", "c/d", "c/e", "f"];
    const ROUNDS: u64 = 400;
    let root = directory();
    let known = Arc::new(Known::default());
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    // Each handle has files of its own, as each process has.
    for writer in 0..3 {
        let (store, known) = (open(root.path()).await, known.clone());
        writers.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let name = NAMES[((round * 7 + writer) % 5) as usize];
                let number = round * 3 + writer;
                let text = value(name, number);
                let size = text.len() as u64;
                let version = if round % 4 == 0 {
                    store.put_many([(name, text)]).await.remove(0).unwrap()
                } else {
                    store.put(name, text).await.unwrap()
                };
                learn(&known, name, &version, Some(number), size);
            }
        }));
    }
    let mut readers = Vec::new();
    for reader in 0..3 {
        let (store, known, done) = (open(root.path()).await, known.clone(), done.clone());
        readers.push(tokio::spawn(async move {
            let mut round = reader;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                let name = NAMES[round % 5];
                if let Some(object) = store.get(name).await.unwrap() {
                    let version = object.version().clone();
                    let text = object.text().await.unwrap();
                    learn(&known, name, &version, Some(number(name, &text)), text.len() as u64);
                }
                if let Some(head) = store.head(name).await.unwrap() {
                    learn(&known, name, &head.version, None, head.size);
                }
                for entry in store.list("").await.unwrap() {
                    let metadata = entry.metadata;
                    learn(&known, entry.key.as_str(), &metadata.version, None, metadata.size);
                }
            }
        }));
    }
    // A program that knows nothing of the store, and takes its time between the two halves of a file.
    let (path, finished, watched) = (root.path().join("a"), done.clone(), open(root.path()).await);
    let runtime = tokio::runtime::Handle::current();
    let stranger = std::thread::spawn(move || {
        let version =
            || runtime.block_on(async { watched.head("a").await.unwrap().map(|head| head.version) });
        let mut read = 0;
        while !finished.load(Ordering::Relaxed) {
            let Ok(mut file) = File::open(&path) else { continue };
            let mut start = [0; 1];
            let got = file.read(&mut start).unwrap();
            let mut seen = version();
            for _ in 0..3 {
                while version() == seen && !finished.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                seen = version();
            }
            let mut text = String::from_utf8(start[..got].to_vec()).unwrap();
            file.read_to_string(&mut text).unwrap();
            number("a", &text);
            read += 1;
        }
        read
    });
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(tokio::task::spawn_blocking(|| stranger.join().unwrap()).await.unwrap() > 0);
    // Every version that was seen was one that a writer was told.
    for ((name, version), (number, _)) in known.lock().iter() {
        assert!(number.is_some(), "nobody wrote {version} of {name}");
    }
}
