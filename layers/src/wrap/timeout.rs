//! The `Timeout` layer: an end to waiting.

use std::{fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::{
    future::{Either, select},
    stream::{self, StreamExt},
};
use leasehold_core::{
    BatchOptions, Body, BoxStream, Capabilities, Changes, DeleteOptions, Entry, Environment, Error,
    ErrorKind, GetOptions, Key, Layer, ListOptions, Lookup, Metadata, Object, Operation, Outcome, PutOptions,
    Result, Scope, StorageAdapter, Version, async_trait,
};

/// Ends calls that take longer than a limit: with [`ErrorKind::Timeout`], and for writes with an *unknown* outcome.
///
/// The limit holds for a head, for the beginning of a get, for each piece of a body that is read and each entry of a list, and
/// for a put, a delete, an increment and a batch as a whole, the time to hand over a body included. A write that was cut off
/// may have been applied, or may still be: its error is [indeterminate](Error::is_indeterminate). Weakens no promise.
///
/// Costs one timer a call, none where the call is done at once. Cancel-safe as the adapter below, whose call is dropped.
///
/// ```
/// # use std::time::Duration;
/// # use leasehold_core::Store;
/// # use leasehold_layers::Timeout;
/// let store = Store::new(leasehold_memory::Memory::new()).layer(Timeout::after(Duration::from_secs(5)));
/// ```
#[derive(Clone, Debug)]
pub struct Timeout {
    limit: Duration,
    environment: Environment,
}

impl Timeout {
    /// A limit for each call.
    pub fn after(limit: Duration) -> Self {
        Self { limit, environment: Environment::default() }
    }

    /// The same with another clock, for tests and simulations.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// What comes first: the outcome, or the end of the time.
    async fn within<T>(&self, call: impl Future<Output = T>) -> Result<T> {
        let mut call = pin!(call);
        // Most calls on a near store are done at once and need no timer.
        if let Some(done) = futures_util::FutureExt::now_or_never(&mut call) {
            return Ok(done);
        }
        match select(call, self.environment.clock.sleep(self.limit)).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right(_) => {
                let message = format!("no answer within {:?}; try again, or allow more time", self.limit);
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    /// The error of a write that was not waited for.
    fn cut_off(&self) -> Error {
        let message =
            format!("no answer within {:?}; it may have been applied, look before you try again", self.limit);
        Error::new(ErrorKind::Timeout, message).indeterminate()
    }

    fn pieces<T: Send + 'static>(
        &self,
        pieces: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let limit = self.clone();
        stream::try_unfold((pieces, limit), |(mut pieces, limit)| async move {
            match limit.within(pieces.next()).await? {
                Some(piece) => Ok(Some((piece?, (pieces, limit)))),
                None => Ok(None),
            }
        })
        .boxed()
    }

    fn lookup(&self, lookup: Lookup) -> Lookup {
        match lookup {
            Lookup::Found(Object { metadata, range, body, .. }) => {
                let size = body.size();
                let body = match body.try_into_bytes() {
                    Ok(bytes) => Body::from_bytes(bytes),
                    Err(body) => Body::from_stream(self.pieces(body.into_stream()), size),
                };
                Lookup::Found(Object::new(metadata, range, body))
            }
            other => other,
        }
    }
}

impl Layer for Timeout {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        Arc::new(Limited { limit: self, inner })
    }
}

#[derive(Debug)]
struct Limited {
    limit: Timeout,
    inner: Arc<dyn StorageAdapter>,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl Limited {
    async fn read<T>(
        &self,
        operation: &'static str,
        key: &Key,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.limit.within(call).await.unwrap_or_else(|late| Err(late.on(operation, key).at(self)))
    }

    async fn write<T>(
        &self,
        operation: &'static str,
        key: &Key,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let done = self.limit.within(call).await;
        done.unwrap_or_else(|_| Err(self.limit.cut_off().on(operation, key).at(self)))
    }
}

#[async_trait]
impl StorageAdapter for Limited {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.read("head", key, self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        let lookup = self.read("get", key, self.inner.get(key, options)).await?;
        Ok(self.limit.lookup(lookup))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.write("put", key, self.inner.put(key, body, options)).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.write("delete", key, self.inner.delete(key, options)).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let at = self.to_string();
        let entries = self.limit.pieces(self.inner.list(options));
        entries.map(move |entry| entry.map_err(|error| error.during("list").at(&at))).boxed()
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.write("increment", key, self.inner.increment(key, delta)).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        let entries: Vec<(Key, bool)> = operations
            .iter()
            .map(|operation| (operation.key().clone(), matches!(operation, Operation::Get(..))))
            .collect();
        let done = match self.limit.within(self.inner.batch(operations, options)).await {
            Ok(results) => results,
            Err(late) => {
                let late = |(key, reads): (Key, bool)| {
                    let late =
                        if reads { Error::new(late.kind(), late.message()) } else { self.limit.cut_off() };
                    Err(late.on("batch", &key).at(self))
                };
                entries.into_iter().map(late).collect()
            }
        };
        let in_time = |outcome| match outcome {
            Outcome::Got(lookup) => Outcome::Got(self.limit.lookup(lookup)),
            other => other,
        };
        done.into_iter().map(|result| result.map(in_time)).collect()
    }

    async fn flush(&self) -> Result<()> {
        let late = |_| Err(self.limit.cut_off().during("flush").at(self));
        self.limit.within(self.inner.flush()).await.unwrap_or_else(late)
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        let late = |late: Error| Err(late.during("changes").at(self));
        self.limit.within(self.inner.changes(scope)).await.unwrap_or_else(late)
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::Store;
    use leasehold_memory::Memory;

    use super::*;
    use crate::{Faults, Gate, Verb};

    const SHORT: Duration = Duration::from_millis(5);

    /// A store whose next call of `verb` stays behind a gate.
    fn stuck(verb: Verb) -> (Store, Store, Gate) {
        let (below, faults) = (Store::new(Memory::new()), Faults::new());
        let gate = faults.hold_reply(verb);
        let store = below.clone().layer(faults).layer(Timeout::after(SHORT));
        (below, store, gate)
    }

    #[tokio::test]
    async fn a_read_that_takes_too_long_may_be_sent_again() {
        let (_below, store, _gate) = stuck(Verb::Head);
        let error = store.head("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.is_retryable() && !error.is_indeterminate(), "{error}");
    }

    #[tokio::test]
    async fn a_write_that_takes_too_long_is_unknown() {
        let (below, store, _gate) = stuck(Verb::Put);
        let error = store.put("k", "v").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.is_indeterminate() && !error.is_retryable(), "{error}");
        // It was applied, and nobody was told.
        assert!(below.head("k").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_batch_that_takes_too_long_is_unknown_where_it_writes() {
        let (_below, store, _gate) = stuck(Verb::Batch);
        let key = |name| Key::new(name).unwrap();
        let operations = vec![
            Operation::Get(key("a"), GetOptions::default()),
            Operation::Put(key("b"), "v".into(), PutOptions::default()),
        ];
        let results = store.batch(operations, BatchOptions::default()).await;
        let unknown = |result: &Result<Outcome>| result.as_ref().unwrap_err().is_indeterminate();
        assert_eq!(results.iter().map(unknown).collect::<Vec<_>>(), [false, true]);
    }

    #[tokio::test]
    async fn each_piece_of_a_body_has_its_own_time() {
        let limit = Timeout::after(SHORT);
        let never = stream::once(async { Ok(1) }).chain(stream::pending()).boxed();
        let mut pieces = limit.pieces::<i32>(never);
        assert_eq!(pieces.next().await.unwrap().unwrap(), 1);
        assert_eq!(pieces.next().await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    }
}
