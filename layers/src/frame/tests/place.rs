//! A store through a coding, and what lies below it.

use std::{collections::VecDeque, fmt, sync::Arc};

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    BatchOptions, Body, BoxStream, Bytes, Capabilities, Changes, DeleteOptions, Entry, GetOptions, Key,
    Layer, ListOptions, Lookup, Metadata, Object, Operation, Outcome, PutOptions, Result, Scope,
    StorageAdapter, Store, Version, async_trait,
};
use leasehold_memory::Memory;
use parking_lot::Mutex;

use crate::{Codec, Compress, Counts, Encrypt, Keys, Meter, Verify};

/// Wraps a store.
type Wrap = Arc<dyn Fn(Store) -> Store + Send + Sync>;

/// Every coding with chunks of this size, by name.
pub(crate) fn codings(log2: u8) -> Vec<(&'static str, Wrap)> {
    let keys = || Keys::new("test", [7; 32]).unwrap();
    let compress = move |codec| Compress::new(codec).tiny_chunks(log2).above(64).saving(0);
    vec![
        ("gzip", Arc::new(move |store: Store| store.layer(compress(Codec::Gzip))) as Wrap),
        ("zstd", Arc::new(move |store: Store| store.layer(compress(Codec::Zstd)))),
        ("lz4", Arc::new(move |store: Store| store.layer(compress(Codec::Lz4)))),
        ("verify", Arc::new(move |store: Store| store.layer(Verify::new().tiny_chunks(log2)))),
        ("encrypt", Arc::new(move |store: Store| store.layer(Encrypt::new(keys()).tiny_chunks(log2)))),
    ]
}

/// A store, the store below its layers, and a count of what arrives there.
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) below: Store,
    pub(crate) odd: Odd,
    meter: Meter,
}

impl Place {
    /// A store with layers; `piece` is how many bytes the one below yields at a time, all where it is none.
    pub(crate) fn new(piece: Option<usize>, wrap: impl Fn(Store) -> Store) -> Self {
        let (below, meter) = (Store::new(Memory::new()), Meter::new());
        let odd = Odd { piece, meddling: Arc::default() };
        let store = wrap(below.clone().layer(odd.clone()).layer(meter.clone()));
        Self { store, below, odd, meter }
    }

    /// What is stored below.
    pub(crate) async fn stored(&self, key: &str) -> Bytes {
        self.below.get(key).await.unwrap().unwrap().bytes().await.unwrap()
    }

    /// The value, read whole.
    pub(crate) async fn value(&self, key: &str) -> Result<Bytes> {
        self.store.get(key).await?.expect("there is a value").bytes().await
    }

    /// A part of the value.
    pub(crate) async fn part(&self, key: &str, range: std::ops::Range<usize>) -> Result<Bytes> {
        let found = self.store.get(key).range(range.start as u64..range.end as u64).await?;
        found.expect("there is a value").bytes().await
    }

    /// What arrived below while `work` was done.
    pub(crate) async fn counts<T>(&self, work: impl Future<Output = T>) -> Counts {
        let before = self.meter.counts();
        work.await;
        self.meter.counts().since(&before)
    }
}

/// A body that comes in pieces.
pub(crate) fn streamed(bytes: &Bytes, piece: usize, announced: bool) -> Body {
    let pieces: Vec<_> = bytes.chunks(piece.max(1)).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(stream::iter(pieces).boxed(), announced.then_some(bytes.len() as u64))
}

/// A layer that yields bodies in pieces, and puts another value after each get, as long as it has some.
#[derive(Clone, Debug)]
pub(crate) struct Odd {
    piece: Option<usize>,
    meddling: Arc<Mutex<VecDeque<Bytes>>>,
}

impl Odd {
    /// After each of the next gets, one of these frames is put.
    pub(crate) fn meddle(&self, frames: impl IntoIterator<Item = Bytes>) {
        self.meddling.lock().extend(frames);
    }

    pub(crate) fn left(&self) -> usize {
        self.meddling.lock().len()
    }

    fn pieces(&self, object: Object) -> Object {
        let Object { metadata, range, body, .. } = object;
        let body = match (self.piece, body.try_into_bytes()) {
            (Some(piece), Ok(bytes)) => streamed(&bytes, piece, true),
            (_, Ok(bytes)) => Body::from_bytes(bytes),
            (_, Err(body)) => body,
        };
        Object::new(metadata, range, body)
    }

    fn lookup(&self, lookup: Lookup) -> Lookup {
        match lookup {
            Lookup::Found(object) => Lookup::Found(self.pieces(object)),
            other => other,
        }
    }
}

impl Layer for Odd {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        Arc::new(Below { odd: self, inner })
    }
}

#[derive(Debug)]
struct Below {
    odd: Odd,
    inner: Arc<dyn StorageAdapter>,
}

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl StorageAdapter for Below {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.inner.head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        let lookup = self.inner.get(key, options).await?;
        let next = self.odd.meddling.lock().pop_front();
        if let Some(frame) = next {
            self.inner.put(key, Body::from_bytes(frame), PutOptions::default()).await?;
        }
        Ok(self.odd.lookup(lookup))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.inner.put(key, body, options).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.inner.delete(key, options).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.inner.list(options)
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.inner.increment(key, delta).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        let results = self.inner.batch(operations, options).await;
        let odd = |outcome| match outcome {
            Outcome::Got(lookup) => Outcome::Got(self.odd.lookup(lookup)),
            other => other,
        };
        results.into_iter().map(|result| result.map(odd)).collect()
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.inner.changes(scope).await
    }
}
