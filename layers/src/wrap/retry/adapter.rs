//! The adapter that tries again.

use std::{collections::HashMap, fmt, future::Future, sync::Arc};

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    BatchOptions, Body, BoxStream, Bytes, Capabilities, Changes, DeleteOptions, Entry, Error, GetOptions,
    Key, ListOptions, Lookup, Metadata, Operation, Outcome, Precondition, PutOptions, Result, Scope,
    StorageAdapter, Version, async_trait,
};

use super::{May, Retry};

#[derive(Clone, Debug)]
pub(super) struct Retried {
    pub(super) retry: Retry,
    pub(super) inner: Arc<dyn StorageAdapter>,
}

impl fmt::Display for Retried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

/// What a write under a precondition may have done when it is sent again.
fn under(precondition: &Precondition) -> May {
    if *precondition == Precondition::None { May::Anything } else { May::Nothing }
}

/// The same error, unknown if one before it was.
fn after(doubt: bool, error: Error) -> Error {
    if doubt { error.indeterminate() } else { error }
}

impl Retried {
    pub(super) async fn call<T, F: Future<Output = Result<T>>>(
        &self,
        may: May,
        call: impl Fn() -> F,
    ) -> Result<T> {
        let (mut attempt, mut doubt) = (1, false);
        loop {
            match call().await {
                Ok(done) => {
                    self.retry.budget.give();
                    return Ok(done);
                }
                Err(error) => {
                    doubt |= error.is_indeterminate();
                    if !self.retry.again(attempt, &error, may).await {
                        return Err(after(doubt, error));
                    }
                }
            }
            attempt += 1;
        }
    }
}

#[async_trait]
impl StorageAdapter for Retried {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.call(May::Anything, || self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.call(May::Anything, || self.inner.get(key, options.clone())).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        match body.try_into_bytes() {
            Ok(bytes) => {
                let put = || self.inner.put(key, Body::from_bytes(bytes.clone()), options.clone());
                self.call(under(&options.precondition), put).await
            }
            Err(stream) => self.inner.put(key, stream, options).await,
        }
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        let may = under(&options.precondition());
        self.call(may, || self.inner.delete(key, options.clone())).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let begun =
            Listing { entries: self.inner.list(options.clone()), options, over: self.clone(), failures: 0 };
        stream::try_unfold(begun, |mut list| async move { Ok(list.next().await?.map(|entry| (entry, list))) })
            .boxed()
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.call(May::Nothing, || self.inner.increment(key, delta)).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        let (mut plans, operations) = plan(operations, options);
        let mut results = self.inner.batch(operations, options).await;
        let mut attempt = 1;
        loop {
            let mut again = Vec::new();
            for (place, plan) in plans.iter_mut().enumerate() {
                match &results[place] {
                    Ok(_) => self.retry.budget.give(),
                    Err(error) => {
                        plan.doubt |= error.is_indeterminate();
                        if plan.may.repeat(error) {
                            again.push(place);
                        }
                    }
                }
                if results[place].is_ok() {
                    plan.may = May::Never;
                }
            }
            let first = again.first().and_then(|place| results[*place].as_ref().err());
            // What the entries have in common is one try, one wait and one token.
            let goes_on = match first {
                Some(error) => self.retry.again(attempt, error, May::Anything).await,
                None => false,
            };
            if !goes_on {
                break;
            }
            let operations = again.iter().filter_map(|place| plans[*place].copy()).collect();
            let repeated = self.inner.batch(operations, BatchOptions::default()).await;
            for (place, result) in again.into_iter().zip(repeated) {
                results[place] = result;
            }
            attempt += 1;
        }
        let told = |(result, plan): (Result<Outcome>, Plan)| result.map_err(|error| after(plan.doubt, error));
        results.into_iter().zip(plans).map(told).collect()
    }

    async fn flush(&self) -> Result<()> {
        self.call(May::Anything, || self.inner.flush()).await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.call(May::Anything, || self.inner.changes(scope)).await
    }
}

/// What can be done about one entry of a batch that fails.
struct Plan {
    may: May,
    entry: Option<Repeated>,
    doubt: bool,
}

/// An entry that can be sent again.
enum Repeated {
    Get(Key, GetOptions),
    Put(Key, Bytes, PutOptions),
    Delete(Key, DeleteOptions),
}

impl Plan {
    fn copy(&self) -> Option<Operation> {
        self.entry.as_ref().map(|entry| match entry {
            Repeated::Get(key, options) => Operation::Get(key.clone(), options.clone()),
            Repeated::Put(key, bytes, options) => {
                Operation::Put(key.clone(), Body::from_bytes(bytes.clone()), options.clone())
            }
            Repeated::Delete(key, options) => Operation::Delete(key.clone(), options.clone()),
        })
    }
}

fn plan(operations: Vec<Operation>, options: BatchOptions) -> (Vec<Plan>, Vec<Operation>) {
    let mut times: HashMap<Key, usize> = HashMap::new();
    for operation in &operations {
        *times.entry(operation.key().clone()).or_default() += 1;
    }
    let planned = operations.into_iter().map(|operation| {
        let alone = !options.atomic && times[operation.key()] == 1;
        let (may, entry, operation) = match operation {
            Operation::Get(key, options) => (
                May::Anything,
                Some(Repeated::Get(key.clone(), options.clone())),
                Operation::Get(key, options),
            ),
            Operation::Put(key, body, options) => match body.try_into_bytes() {
                Ok(bytes) => (
                    under(&options.precondition),
                    Some(Repeated::Put(key.clone(), bytes.clone(), options.clone())),
                    Operation::Put(key, Body::from_bytes(bytes), options),
                ),
                Err(stream) => (May::Never, None, Operation::Put(key, stream, options)),
            },
            Operation::Delete(key, options) => (
                under(&options.precondition()),
                Some(Repeated::Delete(key.clone(), options.clone())),
                Operation::Delete(key, options),
            ),
            other => (May::Never, None, other),
        };
        (Plan { may: if alone { may } else { May::Never }, entry, doubt: false }, operation)
    });
    planned.unzip()
}

/// A list on its way.
struct Listing {
    entries: BoxStream<'static, Result<Entry>>,
    /// Where to go on.
    options: ListOptions,
    over: Retried,
    /// Since the last entry.
    failures: u32,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            match self.entries.next().await {
                None => return Ok(None),
                Some(Ok(entry)) => {
                    self.failures = 0;
                    self.options = std::mem::take(&mut self.options).after(entry.key.clone());
                    return Ok(Some(entry));
                }
                Some(Err(error)) => {
                    self.failures += 1;
                    if !self.over.retry.again(self.failures, &error, May::Anything).await {
                        return Err(error);
                    }
                    self.entries = self.over.inner.list(self.options.clone());
                }
            }
        }
    }
}
