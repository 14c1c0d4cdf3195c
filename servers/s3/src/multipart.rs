//! Uploads in parts: parts are values of the same store, and completion streams them into one put.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::StreamExt;
use leasehold_core::{
    Attributes, BatchOptions, Body, Capability, DeleteOptions, Entry, Error, Json, Key, Metadata, Operation,
    PutOptions, Store, Version,
};
use parking_lot::Mutex;
use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use crate::{
    checks::Checks,
    errors::refusal,
    etag, joining, keys,
    locks::Locks,
    metadata,
    upload::{self, Refused, Verdict},
};

/// The highest number of a part, as on S3.
pub(crate) const NUMBER_MAX: i32 = 10_000;

/// How many completed uploads are remembered, to answer a repeated completion as the first.
const DONE_MAX: usize = 1_024;

/// What is recorded of an upload in progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) key: String,
    attributes: BTreeMap<String, String>,
    started_unix_ms: u64,
}

impl Upload {
    pub(crate) fn started(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.started_unix_ms)
    }

    fn attributes(&self) -> S3Result<Attributes> {
        let mut attributes = Attributes::new();
        for (name, value) in &self.attributes {
            attributes.insert(name, value).map_err(refusal)?;
        }
        Ok(attributes)
    }
}

/// A part as its uploader names it in the end.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) number: i32,
    pub(crate) version: Option<Version>,
    pub(crate) checksums: Vec<(&'static str, String)>,
}

/// A part as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) number: i32,
    pub(crate) metadata: Metadata,
}

/// What a client asks to be made of its parts.
pub(crate) struct Completion {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) parts: Vec<Named>,
    pub(crate) options: PutOptions,
    pub(crate) object_bytes: Option<u64>,
    pub(crate) checks: Checks,
}

/// The uploads of a store.
pub(crate) struct Uploads {
    store: Store,
    part_bytes_min: u64,
    attributes_kept: bool,
    /// An upload is completed or aborted by one at a time.
    turns: Locks,
    done: Mutex<Done>,
}

/// Uploads that were completed by this server lately, and what came of them.
#[derive(Default)]
struct Done {
    versions: HashMap<String, (Key, Version)>,
    order: VecDeque<String>,
}

impl Uploads {
    pub(crate) fn new(store: Store, part_bytes_min: u64) -> Self {
        let attributes_kept = store.capabilities().supports(Capability::Attributes);
        Self { store, part_bytes_min, attributes_kept, turns: Locks::default(), done: Mutex::default() }
    }

    /// Begins an upload and returns its id.
    pub(crate) async fn begin(&self, bucket: &str, key: &str, attributes: &Attributes) -> S3Result<String> {
        let environment = self.store.environment();
        let since = environment.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let upload = Upload {
            key: key.to_owned(),
            attributes: attributes.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            started_unix_ms: since.as_millis() as u64,
        };
        let id = environment.identifier();
        self.store.put(keys::upload(bucket, &id), Json(&upload)).if_absent().await.map_err(refusal)?;
        Ok(id)
    }

    /// The record of an upload to `key`.
    ///
    /// # Errors
    /// `NoSuchUpload`.
    pub(crate) async fn get(&self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        self.find(bucket, id).await?.filter(|upload| upload.key == key).ok_or_else(gone)
    }

    /// The record of an upload, to whatever key.
    async fn find(&self, bucket: &str, id: &str) -> S3Result<Option<Upload>> {
        if !sound(id) {
            return Ok(None);
        }
        let Some(found) = self.store.get(keys::upload(bucket, id)).await.map_err(refusal)? else {
            return Ok(None);
        };
        found.json().await.map(Some).map_err(refusal)
    }

    /// Stores one part; a part of the same number is replaced. To be run to its end, whether or not a client waits.
    pub(crate) async fn put_part(
        &self,
        bucket: &str,
        id: &str,
        number: i32,
        body: Body,
        verdict: Option<Verdict>,
    ) -> S3Result<Version> {
        let part = Key::new(keys::part(bucket, id, number)).map_err(refusal)?;
        let stored = self.store.adapter().put(&part, body, PutOptions::default()).await;
        let version = stored.map_err(|error| match verdict {
            Some(verdict) => verdict.refusal(error),
            None => refusal(error),
        })?;
        // Aborted or completed meanwhile: nobody would ever remove the part. An id is never given out again, so whatever
        // is under it is rubbish.
        if self.find(bucket, id).await?.is_none() {
            let _ = self.store.delete(&part).await;
            return Err(gone());
        }
        Ok(version)
    }

