//! The `ReadOnly` layer: lets reads through and nothing else.

use std::{fmt, sync::Arc};

use leasehold_core::{
    BatchOptions, Body, BoxStream, Capabilities, Capability, Changes, DeleteOptions, Entry, Error, ErrorKind,
    GetOptions, Key, Layer, ListOptions, Lookup, Metadata, Operation, Outcome, PutOptions, Result, Scope,
    StorageAdapter, Version, async_trait, refuse_batch,
};

/// Refuses every write, before anything of it is sent; reads pass unchanged.
///
/// Writes are [`Denied`](ErrorKind::Denied), certainly not applied and not worth a second try. What only writers need is not
/// claimed any more, so coordinators refuse such a store when they connect. Costs nothing but a call.
///
/// ```
/// # use leasehold_core::{ErrorKind, Store};
/// # use leasehold_layers::ReadOnly;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let store = Store::new(leasehold_memory::Memory::new());
/// let shown = store.clone().layer(ReadOnly);
/// store.put("k", "v").await?;
/// assert_eq!(shown.get("k").await?.unwrap().text().await?, "v");
/// assert_eq!(shown.put("k", "w").await.unwrap_err().kind(), ErrorKind::Denied);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnly;

impl Layer for ReadOnly {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        Arc::new(Shown(inner))
    }
}

#[derive(Debug)]
struct Shown(Arc<dyn StorageAdapter>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Shown {
    fn refuse<T>(&self, operation: &'static str, key: &Key) -> Result<T> {
        let message = "this handle only reads; write through another one";
        Err(Error::new(ErrorKind::Denied, message).on(operation, key).at(self))
    }
}

#[async_trait]
impl StorageAdapter for Shown {
    fn capabilities(&self) -> Capabilities {
        [
            Capability::ConditionalPut,
            Capability::ConditionalDelete,
            Capability::AtomicBatch,
            Capability::Attributes,
        ]
        .into_iter()
        .fold(self.0.capabilities(), Capabilities::without)
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.0.head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.0.get(key, options).await
    }

    async fn put(&self, key: &Key, _: Body, _: PutOptions) -> Result<Version> {
        self.refuse("put", key)
    }

    async fn delete(&self, key: &Key, _: DeleteOptions) -> Result<()> {
        self.refuse("delete", key)
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.0.list(options)
    }

    async fn increment(&self, key: &Key, _: i64) -> Result<i64> {
        self.refuse("increment", key)
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        if let Some(refused) = refuse_batch(&self.capabilities(), &operations, options) {
            return refused;
        }
        let mut results = Vec::with_capacity(operations.len());
        let mut reads = Vec::new();
        for operation in operations {
            results.push(match operation {
                Operation::Get(..) => None,
                Operation::Put(ref key, ..) => Some(self.refuse("put", key)),
                Operation::Delete(ref key, _) => Some(self.refuse("delete", key)),
                ref other => Some(self.refuse("batch", other.key())),
            });
            if let Operation::Get(..) = operation {
                reads.push(operation);
            }
        }
        let mut read = self.0.batch(reads, options).await.into_iter();
        let result = |refused: Option<_>| refused.or_else(|| read.next()).expect("each read has a result");
        results.into_iter().map(result).collect()
    }

    async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.0.changes(scope).await
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::Store;
    use leasehold_memory::Memory;

    use super::*;

    #[tokio::test]
    async fn reads_pass_and_writes_are_refused_before_they_begin() {
        let below = Store::new(Memory::new());
        let version = below.put("k", "1").await.unwrap();
        let shown = below.clone().layer(ReadOnly);
        assert_eq!(shown.get("k").await.unwrap().unwrap().text().await.unwrap(), "1");
        assert_eq!(shown.head("k").await.unwrap().unwrap().version, version);
        assert_eq!(shown.list("").await.unwrap().len(), 1);
        let refused = [
            shown.put("k", "2").await.map(drop),
            shown.put("new", "2").if_absent().await.map(drop),
            shown.delete("k").await,
            shown.increment("k", 1).await.map(drop),
            shown.update("k", |_| Ok(None)).await.map(drop),
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            assert!(!error.is_indeterminate() && !error.is_retryable(), "{error}");
        }
        assert_eq!(below.head("k").await.unwrap().unwrap().version, version);
        assert_eq!(below.list("").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_batch_does_its_reads_and_refuses_its_writes() {
        let below = Store::new(Memory::new());
        below.put("k", "1").await.unwrap();
        let shown = below.clone().layer(ReadOnly);
        let key = || Key::new("k").unwrap();
        let operations = vec![
            Operation::Delete(key(), DeleteOptions::default()),
            Operation::Get(key(), GetOptions::default()),
            Operation::Put(key(), "2".into(), PutOptions::default()),
            Operation::Get(Key::new("none").unwrap(), GetOptions::default()),
        ];
        let results = shown.batch(operations, BatchOptions::default()).await;
        assert!(matches!(results[1], Ok(Outcome::Got(Lookup::Found(_)))));
        assert!(matches!(results[3], Ok(Outcome::Got(Lookup::Absent))));
        for refused in [&results[0], &results[2]] {
            assert_eq!(refused.as_ref().unwrap_err().kind(), ErrorKind::Denied);
        }
        let atomic = vec![Operation::Get(key(), GetOptions::default())];
        let refused = shown.batch(atomic, BatchOptions::atomic()).await;
        assert_eq!(refused[0].as_ref().unwrap_err().kind(), ErrorKind::Unsupported(Capability::AtomicBatch));
    }
}
