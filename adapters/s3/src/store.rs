//! The bucket as an adapter.

use std::{collections::HashMap, fmt, sync::Arc};

use futures_util::{
    FutureExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream, StreamExt},
};
use leasehold_core::{
    BatchOptions, Body, Bytes, Capabilities, Capability, Changes, DeleteOptions, Entry, Error, GetOptions,
    Key, Limits, ListOptions, Lookup, Metadata, Operation, Outcome, Precondition, PutOptions, Result, Scope,
    StorageAdapter, Version, async_trait, batch_by_key, refuse_batch,
};

use crate::{
    counter, delete,
    headers::Writes,
    list,
    multipart::{PARTS_MAX, Pieces, Upload},
    read,
    wire::{Call, Wire},
    write::Sending,
};

/// How many operations of a batch are on their way at once.
const BATCH_IN_FLIGHT: usize = 32;

/// The largest value that is written under a precondition where multipart uploads cannot be trusted with one. It is held
/// in memory.
const CONDITIONAL_BYTES_MAX: u64 = 256 << 20;

/// The largest part, and the largest value in one request.
const PART_BYTES_MAX: u64 = 5 << 30;

/// S3 takes 2,048 bytes of metadata; the ids of recent writes need the rest.
const ATTRIBUTES_BYTES_MAX: usize = 1_536;

/// A bucket on S3, or on a server that speaks its protocol. Cloning is cheap and shares connections.
///
/// # What it promises
///
/// Everything in [`StorageAdapter`], with these marks of S3:
///
/// - A version is the value's ETag. Of a value written in one request that is a digest of its content, so a value that
///   returns brings its old version back: [`UniqueVersions`](Capability::UniqueVersions) is not claimed.
/// - Every write carries an id in the metadata `leasehold-writes`. When a reply is lost, it is read back; a conditional write
///   is sent again only over an untouched base, an unconditional one only after an answer that it was not applied. What cannot
///   be told is [indeterminate](Error::is_indeterminate). An object that was made and deleted again, or a content that returns,
///   cannot be told from an untouched base.
/// - Counters carry the ids of their last sixteen writes, and white space behind the number that makes their ETags unique.
/// - [`ConditionalDelete`](Capability::ConditionalDelete) is claimed on AWS, and elsewhere where
///   [`Open::conditional_delete`](crate::Open::conditional_delete) vouches for it: most servers get it wrong.
/// - The content type `binary/octet-stream` is S3's word for none, and is read as none.
/// - Names in a bucket that are no [`Key`] are not listed.
///
/// # Cost
///
/// | call | requests when nothing goes wrong |
/// |---|---|
/// | get, head | 1; the first head of a key that is not there: 1 more |
/// | put, conditional or not | 1; in parts: 2 and one for each part; a lost race: 1 more |
/// | delete | 1; a lost race: 1 more |
/// | increment | 2 |
/// | list | 1 for every 1,000 names |
/// | batch | as above; deletes without a condition: 1 for every 1,000 |
#[derive(Clone)]
pub struct S3 {
    pub(crate) wire: Arc<Wire>,
    pub(crate) settings: Settings,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) part_bytes: u64,
    pub(crate) value_bytes_max: u64,
    pub(crate) conditional_delete: bool,
    pub(crate) conditional_multipart: bool,
}

impl S3 {
    /// Sends a request about a key that is none of S3's own, with one word as its query, and expects nothing but a success:
    /// for what stands in front of a bucket and takes more than S3 does.
    ///
    /// # Errors
    /// As for any call; nothing is sent twice.
    pub async fn request(&self, method: http::Method, key: &Key, word: &str) -> Result<()> {
        let mut call = Call::new(method, Some(key));
        call.query.push((word, ""));
        let sent = self.wire.send(&call).await;
        sent.map(drop).map_err(|failed| self.explain(self.wire.error(failed), "request", key))
    }

    fn explain(&self, error: Error, operation: &'static str, key: &Key) -> Error {
        error.on(operation, key).at(self)
    }

    async fn put_body(&self, key: &Key, body: Body, options: &PutOptions) -> Result<Version> {
        let most = self.settings.value_bytes_max;
        if let Some(size) = body.size().filter(|size| *size > most) {
            return Err(Error::invalid(format!("a value of {size} bytes is over the limit of {most} bytes")));
        }
        let described = options.attributes.bytes();
        if described > ATTRIBUTES_BYTES_MAX {
            return Err(Error::invalid(format!(
                "attributes of {described} bytes are over the limit of {ATTRIBUTES_BYTES_MAX} bytes; put more into the value"
            )));
        }
        let in_one = options.precondition != Precondition::None && !self.settings.conditional_multipart;
        let mut piece_bytes = self.settings.part_bytes;
        if in_one {
            piece_bytes =
                body.size().unwrap_or(CONDITIONAL_BYTES_MAX).min(CONDITIONAL_BYTES_MAX).max(piece_bytes) + 1;
        } else if let Some(size) = body.size() {
            piece_bytes = piece_bytes.max(size.div_ceil(PARTS_MAX)).min(PART_BYTES_MAX);
        }
        match body.try_into_bytes() {
            Ok(bytes) if bytes.len() as u64 <= piece_bytes => self.put_whole(key, bytes, options).await,
            Ok(bytes) => self.put_pieces(key, Body::from_bytes(bytes), piece_bytes, in_one, options).await,
            Err(body) => self.put_pieces(key, body, piece_bytes, in_one, options).await,
        }
    }

