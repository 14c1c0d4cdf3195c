//! Where the parts of uploads wait until they are put together.

use std::{sync::Arc, time::SystemTime};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use leasehold_core::{
    BatchOptions, Body, Bytes, DeleteOptions, Error, ErrorKind, GetOptions, Key, ListOptions, Operation,
    Prefix, PutOptions, Result, StorageAdapter, Version,
};
use object_store::PutPayload;

use super::payload_bytes;

/// What the keys of parts start with.
const PREFIX: &str = "_object_store/uploads/";

/// How many values are deleted in one batch.
const DELETED_AT_ONCE: usize = 256;

/// Whether a key belongs to an upload, and not to anybody's values.
pub(super) fn is_staged(key: &Key) -> bool {
    key.starts_with(PREFIX)
}

/// The key of something that belongs to an upload.
pub(super) fn key(upload: &str, name: &str) -> Result<Key> {
    Key::new(format!("{PREFIX}{upload}/{name}"))
}

/// The name of a part.
pub(super) fn part_name(index: usize) -> String {
    format!("{index:08}")
}

/// One part of a value in the making.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// In memory.
    Held(PutPayload),
    /// In the store.
    Staged {
        /// Where.
        key: Key,
        /// The write that left it there.
        version: Version,
        /// Its length.
        size: u64,
    },
}

impl Part {
    fn size(&self) -> u64 {
        match self {
            Self::Held(payload) => payload.content_length() as u64,
            Self::Staged { size, .. } => *size,
        }
    }
}

/// Writes one part.
pub(super) async fn stage(adapter: &dyn StorageAdapter, key: Key, payload: PutPayload) -> Result<Part> {
    let size = payload.content_length() as u64;
    let version = adapter.put(&key, payload_bytes(payload).into(), PutOptions::default()).await?;
    Ok(Part::Staged { key, version, size })
}

/// All parts as one body, which reads them one after the other.
pub(super) fn assemble(adapter: Arc<dyn StorageAdapter>, parts: Vec<Part>) -> Body {
    let size = parts.iter().map(Part::size).sum();
    let chunks = stream::iter(parts).then(move |part| {
        let adapter = adapter.clone();
        async move {
            match part {
                Part::Held(payload) => Ok(stream::iter(payload.into_iter().map(Ok::<Bytes, Error>)).boxed()),
                Part::Staged { key, version, .. } => Ok(read(&*adapter, &key, &version).await?.into_stream()),
            }
        }
    });
    Body::from_stream(chunks.try_flatten().boxed(), Some(size))
}

async fn read(adapter: &dyn StorageAdapter, key: &Key, version: &Version) -> Result<Body> {
    let found = adapter.get(key, GetOptions::default()).await?.found();
    match found.filter(|object| object.version() == version) {
        Some(object) => Ok(object.body),
        None => {
            let message = "a part of the upload is gone or was written again; begin the upload anew";
            Err(Error::new(ErrorKind::Unavailable, message))
        }
    }
}

/// Removes everything of an upload.
pub(super) async fn remove(adapter: &dyn StorageAdapter, upload: &str) -> Result<()> {
    let mut entries = adapter.list(ListOptions::prefix(Prefix::new(format!("{PREFIX}{upload}/"))?));
    let mut keys = Vec::new();
    while let Some(entry) = entries.try_next().await? {
        keys.push(entry.key);
    }
    delete(adapter, keys).await.map(drop)
}

/// Removes uploads of which everything was written before `before`.
pub(super) async fn remove_abandoned(adapter: &Arc<dyn StorageAdapter>, before: SystemTime) -> Result<usize> {
    let mut entries = adapter.list(ListOptions::prefix(Prefix::new(PREFIX)?));
    let (mut upload, mut keys, mut removed) = (String::new(), Vec::new(), 0);
    // The keys of one upload follow each other.
    while let Some(entry) = entries.try_next().await? {
        let rest = &entry.key[PREFIX.len()..];
        let (id, _) = rest.split_once('/').unwrap_or((rest, ""));
        if *id != *upload {
            removed += delete(&**adapter, idle(std::mem::take(&mut keys))).await?;
            upload = id.to_owned();
        }
        let old = entry.metadata.modified.is_some_and(|modified| modified < before);
        keys.push((entry.key, old));
    }
    Ok(removed + delete(&**adapter, idle(keys)).await?)
}

/// The keys of an upload, if all of them are old.
fn idle(keys: Vec<(Key, bool)>) -> Vec<Key> {
    match keys.iter().all(|(_, old)| *old) {
        true => keys.into_iter().map(|(key, _)| key).collect(),
        false => Vec::new(),
    }
}

async fn delete(adapter: &dyn StorageAdapter, keys: Vec<Key>) -> Result<usize> {
    for keys in keys.chunks(DELETED_AT_ONCE) {
        let deletes =
            keys.iter().map(|key| Operation::Delete(key.clone(), DeleteOptions::default())).collect();
        for result in adapter.batch(deletes, BatchOptions::default()).await {
            result?;
        }
    }
    Ok(keys.len())
}
