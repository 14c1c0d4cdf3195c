//! Write-behind: the caller is told at once, and reads see what is still to be written.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    Attributes, BatchOptions, Body, BoxStream, Bytes, Capabilities, Capability, Changes, DeleteOptions,
    Entry, Error, GetOptions, Key, ListOptions, Lookup, Metadata, Operation, Outcome, Precondition,
    PutOptions, Result, Scope, StorageAdapter, Version, Watchers, async_trait,
};
use lru::LruCache;
use parking_lot::Mutex;

use super::{
    Batch, Intervals, OnError, Pending,
    courier::{Courier, Landed},
    queue::Change,
};
use crate::known::Known;

/// For how many keys it is remembered which version the store gave to the last write.
const VERSIONS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

pub(super) struct Behind {
    pub(super) courier: Arc<Courier>,
    intervals: Intervals,
    pending: Pending,
    hold: Duration,
    view: Arc<View>,
}

/// What this handle's readers see, beyond what is stored.
struct View {
    /// Tells our versions from those of other handles.
    name: String,
    seen: Mutex<Seen>,
    /// Those who wait for a change that only this handle's readers see.
    watchers: Arc<Watchers>,
    on_error: Option<OnError>,
}

struct Seen {
    versions: u64,
    /// What is not stored yet, in the order it came; the last one is what is read.
    pending: HashMap<Key, VecDeque<Unstored>>,
    /// The version that a caller was given, and the one that the store gave in the end.
    stored: LruCache<Key, Names>,
    failures: u64,
    failure: Option<Error>,
}

/// A write that is not stored yet.
struct Unstored {
    number: u64,
    known: Known,
}

impl Seen {
    /// Takes a write out that is pending no more. Those of a key land in the order they came.
    fn take(&mut self, key: &Key, number: u64) -> Option<Unstored> {
        let pending = self.pending.get_mut(key)?;
        let unstored = pending.pop_front_if(|first| first.number == number);
        if pending.is_empty() {
            self.pending.remove(key);
        }
        unstored
    }
}

/// Two names of one version.
struct Names {
    given: Version,
    stored: Version,
}

impl View {
    /// A version for a write that the store has not seen yet.
    fn version(&self) -> Version {
        let mut seen = self.seen.lock();
        seen.versions += 1;
        Version::new(format!("~{}-{:x}", self.name, seen.versions))
    }

    fn pending(&self, key: &Key) -> Option<Known> {
        self.seen.lock().pending.get(key)?.back().map(|unstored| unstored.known.clone())
    }

    fn note(&self, key: &Key, number: u64, known: Known) {
        let mut seen = self.seen.lock();
        let pending = seen.pending.entry(key.clone()).or_default();
        match pending.back_mut().filter(|last| last.number == number) {
            // It took the place of the last one, which will never be stored.
            Some(last) => last.known = known,
            None => pending.push_back(Unstored { number, known }),
        }
    }

    fn landed(&self, &Landed { number, key, result }: &Landed<'_>) {
        let mut seen = self.seen.lock();
        let unstored = seen.take(key, number);
        match result {
            Ok(Outcome::Put(stored)) => {
                if let Some(Unstored { known: Known::Value(metadata, _), .. }) = unstored {
                    let names = Names { given: metadata.version, stored: stored.clone() };
                    seen.stored.put(key.clone(), names);
                }
            }
            Ok(_) => {}
            Err(error) => {
                seen.failures += 1;
                seen.failure.get_or_insert_with(|| error.clone());
                drop(seen);
                // What was read here until now was never stored.
                self.watchers.changed(key);
                if let Some(hook) = &self.on_error {
                    hook(key, error);
                }
            }
        }
    }

    /// The store's name for a version that a caller has.
    fn below(&self, key: &Key, version: Version) -> Version {
        match self.seen.lock().stored.get(key) {
            Some(names) if names.given == version => names.stored.clone(),
            _ => version,
        }
    }

    /// The name that callers know for a version of the store.
    fn above(&self, key: &Key, metadata: &mut Metadata) {
        if let Some(names) = self.seen.lock().stored.get(key)
            && names.stored == metadata.version
        {
            metadata.version = names.given.clone();
        }
    }

