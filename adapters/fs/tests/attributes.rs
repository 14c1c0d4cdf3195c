//! Attributes on disk: where they are, what else may happen to them, and filesystems that have no place for them.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/mounted.rs"]
#[expect(dead_code, reason = "other tests mount other filesystems")]
mod mounted;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{StreamExt, stream};
use leasehold_core::{Attributes, Body, Bytes, Capability, ErrorKind, Store};
use leasehold_fs::Fs;
use mounted::Mounted;
use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};

const NAME: &str = "user.leasehold";
const STICKY: u32 = 0o1000;

async fn open(path: &Path) -> Store {
    Store::new(Fs::open(path).durable(false).await.unwrap())
}

fn page() -> Attributes {
    Attributes::new().with("content-type", "text/html").unwrap().with("author", "ada").unwrap()
}

async fn attributes(store: &Store, key: &str) -> Attributes {
    let head = store.head(key).await.unwrap().unwrap().attributes;
    assert_eq!(store.get(key).await.unwrap().unwrap().metadata.attributes, head);
    head
}

fn is_marked(path: &Path) -> bool {
    fs::metadata(path).unwrap().permissions().mode() & STICKY != 0
}

fn stored(path: &Path) -> Option<String> {
    let mut bytes = [0; 8192];
    let length = getxattr(path, NAME, &mut bytes).ok()?;
    Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
}

#[tokio::test]
async fn attributes_are_lines_in_one_extended_attribute_and_a_mark_in_the_mode() {
    let root = tempfile::tempdir().unwrap();
    let (store, path) = (open(root.path()).await, root.path().join("k"));
    assert!(store.capabilities().supports(Capability::Attributes));
    let streamed = || Body::from_stream(stream::iter([Ok(Bytes::from("streamed"))]).boxed(), None);
    for streams in [false, true] {
        store.put("k", "plain").await.unwrap();
        assert_eq!((is_marked(&path), stored(&path)), (false, None));
        let body = if streams { streamed() } else { "whole".into() };
        store.put("k", body).attributes(page()).await.unwrap();
        assert!(is_marked(&path));
        assert_eq!(stored(&path).as_deref(), Some("1\nauthor=ada\ncontent-type=text/html\n"));
        assert_eq!(attributes(&store, "k").await, page());
    }
    store.put("n", "1").attributes(page()).await.unwrap();
    store.increment("n", 1).await.unwrap();
    assert!(is_marked(&root.path().join("n")));
    assert_eq!(fs::read_to_string(root.path().join("n")).unwrap(), "2");
}

#[tokio::test]
async fn a_copy_that_lost_its_extended_attribute_is_a_value_without_attributes() {
    let root = tempfile::tempdir().unwrap();
    let (store, path) = (open(root.path()).await, root.path().join("n"));
    store.put("n", "1").attributes(page()).await.unwrap();
    removexattr(&path, NAME).unwrap();
    assert!(is_marked(&path));
    assert!(attributes(&store, "n").await.is_empty());
    assert_eq!(store.increment("n", 1).await.unwrap(), 2);
    assert!(!is_marked(&path));
    // And one that lost only the mark is not looked at closer.
    store.put("n", "1").attributes(page()).await.unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(attributes(&store, "n").await.is_empty());
}

