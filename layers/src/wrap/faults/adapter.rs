//! The adapter that carries out the plan, verb by verb.

use std::{fmt, future::Future, sync::Arc};

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    BatchOptions, Body, BoxStream, Capabilities, Changes, DeleteOptions, Entry, Error, ErrorKind, GetOptions,
    Key, ListOptions, Lookup, Metadata, Object, Operation, Outcome, PutOptions, Result, Scope,
    StorageAdapter, Version, async_trait,
};

use super::{Decision, Fault, Faults};
use crate::Verb;

/// How many keys a list out of order turns around at once.
const PAGE_ENTRIES: usize = 10;

#[derive(Debug)]
pub(super) struct Faulty {
    pub(super) faults: Faults,
    pub(super) inner: Arc<dyn StorageAdapter>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

/// The error that a caller sees for `fault`.
pub(super) fn error(fault: Fault, write: bool) -> Error {
    let error = match fault {
        Fault::Before => {
            return Error::new(ErrorKind::Unavailable, "injected fault before the store; send it again");
        }
        Fault::After => Error::new(ErrorKind::Unavailable, "injected fault: the reply was lost"),
        Fault::Ghost => Error::new(ErrorKind::Timeout, "injected fault: no answer in time"),
        Fault::Truncate | Fault::Disorder => {
            Error::new(ErrorKind::Unexpected, "injected fault that is no error")
        }
    };
    if write { error.indeterminate() } else { error }
}

/// The same answer with half of its body, which still claims to be whole.
pub(super) fn truncated(lookup: Lookup) -> Lookup {
    let Lookup::Found(Object { metadata, range, body, .. }) = lookup else { return lookup };
    let size = range.end - range.start;
    let mut left = size / 2;
    let half = body.into_stream().map(move |chunk| {
        chunk.map(|mut chunk| {
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= chunk.len() as u64;
            chunk
        })
    });
    Lookup::Found(Object::new(metadata, range, Body::from_stream(half.boxed(), Some(size))))
}

async fn run<T>(decision: Decision, write: bool, call: impl Future<Output = Result<T>>) -> Result<T> {
    match decision {
        Decision::Pass | Decision::Fault(Fault::Truncate | Fault::Disorder) => call.await,
        Decision::Delay(wait) => {
            wait.await;
            call.await
        }
        Decision::Fault(Fault::After) => {
            // Whatever the store said is what got lost.
            drop(call.await);
            Err(error(Fault::After, write))
        }
        Decision::Fault(fault) => Err(error(fault, write)),
        Decision::Hold(gate) => {
            gate.pass().await;
            call.await
        }
        Decision::HoldReply(gate) => {
            let result = call.await;
            gate.pass().await;
            result
        }
    }
}

impl Faulty {
    fn told(&self, verb: Verb, key: &Key) -> impl Fn(Error) -> Error {
        move |error| error.on(verb.name(), key).at(&self.inner)
    }
}

#[async_trait]
impl StorageAdapter for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        let decision = self.faults.decide(Verb::Head, Some(key));
        run(decision, false, self.inner.head(key)).await.map_err(self.told(Verb::Head, key))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        let decision = self.faults.decide(Verb::Get, Some(key));
        let cut = matches!(decision, Decision::Fault(Fault::Truncate));
        let lookup =
            run(decision, false, self.inner.get(key, options)).await.map_err(self.told(Verb::Get, key));
        if cut { lookup.map(truncated) } else { lookup }
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        let decision = self.faults.decide(Verb::Put, Some(key));
        if matches!(decision, Decision::Fault(Fault::Ghost)) {
            let bytes = body.bytes().await.map_err(self.told(Verb::Put, key))?;
            let (inner, late) = (self.inner.clone(), key.clone());
            self.faults
                .keep_ghost(Box::pin(async move { inner.put(&late, bytes.into(), options).await.map(drop) }));
            return Err(error(Fault::Ghost, true)).map_err(self.told(Verb::Put, key));
        }
        run(decision, true, self.inner.put(key, body, options)).await.map_err(self.told(Verb::Put, key))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        let decision = self.faults.decide(Verb::Delete, Some(key));
        if matches!(decision, Decision::Fault(Fault::Ghost)) {
            let (inner, key, options) = (self.inner.clone(), key.clone(), options.clone());
            self.faults.keep_ghost(Box::pin(async move { inner.delete(&key, options).await }));
        }
        run(decision, true, self.inner.delete(key, options)).await.map_err(self.told(Verb::Delete, key))
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let entries = self.inner.list(options);
        let failing = |fault| Err(error(fault, false).during("list").at(&self.inner));
        match self.faults.decide(Verb::List, None) {
            Decision::Pass | Decision::Fault(Fault::Truncate) => entries,
            Decision::Fault(Fault::Disorder) => entries
                .chunks(PAGE_ENTRIES)
                .flat_map(|mut page| {
                    page.reverse();
                    stream::iter(page)
                })
                .boxed(),
            Decision::Delay(wait) => stream::once(async move {
                wait.await;
                entries
            })
            .flatten()
            .boxed(),
            // A lost reply of a list is one that breaks off on the way.
            Decision::Fault(Fault::After) => {
                let broken = failing(Fault::After);
                entries.take(1).chain(stream::once(async { broken })).boxed()
            }
            Decision::Fault(fault) => {
                let failed = failing(fault);
                stream::once(async { failed }).boxed()
            }
            Decision::Hold(gate) | Decision::HoldReply(gate) => stream::once(async move {
                gate.pass().await;
                entries
            })
            .flatten()
            .boxed(),
        }
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        let decision = self.faults.decide(Verb::Increment, Some(key));
        if matches!(decision, Decision::Fault(Fault::Ghost)) {
            let (inner, key) = (self.inner.clone(), key.clone());
            self.faults.keep_ghost(Box::pin(async move { inner.increment(&key, delta).await.map(drop) }));
        }
        run(decision, true, self.inner.increment(key, delta)).await.map_err(self.told(Verb::Increment, key))
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        self.faulty_batch(operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.inner.changes(scope).await
    }
}
