//! The adapter that answers from memory where it may.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use leasehold_core::{
    BatchOptions, Body, BoxStream, ByteRange, Capabilities, Capability, Changes, DeleteOptions, Entry,
    GetOptions, Key, ListOptions, Lookup, Metadata, Object, Operation, Outcome, PutOptions, Result, Scope,
    StorageAdapter, Version, async_trait,
};
use parking_lot::Mutex;

use super::{
    Cache, Mode,
    shelf::{Counters, Kept, Shelf},
    traffic::{Join, Read, Traffic, Write},
};
use crate::known::Known;

#[derive(Debug)]
pub(super) struct Cached {
    mode: Mode,
    pub(super) traffic: Arc<Traffic<Loaded>>,
    pub(super) loader: Arc<Loader>,
}

/// What asks the store.
#[derive(Debug)]
pub(super) struct Loader {
    pub(super) value_bytes_max: u64,
    /// Equal versions tell that everything is equal; otherwise only that the content is.
    pub(super) versions_tell_all: bool,
    counters: Arc<Counters>,
    pub(super) inner: Arc<dyn StorageAdapter>,
}

/// What a shared request came to.
#[derive(Clone, Debug)]
pub(super) enum Loaded {
    /// The answer for everybody.
    Known(Known),
    /// The answer is what was here before: the store said so.
    Still(Known),
    /// A body that can be read once, for whoever comes first.
    Once(Arc<Mutex<Option<Object>>>),
}

impl Loader {
    pub(super) fn count(&self) {
        self.counters.loads.fetch_add(1, Relaxed);
    }

    /// Reads the whole value, or learns that it is still what was kept. Keeps what it found.
    async fn load(self: Arc<Self>, key: Key, kept: Option<Arc<Kept>>, read: Read<Loaded>) -> Result<Loaded> {
        self.count();
        let kept = kept.as_ref().and_then(|kept| Some((kept.known.metadata()?, &kept.known)));
        let mut options = GetOptions::default();
        match kept {
            Some((metadata, _)) if self.versions_tell_all => {
                options = options.if_changed_from(metadata.version.clone());
            }
            // Attributes can change without the version: the head has both.
            Some((metadata, Known::Value(_, bytes))) => match self.inner.head(&key).await? {
                Some(now) if now.version == metadata.version && now.size == bytes.len() as u64 => {
                    let known = Known::Value(now, bytes.clone());
                    read.keep(known.clone());
                    return Ok(Loaded::Still(known));
                }
                Some(_) => self.count(),
                None => return Ok(Self::found(&read, Known::Absent)),
            },
            _ => {}
        }
        match self.inner.get(&key, options).await? {
            Lookup::Absent => Ok(Self::found(&read, Known::Absent)),
            Lookup::Unchanged => match kept {
                Some((_, known)) => {
                    read.keep(known.clone());
                    Ok(Loaded::Still(known.clone()))
                }
                // A store that says so unasked: let the caller see it.
                None => Ok(Loaded::Once(Arc::default())),
            },
            Lookup::Found(object) if self.fits(&object) => {
                let Object { metadata, body, .. } = object;
                let bytes = body.receive(self.value_bytes_max).await?;
                Ok(Self::found(&read, Known::Value(metadata, bytes)))
            }
            Lookup::Found(object) => Ok(Loaded::Once(Arc::new(Mutex::new(Some(object))))),
        }
    }

    fn found(read: &Read<Loaded>, known: Known) -> Loaded {
        read.keep(known.clone());
        Loaded::Known(known)
    }

    pub(super) fn fits(&self, object: &Object) -> bool {
        object.metadata.size <= self.value_bytes_max && object.body.size() == Some(object.metadata.size)
    }
}

impl Cached {
    pub(super) fn new(cache: Cache, shelf: Shelf, inner: Arc<dyn StorageAdapter>) -> Self {
        let loader = Loader {
            value_bytes_max: cache.value_bytes_max,
            versions_tell_all: inner.capabilities().supports(Capability::UniqueVersions),
            counters: cache.counters,
            inner,
        };
        Self { mode: cache.mode, traffic: Traffic::new(shelf), loader: Arc::new(loader) }
    }

