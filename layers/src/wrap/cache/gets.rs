//! Batches of reads: what is here is answered, and the rest is asked for in one batch.

use leasehold_core::{
    BatchOptions, ByteRange, GetOptions, Key, Lookup, Object, Operation, Outcome, Result, refuse_batch,
};

use super::{
    adapter::{Cached, Loaded},
    traffic::Read,
};
use crate::known::Known;

/// A read that is sent on.
struct Asked {
    place: usize,
    key: Key,
    options: GetOptions,
    /// Of a whole value, whose answer can be kept.
    read: Option<Read<Loaded>>,
    /// What the store is asked about, instead of being asked for it.
    kept: Option<Known>,
}

pub(super) async fn get_many(
    cached: &Cached,
    operations: Vec<Operation>,
    options: BatchOptions,
) -> Vec<Result<Outcome>> {
    if let Some(refused) = refuse_batch(&cached.loader.inner.capabilities(), &operations, options) {
        return refused;
    }
    if options.atomic {
        return cached.loader.inner.batch(operations, options).await;
    }
    let mut results: Vec<Option<Result<Outcome>>> = (0..operations.len()).map(|_| None).collect();
    let mut asked = Vec::new();
    let mut below = Vec::new();
    for (place, operation) in operations.into_iter().enumerate() {
        let Operation::Get(key, options) = operation else {
            below.push(operation);
            continue;
        };
        match cached.kept(&key) {
            Ok(kept) => {
                cached.hit();
                results[place] = Some(cached.answer(&key, &kept.known, &options).map(Outcome::Got));
            }
            Err(kept) => {
                let whole = options.range == ByteRange::Full && options.if_changed_from.is_none();
                let kept = kept.filter(|_| whole && cached.loader.versions_tell_all);
                let kept = kept.map(|kept| kept.known.clone());
                let version =
                    kept.as_ref().and_then(Known::metadata).map(|metadata| metadata.version.clone());
                let mut wanted = options.clone();
                wanted.if_changed_from = wanted.if_changed_from.or(version);
                below.push(Operation::Get(key.clone(), wanted));
                let read = whole.then(|| cached.traffic.read(&key));
                asked.push(Asked { place, key, options, read, kept });
            }
        }
    }
    let answers = match below.is_empty() {
        true => Vec::new(),
        false => {
            cached.loader.count();
            cached.loader.inner.batch(below, options).await
        }
    };
    for (asked, answer) in asked.into_iter().zip(answers) {
        let place = asked.place;
        results[place] = Some(settle(cached, asked, answer).await);
    }
    let short = || {
        let message = "the store below returned too few results";
        Err(leasehold_core::Error::new(leasehold_core::ErrorKind::Unexpected, message))
    };
    results.into_iter().map(|result| result.unwrap_or_else(short)).collect()
}

/// Keeps what can be kept of an answer, and turns it into the caller's.
async fn settle(cached: &Cached, asked: Asked, answer: Result<Outcome>) -> Result<Outcome> {
    let Outcome::Got(lookup) = answer? else {
        let message = "the store below answered a get with something else";
        return Err(leasehold_core::Error::new(leasehold_core::ErrorKind::Unexpected, message));
    };
    let keep = |known: Known| {
        if let Some(read) = &asked.read {
            read.keep(known);
        }
    };
    match (lookup, asked.kept) {
        (Lookup::Unchanged, Some(known)) => {
            cached.hit();
            keep(known.clone());
            cached.answer(&asked.key, &known, &asked.options).map(Outcome::Got)
        }
        (Lookup::Found(object), _) if asked.read.is_some() && cached.loader.fits(&object) => {
            cached.miss();
            let Object { metadata, body, .. } = object;
            let bytes = body.receive(cached.loader.value_bytes_max).await?;
            let known = Known::Value(metadata, bytes);
            keep(known.clone());
            cached.answer(&asked.key, &known, &asked.options).map(Outcome::Got)
        }
        (lookup, _) => {
            cached.miss();
            if matches!(lookup, Lookup::Absent) {
                keep(Known::Absent);
            }
            Ok(Outcome::Got(lookup))
        }
    }
}
