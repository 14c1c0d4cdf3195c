//! What the flawed adapters do instead.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    BatchOptions, Body, BoxStream, Bytes, Entry, Error, GetOptions, Key, ListOptions, Lookup, Metadata,
    Operation, Outcome, Precondition, Prefix, PutOptions, Result, StorageAdapter, Version,
};

/// Gives every other task a turn, as a network would.
pub(super) async fn pause() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

pub(super) async fn checks_then_writes(
    inner: &dyn StorageAdapter,
    key: &Key,
    body: Body,
    precondition: &Precondition,
) -> Result<Version> {
    let current = inner.head(key).await?.map(|metadata| metadata.version);
    precondition.check(current.as_ref()).map_err(|error| error.on("put", key))?;
    pause().await;
    inner.put(key, body, PutOptions::default()).await
}

pub(super) async fn writes_in_two_steps(
    inner: &dyn StorageAdapter,
    key: &Key,
    body: Body,
    options: PutOptions,
    first: fn(&Bytes) -> Bytes,
) -> Result<Version> {
    let bytes = body.bytes().await?;
    let begun = inner.put(key, first(&bytes).into(), options).await?;
    pause().await;
    drop(begun);
    inner.put(key, bytes.into(), PutOptions::default()).await
}

/// With the attributes of the value before that this one has not.
pub(super) async fn merges_attributes(
    inner: &dyn StorageAdapter,
    key: &Key,
    body: Body,
    mut options: PutOptions,
) -> Result<Version> {
    let mut merged = inner.head(key).await?.map(|metadata| metadata.attributes).unwrap_or_default();
    for (name, value) in options.attributes.iter() {
        merged.insert(name, value)?;
    }
    options.attributes = merged;
    inner.put(key, body, options).await
}

/// The value, and only then what belongs beside it.
pub(super) async fn writes_attributes_apart(
    inner: &dyn StorageAdapter,
    key: &Key,
    body: Body,
    options: PutOptions,
) -> Result<Version> {
    let bytes = body.bytes().await?;
    let version = inner.put(key, bytes.clone().into(), options.precondition.into()).await?;
    if options.attributes.is_empty() {
        return Ok(version);
    }
    pause().await;
    let amended = PutOptions::from(Precondition::Matches(version.clone())).attributes(options.attributes);
    match inner.put(key, bytes.into(), amended).await {
        // Overtaken: the value has gone, and what was beside it.
        Err(error) if error.is_conflict() => Ok(version),
        done => done,
    }
}

pub(super) fn content_version(bytes: &[u8]) -> Version {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Version::new(format!("{:016x}", hasher.finish()))
}

/// The metadata with a version taken from the content.
pub(super) async fn content_metadata(inner: &dyn StorageAdapter, key: &Key) -> Result<Option<Metadata>> {
    let Some(object) = inner.get(key, GetOptions::default()).await?.found() else { return Ok(None) };
    let bytes = object.bytes().await?;
    Ok(Some(Metadata::new(content_version(&bytes), bytes.len() as u64)))
}

pub(super) async fn loses_increments(inner: &dyn StorageAdapter, key: &Key, delta: i64) -> Result<i64> {
    let current = match inner.get(key, GetOptions::default()).await?.found() {
        Some(object) => Some(object.bytes().await?),
        None => None,
    };
    let sum = leasehold_core::add_to(current.as_deref(), delta)?;
    pause().await;
    inner.put(key, sum.to_string().into(), PutOptions::default()).await?;
    Ok(sum)
}

pub(super) async fn wraps_increments(inner: &dyn StorageAdapter, key: &Key, delta: i64) -> Result<i64> {
    let text = match inner.get(key, GetOptions::default()).await?.found() {
        Some(object) => object.text().await?,
        None => "0".into(),
    };
    let number: i64 = text.parse().map_err(|_| Error::invalid("no integer"))?;
    let sum = number.wrapping_add(delta);
    inner.put(key, sum.to_string().into(), PutOptions::default()).await?;
    Ok(sum)
}

async fn perform(inner: &dyn StorageAdapter, operation: Operation) -> Result<Outcome> {
    match operation {
        Operation::Get(key, options) => inner.get(&key, options).await.map(Outcome::Got),
        Operation::Put(key, body, options) => inner.put(&key, body, options).await.map(Outcome::Put),
        Operation::Delete(key, options) => inner.delete(&key, options).await.map(|()| Outcome::Deleted),
        _ => Err(Error::invalid("an operation that this adapter does not know")),
    }
}

pub(super) async fn one_by_one(
    inner: &dyn StorageAdapter,
    operations: Vec<Operation>,
    _: BatchOptions,
) -> Vec<Result<Outcome>> {
    let mut results = Vec::with_capacity(operations.len());
    for operation in operations {
        results.push(perform(inner, operation).await);
        pause().await;
    }
    results
}

pub(super) fn backwards(entries: BoxStream<'static, Result<Entry>>) -> BoxStream<'static, Result<Entry>> {
    let all = async move {
        let mut all: Vec<_> = entries.collect().await;
        all.reverse();
        stream::iter(all)
    };
    stream::once(all).flatten().boxed()
}

/// Begins one key too early.
pub(super) fn inclusive(
    inner: &dyn StorageAdapter,
    mut options: ListOptions,
) -> BoxStream<'static, Result<Entry>> {
    let after = options.after.take();
    let fits = move |entry: &Result<Entry>| match (entry, &after) {
        (Ok(entry), Some(after)) => entry.key >= *after,
        _ => true,
    };
    inner.list(options).filter(move |entry| std::future::ready(fits(entry))).boxed()
}

pub(super) fn whole_segments(
    inner: &dyn StorageAdapter,
    options: ListOptions,
) -> BoxStream<'static, Result<Entry>> {
    let prefix: Prefix = options.prefix.clone();
    let fits = move |entry: &Result<Entry>| match entry {
        Ok(entry) => {
            let rest = &entry.key[prefix.as_str().len()..];
            prefix.as_str().is_empty()
                || prefix.as_str().ends_with('/')
                || rest.is_empty()
                || rest.starts_with('/')
        }
        Err(_) => true,
    };
    inner.list(options).filter(move |entry| std::future::ready(fits(entry))).boxed()
}

/// The value whole, under the options' condition on the version only.
pub(super) async fn whole(inner: &dyn StorageAdapter, key: &Key, options: GetOptions) -> Result<Lookup> {
    let mut whole = GetOptions::default();
    whole.if_changed_from = options.if_changed_from;
    inner.get(key, whole).await
}

/// Whether a key above this one, or below it, holds a value.
pub(super) async fn is_beside_a_file(inner: &dyn StorageAdapter, key: &Key) -> Result<bool> {
    for (end, _) in key.match_indices('/') {
        if inner.head(&Key::new(&key[..end])?).await?.is_some() {
            return Ok(true);
        }
    }
    let below = ListOptions::prefix(Prefix::new(format!("{key}/"))?);
    Ok(inner.list(below).next().await.is_some())
}
