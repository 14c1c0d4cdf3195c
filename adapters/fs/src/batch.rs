//! Batches: small writes go together, in bulk; all else, and what others hold up, goes one by one beside them.
//!
//! The writes of one key run in waves, the first of each key before the second of any, so that those of one key keep
//! their order. A wave goes in slices, each on one thread, which bounds the files that are open and the memory that is
//! dirty. An entry whose lock somebody holds is done alone, with patience, and with it all that follows on its key.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::future::{Either, join};
use leasehold_core::{
    BatchOptions, Key, Operation, Outcome, Result, StorageAdapter, batch_by_key, refuse_batch,
};

use crate::{
    bulk::{self, Change, Entry},
    fault::again,
    store::Fs,
};

/// How many keys of a batch are worked on at once, where they go one by one.
const KEYS_MAX: usize = 16;
/// The largest value that goes together with others.
const BULK_BYTES_MAX: u64 = 1 << 20;
/// How many entries go together.
const SLICE_ENTRIES_MAX: usize = 256;
/// How many bytes go together, unless one entry alone has more.
const SLICE_BYTES_MAX: usize = 8 << 20;

/// What some operations of a batch came to, each with its position.
type Results = Vec<(usize, Result<Outcome>)>;

/// A batch, divided.
#[derive(Default)]
struct Plan {
    /// What goes in bulk: of each wave no two are on one key.
    waves: Vec<Vec<Entry>>,
    /// What goes one by one.
    others: Vec<(usize, Operation)>,
}

impl Plan {
    fn new(operations: Vec<Operation>) -> Self {
        let sorted: Vec<_> = operations.into_iter().enumerate().map(sort).collect();
        let alone: HashSet<Key> = sorted
            .iter()
            .filter_map(|sorted| match sorted {
                Either::Left(_) => None,
                Either::Right((_, operation)) => Some(operation.key().clone()),
            })
            .collect();
        let mut plan = Self::default();
        let mut waves: HashMap<Key, usize> = HashMap::new();
        for sorted in sorted {
            match sorted {
                Either::Left(entry) if !alone.contains(&entry.key) => {
                    let wave = waves.entry(entry.key.clone()).or_default();
                    if plan.waves.len() == *wave {
                        plan.waves.push(Vec::new());
                    }
                    plan.waves[*wave].push(entry);
                    *wave += 1;
                }
                Either::Left(entry) => plan.others.push(entry.into_operation()),
                Either::Right(other) => plan.others.push(other),
            }
        }
        plan
    }
}

/// Tells what can go in bulk from what cannot.
fn sort((position, operation): (usize, Operation)) -> Either<Entry, (usize, Operation)> {
    match operation {
        Operation::Put(key, body, options) if body.size().is_some_and(|size| size <= BULK_BYTES_MAX) => {
            match body.try_into_bytes() {
                Ok(bytes) => Either::Left(Entry { position, key, change: Change::Put(bytes, options) }),
                Err(stream) => Either::Right((position, Operation::Put(key, stream, options))),
            }
        }
        Operation::Delete(key, options) => {
            Either::Left(Entry { position, key, change: Change::Delete(options) })
        }
        other => Either::Right((position, other)),
    }
}

/// Divides a wave into what goes together.
fn slices(wave: Vec<Entry>) -> impl Iterator<Item = Arc<Vec<Entry>>> {
    let mut slices: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = 0;
    for entry in wave {
        bytes += entry.size();
        match slices.last_mut() {
            Some(slice) if slice.len() < SLICE_ENTRIES_MAX && bytes <= SLICE_BYTES_MAX => slice.push(entry),
            _ => {
                bytes = entry.size();
                slices.push(vec![entry]);
            }
        }
    }
    slices.into_iter().map(Arc::new)
}

impl Fs {
    /// Performs a batch that is not refused as a whole.
    pub(crate) async fn batch_in_bulk(
        &self,
        operations: Vec<Operation>,
        options: BatchOptions,
    ) -> Vec<Result<Outcome>> {
        if let Some(refused) = refuse_batch(&self.capabilities(), &operations, options) {
            return refused;
        }
        let mut results: Vec<_> = operations.iter().map(|_| None).collect();
        let Plan { waves, others } = Plan::new(operations);
        let (bulk, others) = join(self.waves(waves), self.one_by_one(others)).await;
        for (position, result) in bulk.into_iter().chain(others) {
            results[position] = Some(result);
        }
        results
            .into_iter()
            .map(|result| result.expect("every operation is in a wave or among the others"))
            .collect()
    }

    async fn waves(&self, waves: Vec<Vec<Entry>>) -> Results {
        let mut results = Vec::new();
        let mut held_up: Vec<(usize, Operation)> = Vec::new();
        let mut keys_held_up: HashSet<Key> = HashSet::new();
        for mut wave in waves {
            let behind = wave.extract_if(.., |entry| keys_held_up.contains(&entry.key));
            held_up.extend(behind.map(Entry::into_operation));
            for slice in slices(wave) {
                for (entry, result) in slice.iter().zip(self.slice(slice.clone()).await) {
                    match result {
                        Some(result) => {
                            let told = self.told(entry.verb(), &entry.key);
                            results.push((entry.position, result.map_err(told)));
                        }
                        None => {
                            keys_held_up.insert(entry.key.clone());
                            held_up.push(entry.clone().into_operation());
                        }
                    }
                }
            }
        }
        results.extend(self.one_by_one(held_up).await);
        results
    }

    async fn slice(&self, entries: Arc<Vec<Entry>>) -> Vec<Option<Result<Outcome>>> {
        let count = entries.len();
        let done = self.write_slice(move |inner| Ok(bulk::perform(inner, &entries))).await;
        done.unwrap_or_else(|error| (0..count).map(|_| Some(Err(again(&error)))).collect())
    }

    async fn one_by_one(&self, operations: Vec<(usize, Operation)>) -> Results {
        let (positions, operations): (Vec<_>, Vec<_>) = operations.into_iter().unzip();
        let results = batch_by_key(self, operations, BatchOptions::default(), KEYS_MAX).await;
        positions.into_iter().zip(results).collect()
    }
}
