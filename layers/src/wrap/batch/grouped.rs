//! Group commit: the caller is told when its own write is stored.

use std::{fmt, sync::Arc};

use leasehold_core::{
    BatchOptions, Body, BoxStream, Capabilities, Capability, Changes, DeleteOptions, Entry, Error, ErrorKind,
    GetOptions, Key, ListOptions, Lookup, Metadata, Operation, Outcome, PutOptions, Result, Scope,
    StorageAdapter, Version, async_trait,
};

use super::{Intervals, courier::Courier, queue::Change};

#[derive(Debug)]
pub(super) struct Grouped {
    pub(super) courier: Arc<Courier>,
    pub(super) intervals: Intervals,
    pub(super) coalesce: bool,
}

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.inner(), f)
    }
}

impl Grouped {
    fn inner(&self) -> &Arc<dyn StorageAdapter> {
        self.courier.inner()
    }

    /// Sends a write with others, and waits for it.
    async fn write(&self, operation: &'static str, key: &Key, change: Change) -> Result<Outcome> {
        let hold = self.intervals.of(key).unwrap_or_default();
        let told =
            self.courier.submit(key, change, hold, |_| ()).map_err(|error| error.on(operation, key))?;
        let told = told.await.unwrap_or_else(|_| {
            let message = "the runtime ended before the write did";
            Err(Error::new(ErrorKind::Unavailable, message).on(operation, key).at(self).indeterminate())
        });
        told.map_err(|error| error.asked_as(operation))
    }

    /// Lets what was written to these keys before go first.
    async fn after_the_others(&self, keys: &[Key]) -> Result<()> {
        self.courier.settle(keys).await;
        self.courier.check_open()
    }

    /// Whether writes of this key are not to be collected.
    fn is_through(&self, key: &Key) -> bool {
        self.intervals.of(key).is_some_and(|interval| interval.is_zero())
    }
}

#[async_trait]
impl StorageAdapter for Grouped {
    fn capabilities(&self) -> Capabilities {
        let below = self.inner().capabilities();
        if self.coalesce {
            below.weakened("the batch that coalesces", [Capability::UniqueVersions])
        } else {
            below
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.inner().head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.inner().get(key, options).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        if self.is_through(key) {
            self.courier.check_open().map_err(|error| error.on("put", key))?;
            return self.inner().put(key, body, options).await;
        }
        let bytes = match body.try_into_bytes() {
            Ok(bytes) => bytes,
            // One stream must not hold up a batch.
            Err(stream) => {
                let turn = self.after_the_others(std::slice::from_ref(key)).await;
                turn.map_err(|error| error.on("put", key))?;
                return self.inner().put(key, stream, options).await;
            }
        };
        match self.write("put", key, Change::Put(bytes, options)).await? {
            Outcome::Put(version) => Ok(version),
            _ => Err(mismatch("put", key)),
        }
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        if self.is_through(key) {
            self.courier.check_open().map_err(|error| error.on("delete", key))?;
            return self.inner().delete(key, options).await;
        }
        match self.write("delete", key, Change::Delete(options)).await? {
            Outcome::Deleted => Ok(()),
            _ => Err(mismatch("delete", key)),
        }
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.inner().list(options)
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        let turn = self.after_the_others(std::slice::from_ref(key)).await;
        turn.map_err(|error| error.on("increment", key))?;
        self.inner().increment(key, delta).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        let writes = operations.iter().filter(|operation| !matches!(operation, Operation::Get(..)));
        let keys: Vec<Key> = writes.map(|operation| operation.key().clone()).collect();
        if !keys.is_empty()
            && let Err(error) = self.after_the_others(&keys).await
        {
            return operations
                .iter()
                .map(|operation| Err(error.clone().on("batch", operation.key())))
                .collect();
        }
        self.inner().batch(operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        self.courier.settle_all().await;
        self.inner().flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        // What it collects is no change before it is stored below.
        self.inner().changes(scope).await
    }
}

fn mismatch(operation: &'static str, key: &Key) -> Error {
    let message = "the store below answered with something else; this is a bug";
    Error::new(ErrorKind::Unexpected, message).on(operation, key).indeterminate()
}
