//! A store in memory: the template for adapters and the oracle for their tests.

mod state;

use std::{fmt, sync::Arc};

use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::{
    BatchOptions, Body, Capabilities, Capability, Changes, Clock, DeleteOptions, Entry, Error, GetOptions,
    Key, Limits, ListOptions, Lookup, Metadata, Operation, Outcome, PutOptions, Result, Scope,
    StorageAdapter, SystemClock, Version, Watchers, async_trait, refuse_batch,
};
use parking_lot::RwLock;
use state::{State, Write};

/// How many entries a list copies out at a time.
const PAGE_ENTRIES: usize = 1000;

/// A store in memory. Cloning shares it; it is gone with its last clone.
///
/// Promises all of the contract but [`Durable`](Capability::Durable). A read costs a shared lock and no copy.
/// A change costs an atomic load more, where nobody watches.
/// By default a value has at most 64 MiB and all together 4 GiB.
#[derive(Clone)]
pub struct Memory {
    state: Arc<RwLock<State>>,
    watchers: Arc<Watchers>,
    clock: Arc<dyn Clock>,
    limits: Limits,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            state: Arc::new(RwLock::new(State::new(4 << 30))),
            watchers: Arc::default(),
            clock: Arc::new(SystemClock),
            limits: Limits { value_bytes_max: 64 << 20, ..Limits::default() },
        }
    }

    /// The same with other limits for one call.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same with room for `bytes` of values and their attributes; past it a put is [`Full`](leasehold_core::ErrorKind::Full).
    #[must_use]
    pub fn capacity_bytes(self, bytes: u64) -> Self {
        self.state.write().set_capacity(bytes);
        self
    }

    fn write(&self, key: &Key, write: Write) -> Result<Option<Version>> {
        let written = self.state.write().apply(key, write, self.clock.wall())?;
        self.watchers.changed(key);
        Ok(written)
    }

    /// Performs a batch under one lock. Returns the keys that were written, too.
    fn perform(&self, steps: Vec<Result<(Key, Step)>>, atomic: bool) -> (Vec<Result<Outcome>>, Vec<Key>) {
        let now = self.clock.wall();
        let mut written = Vec::new();
        let mut run = |step: Result<(Key, Step)>, state: &mut State| {
            let (key, step) = step?;
            let outcome = step.run(state, &key, now)?;
            if !matches!(outcome, Outcome::Got(_)) {
                written.push(key);
            }
            Ok(outcome)
        };
        let mut state = self.state.write();
        if !atomic {
            let results = steps.into_iter().map(|step| run(step, &mut state)).collect();
            return (results, written);
        }
        let mut trial = state.clone();
        let results: Vec<_> = steps.into_iter().map(|step| run(step, &mut trial)).collect();
        if results.iter().all(Result::is_ok) {
            *state = trial;
            return (results, written);
        }
        let spoiled = || Error::conflict("another entry of this atomic batch was refused; nothing was done");
        (results.into_iter().map(|result| result.and_then(|_| Err(spoiled()))).collect(), Vec::new())
    }

    async fn collect(&self, body: Body) -> Result<leasehold_core::Bytes> {
        body.collect(self.limits.value_bytes_max).await
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mem:")
    }
}

#[async_trait]
impl StorageAdapter for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities::none(self.limits)
            .with(Capability::Linearizable)
            .with(Capability::ListedSizes)
            .with(Capability::ConditionalPut)
            .with(Capability::ConditionalDelete)
            .with(Capability::UniqueVersions)
            .with(Capability::AtomicBatch)
            .with(Capability::Attributes)
            .with(Capability::Changes)
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        Ok(self.state.read().head(key))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.state.read().get(key, &options).map_err(|error| error.on("get", key).at(self))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        let told = |error: Error| error.on("put", key).at(self);
        let bytes = self.collect(body).await.map_err(told)?;
        let written = self.write(key, Write::Put(bytes, options)).map_err(told)?;
        Ok(written.expect("a put yields a version"))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.write(key, Write::Delete(options.precondition()))
            .map(drop)
            .map_err(|error| error.on("delete", key).at(self))
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let store = self.clone();
        let pages = stream::unfold(Some(options), move |position| {
            let store = store.clone();
            async move {
                let mut options = position?;
                let page = store.state.read().page(&options, PAGE_ENTRIES);
                options.after = Some(page.last()?.key.clone());
                Some((stream::iter(page.into_iter().map(Ok)), Some(options)))
            }
        });
        pages.flatten().boxed()
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        let sum = self.state.write().increment(key, delta, self.clock.wall());
        if sum.is_ok() {
            self.watchers.changed(key);
        }
        sum.map_err(|error| error.on("increment", key).at(self))
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        if let Some(refused) = refuse_batch(&self.capabilities(), &operations, options) {
            return refused;
        }
        // Streams are read before the lock is taken: nothing waits for a stranger under it.
        let mut ready = Vec::with_capacity(operations.len());
        for operation in operations {
            let told = |error: Error| error.on("batch", operation.key()).at(self);
            ready.push(match operation {
                Operation::Put(key, body, options) => match self.collect(body).await {
                    Ok(bytes) => Ok((key, Step::Write(Write::Put(bytes, options)))),
                    Err(error) => Err(error.on("batch", &key).at(self)),
                },
                Operation::Get(key, options) => Ok((key, Step::Get(options))),
                Operation::Delete(key, options) => {
                    Ok((key, Step::Write(Write::Delete(options.precondition()))))
                }
                _ => Err(told(Error::invalid("this store does not know this operation"))),
            });
        }
        let (results, written) = self.perform(ready, options.atomic);
        written.iter().for_each(|key| self.watchers.changed(key));
        results
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        Ok(Some(self.watchers.watch(scope)))
    }
}

/// One entry of a batch whose body is at hand.
enum Step {
    Get(GetOptions),
    Write(Write),
}

impl Step {
    fn run(self, state: &mut State, key: &Key, now: std::time::SystemTime) -> Result<Outcome> {
        match self {
            Self::Get(options) => state.get(key, &options).map(Outcome::Got),
            Self::Write(write) => state.apply(key, write, now).map(|version| match version {
                Some(version) => Outcome::Put(version),
                None => Outcome::Deleted,
            }),
        }
        .map_err(|error| error.on("batch", key))
    }
}
