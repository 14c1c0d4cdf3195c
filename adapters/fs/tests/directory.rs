//! What is particular to a directory: what lies on disk, what strangers do to it, what the machine runs out of.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use leasehold_core::{BoxFuture, Clock, Environment, ErrorKind, Store, SystemClock};
use leasehold_fs::Fs;
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn open(path: &Path) -> Store {
    Store::new(Fs::open(path).durable(false).await.unwrap())
}

async fn text(store: &Store, key: &str) -> Option<String> {
    match store.get(key).await.unwrap() {
        Some(object) => Some(object.text().await.unwrap()),
        None => None,
    }
}

fn visible(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".leasehold");
    names.sort();
    names
}

#[tokio::test]
async fn a_person_finds_values_as_plain_files() {
    let root = directory();
    let store = open(root.path()).await;
    store.put("readme.txt", "hello").await.unwrap();
    store.put("photos/2024/cat.jpg", "meow").await.unwrap();
    store.put("photos", "an index").await.unwrap();
    assert_eq!(fs::read_to_string(root.path().join("readme.txt")).unwrap(), "hello");
    assert_eq!(fs::read_to_string(root.path().join("photos%/2024%/cat.jpg")).unwrap(), "meow");
    assert_eq!(fs::read_to_string(root.path().join("photos")).unwrap(), "an index");
}

#[tokio::test]
async fn an_edit_by_hand_is_a_write() {
    let root = directory();
    let store = open(root.path()).await;
    let version = store.put("a", "1").await.unwrap();
    fs::write(root.path().join("a"), "by hand").unwrap();
    assert_eq!(text(&store, "a").await.as_deref(), Some("by hand"));
    assert!(store.put("a", "2").if_match(version).await.unwrap_err().is_conflict());
    let version = store.head("a").await.unwrap().unwrap().version;
    store.put("a", "2").if_match(version).await.unwrap();
}

#[tokio::test]
async fn empty_directories_go_with_their_last_value() {
    let root = directory();
    let store = open(root.path()).await;
    store.put("a/b/c", "1").await.unwrap();
    store.put("a/d", "2").await.unwrap();
    store.delete("a/b/c").await.unwrap();
    assert_eq!(visible(&root.path().join("a%")), ["d"]);
    store.delete("a/d").await.unwrap();
    assert_eq!(visible(root.path()), [""; 0]);
}

