//! The whole suite through every layer, over memory, a directory and S3.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{sync::Arc, time::Duration};

use leasehold::{
    Result, Store,
    fs::Fs,
    layers::{
        Batch, Cache, Codec, Compress, Encrypt, Faults, Keys, Limit, Meter, Namespace, Retry, Timeout, Trace,
        Verify,
    },
    memory::Memory,
    s3::S3,
};
use leasehold_conformance::{Effort, Fixture, Options, Subject, run};
use leasehold_s3_server::{Credentials, S3Server};

const ROOM: u64 = 4 << 20;

fn directory() -> Subject {
    Subject::new("directory", || async {
        let directory = tempfile::tempdir().expect("a temporary directory is made");
        let path = directory.path().to_owned();
        let limited = path.clone();
        Ok(Fixture::new(move || {
            let path = path.clone();
            async move { Ok(Store::new(Fs::open(path).durable(false).await?)) }
        })
        .limited(move |bytes| {
            let path = limited.clone();
            async move { Ok(Store::new(Fs::open(path).durable(false).value_bytes_max(bytes).await?)) }
        })
        .guarded_by(directory))
    })
}

/// A bucket of our own endpoint.
fn bucket() -> Subject {
    Subject::new("S3", || async {
        let server = S3Server::new(Store::new(Memory::new())).credentials(Credentials::new("id", "key"));
        let server = Arc::new(server.bucket("bucket").bind("127.0.0.1:0").await?);
        let limited = server.clone();
        let open = |url| {
            S3::bucket("bucket").region("us-east-1").endpoint(url).keys("id", "key").conditional_delete(true)
        };
        Ok(Fixture::new(move || {
            let server = server.clone();
            async move { Ok(Store::new(open(server.url()).await?)) }
        })
        .limited(move |bytes| {
            let server = limited.clone();
            async move { Ok(Store::new(open(server.url()).value_bytes_max(bytes).await?)) }
        })
        .key_bytes_taken("bucket/".len()))
    })
}

fn light() -> Options {
    Options::default().effort(Effort::Light)
}

/// Runs the suite and fails with the cases that did.
async fn check(subject: Subject, options: Options) {
    let report = run(&subject, &options).await;
    let failures: Vec<_> = report.failures().map(ToString::to_string).collect();
    assert!(report.passed(), "{}, seed {}:\n{}", report.subject, report.seed, failures.join("\n"));
}

fn options_over_s3(layer: &str) -> Options {
    match layer {
        "batch_behind" => light().except(
            "a_key_over_the_longest_is_refused",
            "only the server knows that the bucket's name makes the key too long; flush tells",
        ),
        _ => light(),
    }
}

fn keys() -> Keys {
    Keys::new("new", [2; 32]).and_then(|keys| keys.and("old", [1; 32])).unwrap()
}

/// One module for a layer, with a test for each store below it.
macro_rules! layers {
    ($($name:ident $(, $handles:ident)? => $layer:expr;)+) => {$(
        mod $name {
            use super::*;

            fn through(below: Subject) -> Subject {
                let layer: fn(Store) -> Result<Store> = $layer;
                below.layered(stringify!($name), layer)$(.$handles())?
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn over_memory() {
                check(through(Subject::memory()), light()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn over_a_directory() {
                check(through(directory()), light()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn over_s3() {
                check(through(bucket()), options_over_s3(stringify!($name))).await;
            }
        }
    )+};
}

layers! {
    batch => |store| Ok(store.layer(Batch::group_commit()));
    batch_that_coalesces => |store| Ok(store.layer(Batch::group_commit().coalesce(true)));
    batch_behind, with_one_handle => |store| Ok(store.layer(Batch::write_behind().wait(Duration::from_millis(2))));
    cache_that_revalidates => |store| Ok(store.layer(Cache::revalidate(ROOM)));
    cache_of_bounded_staleness, with_one_handle =>
        |store| Ok(store.layer(Cache::bounded_staleness(ROOM, Duration::from_secs(60))));
    compress => |store| Ok(store.layer(Compress::default()));
    compress_everything => |store| Ok(store.layer(Compress::new(Codec::Lz4).above(0).saving(0).chunk_bytes(4096)));
    encrypt => |store| Ok(store.layer(Encrypt::new(keys()).chunk_bytes(4096)));
    verify => |store| Ok(store.layer(Verify::new().strict()));
    faults_at_rest => |store| Ok(store.layer(Faults::seeded(1).delay(0.05, Duration::from_micros(200))));
    limit => |store| Ok(store.layer(Limit::new().at_once(8).per_second(1_000_000, 1_000)));
    meter => |store| Ok(store.layer(Meter::published("suite")));
    retry => |store| Ok(store.layer(Retry::new()));
    timeout => |store| Ok(store.layer(Timeout::after(Duration::from_secs(30))));
    trace => |store| Ok(store.layer(Trace::new()));
    a_whole_stack => |store| {
        let store = store.layer(Limit::new().at_once(32)).layer(Timeout::after(Duration::from_secs(30)));
        let store = store.layer(Retry::new()).layer(Meter::new()).layer(Batch::group_commit());
        let store = store.layer(Verify::new()).layer(Encrypt::new(keys())).layer(Compress::default());
        Ok(store.layer(Cache::revalidate(ROOM)).layer(Trace::new()))
    };
}

/// A namespace takes some of a key's length, so the subject has to know of it.
mod namespace {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn over_s3() {
        check(bucket().namespaced("tenant/7").unwrap(), light()).await;
    }

    #[test]
    fn is_a_layer_of_the_core() {
        let store = Store::new(Memory::new()).layer(Namespace::new("tenant/7").unwrap());
        assert_eq!(store.to_string(), "mem:/tenant/7");
    }
}