    fn inner(&self) -> &dyn StorageAdapter {
        &*self.loader.inner
    }

    pub(super) fn hit(&self) {
        self.loader.counters.hits.fetch_add(1, Relaxed);
    }

    pub(super) fn miss(&self) {
        self.loader.counters.misses.fetch_add(1, Relaxed);
    }

    pub(super) fn answer(&self, key: &Key, known: &Known, options: &GetOptions) -> Result<Lookup> {
        known.answer(options).map_err(|error| error.on("get", key).at(self))
    }

    /// What is kept and may be used at once. `Err` is what is kept and must be asked about.
    pub(super) fn kept(&self, key: &Key) -> Result<Arc<Kept>, Option<Arc<Kept>>> {
        let kept = self.traffic.shelf.any(key).ok_or(None)?;
        let fresh = self.traffic.shelf.fresh(&kept);
        match self.mode {
            Mode::BoundedStaleness if fresh => Ok(kept),
            Mode::Revalidate if !fresh => Err(None),
            _ => Err(Some(kept)),
        }
    }

    /// Asks the store, together with whoever asks the same.
    async fn load(&self, key: &Key, kept: Option<Arc<Kept>>, options: GetOptions) -> Result<Lookup> {
        let join = match self.mode {
            Mode::Revalidate => Join::NotBegun,
            Mode::BoundedStaleness => Join::Within(self.traffic.shelf.bound()),
        };
        let (loader, owned) = (self.loader.clone(), key.clone());
        let loaded = self.traffic.share(key, join, move |read| loader.load(owned, kept, read)).await?;
        if let Loaded::Still(known) = &loaded {
            self.hit();
            return self.answer(key, known, &options);
        }
        self.miss();
        match loaded {
            Loaded::Known(known) | Loaded::Still(known) => self.answer(key, &known, &options),
            Loaded::Once(object) => {
                let object = object.lock().take();
                match object {
                    Some(object)
                        if options.range == ByteRange::Full
                            && options.if_changed_from.as_ref() != Some(object.version()) =>
                    {
                        Ok(Lookup::Found(object))
                    }
                    _ => self.pass(key, options).await,
                }
            }
        }
    }

    async fn pass(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.loader.count();
        self.inner().get(key, options).await
    }

    fn write(&self, key: &Key) -> Write<Loaded> {
        self.traffic.write(key)
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.loader.inner, f)
    }
}

#[async_trait]
impl StorageAdapter for Cached {
    fn capabilities(&self) -> Capabilities {
        match self.mode {
            Mode::Revalidate => self.inner().capabilities(),
            Mode::BoundedStaleness => {
                let taken = [Capability::Linearizable, Capability::Changes];
                self.inner().capabilities().weakened("the cache of bounded staleness", taken)
            }
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        if self.mode == Mode::BoundedStaleness
            && let Ok(kept) = self.kept(key)
        {
            self.hit();
            return Ok(kept.known.metadata().cloned());
        }
        self.inner().head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        match self.kept(key) {
            Ok(kept) => {
                self.hit();
                self.answer(key, &kept.known, &options)
            }
            // A part, or the question whether there is something new, is no reason to fetch the whole.
            Err(None) if options.range != ByteRange::Full || options.if_changed_from.is_some() => {
                self.miss();
                self.pass(key, options).await
            }
            Err(kept) => self.load(key, kept, options).await,
        }
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        let _write = self.write(key);
        self.inner().put(key, body, options).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        let _write = self.write(key);
        self.inner().delete(key, options).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.inner().list(options)
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        let _write = self.write(key);
        self.inner().increment(key, delta).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        let writes = |operation: &Operation| !matches!(operation, Operation::Get(..));
        if operations.iter().any(writes) {
            let written = operations.iter().filter(|operation| writes(operation));
            let _writes: Vec<_> = written.map(|operation| self.write(operation.key())).collect();
            return self.inner().batch(operations, options).await;
        }
        super::gets::get_many(self, operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner().flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        match self.mode {
            Mode::Revalidate => self.inner().changes(scope).await,
            // Who was woken would read what is kept, and go to sleep on it.
            Mode::BoundedStaleness => Ok(None),
        }
    }
}
