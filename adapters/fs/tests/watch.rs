//! Watches on a directory through the store: what wakes, what does not, and what becomes of them.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, time::Duration};

use futures_util::{
    FutureExt, StreamExt,
    future::{Either, select},
    stream,
};
use leasehold_core::{
    Body, Bytes, Capability, Changes, Clock, Error, Key, Prefix, Scope, Store, SystemClock,
};
use leasehold_fs::Fs;

async fn open(path: &Path) -> Store {
    Store::new(Fs::open(path).durable(false).await.unwrap())
}

fn key(text: &str) -> Scope {
    Scope::Key(Key::new(text).unwrap())
}

fn prefix(text: &str) -> Scope {
    Scope::Prefix(Prefix::new(text).unwrap())
}

async fn watch(store: &Store, scope: Scope) -> Changes {
    store.adapter().changes(&scope).await.unwrap().expect("this machine has room for a watch")
}

async fn next(changes: &mut Changes) -> Option<()> {
    match select(changes.next(), SystemClock.sleep(Duration::from_secs(20))).await {
        Either::Left((next, _)) => next,
        Either::Right(_) => panic!("nobody was woken"),
    }
}

/// Waits until all that happened so far has been told.
async fn told(store: &Store) {
    let mut last = watch(store, key("last")).await;
    store.put("last", "v").await.unwrap();
    assert_eq!(next(&mut last).await, Some(()));
}

#[tokio::test]
async fn a_directory_says_that_it_tells() {
    let directory = tempfile::tempdir().unwrap();
    assert!(open(directory.path()).await.capabilities().supports(Capability::Changes));
}

#[tokio::test]
async fn what_happens_to_others_wakes_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (store, writer) = (open(directory.path()).await, open(directory.path()).await);
    writer.put("a/k", "v").await.unwrap();
    let mut idle = [
        watch(&store, key("a/k")).await,
        watch(&store, key("a")).await,
        watch(&store, key("a/k/deeper")).await,
        watch(&store, prefix("a/k")).await,
        watch(&store, prefix("b")).await,
    ];
    writer.put("a/other", "v").await.unwrap();
    writer.put("c/d/e", "v").await.unwrap();
    writer.delete("c/d/e").await.unwrap();
    // Refused, and staged in vain.
    assert!(writer.put("a/k", "w").if_absent().await.is_err());
    let broken = stream::iter([Ok(Bytes::from_static(b"half")), Err(Error::conflict("no more"))]);
    assert!(writer.put("a/k", Body::from_stream(broken.boxed(), None)).await.is_err());
    told(&store).await;
    for (number, changes) in idle.iter_mut().enumerate() {
        assert_eq!(changes.next().now_or_never(), None, "watch {number}");
    }
}

#[tokio::test]
async fn names_that_are_written_otherwise_are_watched_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let (store, writer) = (open(directory.path()).await, open(directory.path()).await);
    let long = "ü".repeat(200);
    for text in [".env", "CON/a:b", "100%/%", &format!("{long}/{long}"), &format!("x/{long}")] {
        for start in 0..=text.len() {
            let Some(start) = text.get(..start).and_then(|start| Prefix::new(start).ok()) else { continue };
            if start.as_str().len() % 37 != 0 && start.as_str().len() > 8 {
                continue;
            }
            let mut one = watch(&store, key(text)).await;
            let mut under = watch(&store, Scope::Prefix(start.clone())).await;
            writer.put(text, "v").await.unwrap();
            assert_eq!((next(&mut one).await, next(&mut under).await), (Some(()), Some(())), "{start}");
            writer.delete(text).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_that_a_person_puts_there_wakes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut changes = watch(&store, key("a/note.txt")).await;
    fs::create_dir(directory.path().join("a%")).unwrap();
    fs::write(directory.path().join("draft"), "hello").unwrap();
    fs::rename(directory.path().join("draft"), directory.path().join("a%/note.txt")).unwrap();
    while store.get("a/note.txt").await.unwrap().is_none() {
        assert_eq!(next(&mut changes).await, Some(()));
    }
}

#[tokio::test]
async fn a_store_that_goes_ends_its_watches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path).await;
    let mut changes = watch(&store, key("k")).await;
    fs::remove_dir_all(&path).unwrap();
    while next(&mut changes).await.is_some() {}
    let changes = store.adapter().changes(&key("k")).await.unwrap();
    assert!(changes.is_none(), "a directory that is gone cannot be watched");
    // Another one in its place is another store.
    let again = open(&path).await;
    let mut changes = watch(&again, key("k")).await;
    again.put("k", "v").await.unwrap();
    assert_eq!(next(&mut changes).await, Some(()));
    drop((store, again));
    while next(&mut changes).await.is_some() {}
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_no_watch() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut kept = watch(&store, prefix("")).await;
    for _ in 0..100 {
        let scope = key("k");
        let mut asking = Box::pin(store.adapter().changes(&scope));
        let _ = (&mut asking).now_or_never();
    }
    store.put("k", "v").await.unwrap();
    assert_eq!(next(&mut kept).await, Some(()));
}
