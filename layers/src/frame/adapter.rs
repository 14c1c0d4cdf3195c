//! The adapter that frames values on their way down and opens them on their way up.

use std::{fmt, sync::Arc};

use leasehold_core::{
    Backoff, BatchOptions, Body, BoxStream, Capabilities, Capability, Changes, DeleteOptions, Entry,
    Environment, GetOptions, Key, Limits, ListOptions, Lookup, Metadata, Operation, Outcome, PutOptions,
    Result, Scope, StorageAdapter, Version, async_trait, increment_by_swap,
};

use super::Coding;

/// An adapter whose values are frames of `C`, or, where `C` lets them, as they are.
#[derive(Clone)]
pub(crate) struct Framed<C> {
    pub(super) coding: C,
    pub(super) environment: Environment,
    pub(super) inner: Arc<dyn StorageAdapter>,
    /// What the adapter below offers; constant for its lifetime.
    pub(super) below: Capabilities,
}

impl<C: Coding> Framed<C> {
    pub(crate) fn new(coding: C, environment: Environment, inner: Arc<dyn StorageAdapter>) -> Self {
        let below = inner.capabilities();
        Self { coding, environment, inner, below }
    }

    /// The longest value that surely fits below in its frame.
    pub(super) fn value_bytes_max(&self) -> u64 {
        C::KIND.largest(self.below.limits().value_bytes_max, 1 << self.coding.chunk_log2())
    }
}

impl<C: Coding> fmt::Debug for Framed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} over {:?}", self.coding, self.inner)
    }
}

impl<C> fmt::Display for Framed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl<C: Coding> StorageAdapter for Framed<C> {
    fn capabilities(&self) -> Capabilities {
        let limits = Limits { value_bytes_max: self.value_bytes_max(), ..self.below.limits() };
        self.below.without(Capability::ListedSizes).limited(limits)
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.size(key).await.map_err(|error| error.on("head", key).at(self))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.read(key, options).await.map_err(|error| error.on("get", key).at(self))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        let told = |error: leasehold_core::Error| error.on("put", key).at(self);
        let framed = self.framed(key, body, &options).await.map_err(told)?;
        self.inner.put(key, framed, options).await.map_err(told)
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.inner.delete(key, options).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.inner.list(options)
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        if self.coding.worth().is_some() {
            return self.inner.increment(key, delta).await;
        }
        increment_by_swap(self, key, delta, &Backoff::default(), &self.environment)
            .await
            .map_err(|error| error.on("increment", key).at(self))
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        self.perform(operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.inner.changes(scope).await
    }
}
