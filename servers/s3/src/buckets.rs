//! Which buckets there are: a record each, in the store itself.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::StreamExt;
use leasehold_core::{DeleteOptions, Entry, Json, Key, Store};
use parking_lot::RwLock;
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use crate::{errors::refusal, keys, locks::Locks};

/// How long a bucket that was there is taken to be there still, without asking the store.
const BELIEVED: Duration = Duration::from_secs(5);

/// How many buckets are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// What is recorded of a bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// Milliseconds since 1970, by the clock of the server that made it.
    created_unix_ms: u64,
    /// The region it was made in, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
}

impl Bucket {
    pub(crate) fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.created_unix_ms)
    }
}

/// The buckets of a store.
pub(crate) struct Buckets {
    store: Store,
    /// Those that were there, and when that was last seen. Only presence is remembered.
    seen: RwLock<HashMap<String, Duration>>,
    /// Shared by those who write into a bucket, exclusive to who deletes it.
    locks: Locks,
}

impl Buckets {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, seen: RwLock::default(), locks: Locks::default() }
    }

    /// That there is such a bucket, or was within the last seconds.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub(crate) async fn check(&self, name: &str) -> S3Result<()> {
        let now = self.store.environment().clock.monotonic();
        if self.seen.read().get(name).is_some_and(|seen| now.saturating_sub(*seen) < BELIEVED) {
            return Ok(());
        }
        match self.store.head(keys::bucket(name)).await.map_err(refusal)? {
            Some(_) => {
                self.remember(name, now);
                Ok(())
            }
            None => {
                self.seen.write().remove(name);
                Err(s3_error!(NoSuchBucket, "there is no bucket {name:?}"))
            }
        }
    }

    /// The same for a write: this server does not delete the bucket while the guard is there.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub(crate) async fn writing(&self, name: &str) -> S3Result<OwnedRwLockReadGuard<()>> {
        let guard = self.locks.shared(name).await;
        self.check(name).await?;
        Ok(guard)
    }

    /// Keeps writers out while a bucket is deleted; they wait.
    ///
    /// # Errors
    /// `OperationAborted` while somebody writes: a body may take long, and is not waited for.
    pub(crate) fn close(&self, name: &str) -> S3Result<OwnedRwLockWriteGuard<()>> {
        self.locks.try_exclusive(name).ok_or_else(|| {
            s3_error!(OperationAborted, "somebody is writing into the bucket {name:?}; nothing was deleted")
        })
    }

    fn remember(&self, name: &str, now: Duration) {
        let mut seen = self.seen.write();
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        seen.insert(name.to_owned(), now);
    }

    /// Makes a bucket. What lies under its name already shows up in it.
    ///
    /// # Errors
    /// `BucketAlreadyOwnedByYou`.
    pub(crate) async fn create(&self, name: &str, location: Option<String>) -> S3Result<()> {
        self.write(name, location).await.map_err(|error| match error {
            error if error.is_conflict() && !error.is_indeterminate() => {
                s3_error!(BucketAlreadyOwnedByYou, "there is a bucket {name:?} already")
            }
            error => refusal(error),
        })
    }

    /// Makes a bucket, unless it is there.
    pub(crate) async fn ensure(&self, name: &str) -> leasehold_core::Result<()> {
        match self.write(name, None).await {
            Err(error) if error.is_conflict() && !error.is_indeterminate() => Ok(()),
            made => made,
        }
    }

    async fn write(&self, name: &str, location: Option<String>) -> leasehold_core::Result<()> {
        let clock = &self.store.environment().clock;
        let since = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let bucket = Bucket { created_unix_ms: since.as_millis() as u64, location };
        self.store.put(keys::bucket(name), Json(&bucket)).if_absent().await?;
        self.remember(name, clock.monotonic());
        Ok(())
    }

    /// What is recorded of a bucket.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub(crate) async fn get(&self, name: &str) -> S3Result<Bucket> {
        let found = self.store.get(keys::bucket(name)).await.map_err(refusal)?;
        let found = found.ok_or_else(|| s3_error!(NoSuchBucket, "there is no bucket {name:?}"))?;
        found.json().await.map_err(refusal)
    }

    /// Deletes a bucket in which no object is left; it has to be [closed](Self::close).
    ///
    /// # Errors
    /// `NoSuchBucket`, `BucketNotEmpty`.
    pub(crate) async fn delete(&self, name: &str) -> S3Result<()> {
        let record = Key::new(keys::bucket(name)).map_err(refusal)?;
        let found = self.store.head(&record).await.map_err(refusal)?;
        let found = found.ok_or_else(|| s3_error!(NoSuchBucket, "there is no bucket {name:?}"))?;
        if let Some(first) = self.store.list(format!("{name}/")).stream().next().await {
            first.map_err(refusal)?;
            return Err(s3_error!(
                BucketNotEmpty,
                "the bucket {name:?} is not empty; delete its objects first"
            ));
        }
        self.seen.write().remove(name);
        let only_this = DeleteOptions::matching(found.version);
        let deleted = self.store.adapter().delete(&record, only_this).await;
        self.seen.write().remove(name);
        deleted.map_err(refusal)
    }

    /// Names and records of all buckets that begin with `prefix`, after `after`; at most `entries_max`, and whether
    /// there are more.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        entries_max: usize,
    ) -> S3Result<(Vec<(String, Bucket)>, bool)> {
        let parent = keys::bucket("");
        let mut list = self.store.list(format!("{parent}{prefix}"));
        if let Some(after) = after.filter(|after| !after.is_empty()) {
            list = list.after(keys::bucket(after));
        }
        let mut entries = list.stream();
        let mut buckets = Vec::new();
        while let Some(entry) = entries.next().await {
            let Entry { key, .. } = entry.map_err(refusal)?;
            let name = &key.as_str()[parent.len()..];
            if buckets.len() == entries_max {
                return Ok((buckets, true));
            }
            // One that was deleted meanwhile is not there.
            if let Some(found) = self.store.get(&key).await.map_err(refusal)? {
                buckets.push((name.to_owned(), found.json().await.map_err(refusal)?));
            }
        }
        Ok((buckets, false))
    }
}
