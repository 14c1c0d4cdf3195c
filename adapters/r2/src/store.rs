//! The bucket as an adapter.

use std::{fmt, sync::Arc};

use futures_util::stream::BoxStream;
use leasehold_core::{
    BatchOptions, Body, Capabilities, Capability, Changes, DeleteOptions, Entry, Error, GetOptions, Key,
    ListOptions, Lookup, Metadata, Operation, Outcome, PutOptions, Result, Scope, StorageAdapter, Version,
    async_trait,
};
use leasehold_s3::S3;

use crate::edge::Edge;

/// A bucket on Cloudflare R2. Cloning is cheap and shares connections.
///
/// # What it promises
///
/// What [`S3`] promises, with these marks of R2:
///
/// - R2 takes about one write a second on one key. Beyond that it asks for a slower pace, which is waited for, a second and
///   more at a time, and is never taken for a lost race; what still fails then is
///   [`Throttled`](leasehold_core::ErrorKind::Throttled). Anything hot belongs on keys of its own.
/// - [`ConditionalDelete`](Capability::ConditionalDelete) is not claimed: R2 has none.
/// - With an [edge](crate::Open::edge), [`Linearizable`](Capability::Linearizable) is not claimed: a read may be as old as the
///   Worker's cache allows, because each data centre has a cache of its own and only the nearest one is told to forget. What
///   this handle has tried to write within that time it reads from the bucket, so it sees its own writes, and a loop of
///   compare-and-swap that has lost once goes on with what is really there. Conditions, counters and lists are the bucket's
///   own and as exact as without.
///
/// # Cost
///
/// As [`S3`]. With an edge, a read costs one request to it, and one more to the bucket when it cannot answer within two seconds;
/// a write costs one more, to forget.
#[derive(Clone)]
pub struct R2 {
    pub(crate) bucket: S3,
    pub(crate) edge: Option<Arc<Edge>>,
    pub(crate) account: String,
    pub(crate) name: String,
}

impl R2 {
    fn explain(&self, error: Error, operation: &'static str, key: &Key) -> Error {
        error.on(operation, key).at(self)
    }

    /// Makes the edge forget what a write replaces. Also a write that fails: it may have been applied, and one that lost did
    /// so to a value that the edge may not know.
    async fn write<T>(&self, key: &Key, write: impl Future<Output = T>) -> T {
        let Some(edge) = &self.edge else { return write.await };
        // Before it, too: a write that is dropped may have been applied.
        edge.outdate(key);
        let done = write.await;
        edge.outdate(key);
        edge.purge(key).await;
        done
    }
}

#[async_trait]
impl StorageAdapter for R2 {
    fn capabilities(&self) -> Capabilities {
        let all = self.bucket.capabilities();
        if self.edge.is_some() { all.weakened("the edge cache", [Capability::Linearizable]) } else { all }
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        if let Some(edge) = &self.edge
            && let Some(answer) = edge.head(key).await.map_err(|error| self.explain(error, "head", key))?
        {
            return Ok(answer);
        }
        self.bucket.head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        if let Some(edge) = &self.edge {
            let answer = edge.get(key, options.clone()).await;
            if let Some(answer) = answer.map_err(|error| self.explain(error, "get", key))? {
                return Ok(answer);
            }
        }
        self.bucket.get(key, options).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.write(key, self.bucket.put(key, body, options)).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.write(key, self.bucket.delete(key, options)).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.bucket.list(options)
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.write(key, self.bucket.increment(key, delta)).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        if self.edge.is_none() {
            return self.bucket.batch(operations, options).await;
        }
        // Through this adapter's own verbs, so that reads use the edge and writes make it forget.
        leasehold_core::batch_by_key(self, operations, options, 32).await
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn changes(&self, _: &Scope) -> Result<Option<Changes>> {
        Ok(None)
    }
}

impl fmt::Display for R2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r2://{}/{}", self.account, self.name)
    }
}

impl fmt::Debug for R2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("R2").field("bucket", &self.bucket).field("edge", &self.edge).finish_non_exhaustive()
    }
}