    async fn put_whole(&self, key: &Key, body: Bytes, options: &PutOptions) -> Result<Version> {
        let PutOptions { precondition, attributes, .. } = options;
        let sending = Sending::put(&self.wire, key, body, precondition, attributes, &Writes::default())?;
        sending.settle(&self.wire).await.map_err(|unwritten| unwritten.error(precondition))
    }

    async fn put_pieces(
        &self,
        key: &Key,
        body: Body,
        piece_bytes: u64,
        in_one: bool,
        options: &PutOptions,
    ) -> Result<Version> {
        let PutOptions { precondition, attributes, .. } = options;
        let mut pieces = Pieces::new(body, piece_bytes as usize, self.settings.value_bytes_max);
        let first = pieces.next().await?;
        if (first.len() as u64) < piece_bytes {
            return self.put_whole(key, first, options).await;
        }
        if in_one {
            return Err(Error::invalid(format!(
                "a value of more than {CONDITIONAL_BYTES_MAX} bytes cannot be written under a precondition here; \
                 if the server's multipart uploads are exact, open the bucket with conditional_multipart"
            )));
        }
        let upload = Upload::begin(&self.wire, key, attributes).await?;
        let tags = upload.send(first, &mut pieces).await?;
        upload.complete(&tags, precondition).await.map_err(|unwritten| unwritten.error(precondition))
    }
}

#[async_trait]
impl StorageAdapter for S3 {
    fn capabilities(&self) -> Capabilities {
        let limits = Limits {
            value_bytes_max: self.settings.value_bytes_max,
            attributes_bytes_max: ATTRIBUTES_BYTES_MAX,
            ..Limits::default()
        };
        let all = Capabilities::none(limits)
            .with(Capability::Linearizable)
            .with(Capability::ListedSizes)
            .with(Capability::ConditionalPut)
            .with(Capability::Durable)
            .with(Capability::Attributes);
        if self.settings.conditional_delete { all.with(Capability::ConditionalDelete) } else { all }
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        read::head(&self.wire, key).await.map_err(|error| self.explain(error, "head", key))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        read::get(&self.wire, key, options).await.map_err(|error| self.explain(error, "get", key))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.put_body(key, body, &options).await.map_err(|error| self.explain(error, "put", key))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        let precondition = options.precondition();
        if precondition != Precondition::None && !self.settings.conditional_delete {
            return Err(self.explain(Error::unsupported(Capability::ConditionalDelete), "delete", key));
        }
        delete::delete(&self.wire, key, &precondition)
            .await
            .map_err(|error| self.explain(error, "delete", key))
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let at = self.clone();
        list::list(self.wire.clone(), options)
            .map(move |entry| entry.map_err(|error| error.during("list").at(&at)))
            .boxed()
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        counter::increment(&self.wire, key, delta)
            .await
            .map_err(|error| self.explain(error, "increment", key))
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        if let Some(refused) = refuse_batch(&self.capabilities(), &operations, options) {
            return refused;
        }
        let mut of_key: HashMap<Key, usize> = HashMap::new();
        for operation in &operations {
            *of_key.entry(operation.key().clone()).or_default() += 1;
        }
        // A delete that stands alone on its key goes together with the others of its kind.
        let together = |operation: &Operation| match operation {
            Operation::Delete(key, options) => {
                options.if_match.is_none() && of_key[key] == 1 && delete::expressible(key)
            }
            _ => false,
        };
        let (mut places, mut deletes, mut others) =
            (Vec::with_capacity(operations.len()), Vec::new(), Vec::new());
        for operation in operations {
            let alone = together(&operation);
            places.push(alone);
            match operation {
                Operation::Delete(key, _) if alone => deletes.push(key),
                operation => others.push(operation),
            }
        }
        let chunks: Vec<BoxFuture<'_, _>> =
            deletes.chunks(delete::KEYS_MAX).map(|keys| self.delete_chunk(keys).boxed()).collect();
        let deleted = stream::iter(chunks).buffered(BATCH_IN_FLIGHT).concat();
        let (deleted, done) =
            future::join(deleted, batch_by_key(self, others, options, BATCH_IN_FLIGHT)).await;
        let (mut deleted, mut done) = (deleted.into_iter(), done.into_iter());
        let results = places.into_iter().map(|alone| if alone { deleted.next() } else { done.next() });
        results.map(|result| result.expect("there is one result for each operation")).collect()
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn changes(&self, _: &Scope) -> Result<Option<Changes>> {
        Ok(None)
    }
}

impl S3 {
    async fn delete_chunk(&self, keys: &[Key]) -> Vec<Result<Outcome>> {
        if let [key] = keys {
            return vec![self.delete(key, DeleteOptions::default()).await.map(|()| Outcome::Deleted)];
        }
        let results = delete::delete_many(&self.wire, keys).await.into_iter().zip(keys);
        results
            .map(|(result, key)| {
                result.map(|()| Outcome::Deleted).map_err(|error| self.explain(error, "delete", key))
            })
            .collect()
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wire.target.fmt(f)
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("bucket", &self.wire.target.to_string())
            .field("region", &self.wire.region)
            .field("credentials", &self.wire.credentials)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
