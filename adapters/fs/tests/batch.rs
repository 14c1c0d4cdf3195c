//! Batches on a directory: small writes go together, and keep every promise that they have alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/mounted.rs"]
#[expect(dead_code, reason = "other tests mount other filesystems")]
mod mounted;

use std::{
    fs,
    fs::File,
    path::Path,
    pin::pin,
    time::{Duration, UNIX_EPOCH},
};

use futures_util::{
    FutureExt, StreamExt,
    future::{join_all, select},
    stream,
};
use leasehold_core::{
    BatchOptions, Body, Bytes, Clock, DeleteOptions, Error, ErrorKind, GetOptions, Key, Operation, Outcome,
    Precondition, PutOptions, Result, Store, SystemClock, Version,
};
use leasehold_fs::Fs;
use tempfile::TempDir;

fn directory() -> TempDir {
    // On a disk, where the target directory is: what is kept in memory is not synced.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

async fn open(path: &Path) -> Store {
    Store::new(Fs::open(path).await.unwrap())
}

fn key(name: impl AsRef<str>) -> Key {
    Key::new(name.as_ref()).unwrap()
}

fn put(name: impl AsRef<str>, value: impl Into<Body>) -> Operation {
    Operation::Put(key(name), value.into(), PutOptions::default())
}

fn put_if(name: impl AsRef<str>, value: &'static str, precondition: Precondition) -> Operation {
    Operation::Put(key(name), value.into(), precondition.into())
}

fn streamed(name: &str, value: &'static str) -> Operation {
    put(name, Body::from_stream(stream::iter([Ok(Bytes::from(value))]).boxed(), None))
}

fn delete(name: impl AsRef<str>) -> Operation {
    Operation::Delete(key(name), DeleteOptions::default())
}

fn get(name: &str) -> Operation {
    Operation::Get(key(name), GetOptions::default())
}

async fn batch(store: &Store, operations: Vec<Operation>) -> Vec<Result<Outcome>> {
    store.batch(operations, BatchOptions::default()).await
}

async fn text(store: &Store, key: &str) -> Option<String> {
    match store.get(key).await.unwrap() {
        Some(object) => Some(object.text().await.unwrap()),
        None => None,
    }
}

fn version(result: &Result<Outcome>) -> &Version {
    match result {
        Ok(Outcome::Put(version)) => version,
        other => panic!("a put came to {other:?}"),
    }
}

/// What each entry came to, in a word.
fn words(results: &[Result<Outcome>]) -> Vec<String> {
    results
        .iter()
        .map(|result| match result {
            Ok(Outcome::Put(_)) => "put".to_owned(),
            Ok(Outcome::Deleted) => "deleted".to_owned(),
            Ok(Outcome::Got(_)) => "got".to_owned(),
            Ok(other) => panic!("{other:?}"),
            Err(error) => error.kind().to_string(),
        })
        .collect()
}

/// How many values in the making there are.
fn staged(root: &Path) -> usize {
    let areas = fs::read_dir(root.join(".leasehold/stage")).unwrap().map(|entry| entry.unwrap().path());
    areas.filter(|area| area.is_dir()).map(|area| fs::read_dir(area).unwrap().count()).sum()
}

/// Holds the lock of a key; which one that is is found out by holding one after the other.
async fn hold(root: &Path, name: &str) -> File {
    let open = Fs::open(root).durable(false).lock_timeout(Duration::from_millis(1));
    let impatient = Store::new(open.await.unwrap());
    for number in 0..64 {
        let lock = File::open(root.join(format!(".leasehold/locks/{number:02x}"))).unwrap();
        lock.lock().unwrap();
        if impatient.put(name, "0").await.is_err() {
            return lock;
        }
    }
    panic!("no lock is that of {name}");
}

#[tokio::test]
async fn writes_of_one_key_keep_their_order() {
    for durable in [true, false] {
        let root = directory();
        let store = Store::new(Fs::open(root.path()).durable(durable).await.unwrap());
        let many: Vec<_> = (0..600).map(|n| put(format!("d/k{}", n % 200), n.to_string())).collect();
        let results = batch(&store, many).await;
        for n in 0..200 {
            let name = format!("d/k{n}");
            assert_eq!(text(&store, &name).await, Some((n + 400).to_string()));
            let head = store.head(&name).await.unwrap().unwrap();
            assert_eq!(&head.version, version(&results[n + 400]), "{name}");
            assert_ne!(version(&results[n]), version(&results[n + 200]), "{name}");
        }
        let chain = vec![
            put_if("a", "1", Precondition::Absent),
            put_if("b", "1", Precondition::Absent),
            put_if("a", "2", Precondition::Absent),
            delete("a"),
            put_if("a", "3", Precondition::Absent),
            delete("b"),
            delete("there"),
            put_if("there", "2", Precondition::Absent),
        ];
        store.put("there", "1").await.unwrap();
        let results = batch(&store, chain).await;
        let expected = ["put", "put", "conflict", "deleted", "put", "deleted", "deleted", "put"];
        assert_eq!(words(&results), expected);
        assert_eq!(text(&store, "a").await.as_deref(), Some("3"));
        assert_eq!(text(&store, "b").await, None);
    }
}

#[tokio::test]
async fn a_key_that_is_read_or_streamed_keeps_its_order_too() {
    let root = directory();
    let store = open(root.path()).await;
    let mixed =
        vec![put("a", "1"), put("b", "1"), get("a"), streamed("b", "2"), put("a", "2"), put("b", "3")];
    let mut results = batch(&store, mixed).await;
    assert_eq!(words(&results), ["put", "put", "got", "put", "put", "put"]);
    let Ok(Outcome::Got(read)) = results.remove(2) else { panic!("a get came to something else") };
    assert_eq!(read.found().unwrap().text().await.unwrap(), "1");
    assert_eq!(text(&store, "a").await.as_deref(), Some("2"));
    assert_eq!(text(&store, "b").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn an_entry_that_fails_fails_alone() {
    let root = directory();
    let store = Store::new(Fs::open(root.path()).value_bytes_max(10).await.unwrap());
    let old = store.put("matched", "old").await.unwrap();
    store.put("taken", "old").await.unwrap();
    let stale = store.put("moved", "old").await.unwrap();
    store.put("moved", "new").await.unwrap();
    store.put("kept", "old").await.unwrap();
    fs::create_dir(root.path().join("folder")).unwrap();
    fs::write(root.path().join("file%"), "").unwrap();
    let operations = vec![
        put("first", "1"),
        put("large", "01234567890"),
        put_if("taken", "2", Precondition::Absent),
        put_if("moved", "2", Precondition::Matches(stale.clone())),
        put("folder", "2"),
        put_if("matched", "2", Precondition::Matches(old)),
        put("file/below", "2"),
        Operation::Delete(key("kept"), DeleteOptions::matching(stale)),
        delete("absent/below"),
        put("deep/er/last", "2"),
    ];
    let results = batch(&store, operations).await;
    let expected =
        ["put", "invalid", "conflict", "conflict", "corrupt", "put", "corrupt", "conflict", "deleted", "put"];
    assert_eq!(words(&results), expected);
    for (result, name) in [(&results[1], "large"), (&results[7], "kept")] {
        let error = result.as_ref().unwrap_err();
        assert!(error.key() == Some(name) && !error.is_indeterminate(), "{error}");
    }
    for (name, value) in
        [("first", "1"), ("taken", "old"), ("moved", "new"), ("matched", "2"), ("kept", "old")]
    {
        assert_eq!(text(&store, name).await.as_deref(), Some(value), "{name}");
    }
    assert_eq!(text(&store, "deep/er/last").await.as_deref(), Some("2"));
    assert_eq!(staged(root.path()), 0);
}

#[tokio::test]
async fn directories_go_with_the_last_value_that_a_batch_deletes() {
    let root = directory();
    let store = open(root.path()).await;
    let names: Vec<_> = (0..300).map(|n| format!("a/{}/{n}", n % 7)).collect();
    assert!(batch(&store, names.iter().map(|name| put(name, "x")).collect()).await.iter().all(Result::is_ok));
    assert_eq!(store.list("a/").await.unwrap().len(), 300);
    assert!(batch(&store, names.iter().map(delete).collect()).await.iter().all(Result::is_ok));
    assert!(!root.path().join("a%").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_nobody_waits_for_leaves_whole_values_and_nothing_else() {
    const KEYS: usize = 400;
    let root = directory();
    let store = Store::new(Fs::open(root.path()).await.unwrap());
    let all = |byte: u8| (0..KEYS).map(move |n| (format!("k{n}"), vec![byte; 5_000]));
    assert!(store.put_many(all(b'a')).await.iter().all(Result::is_ok));
    for (round, byte) in (b'b'..b'j').enumerate() {
        let patience = Duration::from_millis(round as u64 * 3);
        drop(select(pin!(store.put_many(all(byte))), SystemClock.sleep(patience)).await);
    }
    let started = SystemClock.monotonic();
    while staged(root.path()) > 0 {
        assert!(SystemClock.monotonic() - started < Duration::from_secs(60), "what was staged stays");
        SystemClock.sleep(Duration::from_millis(5)).await;
    }
    for (name, _) in all(b'a') {
        let value = store.get(&name).await.unwrap().unwrap().bytes().await.unwrap();
        assert!(value.len() == 5_000 && value.iter().all(|byte| *byte == value[0]), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_batches_one_wins_each_key() {
    const KEYS: usize = 100;
    let root = directory();
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(open(root.path()).await);
    }
    let names: Vec<_> = (0..KEYS).map(|n| format!("d/k{n}")).collect();
    let mut conditions: Vec<_> = names.iter().map(|_| Precondition::Absent).collect();
    for round in 0..6 {
        let racing = handles.iter().map(|store| {
            let operations = names.iter().zip(&conditions);
            let operations: Vec<_> =
                operations.map(|(name, condition)| put_if(name, "x", condition.clone())).collect();
            let store = store.clone();
            tokio::spawn(async move { batch(&store, operations).await })
        });
        let results: Vec<_> = join_all(racing).await.into_iter().map(Result::unwrap).collect();
        for (n, name) in names.iter().enumerate() {
            let (won, lost): (Vec<_>, Vec<_>) =
                results.iter().map(|results| &results[n]).partition(|one| one.is_ok());
            assert!(lost.iter().all(|one| one.as_ref().is_err_and(Error::is_conflict)), "{name}: {lost:?}");
            assert_eq!(won.len(), 1, "{name} in round {round}");
            let head = handles[0].head(name).await.unwrap().unwrap();
            assert_eq!(&head.version, version(won[0]), "{name} in round {round}");
            conditions[n] = Precondition::Matches(head.version);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_writes_without_condition_each_has_a_version_of_its_own() {
    let root = directory();
    let handles = [open(root.path()).await, open(root.path()).await, open(root.path()).await];
    let mut versions = std::collections::HashSet::new();
    for _ in 0..10 {
        let racing = handles.iter().map(|store| {
            let store = store.clone();
            tokio::spawn(
                async move { batch(&store, (0..20).map(|n| put(format!("k{n}"), "x")).collect()).await },
            )
        });
        for results in join_all(racing).await {
            for (n, result) in results.unwrap().iter().enumerate() {
                assert!(versions.insert((n, version(result).clone())), "a version came twice");
            }
        }
    }
    for n in 0..20 {
        let head = handles[0].head(format!("k{n}")).await.unwrap().unwrap();
        assert!(versions.contains(&(n, head.version)), "a value has a version that nobody was told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_stops_only_its_own_entries() {
    let root = directory();
    let store = open(root.path()).await;
    store.put("stuck", "0").await.unwrap();
    let held = hold(root.path(), "stuck").await;
    let names: Vec<_> = (0..64).map(|n| format!("k{n}")).collect();
    let operations = [put("stuck", "1")].into_iter().chain(names.iter().map(|name| put(name, "x")));
    let operations = operations.chain([put("stuck", "2"), put("k0", "y")]).collect();
    let running = tokio::spawn({
        let store = store.clone();
        async move { batch(&store, operations).await }
    });
    let started = SystemClock.monotonic();
    // Some of them share the lock; of 64 keys over 64 locks that are few.
    while store.list("k").await.unwrap().len() < 55 {
        assert!(
            SystemClock.monotonic() - started < Duration::from_secs(20),
            "a lock of others stops the batch"
        );
        SystemClock.sleep(Duration::from_millis(2)).await;
    }
    while text(&store, "k0").await.as_deref() == Some("x") {
        assert!(
            SystemClock.monotonic() - started < Duration::from_secs(20),
            "a lock of others stops the second wave"
        );
        SystemClock.sleep(Duration::from_millis(2)).await;
    }
    assert!(!running.is_finished());
    assert_eq!(text(&store, "stuck").await.as_deref(), Some("0"));
    drop(held);
    let results = running.await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(store.list("k").await.unwrap().len(), 64);
    assert_eq!(text(&store, "stuck").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_on_a_key_that_is_held_up_waits_for_it() {
    let root = directory();
    let store = open(root.path()).await;
    store.put("stuck", "0").await.unwrap();
    let held = hold(root.path(), "stuck").await;
    let operations = [put("stuck", "1")].into_iter().chain((0..1500).map(|n| put(format!("k{n}"), "x")));
    let operations = operations.chain([put("stuck", "2")]).collect();
    let running = tokio::spawn({
        let store = store.clone();
        async move { batch(&store, operations).await }
    });
    // Its turn is over when those of the next slice can be seen; its second write is some slices away.
    while store.head("k300").await.unwrap().is_none() {
        SystemClock.sleep(Duration::from_millis(1)).await;
    }
    drop(held);
    assert!(running.await.unwrap().iter().all(Result::is_ok));
    assert_eq!(text(&store, "stuck").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_version_follows_that_of_a_value_from_the_future() {
    let root = directory();
    let store = open(root.path()).await;
    let number =
        |version: &Version| u64::from_str_radix(version.as_str().split('-').next().unwrap(), 16).unwrap();
    store.put("k", "1").await.unwrap();
    let file = File::options().write(true).open(root.path().join("k")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(4_000_000_000)).unwrap();
    let before = store.head("k").await.unwrap().unwrap().version;
    let results = batch(&store, vec![put("k", "2"), put("other", "2")]).await;
    assert!(number(version(&results[0])) > number(&before));
    assert_eq!(&store.head("k").await.unwrap().unwrap().version, version(&results[0]));
}

#[tokio::test]
async fn entries_whose_lock_is_held_for_ever_time_out_and_write_nothing() {
    let root = directory();
    let store = Store::new(Fs::open(root.path()).lock_timeout(Duration::from_millis(20)).await.unwrap());
    store.put("stuck", "0").await.unwrap();
    let held = hold(root.path(), "stuck").await;
    let results = batch(&store, vec![put("stuck", "1"), delete("stuck"), put("free", "1")]).await;
    assert_eq!(words(&results), ["timeout", "timeout", "put"]);
    assert!(results.iter().flat_map(|result| result.as_ref().err()).all(|error| !error.is_indeterminate()));
    assert_eq!(text(&store, "stuck").await.as_deref(), Some("0"));
    assert_eq!(staged(root.path()), 0);
    drop(held);
}

#[test]
fn without_a_runtime_every_entry_has_an_error() {
    let root = directory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(open(root.path()));
    let results = batch(&store, vec![put("a", "1"), delete("b")]).now_or_never().unwrap();
    assert_eq!(words(&results), ["invalid", "invalid"]);
    assert!(results[1].as_ref().unwrap_err().to_string().contains("Tokio runtime"));
    assert_eq!(results[1].as_ref().unwrap_err().key(), Some("b"));
}

#[tokio::test]
async fn a_device_that_fails_fails_what_it_did_not_take() {
    // A disk that has less room than it says: what does not fit any more is an error of the device.
    let Some(memory) = mounted::Mounted::new("tmpfs", "size=6m") else { return };
    let Some(disk) = mounted::Mounted::ext4_in(memory.path()) else { return };
    let store = open(disk.path()).await;
    let value = Bytes::from(vec![7; 64 << 10]);
    let names: Vec<_> = (0..256).map(|n| format!("{}/k{n}", n % 4)).collect();
    let mut failed = 0;
    for names in names.chunks(32) {
        let results = store.put_many(names.iter().map(|name| (name, value.clone()))).await;
        // A loop device takes a write that it did half for one that it did, so what was acknowledged is not looked at.
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_ne!(error.kind(), ErrorKind::Conflict, "{error}");
            failed += 1;
        }
    }
    assert!(failed >= 100, "{failed} of 256 failed; 6 of 16 MiB have room");
}