    fn condition(&self, key: &Key, precondition: Precondition) -> Precondition {
        match precondition {
            Precondition::Matches(version) => Precondition::Matches(self.below(key, version)),
            other => other,
        }
    }

    fn get_options(&self, key: &Key, mut options: GetOptions) -> GetOptions {
        options.if_changed_from = options.if_changed_from.map(|version| self.below(key, version));
        options
    }

    fn delete_options(&self, key: &Key, mut options: DeleteOptions) -> DeleteOptions {
        options.if_match = options.if_match.map(|version| self.below(key, version));
        options
    }

    fn put_options(&self, key: &Key, mut options: PutOptions) -> PutOptions {
        options.precondition = self.condition(key, options.precondition);
        options
    }

    fn lookup(&self, key: &Key, mut lookup: Lookup) -> Lookup {
        if let Lookup::Found(object) = &mut lookup {
            self.above(key, &mut object.metadata);
        }
        lookup
    }
}

impl Behind {
    pub(super) fn new(batch: Batch, inner: Arc<dyn StorageAdapter>) -> Arc<Self> {
        let Batch { limits, intervals, coalesce, pending, on_error, environment, .. } = batch;
        let view = Arc::new(View {
            name: format!("{:x}", environment.random.bits()),
            seen: Mutex::new(Seen {
                versions: 0,
                pending: HashMap::new(),
                stored: LruCache::new(VERSIONS_MAX),
                failures: 0,
                failure: None,
            }),
            watchers: Arc::default(),
            on_error,
        });
        let witness = view.clone();
        let landed = Arc::new(move |landed: &Landed<'_>| witness.landed(landed));
        let courier = Courier::new(inner, limits, coalesce, environment, Some(landed));
        Arc::new(Self { courier, intervals, pending, hold: limits.wait, view })
    }

    fn inner(&self) -> &Arc<dyn StorageAdapter> {
        self.courier.inner()
    }

    /// The first failure since it was last taken.
    pub(super) fn take_failure(&self) -> Result<()> {
        let mut seen = self.view.seen.lock();
        let failures = std::mem::take(&mut seen.failures);
        match seen.failure.take() {
            None => Ok(()),
            Some(error) => {
                let message = format!(
                    "{failures} write(s) failed after their callers had been told that they would be done; the first: {}",
                    error.message()
                );
                let told = Error::new(error.kind(), message).retryable(false).because(error.clone());
                Err(if error.is_indeterminate() { told.indeterminate() } else { told })
            }
        }
    }

    /// How long a write is held; `None` when it is to be written through.
    fn hold(&self, key: &Key) -> Option<Duration> {
        match self.intervals.of(key) {
            Some(interval) if interval.is_zero() => None,
            interval => Some(interval.unwrap_or(self.hold)),
        }
    }

    async fn later(&self, key: &Key, change: Change, hold: Duration, known: Known) -> Result<()> {
        let Pending { entries, bytes } = self.pending;
        self.courier.until_room(|waiting| waiting.entries < entries && waiting.bytes < bytes).await;
        self.courier.submit(key, change, hold, |number| self.view.note(key, number, known))?;
        self.view.watchers.changed(key);
        Ok(())
    }

    /// Refuses what the store below would refuse, while there is somebody to tell.
    fn check(&self, bytes: &Bytes, attributes: &Attributes) -> Result<()> {
        let capabilities = self.inner().capabilities();
        let limits = capabilities.limits();
        if bytes.len() as u64 > limits.value_bytes_max {
            let (size, limit) = (bytes.len(), limits.value_bytes_max);
            return Err(Error::invalid(format!(
                "a value of {size} bytes is over the limit of {limit} bytes"
            )));
        }
        if attributes.is_empty() {
            return Ok(());
        }
        if !capabilities.supports(Capability::Attributes) {
            return Err(Error::unsupported(Capability::Attributes));
        }
        let (size, limit) = (attributes.bytes(), limits.attributes_bytes_max);
        if size > limit {
            let message = format!("attributes of {size} bytes are over this store's limit of {limit} bytes");
            return Err(Error::invalid(message));
        }
        Ok(())
    }

    /// Lets what was written to these keys before go first.
    async fn after_the_others(&self, keys: &[Key]) -> Result<()> {
        self.courier.settle(keys).await;
        self.courier.check_open()
    }

    async fn put_now(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.after_the_others(std::slice::from_ref(key)).await?;
        self.inner().put(key, body, self.view.put_options(key, options)).await
    }

    async fn put_checked(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        let Some(hold) = self.hold(key).filter(|_| options.precondition == Precondition::None) else {
            return self.put_now(key, body, options).await;
        };
        let bytes = match body.try_into_bytes() {
            Ok(bytes) => bytes,
            Err(stream) => return self.put_now(key, stream, options).await,
        };
        self.check(&bytes, &options.attributes)?;
        let version = self.view.version();
        let metadata =
            Metadata::new(version.clone(), bytes.len() as u64).attributes(options.attributes.clone());
        let known = Known::Value(metadata, bytes.clone());
        self.later(key, Change::Put(bytes, options), hold, known).await?;
        Ok(version)
    }

    async fn delete_checked(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        match self.hold(key).filter(|_| options.if_match.is_none()) {
            Some(hold) => self.later(key, Change::Delete(options), hold, Known::Absent).await,
            None => {
                self.after_the_others(std::slice::from_ref(key)).await?;
                self.inner().delete(key, self.view.delete_options(key, options)).await
            }
        }
    }
}

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Behind({:?})", self.courier)
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.inner(), f)
    }
}

