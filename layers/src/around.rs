//! What is common to layers that do something before and after each call, and leave the call itself alone.

use std::{fmt, sync::Arc};

use leasehold_core::{
    BatchOptions, Body, BoxStream, Capabilities, Changes, DeleteOptions, Entry, Error, GetOptions, Key,
    ListOptions, Lookup, Metadata, Operation, Outcome, PutOptions, Result, Scope, StorageAdapter, Version,
    async_trait,
};

use crate::Verb;

/// A call that comes through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) verb: Verb,
    /// The key it is about; batches and lists have none.
    pub(crate) key: Option<&'a Key>,
    /// The operations of a batch; 1 for other calls.
    pub(crate) entries: usize,
}

/// What a call comes to: one result, or one for each entry of a batch.
pub(crate) trait Reply: Send {
    /// The reply to a call that is not let through.
    fn refused(error: Error, entries: usize) -> Self;

    /// The first error, if there is one.
    fn error(&self) -> Option<&Error>;
}

impl<T: Send> Reply for Result<T> {
    fn refused(error: Error, _: usize) -> Self {
        Err(error)
    }

    fn error(&self) -> Option<&Error> {
        self.as_ref().err()
    }
}

impl<T: Send> Reply for Vec<Result<T>> {
    fn refused(error: Error, entries: usize) -> Self {
        (0..entries).map(|_| Err(error.clone())).collect()
    }

    fn error(&self) -> Option<&Error> {
        self.iter().find_map(|result| result.as_ref().err())
    }
}

/// What a layer does around each call.
pub(crate) trait Hook: fmt::Debug + Send + Sync + 'static {
    /// Runs a call.
    fn around<R: Reply>(
        &self,
        call: Call<'_>,
        run: impl Future<Output = R> + Send,
    ) -> impl Future<Output = R> + Send;

    /// Goes along with a list, which begins when its first entry is asked for.
    fn along(&self, entries: BoxStream<'static, Result<Entry>>) -> BoxStream<'static, Result<Entry>>;
}

/// An adapter with a hook around every call.
#[derive(Debug)]
pub(crate) struct Around<H> {
    pub(crate) hook: H,
    pub(crate) inner: Arc<dyn StorageAdapter>,
}

impl<H> fmt::Display for Around<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

fn on(verb: Verb, key: &Key) -> Call<'_> {
    Call { verb, key: Some(key), entries: 1 }
}

#[async_trait]
impl<H: Hook> StorageAdapter for Around<H> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.hook.around(on(Verb::Head, key), self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.hook.around(on(Verb::Get, key), self.inner.get(key, options)).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.hook.around(on(Verb::Put, key), self.inner.put(key, body, options)).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.hook.around(on(Verb::Delete, key), self.inner.delete(key, options)).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.hook.along(self.inner.list(options))
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.hook.around(on(Verb::Increment, key), self.inner.increment(key, delta)).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        let call = Call { verb: Verb::Batch, key: None, entries: operations.len() };
        self.hook.around(call, self.inner.batch(operations, options)).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.inner.changes(scope).await
    }
}