    /// The parts that are stored, by number, after `after`; at most `parts_max`, and whether there are more.
    pub(crate) async fn parts(
        &self,
        bucket: &str,
        id: &str,
        after: i32,
        parts_max: usize,
    ) -> S3Result<(Vec<Stored>, bool)> {
        let mut list = self.store.list(keys::parts(bucket, id)).with_sizes();
        if after > 0 {
            list = list.after(keys::part(bucket, id, after.min(NUMBER_MAX)));
        }
        let mut entries = list.stream();
        let mut parts = Vec::new();
        if parts_max == 0 {
            return Ok((parts, false));
        }
        while let Some(entry) = entries.next().await {
            let Entry { key, metadata, .. } = entry.map_err(refusal)?;
            let Some(number) = key.segments().next_back().and_then(|number| number.parse().ok()) else {
                continue;
            };
            if parts.len() == parts_max {
                return Ok((parts, true));
            }
            parts.push(Stored { number, metadata });
        }
        Ok((parts, false))
    }

    /// The uploads in progress of a bucket, ordered by key and id.
    ///
    /// Reads the record of each; there are few.
    pub(crate) async fn list(&self, bucket: &str) -> S3Result<Vec<(String, Upload)>> {
        let mut entries = self.store.list(keys::upload(bucket, "")).stream();
        let mut uploads = Vec::new();
        while let Some(entry) = entries.next().await {
            let Entry { key, .. } = entry.map_err(refusal)?;
            let Some(id) = key.segments().next_back() else { continue };
            if let Some(found) = self.store.get(&key).await.map_err(refusal)? {
                uploads.push((id.to_owned(), found.json::<Upload>().await.map_err(refusal)?));
            }
        }
        // Nothing but what a marker says decides the order, so that a page can go on after an upload that has gone.
        uploads
            .sort_by(|(left_id, left), (right_id, right)| (&left.key, left_id).cmp(&(&right.key, right_id)));
        Ok(uploads)
    }

    /// Ends an upload and removes its parts. To be run to its end, whether or not a client waits.
    ///
    /// Where the record has gone, what may be left of the parts is removed all the same: an abort that failed half-way
    /// can be sent again.
    ///
    /// # Errors
    /// `NoSuchUpload`.
    pub(crate) async fn abort(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        if !sound(id) {
            return Err(gone());
        }
        let _turn = self.turns.exclusive(id).await;
        match self.find(bucket, id).await? {
            Some(upload) if upload.key != key => Err(gone()),
            Some(_) => self.remove(bucket, id).await,
            None => {
                self.remove_under(&keys::parts(bucket, id)).await?;
                Err(gone())
            }
        }
    }

