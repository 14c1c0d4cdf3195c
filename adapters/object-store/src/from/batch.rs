//! Batches: plain deletes through the store's own bulk call, the rest key by key.

use std::collections::HashMap;

use futures_util::{
    future::join,
    stream::{self, StreamExt},
};
use leasehold_core::{
    BatchOptions, DeleteOptions, Key, Operation, Outcome, Result, StorageAdapter, batch_by_key, refuse_batch,
};

use super::FromObjectStore;

/// How many keys are worked on at once.
const KEYS_AT_ONCE: usize = 16;

pub(super) async fn batch(
    adapter: &FromObjectStore,
    operations: Vec<Operation>,
    options: BatchOptions,
) -> Vec<Result<Outcome>> {
    if let Some(refused) = refuse_batch(&adapter.capabilities(), &operations, options) {
        return refused;
    }
    let mut times: HashMap<Key, usize> = HashMap::new();
    for operation in &operations {
        *times.entry(operation.key().clone()).or_default() += 1;
    }
    let count = operations.len();
    let (mut deletes, mut others, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (place, operation) in operations.into_iter().enumerate() {
        match operation {
            Operation::Delete(key, options) if options.if_match.is_none() && times[&key] == 1 => {
                deletes.push((place, key));
            }
            other => {
                places.push(place);
                others.push(other);
            }
        }
    }
    let (deleted, done) =
        join(delete_all(adapter, deletes), batch_by_key(adapter, others, options, KEYS_AT_ONCE)).await;
    let mut results: Vec<Option<Result<Outcome>>> = (0..count).map(|_| None).collect();
    for (place, result) in deleted.into_iter().chain(places.into_iter().zip(done)) {
        results[place] = Some(result);
    }
    results.into_iter().map(|result| result.expect("every operation is a delete or another")).collect()
}

/// Deletes many keys, each of them once.
async fn delete_all(adapter: &FromObjectStore, deletes: Vec<(usize, Key)>) -> Vec<(usize, Result<Outcome>)> {
    let mut open: HashMap<Key, usize> = deletes.into_iter().map(|(place, key)| (key, place)).collect();
    let mut results = Vec::with_capacity(open.len());
    if open.len() > 1 {
        let paths: Vec<_> = open.keys().filter_map(|key| adapter.inner.path(key).ok()).map(Ok).collect();
        let mut done = adapter.inner.store.delete_stream(stream::iter(paths).boxed());
        while let Some(result) = done.next().await {
            // Some stores answer with one error for many keys, so only what is confirmed counts.
            if let Some(place) = result.ok().and_then(|path| open.remove(path.as_ref())) {
                results.push((place, Ok(Outcome::Deleted)));
            }
        }
    }
    // What the bulk call did not confirm is deleted one by one, which tells why it fails, if it does.
    let mut single = stream::iter(open)
        .map(|(key, place)| async move {
            let deleted = adapter.delete(&key, DeleteOptions::default()).await;
            (place, deleted.map(|()| Outcome::Deleted))
        })
        .buffer_unordered(KEYS_AT_ONCE);
    while let Some(result) = single.next().await {
        results.push(result);
    }
    drop(single);
    results
}
