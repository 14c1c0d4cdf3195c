//! A directory on a filesystem that is full, or read-only. Where this user may not mount one, a notice says so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/mounted.rs"]
#[expect(dead_code, reason = "other tests mount other filesystems")]
mod mounted;

use std::path::Path;

use leasehold_core::{ErrorKind, Store};
use leasehold_fs::Fs;
use mounted::Mounted;

async fn open(path: &Path) -> Store {
    Store::new(Fs::open(path).durable(false).await.unwrap())
}

async fn text(store: &Store, key: &str) -> Option<String> {
    match store.get(key).await.unwrap() {
        Some(object) => Some(object.text().await.unwrap()),
        None => None,
    }
}

#[tokio::test]
async fn a_full_filesystem_refuses_and_loses_nothing() {
    let Some(mounted) = Mounted::new("tmpfs", "size=1m") else { return };
    let store = open(mounted.path()).await;
    store.put("kept", "before").await.unwrap();
    let version = store.put("small", "s").await.unwrap();
    let large = vec![7_u8; 4 << 20];
    for error in [
        store.put("kept", large.clone()).await.unwrap_err(),
        store.put("new", large.clone()).if_absent().await.unwrap_err(),
        store.put("small", large).if_match(version).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert!(!error.is_indeterminate(), "{error}");
        assert!(error.to_string().contains("free some"), "{error}");
    }
    assert_eq!(text(&store, "kept").await.as_deref(), Some("before"));
    assert_eq!(text(&store, "new").await, None);
    store.put("kept", "after").await.unwrap();
}

#[tokio::test]
async fn a_read_only_filesystem_is_read_and_refuses_writes() {
    let Some(mounted) = Mounted::new("tmpfs", "size=1m") else { return };
    open(mounted.path()).await.put("a/b", "1").await.unwrap();
    mounted.remount("ro");
    let store = open(mounted.path()).await;
    assert_eq!(text(&store, "a/b").await.as_deref(), Some("1"));
    assert_eq!(store.list("").await.unwrap().len(), 1);
    for error in [
        store.put("a/b", "2").await.unwrap_err(),
        store.put("new", "2").if_absent().await.unwrap_err(),
        store.increment("n", 1).await.unwrap_err(),
        store.delete("a/b").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}

#[tokio::test]
async fn a_full_filesystem_can_be_emptied_through_the_store() {
    let Some(mounted) = Mounted::new("tmpfs", "size=1m") else { return };
    let store = open(mounted.path()).await;
    let mut written = 0;
    let refused = loop {
        match store.put(format!("value-{written}"), vec![7_u8; 4096]).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Full, "{refused}");
    for number in 0..written {
        store.delete(format!("value-{number}")).await.unwrap();
    }
    store.put("again", "there is room").await.unwrap();
}
