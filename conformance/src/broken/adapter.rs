//! One wrapper for all flaws: each verb asks whether it is the one that is broken.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use leasehold_core::{
    Attributes, BatchOptions, Body, BoxStream, Bytes, Capabilities, Capability, Changes, DeleteOptions,
    Entry, Error, GetOptions, Key, ListOptions, Lookup, Metadata, Object, Operation, Outcome, Precondition,
    PutOptions, Result, Scope, StorageAdapter, Version, Watchers, async_trait,
};
use parking_lot::Mutex;

use super::{Flaw, flawed};

/// What all handles on one broken store have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    locked: AtomicBool,
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
pub(super) struct Broken {
    flaw: Flaw,
    inner: Arc<dyn StorageAdapter>,
    shared: Arc<Shared>,
    read: Mutex<HashMap<Key, (Metadata, Bytes)>>,
    behind: Mutex<Option<(Key, Bytes)>>,
    own: Arc<Watchers>,
}

impl Broken {
    pub(super) fn new(flaw: Flaw, inner: Arc<dyn StorageAdapter>, shared: Arc<Shared>) -> Self {
        Self { flaw, inner, shared, read: Mutex::default(), behind: Mutex::default(), own: Arc::default() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn key(&self, key: &Key) -> Result<Key> {
        if self.is(Flaw::FoldsCase) { Key::new(key.to_lowercase()) } else { Ok(key.clone()) }
    }

    async fn cached(&self, key: &Key) -> Result<Lookup> {
        let known = self.read.lock().get(key).cloned();
        let known = match known {
            Some(known) => known,
            None => {
                let Some(object) = self.inner.get(key, GetOptions::default()).await?.found() else {
                    return Ok(Lookup::Absent);
                };
                let metadata = object.metadata.clone();
                let known = (metadata, object.bytes().await?);
                self.read.lock().insert(key.clone(), known.clone());
                known
            }
        };
        let (metadata, bytes) = known;
        let range = 0..bytes.len() as u64;
        Ok(Lookup::Found(Object::new(metadata, range, bytes.into())))
    }

    async fn put_later(&self, key: &Key, body: Body) -> Result<Version> {
        let bytes = body.bytes().await?;
        let waiting = self.behind.lock().replace((key.clone(), bytes));
        if let Some((key, bytes)) = waiting {
            self.inner.put(&key, bytes.into(), PutOptions::default()).await?;
        }
        Ok(Version::new("soon"))
    }

    async fn put_by_content(&self, key: &Key, body: Body, precondition: &Precondition) -> Result<Version> {
        let bytes = body.bytes().await?;
        // Exact otherwise: only the versions are wrong.
        let _writing = self.shared.writing.lock().await;
        let current = flawed::content_metadata(&*self.inner, key).await?.map(|metadata| metadata.version);
        precondition.check(current.as_ref())?;
        self.inner.put(key, bytes.clone().into(), PutOptions::default()).await?;
        Ok(flawed::content_version(&bytes))
    }

    async fn put_locked(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        while self.shared.locked.swap(true, Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let collected = body.bytes().await;
        self.shared.locked.store(false, Ordering::SeqCst);
        self.inner.put(key, collected?.into(), options).await
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with the flaw {:?}", self.inner, self.flaw)
    }
}

#[async_trait]
impl StorageAdapter for Broken {
    fn capabilities(&self) -> Capabilities {
        let capabilities = self.inner.capabilities();
        match self.flaw {
            Flaw::IgnoresWhatItDoesNotClaim => capabilities.without(Capability::ConditionalPut),
            Flaw::IgnoresAttributes => capabilities.without(Capability::Attributes),
            Flaw::TellsWhatItDoesNotClaim => capabilities.without(Capability::Changes),
            _ => capabilities,
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        let key = &self.key(key)?;
        match self.flaw {
            Flaw::ContentVersions => flawed::content_metadata(&*self.inner, key).await,
            _ => self.inner.head(key).await,
        }
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        let key = &self.key(key)?;
        match self.flaw {
            Flaw::IgnoresRanges => flawed::whole(&*self.inner, key, options).await,
            Flaw::CachesReads => self.cached(key).await,
            _ => self.inner.get(key, options).await,
        }
    }

    async fn put(&self, key: &Key, body: Body, mut options: PutOptions) -> Result<Version> {
        let (key, inner) = (&self.key(key)?, &*self.inner);
        let condition = &mut options.precondition;
        match self.flaw {
            Flaw::IgnoresIfAbsent if *condition == Precondition::Absent => *condition = Precondition::None,
            Flaw::IgnoresIfMatch if matches!(condition, Precondition::Matches(_)) => {
                *condition = Precondition::None;
            }
            Flaw::IgnoresWhatItDoesNotClaim => *condition = Precondition::None,
            Flaw::ChecksThenWrites => {
                return flawed::checks_then_writes(inner, key, body, condition).await;
            }
            Flaw::CallsConflictsUnknown => {
                let result = inner.put(key, body, options).await;
                return result
                    .map_err(|error| if error.is_conflict() { error.indeterminate() } else { error });
            }
            Flaw::TornWrites => {
                let half = |bytes: &Bytes| bytes.slice(..bytes.len() / 2);
                return flawed::writes_in_two_steps(inner, key, body, options, half).await;
            }
            Flaw::TruncatesFirst => {
                return flawed::writes_in_two_steps(inner, key, body, options, |_| Bytes::new()).await;
            }
            Flaw::BelievesSizes => {
                return inner.put(key, Body::from_stream(body.into_stream(), None), options).await;
            }
            Flaw::ContentVersions => return self.put_by_content(key, body, condition).await,
            Flaw::WritesBehind if *condition == Precondition::None => return self.put_later(key, body).await,
            Flaw::ForgetsAttributes | Flaw::IgnoresAttributes => options.attributes = Attributes::new(),
            Flaw::MergesAttributes => return flawed::merges_attributes(inner, key, body, options).await,
            Flaw::WritesAttributesApart => {
                return flawed::writes_attributes_apart(inner, key, body, options).await;
            }
            Flaw::CachesReads => drop(self.read.lock().remove(key)),
            Flaw::WakesOnlyItself => {
                let written = inner.put(key, body, options).await;
                self.own.changed(key);
                return written;
            }
            Flaw::KeepsLocks => return self.put_locked(key, body, options).await,
            Flaw::FilesHaveNoChildren if flawed::is_beside_a_file(inner, key).await? => {
                return Err(Error::invalid("not a directory"));
            }
            _ => {}
        }
        inner.put(key, body, options).await
    }

    async fn delete(&self, key: &Key, mut options: DeleteOptions) -> Result<()> {
        let key = &self.key(key)?;
        match self.flaw {
            Flaw::IgnoresIfMatchOnDelete => options = DeleteOptions::default(),
            Flaw::CachesReads => drop(self.read.lock().remove(key)),
            Flaw::AbsentDeletesConflict if self.inner.head(key).await?.is_none() => {
                return Err(Error::conflict("there is no such key"));
            }
            _ => {}
        }
        self.inner.delete(key, options).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        match self.flaw {
            Flaw::UnorderedLists => flawed::backwards(self.inner.list(options)),
            Flaw::InclusiveAfter => flawed::inclusive(&*self.inner, options),
            Flaw::WholeSegmentPrefixes => flawed::whole_segments(&*self.inner, options),
            _ => self.inner.list(options),
        }
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        let key = &self.key(key)?;
        match self.flaw {
            Flaw::LosesIncrements => flawed::loses_increments(&*self.inner, key, delta).await,
            Flaw::IncrementsWithoutAttributes => {
                let sum = self.inner.increment(key, delta).await?;
                self.inner.put(key, sum.to_string().into(), PutOptions::default()).await.map(|_| sum)
            }
            Flaw::WrapsIncrements => flawed::wraps_increments(&*self.inner, key, delta).await,
            Flaw::CachesReads => {
                self.read.lock().remove(key);
                self.inner.increment(key, delta).await
            }
            _ => self.inner.increment(key, delta).await,
        }
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        match self.flaw {
            Flaw::ClaimsAtomicBatches => flawed::one_by_one(&*self.inner, operations, options).await,
            // The flaw is in the verbs, and batches go through them.
            Flaw::IgnoresWhatItDoesNotClaim | Flaw::IgnoresAttributes | Flaw::ForgetsAttributes
                if !options.atomic =>
            {
                flawed::one_by_one(self, operations, options).await
            }
            _ => {
                let mut results = self.inner.batch(operations, options).await;
                match self.flaw {
                    Flaw::ShortBatches => drop(results.pop()),
                    Flaw::MisorderedBatches => results.reverse(),
                    _ => {}
                }
                results
            }
        }
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        match self.flaw {
            // Somebody keeps the other end, and never uses it.
            Flaw::NeverWakes => {
                let (notifier, changes) = Changes::channel();
                Ok(Some(changes.guarded_by(notifier)))
            }
            Flaw::WakesOnlyItself => Ok(Some(self.own.watch(scope))),
            _ => self.inner.changes(scope).await,
        }
    }
}
