//! Rare interleavings and hostile files, each of which was a bug once.

use std::{
    collections::HashSet,
    fmt, fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt, stream};
use leasehold_core::{Body, BoxFuture, Bytes, Clock, Environment, ErrorKind, Store, SystemClock};
use leasehold_fs::Fs;

/// A clock that does something when it is asked for the time of day.
struct HookedClock<F>(F);

impl<F> fmt::Debug for HookedClock<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookedClock")
    }
}

impl<F: Fn() -> SystemTime + Send + Sync + 'static> Clock for HookedClock<F> {
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
    fn boottime(&self) -> Duration {
        SystemClock.boottime()
    }
    fn wall(&self) -> SystemTime {
        (self.0)()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_reuses_an_inode_does_not_repeat_its_version() {
    let root = tempfile::tempdir().unwrap();
    let still = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let other = Store::new(Fs::open(root.path()).durable(false).await.unwrap());
    let (armed, hooked) = (Arc::new(Mutex::new(false)), other.clone());
    let clock = HookedClock({
        let armed = armed.clone();
        move || {
            // Deletes the value in the very moment in which the create draws its number.
            if std::mem::take(&mut *armed.lock().unwrap()) {
                let (hooked, runtime) = (hooked.clone(), tokio::runtime::Handle::current());
                std::thread::spawn(move || runtime.block_on(async { hooked.delete("k").await.unwrap() }))
                    .join()
                    .unwrap();
            }
            still
        }
    });
    let environment = Environment { clock: Arc::new(clock), ..Environment::default() };
    let store = Store::new(Fs::open(root.path()).durable(false).environment(environment).await.unwrap());
    let mut versions = HashSet::new();
    for _ in 0..20 {
        assert!(versions.insert(store.put("k", "first").await.unwrap()));
        assert!(versions.insert(store.put("k", "second").await.unwrap()));
        *armed.lock().unwrap() = true;
        // Streamed, so that it is staged, in the inode of "first", while the key still exists.
        let body = Body::from_stream(stream::iter([Ok(Bytes::from("third"))]).boxed(), None);
        match store.put("k", body).if_absent().await {
            Ok(version) => assert!(versions.insert(version), "a version came back"),
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
        *armed.lock().unwrap() = false;
    }
}

#[tokio::test]
async fn a_time_at_the_end_of_time_is_refused_and_does_not_spread() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(Fs::open(root.path()).durable(false).await.unwrap());
    store.put("k", "1").await.unwrap();
    let file = fs::File::options().write(true).open(root.path().join("k")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(200_000_000_000)).unwrap();
    let before = store.head("k").await.unwrap().unwrap().version;
    match store.put("k", "2").await {
        Ok(version) => assert_ne!(version, before),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
    }
    store.delete("k").await.unwrap();
    let first = store.put("k", "3").if_absent().await.unwrap();
    let second = store.put("k", "4").await.unwrap();
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_condition_on_an_invented_version_is_a_conflict() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(Fs::open(root.path()).await.unwrap());
    store.put("k", "1").await.unwrap();
    for invented in ["ffffffffffffffff-1", "1-1", "", "\"etag\""] {
        let version = leasehold_core::Version::new(invented);
        let streamed = Body::from_stream(stream::iter([Ok(Bytes::from("2"))]).boxed(), None);
        for error in [
            store.put("k", "2").if_match(version.clone()).await.unwrap_err(),
            store.put("k", streamed).if_match(version.clone()).await.unwrap_err(),
            store.put("absent", "2").if_match(version.clone()).await.unwrap_err(),
            store.delete("k").if_match(version).await.unwrap_err(),
        ] {
            assert!(error.is_conflict(), "{invented}: {error}");
        }
    }
}

#[tokio::test]
async fn a_long_value_that_begins_like_a_counter_is_none() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(Fs::open(root.path()).durable(false).await.unwrap());
    for text in [format!("5{}important", " ".repeat(63)), format!("{}5", "0".repeat(64))] {
        store.put("n", text.as_str()).await.unwrap();
        assert_eq!(store.increment("n", 1).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(store.get("n").await.unwrap().unwrap().text().await.unwrap(), text);
    }
}

#[tokio::test]
async fn a_lock_that_is_never_let_go_stops_only_its_own_keys() {
    let root = tempfile::tempdir().unwrap();
    let open = |timeout| Fs::open(root.path()).durable(false).lock_timeout(timeout);
    let store = Store::new(open(Duration::from_secs(600)).await.unwrap());
    let impatient = Store::new(open(Duration::from_millis(1)).await.unwrap());
    let large = vec![7_u8; 2 << 20];
    store.put("large", large.clone()).await.unwrap();
    store.put("stuck", "0").await.unwrap();
    // Which lock file is the key's own is not ours to know: hold one after the other until it makes a difference.
    let mut held = None;
    for number in 0..64 {
        let lock = fs::File::open(root.path().join(format!(".leasehold/locks/{number:02x}"))).unwrap();
        lock.lock().unwrap();
        if impatient.put("stuck", "1").await.is_err() {
            held = Some(lock);
            break;
        }
    }
    let held = held.unwrap();
    let mut free = Vec::new();
    for key in (0..40).map(|number| format!("free-{number}")) {
        if impatient.put(key.as_str(), "x").await.is_ok() {
            free.push(key);
        }
    }
    assert!(free.len() >= 20, "most keys are in other stripes: {}", free.len());
    let waiting: Vec<_> = (0..200)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.put("stuck", "2").await })
        })
        .collect();
    tokio::task::yield_now().await;
    // Would wait ten minutes if the stuck ones had taken all places.
    for key in &free {
        store.put(key, "y").await.unwrap();
    }
    assert_eq!(store.get("large").await.unwrap().unwrap().bytes().await.unwrap(), large);
    drop(held);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_is_longer_than_announced_is_not_read_to_its_end() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(Fs::open(root.path()).durable(false).await.unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let endless = stream::repeat_with(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from(vec![7; 1 << 20]))
    });
    let error = store.put("k", Body::from_stream(endless.boxed(), Some(3))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(asked.load(Ordering::Relaxed) <= 2);
    assert!(store.head("k").await.unwrap().is_none());
}

#[tokio::test]
async fn a_chain_of_directories_that_no_key_could_make_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(Fs::open(root.path()).durable(false).await.unwrap());
    store.put("a", "1").await.unwrap();
    let mut path = root.path().to_owned();
    for _ in 0..60 {
        path.push(format!("{}%%", "x".repeat(50)));
    }
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("value"), "foreign").unwrap();
    let keys: Vec<_> = store.list("").await.unwrap().into_iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["a"]);
}
