//! The contract between a store's handle and what stores: one small object-safe trait.

use std::{collections::HashMap, fmt, sync::Arc};

use async_trait::async_trait;
use futures_util::{
    future::join_all,
    stream::{self, BoxStream, StreamExt},
};

use crate::{
    Attributes, Body, ByteRange, Capabilities, Capability, Changes, Entry, Error, ErrorKind, Key, Lookup,
    Metadata, Prefix, Result, Scope, Version,
};

/// A place that stores values under keys.
///
/// Implementors: there are no default methods on purpose. A layer that forgot to forward one would silently
/// lose the native path below; this way the compiler says so. Users hold a [`Store`](crate::Store).
///
/// # The promises
///
/// | | |
/// |---|---|
/// | C1 | **Linearizable per key**: after a put is acknowledged, every later read through any handle, process or host sees it or something newer. What weakens this does not claim [`Linearizable`](Capability::Linearizable). |
/// | C2 | **Atomic values**: a reader sees a whole value that somebody wrote, also while a writer is killed. |
/// | C3 | **Exact conditions**: of any number of racing writers exactly one wins a given precondition. |
/// | C4 | **Absence is a value, conflict is an error**: [`Lookup::Absent`] for a missing key, [`Conflict`](crate::ErrorKind::Conflict) for a lost race. Deleting an absent key succeeds; deleting it with `if_match` conflicts. |
/// | C5 | **Three outcomes**: applied, refused, or unknown ([`Error::is_indeterminate`]). |
/// | C6 | **Durable when acknowledged**, where [`Durable`](Capability::Durable) is claimed. |
/// | C7 | **Versions are opaque** and compare by equality. Unique per write where [`UniqueVersions`](Capability::UniqueVersions) is claimed. |
/// | C8 | **Keys** as [`Key`] has them; `a` and `a/b` may both exist; case is significant. |
/// | C9 | **Lists ascend in byte order of keys**, resume after any key, and are exact for keys not touched meanwhile. |
/// | C10 | **Batches are positional**: one result per operation, in order; one failure does not hide the others. |
/// | C11 | **Refused, never ignored**: what cannot be honoured is [`Unsupported`](crate::ErrorKind::Unsupported), before anything is written. |
/// | C12 | **Bounded**: sizes and queues have limits; past them there is an error. |
/// | C13 | **Cancellation-safe**: a dropped future leaves no lock, no half-applied entry and no temporary file for ever; a write whose future was dropped may or may not have happened. |
/// | C14 | **Changes are told**, where [`Changes`](Capability::Changes) is claimed: a watch is ready soon after every change in its scope that was acknowledged to anybody, and a read that begins then sees it. Only ever a hint: nothing is right or wrong by it. |
#[async_trait]
pub trait StorageAdapter: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// What this adapter offers beyond the common part, and its limits. Cheap, and constant for its lifetime.
    fn capabilities(&self) -> Capabilities;

    /// What is known of a value; `None` where there is none.
    async fn head(&self, key: &Key) -> Result<Option<Metadata>>;

    /// Reads a value, a range of it, or nothing when it has not changed.
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup>;

    /// Writes a value whole, under a precondition, and returns the version it now has.
    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version>;

    /// Removes a value. An absent key is a success, unless `if_match` is given.
    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()>;

    /// All keys with a prefix, ascending.
    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>>;

    /// Adds `delta` to a value that is a decimal integer in text (absent counts as 0) and returns the sum. Exact
    /// under any number of callers. Attributes stay as they are. Where versions derive from content, white space behind
    /// the number makes each sum's text unique ([`unique_sum`](crate::unique_sum)). A value that is no integer, or a sum past 64 bits, is
    /// [`Invalid`](crate::ErrorKind::Invalid) and changes nothing.
    async fn increment(&self, key: &Key, delta: i64) -> Result<i64>;

    /// Performs many operations and returns one result for each, in order. Operations on different keys may run in
    /// any order; those on one key run in the order given.
    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>>;

    /// Returns once everything that was acknowledged before is stored. Who acknowledges only what is stored has nothing to do;
    /// a layer that writes later does it now, and tells what failed.
    async fn flush(&self) -> Result<()>;

    /// Watches `scope`: what is returned is ready after every change of a key in it that is acknowledged from now on, to any
    /// writer, in any process that the store is shared with. Read *after* this returned, then wait, then read again: so
    /// no change is missed, whenever it happens.
    ///
    /// `None`: this store cannot tell; poll. It says so always where [`Changes`](Capability::Changes) is not claimed, and
    /// where it is when the system has no room for a watch at the moment. A watch may also end at any time, for the same
    /// reason. See [`Changes`] for what it is to wait on one.
    ///
    /// # Cancel safety
    /// A call whose future is dropped leaves no watch behind.
    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>>;
}