    /// The ids of all uploads that a bucket has something of.
    pub(crate) async fn ids(&self, bucket: &str) -> S3Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        for parent in [keys::upload(bucket, ""), keys::parts_of_bucket(bucket)] {
            let mut entries = self.store.list(&parent).stream();
            while let Some(entry) = entries.next().await {
                let key = entry.map_err(refusal)?.key;
                ids.extend(key.as_str()[parent.len()..].split('/').next().map(str::to_owned));
            }
        }
        Ok(ids)
    }

    /// Ends uploads of a bucket that is gone. A bucket of the same name may be there again, with others.
    pub(crate) async fn abort_all(&self, bucket: &str, ids: &BTreeSet<String>) -> S3Result<()> {
        for id in ids {
            let _turn = self.turns.exclusive(id).await;
            self.remove(bucket, id).await?;
        }
        Ok(())
    }

    /// Record first: a part that is stored from then on is removed by who stores it.
    async fn remove(&self, bucket: &str, id: &str) -> S3Result<()> {
        self.store.delete(keys::upload(bucket, id)).await.map_err(refusal)?;
        self.remove_under(&keys::parts(bucket, id)).await
    }

    async fn remove_under(&self, prefix: &str) -> S3Result<()> {
        let batch_max = self.store.capabilities().limits().batch_operations_max.clamp(1, 1_000);
        let mut entries = self.store.list(prefix).stream().ready_chunks(batch_max);
        while let Some(chunk) = entries.next().await {
            let mut deletes = Vec::with_capacity(chunk.len());
            for entry in chunk {
                deletes.push(Operation::Delete(entry.map_err(refusal)?.key, DeleteOptions::default()));
            }
            for deleted in self.store.batch(deletes, BatchOptions::default()).await {
                deleted.map_err(refusal)?;
            }
        }
        Ok(())
    }

    /// Makes an object of parts: one put, under its precondition, so that it is there whole or not at all.
    ///
    /// A completion that is sent again while the first is under way waits for it, and is answered as the first was. One
    /// that was applied, by whichever server, is found out by the upload that the object says it was made by, as long
    /// as nobody has replaced the object.
    pub(crate) async fn complete(&self, completion: Completion) -> S3Result<Version> {
        if !sound(&completion.id) {
            return Err(gone());
        }
        let _turn = self.turns.exclusive(&completion.id).await;
        let target = keys::object(&completion.bucket, &completion.key)?;
        let id = &completion.id.clone();
        if let Some((of, version)) = self.done.lock().versions.get(id)
            && *of == target
        {
            return Ok(version.clone());
        }
        let upload = self.find(&completion.bucket, id).await?;
        let upload = upload.filter(|upload| upload.key == completion.key);
        if let Some(version) = self.applied(&target, id).await.map_err(refusal)? {
            if upload.is_some() {
                self.clean(&completion.bucket, id).await;
            }
            return Ok(version);
        }
        let upload = upload.ok_or_else(gone)?;
        let (stored, _) = self.parts(&completion.bucket, id, 0, NUMBER_MAX as usize).await?;
        let parts = joining::chosen(&completion.parts, &stored, self.part_bytes_min)?;
        let size: u64 = parts.iter().map(|part| part.size).sum();
        let bytes_max = self.store.capabilities().limits().value_bytes_max;
        if size > bytes_max {
            return Err(s3_error!(
                EntityTooLarge,
                "an object of {size} bytes is over the limit of {bytes_max} bytes"
            ));
        }
        if completion.object_bytes.is_some_and(|announced| announced != size) {
            return Err(s3_error!(
                InvalidRequest,
                "the parts have {size} bytes, not the x-amz-mp-object-size"
            ));
        }
        let Completion { bucket, mut options, checks, .. } = completion;
        options.attributes = upload.attributes()?;
        if self.attributes_kept {
            options.attributes = metadata::with_upload(options.attributes, id);
        }
        let verdict = Verdict::default();
        let body = if size == 0 {
            checks.finish()?;
            Body::from(Bytes::new())
        } else {
            let chunks = joining::joined(self.store.clone(), bucket.clone(), id.to_owned(), parts);
            let told = |refused: Refused| Error::invalid("the parts were refused").because(refused);
            let chunks =
                upload::checked(chunks, checks, verdict.clone()).map(move |chunk| chunk.map_err(told));
            Body::from_stream(chunks.boxed(), Some(size))
        };
        let precondition = options.precondition.clone();
        let written = self.store.adapter().put(&target, body, options).await;
        let version = match written {
            Ok(version) => version,
            Err(error) if verdict.is_refused() => return Err(verdict.refusal(error)),
            // A conflict may be one with ourselves, and an unknown outcome known by now.
            Err(error) => match self.applied(&target, id).await {
                Ok(Some(version)) => version,
                _ => return Err(crate::errors::lost(&self.store, &target, &precondition, error).await),
            },
        };
        self.remember(id, target, version.clone());
        self.clean(&bucket, id).await;
        Ok(version)
    }

    /// The version of the object that this upload made, if it is what is there.
    async fn applied(&self, target: &Key, id: &str) -> leasehold_core::Result<Option<Version>> {
        if !self.attributes_kept {
            return Ok(None);
        }
        let found = self.store.adapter().head(target).await?;
        Ok(found.filter(|found| metadata::is_of_upload(&found.attributes, id)).map(|found| found.version))
    }

    /// Removes what an upload leaves behind once its object is there. What cannot be removed now shows up as an upload
    /// that can be aborted.
    async fn clean(&self, bucket: &str, id: &str) {
        if self.remove_under(&keys::parts(bucket, id)).await.is_ok() {
            // Takes a part with it that was stored in between, too.
            let _ = self.remove(bucket, id).await;
        }
    }

    fn remember(&self, id: &str, name: Key, version: Version) {
        let mut done = self.done.lock();
        if done.order.len() == DONE_MAX
            && let Some(oldest) = done.order.pop_front()
        {
            done.versions.remove(&oldest);
        }
        done.order.push_back(id.to_owned());
        done.versions.insert(id.to_owned(), (name, version));
    }
}

fn gone() -> S3Error {
    s3_error!(NoSuchUpload, "there is no such upload; it was completed, aborted or never begun")
}

/// What ids look like; anything else is none, and must not become part of a key.
fn sound(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The version that an ETag of a part names.
pub(crate) fn named_version(tag: Option<&s3s::dto::ETag>) -> Option<Version> {
    etag::version(tag?.as_strong()?)
}
