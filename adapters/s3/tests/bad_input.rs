//! Wrong keys, wrong places, wrong clocks: one clear error each, and no secret in it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, future},
};
use leasehold_core::{
    BoxFuture, Capability, Clock, Environment, Error, ErrorKind, Random, Store, SystemClock, SystemRandom,
};
use leasehold_fault_proxy::{Answer, Fault, When};
use leasehold_s3::S3;

use support::{Behind, ID, SECRET, bucket};

/// The error of a first call, whose text must hold `words` and nothing secret.
async fn first_error(store: &Store, words: &str) -> Error {
    let error = store.get("k").await.unwrap_err();
    let shown = format!("{error} {error:?} {store:?}");
    assert!(shown.contains(words), "{shown}");
    assert!(!shown.contains(SECRET) && !shown.contains("hush"), "{shown}");
    error
}

#[tokio::test]
async fn wrong_keys_are_denied() {
    let behind = Behind::start().await;
    let unknown = Store::new(behind.open().keys("nobody", "hush").await.unwrap());
    assert_eq!(first_error(&unknown, "access key").await.kind(), ErrorKind::Denied);
    let mistyped = Store::new(behind.open().keys(ID, "hush").await.unwrap());
    assert_eq!(first_error(&mistyped, "secret access key").await.kind(), ErrorKind::Denied);
    let anonymous = Store::new(behind.open().anonymous().await.unwrap());
    assert_eq!(first_error(&anonymous, "denied").await.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let behind = Behind::start().await;
    let store = S3::bucket("nowhere").region("us-east-1").endpoint(behind.server.url()).keys(ID, SECRET);
    let store = Store::new(store.await.unwrap());
    assert_eq!(first_error(&store, "no bucket \"nowhere\"").await.kind(), ErrorKind::Invalid);
    let error = store.put("k", "v").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && !error.is_indeterminate(), "{error}");
    assert_eq!(store.list("").await.unwrap_err().kind(), ErrorKind::Invalid);
    // A server does not say to a head what is missing.
    assert_eq!(store.head("k").await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn another_region_is_named() {
    let behind = Behind::start().await;
    let answer = Answer::new(301, "PermanentRedirect", "The bucket must be addressed elsewhere.");
    behind.proxy.always(When::any(), Fault::Answer(answer));
    let store = behind.store().await;
    assert_eq!(first_error(&store, "set region").await.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn an_expired_session_says_so() {
    let behind = Behind::start().await;
    behind.proxy.always(
        When::any(),
        Fault::Answer(Answer::new(400, "ExpiredToken", "The provided token has expired.")),
    );
    let store = behind.store().await;
    assert_eq!(first_error(&store, "expired").await.kind(), ErrorKind::Denied);
    let error = store.put("k", "v").if_absent().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && !error.is_indeterminate(), "{error}");
}

/// A clock that is wrong about the time of day.
#[derive(Debug)]
struct Wrong(fn(SystemTime) -> SystemTime);

impl Clock for Wrong {
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    fn boottime(&self) -> Duration {
        SystemClock.boottime()
    }

    fn wall(&self) -> SystemTime {
        self.0(SystemClock.wall())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration)
    }
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_explained() {
    let behind = Behind::start().await;
    let hour = Duration::from_secs(3_600);
    for (clock, words) in [
        (Wrong(|now| now + Duration::from_secs(3_600)), "60 minutes ahead of"),
        (Wrong(|now| now - Duration::from_secs(3_600)), "behind"),
    ] {
        let environment =
            Environment { clock: Arc::new(clock), random: Arc::new(SystemRandom) as Arc<dyn Random> };
        let store = Store::new(behind.open().environment(environment).await.unwrap());
        assert_eq!(first_error(&store, words).await.kind(), ErrorKind::Denied, "{hour:?}");
    }
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_before_anything_is_sent() {
    let behind = Behind::start().await;
    let store = Store::new(behind.open().value_bytes_max(10).await.unwrap());
    behind.proxy.forget();
    let error = store.put("k", "eleven bytes").await.unwrap_err();
    assert_eq!((error.kind(), behind.proxy.count()), (ErrorKind::Invalid, 0), "{error}");
}

#[tokio::test]
async fn a_conditional_delete_that_nobody_vouches_for_is_refused() {
    let behind = Behind::start().await;
    let store = Store::new(behind.open().conditional_delete(false).await.unwrap());
    let version = store.put("k", "v").await.unwrap();
    let error = store.delete("k").if_match(version).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported(Capability::ConditionalDelete));
    assert!(store.get("k").await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_apart_from_a_lost_reply() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let store = Store::new(bucket(format!("http://{address}")).attempts(2).await.unwrap());
    let error = store.put("k", "v").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && !error.is_indeterminate(), "{error}");
}

#[tokio::test]
async fn what_is_no_bucket_endpoint_or_region_is_refused_at_once() {
    for open in [
        S3::bucket("a/b").region("r"),
        S3::bucket("bucket").region("not a region"),
        S3::bucket("bucket").region("r").endpoint("127.0.0.1:9000"),
        S3::bucket("bucket").region("r").endpoint("http://id:hush@127.0.0.1:9000"),
        S3::bucket("bucket").region("r").part_bytes(1),
        S3::bucket("bucket").region("r").attempts(0),
    ] {
        let shown = format!("{open:?}");
        let error = open.keys(ID, SECRET).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{shown}");
        assert!(!format!("{error:?}").contains("hush"));
    }
}

/// Gives out these secrets one after the other, with what they have left; the last again and again.
#[derive(Debug, Clone)]
struct Provider {
    keys: Vec<(&'static str, Duration)>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    fn of(keys: impl Into<Vec<(&'static str, Duration)>>) -> Self {
        Self { keys: keys.into(), asked: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let (secret, left) = self.keys[asked.min(self.keys.len() - 1)];
        let expires = SystemClock.wall() + left;
        future::ProvideCredentials::ready(Ok(Credentials::new(ID, secret, None, Some(expires), "test")))
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn keys_are_renewed_before_they_expire_and_not_at_every_call() {
    let behind = Behind::start().await;
    let later = Arc::new(AtomicU64::new(0));
    let environment = Environment { clock: Arc::new(Later(later.clone())), random: Arc::new(SystemRandom) };
    let provider = Provider::of([(SECRET, MINUTE), (SECRET, MINUTE), (SECRET, 60 * MINUTE)]);
    let open = behind.open().provider(provider.clone()).environment(environment);
    let store = Store::new(open.await.unwrap());
    for (seconds, asked) in [(0, 1), (0, 1), (11, 2), (11, 2), (22, 3), (60, 3)] {
        later.store(seconds, Ordering::Relaxed);
        store.put("k", "1").await.unwrap();
        assert_eq!(provider.asked(), asked, "after {seconds} s");
    }
}

#[tokio::test]
async fn keys_that_are_refused_as_expired_are_replaced() {
    let behind = Behind::start().await;
    let provider = Provider::of([("hush", 60 * MINUTE), (SECRET, 60 * MINUTE)]);
    let store = Store::new(behind.open().provider(provider.clone()).await.unwrap());
    behind.proxy.script(When::any(), [Fault::Answer(Answer::new(403, "ExpiredToken", "It has expired."))]);
    store.put("k", "1").await.unwrap();
    assert_eq!(provider.asked(), 2);
    // A head is refused without a word.
    let provider = Provider::of([("hush", 60 * MINUTE), (SECRET, 60 * MINUTE)]);
    let store = Store::new(behind.open().provider(provider.clone()).await.unwrap());
    assert!(store.head("k").await.unwrap().is_some());
    assert_eq!(provider.asked(), 2);
}

/// A clock that is some seconds ahead, but for the time of day.
#[derive(Debug)]
struct Later(Arc<AtomicU64>);

impl Clock for Later {
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn boottime(&self) -> Duration {
        self.monotonic()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration)
    }
}