/// What must hold for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// The key must not exist.
    Absent,
    /// The value must still have this version.
    Matches(Version),
}

impl Precondition {
    /// Checks what is stored, `None` where nothing is.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) when it does not satisfy the precondition.
    pub fn check(&self, current: Option<&Version>) -> Result<()> {
        match (self, current) {
            (Self::None, _) | (Self::Absent, None) => Ok(()),
            (Self::Matches(wanted), Some(current)) if wanted == current => Ok(()),
            (Self::Absent, Some(_)) => Err(Error::conflict("the key exists already; nothing was written")),
            (Self::Matches(_), Some(_)) => {
                Err(Error::conflict("the value has another version now; read it again and decide again"))
            }
            (Self::Matches(_), None) => {
                Err(Error::conflict("the value is gone, so it cannot have the expected version"))
            }
        }
    }
}

/// How to read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GetOptions {
    /// Which bytes.
    pub range: ByteRange,
    /// Send nothing when the value still has this version.
    pub if_changed_from: Option<Version>,
}

impl GetOptions {
    /// Reads only `range`.
    #[must_use]
    pub fn range(mut self, range: impl Into<ByteRange>) -> Self {
        self.range = range.into();
        self
    }

    /// Answers [`Lookup::Unchanged`] when the value still has `version`.
    #[must_use]
    pub fn if_changed_from(mut self, version: Version) -> Self {
        self.if_changed_from = Some(version);
        self
    }
}

/// How to write.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// What must hold.
    pub precondition: Precondition,
    /// What to keep beside the value. Needs [`Attributes`](Capability::Attributes), unless there are none.
    pub attributes: Attributes,
}

impl PutOptions {
    /// The same with `attributes` in place of those it had.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }
}

impl From<Precondition> for PutOptions {
    fn from(precondition: Precondition) -> Self {
        Self { precondition, ..Self::default() }
    }
}

/// How to delete.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// The version that must be there; without one, whatever is there is deleted.
    pub if_match: Option<Version>,
}

impl DeleteOptions {
    /// Deletes only `version`.
    pub fn matching(version: Version) -> Self {
        Self { if_match: Some(version) }
    }

    /// The same as a precondition.
    pub fn precondition(&self) -> Precondition {
        self.if_match.clone().map_or(Precondition::None, Precondition::Matches)
    }
}

/// What to list.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// How the keys start.
    pub prefix: Prefix,
    /// The key after which to begin; itself not listed, and need not exist.
    pub after: Option<Key>,
}

impl ListOptions {
    /// All keys with `prefix`.
    pub fn prefix(prefix: Prefix) -> Self {
        Self { prefix, after: None }
    }

    /// The same, beginning after `key`.
    #[must_use]
    pub fn after(mut self, key: Key) -> Self {
        self.after = Some(key);
        self
    }
}

/// How to perform a batch.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct BatchOptions {
    /// All or nothing, seen by others at one moment. Needs [`AtomicBatch`](Capability::AtomicBatch).
    pub atomic: bool,
}

impl BatchOptions {
    /// All or nothing.
    pub fn atomic() -> Self {
        Self { atomic: true }
    }
}

/// One entry of a batch.
#[derive(Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Read.
    Get(Key, GetOptions),
    /// Write.
    Put(Key, Body, PutOptions),
    /// Delete.
    Delete(Key, DeleteOptions),
}

impl Operation {
    /// The key it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Get(key, _) | Self::Put(key, ..) | Self::Delete(key, _) => key,
        }
    }
}

/// What one entry of a batch came to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The answer to a get.
    Got(Lookup),
    /// The version that a put wrote.
    Put(Version),
    /// A delete was done.
    Deleted,
}

