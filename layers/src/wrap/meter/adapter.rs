//! The adapter that counts and passes on.

use std::{fmt, sync::Arc};

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    BatchOptions, Body, BoxStream, Capabilities, Changes, DeleteOptions, Entry, GetOptions, Key, ListOptions,
    Lookup, Metadata, Object, Operation, Outcome, PutOptions, Result, Scope, StorageAdapter, Version,
    async_trait,
};

use super::Meter;
use crate::Verb;

#[derive(Debug)]
pub(super) struct Metered {
    pub(super) meter: Meter,
    pub(super) inner: Arc<dyn StorageAdapter>,
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl Metered {
    /// Counts a call with one result.
    async fn call<T>(&self, verb: Verb, call: impl Future<Output = Result<T>>) -> Result<T> {
        let running = self.meter.request(verb);
        let result = call.await;
        if let Some(running) = running {
            running.end(result.as_ref().err());
        }
        result.inspect_err(|error| self.meter.error(error))
    }

    fn read(&self, lookup: Lookup) -> Lookup {
        match lookup {
            Lookup::Found(Object { metadata, range, body, .. }) => {
                let body = counted(body, &self.meter, Meter::bytes_out);
                Lookup::Found(Object::new(metadata, range, body))
            }
            other => other,
        }
    }
}

/// The same body; its bytes are counted at once where they are at hand, otherwise as they come.
fn counted(body: Body, meter: &Meter, count: fn(&Meter, u64)) -> Body {
    let size = body.size();
    match body.try_into_bytes() {
        Ok(bytes) => {
            count(meter, bytes.len() as u64);
            Body::from_bytes(bytes)
        }
        Err(stream) => {
            let meter = meter.clone();
            let chunks = stream.into_stream().inspect(move |chunk| {
                if let Ok(chunk) = chunk {
                    count(&meter, chunk.len() as u64);
                }
            });
            Body::from_stream(chunks.boxed(), size)
        }
    }
}

#[async_trait]
impl StorageAdapter for Metered {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.call(Verb::Head, self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.call(Verb::Get, self.inner.get(key, options)).await.map(|lookup| self.read(lookup))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        let body = counted(body, &self.meter, Meter::bytes_in);
        self.call(Verb::Put, self.inner.put(key, body, options)).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.call(Verb::Delete, self.inner.delete(key, options)).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let begun = (self.inner.list(options), self.meter.clone(), self.meter.request(Verb::List));
        stream::unfold(begun, |(mut entries, meter, mut running)| async move {
            let entry = entries.next().await;
            let error = entry.as_ref().and_then(|entry| entry.as_ref().err());
            if let Some(error) = error {
                meter.error(error);
            }
            if entry.is_none() || error.is_some() {
                running.take().into_iter().for_each(|running| running.end(error));
            }
            Some((entry?, (entries, meter, running)))
        })
        .boxed()
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.call(Verb::Increment, self.inner.increment(key, delta)).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        let running = self.meter.request(Verb::Batch);
        self.meter.entries(operations.len());
        let operations = operations
            .into_iter()
            .map(|operation| match operation {
                Operation::Put(key, body, options) => {
                    Operation::Put(key, counted(body, &self.meter, Meter::bytes_in), options)
                }
                other => other,
            })
            .collect();
        let results = self.inner.batch(operations, options).await;
        if let Some(running) = running {
            running.end(results.iter().find_map(|result| result.as_ref().err()));
        }
        results
            .into_iter()
            .map(|result| match result.inspect_err(|error| self.meter.error(error))? {
                Outcome::Got(lookup) => Ok(Outcome::Got(self.read(lookup))),
                other => Ok(other),
            })
            .collect()
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.inner.changes(scope).await
    }
}