#[tokio::test]
async fn damaged_attributes_are_corrupt_and_can_be_written_over() {
    let root = tempfile::tempdir().unwrap();
    let (store, path) = (open(root.path()).await, root.path().join("n"));
    for damaged in [&b"2\nfrom=the future\n"[..], b"\xff\xfe", b"1\nUpper=case\n", b"", &[b'x'; 10_000]] {
        let version = store.put("n", "1").attributes(page()).await.unwrap();
        if setxattr(&path, NAME, damaged, XattrFlags::REPLACE).is_err() {
            assert!(damaged.len() > 4_000, "this filesystem takes no such long ones");
            continue;
        }
        for error in [
            store.head("n").await.unwrap_err(),
            store.get("n").await.unwrap_err(),
            store.increment("n", 1).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(!error.is_indeterminate() && error.to_string().contains(NAME), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        let listed = store.list("").await.unwrap().remove(0).metadata;
        assert_eq!((&listed.version, listed.attributes.is_empty()), (&version, true));
        // A large one looks at its precondition before it is staged, too.
        let large = vec![b'2'; 200_000];
        let version = store.put("n", large).if_match(version).attributes(page()).await.unwrap();
        store.put("n", "2").if_match(version).attributes(page()).await.unwrap();
        assert_eq!(attributes(&store, "n").await, page());
    }
    store.delete("n").await.unwrap();
}

#[tokio::test]
async fn a_filesystem_without_extended_attributes_refuses_them_before_the_body_is_read() {
    let Some(mounted) = Mounted::new("ramfs", "mode=755") else { return };
    let store = open(mounted.path()).await;
    assert!(!store.capabilities().supports(Capability::Attributes));
    let asked = Arc::new(AtomicBool::new(false));
    let asks = asked.clone();
    let chunks = stream::once(async move {
        asks.store(true, Ordering::SeqCst);
        Ok(Bytes::from("v"))
    });
    for error in [
        store.put("k", "v").attributes(page()).await.unwrap_err(),
        store.put("k", "v").attributes(page()).if_absent().await.unwrap_err(),
        store.put("k", Body::from_stream(chunks.boxed(), None)).attributes(page()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported(Capability::Attributes), "{error}");
        assert!(!error.is_indeterminate());
    }
    assert!(!asked.load(Ordering::SeqCst));
    assert_eq!(
        fs::read_dir(mounted.path().join(".leasehold/stage")).unwrap().count(),
        0,
        "nothing was staged"
    );
    assert!(store.head("k").await.unwrap().is_none());
    store.put("k", "v").attributes(Attributes::new()).await.unwrap();
    // A mark that somebody else has set says nothing here.
    fs::set_permissions(mounted.path().join("k"), fs::Permissions::from_mode(0o1644)).unwrap();
    assert!(attributes(&store, "k").await.is_empty());
}

#[tokio::test]
async fn attributes_are_kept_in_memory_and_read_where_nothing_can_be_written() {
    let Some(mounted) = Mounted::new("tmpfs", "size=1m") else { return };
    let store = open(mounted.path()).await;
    if !store.capabilities().supports(Capability::Attributes) {
        eprintln!(
            "NOTICE: this kernel keeps no extended attributes in memory (before 6.6); the test is not run"
        );
        return;
    }
    store.put("k", "v").attributes(page()).await.unwrap();
    store.put("large", vec![7; 200_000]).attributes(page()).await.unwrap();
    drop(store);
    mounted.remount("ro");
    let store = open(mounted.path()).await;
    for key in ["k", "large"] {
        assert_eq!(attributes(&store, key).await, page());
    }
    let error = store.put("k", "w").attributes(page()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    drop(store);
    mounted.remount("rw");
    // Here an attribute can be far longer than any that a store writes.
    setxattr(mounted.path().join("k"), NAME, &[b'x'; 60_000], XattrFlags::REPLACE).unwrap();
    let error = open(mounted.path()).await.head("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn blocks_too_small_for_the_longest_attributes_do_not_claim_them() {
    for (block_bytes, claimed) in [(1024, false), (4096, true)] {
        let Some(mounted) = Mounted::ext4(block_bytes) else { return };
        let store = open(mounted.path()).await;
        assert_eq!(store.capabilities().supports(Capability::Attributes), claimed);
        if claimed {
            // The most names that fit: no set takes more room.
            let letters = || (b'a'..=b'z').map(char::from);
            let mut most = Attributes::new();
            for name in letters().flat_map(|one| letters().map(move |two| format!("{one}{two}"))) {
                if most.insert(&name, "x").is_err() {
                    break;
                }
            }
            store.put("k", "v").attributes(most.clone()).await.unwrap();
            assert_eq!(attributes(&store, "k").await, most);
        }
    }
}
