//! The whole suite through our own endpoint, over memory and over a directory.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::Arc;

use leasehold_conformance::{Effort, Fixture, Options, Subject, conformance_tests};
use leasehold_core::{Result, Store};
use leasehold_fs::Fs;
use leasehold_memory::Memory;

use support::{bucket, serve};

/// Each handle is a client of its own, with connections of its own.
async fn served(store: Store, guard: impl Send + Sync + 'static) -> Result<Fixture> {
    let server = Arc::new(serve(store).await);
    let limited = server.clone();
    let url = server.url();
    Ok(Fixture::new(move || {
        let (opened, server) = (bucket(url.clone()), server.clone());
        async move {
            let _served = server;
            opened.await.map(Store::new)
        }
    })
    .limited(move |bytes| {
        let opened = bucket(limited.url()).value_bytes_max(bytes);
        async move { opened.await.map(Store::new) }
    })
    // The bucket's name is part of the key below.
    .key_bytes_taken("bucket/".len())
    .guarded_by(guard))
}

fn over_memory() -> Subject {
    Subject::new("S3 over memory", || async { served(Store::new(Memory::new()), ()).await })
}

fn over_a_directory() -> Subject {
    Subject::new("S3 over a directory", || async {
        let directory = tempfile::tempdir().expect("a temporary directory is made");
        let store = Store::new(Fs::open(directory.path()).durable(false).await?);
        served(store, directory).await
    })
}

fn light() -> Options {
    Options::default().effort(Effort::Light)
}

conformance_tests!(s3_over_memory, over_memory());
conformance_tests!(s3_over_a_directory, over_a_directory(), light());