#[async_trait]
impl StorageAdapter for Behind {
    fn capabilities(&self) -> Capabilities {
        let taken = [Capability::Linearizable, Capability::Durable];
        self.inner().capabilities().weakened("the write-behind batch", taken)
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        if let Some(known) = self.view.pending(key) {
            return Ok(known.metadata().cloned());
        }
        let mut metadata = self.inner().head(key).await?;
        if let Some(metadata) = &mut metadata {
            self.view.above(key, metadata);
        }
        Ok(metadata)
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        if let Some(known) = self.view.pending(key) {
            return known.answer(&options).map_err(|error| error.on("get", key).at(self));
        }
        let lookup = self.inner().get(key, self.view.get_options(key, options)).await?;
        Ok(self.view.lookup(key, lookup))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.put_checked(key, body, options).await.map_err(|error| error.on("put", key).at(self))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.delete_checked(key, options).await.map_err(|error| error.on("delete", key).at(self))
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let (courier, view) = (self.courier.clone(), self.view.clone());
        let entries = async move {
            courier.settle_all().await;
            courier.inner().list(options)
        };
        let named = move |entry: Result<Entry>| {
            let mut entry = entry?;
            view.above(&entry.key, &mut entry.metadata);
            Ok(entry)
        };
        stream::once(entries).flatten().map(named).boxed()
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        let turn = self.after_the_others(std::slice::from_ref(key)).await;
        turn.map_err(|error| error.on("increment", key))?;
        self.inner().increment(key, delta).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        let keys: Vec<Key> = operations.iter().map(|operation| operation.key().clone()).collect();
        if let Err(error) = self.after_the_others(&keys).await
            && !operations.iter().all(|operation| matches!(operation, Operation::Get(..)))
        {
            return keys.iter().map(|key| Err(error.clone().on("batch", key))).collect();
        }
        let named = operations.into_iter().map(|operation| match operation {
            Operation::Get(key, options) => {
                let options = self.view.get_options(&key, options);
                Operation::Get(key, options)
            }
            Operation::Put(key, body, options) => {
                let options = self.view.put_options(&key, options);
                Operation::Put(key, body, options)
            }
            Operation::Delete(key, options) => {
                let options = self.view.delete_options(&key, options);
                Operation::Delete(key, options)
            }
            other => other,
        });
        let results = self.inner().batch(named.collect(), options).await;
        let told = |(result, key): (Result<Outcome>, Key)| {
            result.map(|outcome| match outcome {
                Outcome::Got(lookup) => Outcome::Got(self.view.lookup(&key, lookup)),
                other => other,
            })
        };
        results.into_iter().zip(keys).map(told).collect()
    }

    async fn flush(&self) -> Result<()> {
        self.courier.settle_all().await;
        self.inner().flush().await?;
        self.take_failure()
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        let Some(below) = self.inner().changes(scope).await? else { return Ok(None) };
        // Readers of this handle see what is pending, too.
        Ok(Some(below.or(self.view.watchers.watch(scope))))
    }
}
