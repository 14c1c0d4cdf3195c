//! Batches: plain deletes through the store's own bulk call, the rest key by key.

use std::collections::HashMap;

use futures_util::{
    future::join,
    stream::{self, StreamExt},
};
use leasehold_core::{
    BatchOptions, DeleteOptions, Error, ErrorKind, Key, Operation, Outcome, Result, StorageAdapter,
    batch_by_key, refuse_batch,
};

use object_store::Error as Theirs;

use super::{FromObjectStore, Inner};
use crate::failure::{self, Failed};

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
    let (in_bulk, mut single): (Vec<_>, Vec<_>) = match deletes.len() {
        0 | 1 => (Vec::new(), deletes),
        _ => deletes.into_iter().partition(|(_, key)| adapter.inner.path(key).is_ok()),
    };
    let mut open: HashMap<Key, usize> = in_bulk.into_iter().map(|(place, key)| (key, place)).collect();
    let mut results = Vec::with_capacity(open.len() + single.len());
    let doubt = delete_in_bulk(&adapter.inner, &mut open, &mut results).await;
    let unconfirmed = open.into_iter().map(|(key, place)| (place, key));
    match doubt {
        // The store refused, and so has deleted none of these: one by one they tell why.
        None => single.extend(unconfirmed),
        // They may be deleted already, and what somebody has written since must not be.
        Some(kind) => results.extend(unconfirmed.map(|(place, key)| {
            let message = "the answer to a delete of many keys was lost, or does not tell of this one";
            let error = Error::new(kind, message).indeterminate().on("delete", &key).at(adapter);
            (place, Err(error))
        })),
    }
    let mut single = stream::iter(single)
        .map(|(place, key)| async move {
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

/// Deletes what is `open` by the store's bulk call, and moves what is confirmed to `results`. Returns what went wrong if any
/// of what stays open may be deleted nevertheless.
async fn delete_in_bulk(
    inner: &Inner,
    open: &mut HashMap<Key, usize>,
    results: &mut Vec<(usize, Result<Outcome>)>,
) -> Option<ErrorKind> {
    if open.is_empty() {
        return None;
    }
    let paths: Vec<_> = open.keys().filter_map(|key| inner.path(key).ok()).map(Ok).collect();
    let (mut refused, mut doubt) = (false, None);
    let mut done = inner.store.delete_stream(stream::iter(paths).boxed());
    while let Some(result) = done.next().await {
        let gone = match &result {
            Ok(path) => Some(path.as_ref()),
            Err(error @ Theirs::NotFound { path, .. }) if failure::is_absence(error) => Some(path.as_str()),
            Err(_) => None,
        };
        if let Some(place) = gone.and_then(|path| open.remove(path)) {
            results.push((place, Ok(Outcome::Deleted)));
            continue;
        }
        // One error may be the answer for many keys.
        match result.map_err(|error| failure::of_plain_write(error, inner.backend.retries_below)) {
            Ok(_) => {}
            Err(Failed::Unknown(error)) => doubt = Some(error.kind()),
            Err(Failed::Refused | Failed::Rejected(_)) => refused = true,
        }
    }
    doubt.or((!refused).then_some(ErrorKind::Unexpected))
}