#[tokio::test]
async fn writers_and_deleters_of_one_directory_do_not_trip_each_other() {
    for durable in [false, true] {
        let root = directory();
        let open = || async { Store::new(Fs::open(root.path()).durable(durable).await.unwrap()) };
        let churn = |store: Store, key: &'static str| async move {
            for _ in 0..300 {
                store.put(key, "x").await.unwrap();
                store.delete(key).await.unwrap();
            }
        };
        let (one, two) = (open().await, open().await);
        tokio::join!(churn(one.clone(), "d/e/one"), churn(two, "d/e/two"), churn(one, "d/e/one"));
        assert_eq!(visible(root.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_symbolic_link_leads_nowhere() {
    let (root, outside) = (directory(), directory());
    fs::write(outside.path().join("secret"), "s").unwrap();
    let store = open(root.path()).await;
    symlink(outside.path(), root.path().join("out%")).unwrap();
    symlink(outside.path().join("secret"), root.path().join("link")).unwrap();
    for key in ["out/secret", "link"] {
        assert_eq!(store.get(key).await.unwrap_err().kind(), ErrorKind::Corrupt, "{key}");
        assert_eq!(store.head(key).await.unwrap_err().kind(), ErrorKind::Corrupt, "{key}");
        assert_eq!(store.put(key, "x").await.unwrap_err().kind(), ErrorKind::Corrupt, "{key}");
        assert_eq!(store.put(key, "x").if_absent().await.unwrap_err().kind(), ErrorKind::Corrupt, "{key}");
        assert_eq!(store.delete(key).await.unwrap_err().kind(), ErrorKind::Corrupt, "{key}");
        assert_eq!(store.increment(key, 1).await.unwrap_err().kind(), ErrorKind::Corrupt, "{key}");
    }
    assert_eq!(store.put("out/new", "x").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(store.list("").await.unwrap().is_empty());
    assert!(store.list("out/").await.unwrap().is_empty());
    assert_eq!(visible(outside.path()), ["secret"]);
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "s");
}

#[tokio::test]
async fn what_is_not_ours_is_named_and_left_alone() {
    let root = directory();
    let store = open(root.path()).await;
    fs::create_dir(root.path().join("value")).unwrap();
    fs::write(root.path().join("folder%"), "a file").unwrap();
    let is_a_directory = store.get("value").await.unwrap_err();
    assert_eq!(is_a_directory.kind(), ErrorKind::Corrupt);
    assert!(
        is_a_directory.to_string().contains("a directory stands where a value should be"),
        "{is_a_directory}"
    );
    assert_eq!(store.put("value", "x").await.unwrap_err().kind(), ErrorKind::Corrupt);
    let is_a_file = store.put("folder/x", "x").await.unwrap_err();
    assert!(is_a_file.to_string().contains("a file stands where a directory"), "{is_a_file}");
    assert!(store.list("").await.unwrap().is_empty());
    assert_eq!(fs::read_to_string(root.path().join("folder%")).unwrap(), "a file");
    assert!(root.path().join("value").is_dir());
}

#[tokio::test]
async fn a_root_that_is_missing_or_a_file_is_refused_with_the_next_step() {
    let root = directory();
    let missing = Fs::open(root.path().join("no/where")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Invalid);
    assert!(missing.to_string().contains("parent directory does not exist"), "{missing}");
    let missing = Fs::open(root.path().join("nowhere")).create(false).await.unwrap_err();
    assert!(missing.to_string().contains("no such directory"), "{missing}");
    fs::write(root.path().join("file"), "").unwrap();
    let file = Fs::open(root.path().join("file")).await.unwrap_err();
    assert!(file.to_string().contains("a store needs a directory"), "{file}");
}

#[tokio::test]
async fn a_root_that_may_not_be_read_is_denied_with_the_next_step() {
    use std::os::unix::fs::PermissionsExt;
    let root = directory();
    let path = root.path().join("store");
    open(&path).await.put("a", "1").await.unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&path).is_ok() {
        eprintln!("NOTICE: this user may read everything; the test of an unreadable root is not run");
    } else {
        let denied = Fs::open(&path).await.unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::Denied);
        assert!(denied.to_string().contains("check the directory's owner and mode"), "{denied}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(text(&open(&path).await, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_store_of_another_format_is_refused_and_not_touched() {
    let root = directory();
    fs::create_dir(root.path().join(".leasehold")).unwrap();
    let format = root.path().join(".leasehold/format");
    for (content, says) in [
        (r#"{"format":9}"#, "format 9"),
        ("garbage", "not the description of a store"),
        ("", "not the description"),
    ] {
        fs::write(&format, content).unwrap();
        let refused = Fs::open(root.path()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
        assert!(refused.to_string().contains(says), "{refused}");
        assert_eq!(fs::read_to_string(&format).unwrap(), content);
    }
}

#[tokio::test]
async fn a_store_that_was_removed_underneath_says_so() {
    let root = directory();
    let path = root.path().join("store");
    let store = open(&path).await;
    store.put("a", "1").await.unwrap();
    store.put("d/a", "1").await.unwrap();
    fs::remove_dir_all(&path).unwrap();
    fs::create_dir(&path).unwrap();
    for key in ["a", "d/a"] {
        for error in [
            store.get(key).await.unwrap_err(),
            store.head(key).await.unwrap_err(),
            store.put(key, "2").await.unwrap_err(),
            store.put(key, "2").if_absent().await.unwrap_err(),
            store.delete(key).await.unwrap_err(),
            store.increment(key, 1).await.unwrap_err(),
            store.list("").await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("removed"), "{error}");
            assert!(!error.is_indeterminate(), "{error}");
        }
    }
}

#[tokio::test]
async fn a_removed_lock_file_excludes_nobody_and_is_refused() {
    let root = directory();
    let store = open(root.path()).await;
    store.put("a", "1").await.unwrap();
    fs::remove_dir_all(root.path().join(".leasehold/locks")).unwrap();
    let error = store.put("a", "2").await.unwrap_err();
    assert!(error.to_string().contains("open it again"), "{error}");
    let reopened = open(root.path()).await;
    reopened.put("a", "2").await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_held_for_ever_times_out_and_nothing_is_written() {
    let root = directory();
    let store = Store::new(
        Fs::open(root.path()).durable(false).lock_timeout(Duration::from_millis(20)).await.unwrap(),
    );
    store.put("a", "1").await.unwrap();
    let locks: Vec<_> = (0..64)
        .map(|number| {
            let path = root.path().join(format!(".leasehold/locks/{number:02x}"));
            let lock = fs::File::options().create(true).append(true).open(path).unwrap();
            lock.lock().unwrap();
            lock
        })
        .collect();
    let error = store.put("a", "2").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.is_retryable() && !error.is_indeterminate(), "{error}");
    assert!(error.to_string().contains(".leasehold/locks/"), "{error}");
    assert_eq!(text(&store, "a").await.as_deref(), Some("1"));
    store.put("created", "without a lock").if_absent().await.unwrap();
    drop(locks);
    store.put("a", "2").await.unwrap();
}

/// A clock whose time of day the test sets; the rest is the machine's.
#[derive(Debug)]
struct SetClock(Mutex<SystemTime>);

impl Clock for SetClock {
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
    fn boottime(&self) -> Duration {
        SystemClock.boottime()
    }
    fn wall(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration)
    }
}

#[tokio::test]
async fn versions_grow_while_the_clock_stands_still_or_steps_back() {
    let root = directory();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let clock = Arc::new(SetClock(Mutex::new(start)));
    let environment = Environment { clock: clock.clone(), ..Environment::default() };
    let store = Store::new(Fs::open(root.path()).durable(false).environment(environment).await.unwrap());
    let number = |version: &leasehold_core::Version| {
        u64::from_str_radix(version.as_str().split('-').next().unwrap(), 16).unwrap()
    };
    let mut seen = Vec::new();
    for round in 0..40_u64 {
        *clock.0.lock().unwrap() = start - Duration::from_secs(round / 2);
        let version = match round % 4 {
            0 => store.put("k", "same").await.unwrap(),
            1 => store
                .put("k", "same")
                .if_match(store.head("k").await.unwrap().unwrap().version)
                .await
                .unwrap(),
            2 => {
                store.delete("k").await.unwrap();
                store.put("k", "same").if_absent().await.unwrap()
            }
            _ => {
                store.delete("k").await.unwrap();
                store.increment("k", 1).await.unwrap();
                store.head("k").await.unwrap().unwrap().version
            }
        };
        seen.push(number(&version));
    }
    assert!(seen.is_sorted_by(|earlier, later| earlier < later), "{seen:?}");
}

#[tokio::test]
async fn durable_writes_work_at_every_depth_and_from_many_tasks() {
    let root = directory();
    let store = Store::new(Fs::open(root.path()).await.unwrap());
    let writers = (0..16).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..5 {
                store.put(format!("shared/deep/{task}-{round}"), "x").await.unwrap();
                store.increment("count", 1).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(store.list("shared/").await.unwrap().len(), 80);
    assert_eq!(text(&store, "count").await.as_deref(), Some("80"));
}

#[tokio::test]
async fn what_a_handle_staged_goes_with_it() {
    let root = directory();
    let store = open(root.path()).await;
    store.put("a", "1").await.unwrap();
    assert_eq!(fs::read_dir(root.path().join(".leasehold/stage")).unwrap().count(), 2);
    drop(store);
    assert_eq!(fs::read_dir(root.path().join(".leasehold/stage")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_killed_writer_left_is_removed_by_the_next() {
    let root = directory();
    drop(open(root.path()).await);
    let stage = root.path().join(".leasehold/stage");
    fs::create_dir(stage.join("dead")).unwrap();
    fs::write(stage.join("dead/0"), "half a val").unwrap();
    fs::write(stage.join("dead.lock"), "").unwrap();
    let store = open(root.path()).await;
    assert!(store.list("").await.unwrap().is_empty());
    store.put("a", "1").await.unwrap();
    assert!(!stage.join("dead").exists() && !stage.join("dead.lock").exists());
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_before_anything_is_written() {
    let root = directory();
    let store = Store::new(Fs::open(root.path()).durable(false).value_bytes_max(10).await.unwrap());
    store.put("a", "0123456789").await.unwrap();
    let error = store.put("a", "01234567890").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(text(&store, "a").await.as_deref(), Some("0123456789"));
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let root = directory();
    let opened = futures_util::FutureExt::now_or_never(IntoFuture::into_future(Fs::open(root.path())));
    let error = opened.unwrap().unwrap_err();
    assert!(error.to_string().contains("Tokio runtime"), "{error}");
}
