//! The suite through layers that frame values, over memory and over a directory.

use std::{fmt, sync::Arc};

use futures_util::stream::StreamExt;
use leasehold_conformance::{Effort, Fixture, Options, Subject, conformance_tests};
use leasehold_core::{
    BatchOptions, Body, BoxStream, Capabilities, DeleteOptions, Entry, GetOptions, Key, Limits, ListOptions,
    Lookup, Metadata, Operation, Outcome, PutOptions, Result, StorageAdapter, Store, Version, async_trait,
};
use leasehold_fs::Fs;
use leasehold_layers::{Codec, Compress, Encrypt, Keys, Verify};
use leasehold_memory::Memory;
use tempfile::TempDir;

fn compressed(store: Store) -> Store {
    store.layer(Compress::default())
}

/// As many values as possible, in small chunks.
fn compressed_all(store: Store) -> Store {
    store.layer(Compress::new(Codec::Lz4).above(0).saving(0).chunk_bytes(4096))
}

fn verified(store: Store) -> Store {
    store.layer(Verify::new().strict())
}

fn encrypted(store: Store) -> Store {
    let keys = Keys::new("b", [2; 32]).and_then(|keys| keys.and("a", [1; 32])).expect("the ids are sound");
    store.layer(Encrypt::new(keys).chunk_bytes(4096))
}

fn all_three(store: Store) -> Store {
    compressed(encrypted(verified(store)))
}

/// A handle whose limit is this one, through whatever the layers take of it.
fn limited(limit: u64, open: impl Fn(u64) -> Store) -> Store {
    let told = |store: &Store| store.capabilities().limits().value_bytes_max;
    (limit..).map(open).find(|store| told(store) >= limit).expect("layers take a bounded part of the limit")
}

fn over_memory(name: &str, wrap: fn(Store) -> Store) -> Subject {
    Subject::new(format!("{name} over memory"), move || async move {
        let memory = Memory::new();
        let small = memory.clone();
        let limited = move |bytes| {
            let small = small.clone();
            let open = move |value_bytes_max| {
                wrap(Store::new(small.clone().limits(Limits { value_bytes_max, ..Limits::default() })))
            };
            std::future::ready(Ok(sized(limited(bytes, open))))
        };
        let open = move || std::future::ready(Ok(sized(wrap(Store::new(memory.clone())))));
        Ok(Fixture::new(open).limited(limited))
    })
}

fn over_fs(name: &str, wrap: fn(Store) -> Store) -> Subject {
    Subject::new(format!("{name} over a directory"), move || async move {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let path = directory.path().to_owned();
        let open = move || {
            let path = path.clone();
            async move { Ok(sized(wrap(Store::new(Fs::open(path).durable(false).await?)))) }
        };
        Ok(Fixture::new(open).guarded_by(directory))
    })
}

fn light() -> Options {
    Options::default().effort(Effort::Light)
}

conformance_tests!(compress_over_memory, over_memory("compress", compressed));
conformance_tests!(compress_all_over_memory, over_memory("compress all", compressed_all));
conformance_tests!(verify_over_memory, over_memory("verify", verified));
conformance_tests!(encrypt_over_memory, over_memory("encrypt", encrypted));
conformance_tests!(all_three_over_memory, over_memory("all three", all_three));
conformance_tests!(compress_over_fs, over_fs("compress", compressed), light());
conformance_tests!(compress_all_over_fs, over_fs("compress all", compressed_all), light());
conformance_tests!(verify_over_fs, over_fs("verify", verified), light());
conformance_tests!(encrypt_over_fs, over_fs("encrypt", encrypted), light());
conformance_tests!(all_three_over_fs, over_fs("all three", all_three), light());

/// Lists with the sizes that heads tell: many cases compare them, and these layers do not claim them.
fn sized(store: Store) -> Store {
    store.layer(|inner| Arc::new(Sized(inner)) as Arc<dyn StorageAdapter>)
}

#[derive(Debug)]
struct Sized(Arc<dyn StorageAdapter>);

impl fmt::Display for Sized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[async_trait]
impl StorageAdapter for Sized {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.0.head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.0.get(key, options).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.0.put(key, body, options).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.0.delete(key, options).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let inner = self.0.clone();
        let sized = move |entry: Result<Entry>| {
            let inner = inner.clone();
            async move {
                let mut entry = entry?;
                if let Some(head) = inner.head(&entry.key).await?
                    && head.version == entry.metadata.version
                {
                    entry.metadata.size = head.size;
                }
                Ok(entry)
            }
        };
        self.0.list(options).then(sized).boxed()
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.0.increment(key, delta).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        self.0.batch(operations, options).await
    }
}
