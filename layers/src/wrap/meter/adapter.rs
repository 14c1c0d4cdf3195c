//! The adapter that counts and passes on.

use std::{fmt, sync::Arc};

use futures_util::stream::StreamExt;
use leasehold_core::{
    BatchOptions, Body, BoxStream, Capabilities, DeleteOptions, Entry, GetOptions, Key, ListOptions, Lookup,
    Metadata, Object, Operation, Outcome, PutOptions, Result, StorageAdapter, Version, async_trait,
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
    fn told<T>(&self, result: Result<T>) -> Result<T> {
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
        self.meter.request(Verb::Head);
        self.told(self.inner.head(key).await)
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.meter.request(Verb::Get);
        self.told(self.inner.get(key, options).await).map(|lookup| self.read(lookup))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.meter.request(Verb::Put);
        let body = counted(body, &self.meter, Meter::bytes_in);
        self.told(self.inner.put(key, body, options).await)
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.meter.request(Verb::Delete);
        self.told(self.inner.delete(key, options).await)
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.meter.request(Verb::List);
        let meter = self.meter.clone();
        let told = move |entry: &Result<Entry>| {
            if let Err(error) = entry {
                meter.error(error);
            }
        };
        self.inner.list(options).inspect(told).boxed()
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.meter.request(Verb::Increment);
        self.told(self.inner.increment(key, delta).await)
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        self.meter.request(Verb::Batch);
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
        results
            .into_iter()
            .map(|result| {
                self.told(result).map(|outcome| match outcome {
                    Outcome::Got(lookup) => Outcome::Got(self.read(lookup)),
                    other => other,
                })
            })
            .collect()
    }
}