/// Refuses a whole batch before anything is done: one copy of the error for each entry.
///
/// Returns `None` when the batch is within the adapter's limits and asks for nothing it does not offer.
pub fn refuse_batch(
    capabilities: &Capabilities,
    operations: &[Operation],
    options: BatchOptions,
) -> Option<Vec<Result<Outcome>>> {
    let limit = capabilities.limits().batch_operations_max;
    let refusal: &dyn Fn() -> Error = if operations.len() > limit {
        &|| Error::invalid(format!("a batch has at most {limit} operations; split it"))
    } else if options.atomic && !capabilities.supports(Capability::AtomicBatch) {
        &|| Error::unsupported(Capability::AtomicBatch)
    } else {
        return None;
    };
    Some(operations.iter().map(|operation| Err(refusal().on("batch", operation.key()))).collect())
}

async fn perform(adapter: &dyn StorageAdapter, operation: Operation) -> Result<Outcome> {
    match operation {
        Operation::Get(key, options) => adapter.get(&key, options).await.map(Outcome::Got),
        Operation::Put(key, body, options) => adapter.put(&key, body, options).await.map(Outcome::Put),
        Operation::Delete(key, options) => adapter.delete(&key, options).await.map(|()| Outcome::Deleted),
    }
}

/// Performs a batch through the adapter's own verbs: keys concurrently, at most `keys_max` at once, the operations on
/// one key in the order given. For adapters whose backend has no batch of its own.
pub async fn batch_by_key(
    adapter: &dyn StorageAdapter,
    operations: Vec<Operation>,
    options: BatchOptions,
    keys_max: usize,
) -> Vec<Result<Outcome>> {
    if let Some(refused) = refuse_batch(&adapter.capabilities(), &operations, options) {
        return refused;
    }
    let count = operations.len();
    let mut by_key: HashMap<Key, Vec<(usize, Operation)>> = HashMap::new();
    for (position, operation) in operations.into_iter().enumerate() {
        by_key.entry(operation.key().clone()).or_default().push((position, operation));
    }
    let mut results: Vec<Option<Result<Outcome>>> = (0..count).map(|_| None).collect();
    let mut done = stream::iter(by_key.into_values())
        .map(|operations| async move {
            let mut outcomes = Vec::with_capacity(operations.len());
            for (position, operation) in operations {
                outcomes.push((position, perform(adapter, operation).await));
            }
            outcomes
        })
        .buffer_unordered(keys_max);
    while let Some(outcomes) = done.next().await {
        for (position, outcome) in outcomes {
            results[position] = Some(outcome);
        }
    }
    results.into_iter().map(|result| result.expect("every operation belongs to one key's list")).collect()
}

/// How many heads a list asks for at once, where it needs them.
const HEADS_AT_ONCE: usize = 16;

/// A list whose sizes are those of the values. Where the store tells other sizes, it costs a head for each entry, 16 at once;
/// a key that is gone by then is left out, and one whose value is damaged or may not be read keeps the size that is stored.
pub fn list_with_sizes(
    adapter: &Arc<dyn StorageAdapter>,
    options: ListOptions,
) -> BoxStream<'static, Result<Entry>> {
    let entries = adapter.list(options);
    if adapter.capabilities().supports(Capability::ListedSizes) {
        return entries;
    }
    let adapter = adapter.clone();
    let sized = move |entry: Result<Entry>| {
        let adapter = adapter.clone();
        async move {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            match adapter.head(&entry.key).await.transpose()? {
                Ok(metadata) => entry.metadata = Metadata { attributes: Attributes::new(), ..metadata },
                // One value that cannot be read must not hide the others.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Denied) => {}
                Err(error) => return Some(Err(error)),
            }
            Some(Ok(entry))
        }
    };
    // All heads of a group are answered before its first entry is given out: none is under way while the caller is busy.
    entries
        .ready_chunks(HEADS_AT_ONCE)
        .then(move |group| join_all(group.into_iter().map(&sized)))
        .flat_map(stream::iter)
        .filter_map(std::future::ready)
        .boxed()
}

#[async_trait]
impl<A: StorageAdapter + ?Sized> StorageAdapter for Arc<A> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        (**self).head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        (**self).get(key, options).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        (**self).put(key, body, options).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        (**self).delete(key, options).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        (**self).list(options)
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        (**self).increment(key, delta).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        (**self).batch(operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        (**self).flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        (**self).changes(scope).await
    }
}
