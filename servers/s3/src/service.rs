//! The operations of the protocol, each as a few calls of the store.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use leasehold_core::{Attributes, Body, ByteRange, Capability, GetOptions, Key, Object as Value, Store};
use parking_lot::Mutex;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, dto, s3_error};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    buckets::Buckets,
    checks::{self, Checks},
    conditions,
    errors::{no_such_key, not_implemented, refusal},
    incoming::GivenUp,
    keys,
    listing::{self, Page},
    metadata,
    multipart::Uploads,
    upload::{self, Verdict},
};

/// How long a completion may take before the answer begins without its outcome, to keep the connection alive.
const COMPLETION_SILENT: Duration = Duration::from_secs(20);

/// How often an object is read again that is to be copied onto itself and was written meanwhile.
const COPY_ATTEMPTS_MAX: usize = 8;

/// Sets the checksum fields that an output has.
macro_rules! tell_checksums {
    ($output:expr, $checksum:expr) => {{
        let checksum: &dto::Checksum = &$checksum;
        $output.checksum_crc32 = checksum.checksum_crc32.clone();
        $output.checksum_crc32c = checksum.checksum_crc32c.clone();
        $output.checksum_crc64nvme = checksum.checksum_crc64nvme.clone();
        $output.checksum_sha1 = checksum.checksum_sha1.clone();
        $output.checksum_sha256 = checksum.checksum_sha256.clone();
    }};
}

mod buckets;
mod deletes;
mod encoding;
mod lists;
mod objects;
mod uploads;

/// What the operations share.
#[derive(Clone)]
pub(crate) struct Service(Arc<Shared>);

pub(crate) struct Shared {
    store: Store,
    buckets: Arc<Buckets>,
    uploads: Arc<Uploads>,
    /// What goes on when its client has gone, and ends with the service.
    background: Mutex<JoinSet<()>>,
    value_bytes_max: u64,
    attributes_kept: bool,
    conditions_kept: bool,
    signed: bool,
    region: Option<String>,
}

impl std::ops::Deref for Service {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Service {
    pub(crate) fn new(store: Store, part_bytes_min: u64, signed: bool, region: Option<String>) -> Self {
        let capabilities = store.capabilities();
        Self(Arc::new(Shared {
            buckets: Arc::new(Buckets::new(store.clone())),
            uploads: Arc::new(Uploads::new(store.clone(), part_bytes_min)),
            background: Mutex::default(),
            value_bytes_max: capabilities.limits().value_bytes_max,
            attributes_kept: capabilities.supports(Capability::Attributes),
            conditions_kept: capabilities.supports(Capability::ConditionalPut),
            store,
            signed,
            region,
        }))
    }

    /// Makes a bucket, unless it is there.
    pub(crate) async fn make_bucket(&self, name: &str) -> leasehold_core::Result<()> {
        self.buckets.ensure(name).await
    }

    /// Everything that goes on without a client, for whoever ends it.
    pub(crate) fn take_background(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.background.lock())
    }

    /// Runs `work` to its end, also when the client that waits for it goes away. It must not own the service, which
    /// ends it.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = S3Result<T>> + Send + 'static,
    ) -> S3Result<T> {
        self.in_background(work).await.unwrap_or_else(|_| Err(ended()))
    }

    fn in_background<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, outcome) = oneshot::channel();
        let mut background = self.background.lock();
        while background.try_join_next().is_some() {}
        background.spawn(async move {
            // Nobody may be waiting any more.
            let _ = answer.send(work.await);
        });
        outcome
    }
}

fn ended() -> S3Error {
    s3_error!(InternalError, "the server ends; the outcome is unknown")
}

/// This server keeps one version of an object, whose id S3 calls "null".
fn check_version_id(id: Option<&str>) -> S3Result<()> {
    match id {
        None | Some("null") => Ok(()),
        Some(_) => Err(not_implemented("a version id")),
    }
}

/// A count that a client asks for, at most `most`.
fn at_most(asked: Option<i32>, most: usize) -> S3Result<usize> {
    match asked {
        None => Ok(most),
        Some(asked) => usize::try_from(asked)
            .map(|asked| asked.min(most))
            .map_err(|_| s3_error!(InvalidArgument, "a page cannot have {asked} entries")),
    }
}

fn owner() -> dto::Owner {
    dto::Owner { display_name: Some("leasehold".into()), id: Some("leasehold".into()) }
}

/// What was received of a body, and the checksum to keep beside it.
struct Received {
    body: Body,
    verdict: Verdict,
    kept: Option<(&'static str, String)>,
    /// What was computed already.
    computed: Option<dto::Checksum>,
}

impl Shared {
    async fn receive<T>(
        &self,
        body: Option<dto::StreamingBlob>,
        content_length: Option<i64>,
        request: &S3Request<T>,
    ) -> S3Result<Received> {
        let trailers = request.trailing_headers.clone();
        if trailers.is_none() && metadata::is_chunked(&request.headers) {
            return Err(not_implemented("a body in aws-chunked encoding without a signature in the header"));
        }
        let blob = body.unwrap_or_else(|| dto::StreamingBlob::from(s3s::Body::empty()));
        let size = upload::size(&blob, content_length, self.value_bytes_max)?;
        let mut checks = Checks::asked(&request.headers, trailers, self.signed)?;
        if self.attributes_kept && !checks.has_checksum() && size <= upload::WHOLE_BYTES_MAX {
            checks.compute(checks::ALGORITHMS[0]);
        }
        let known = checks.known().map(|(algorithm, value)| (algorithm, value.to_owned()));
        let given_up = request.extensions.get::<GivenUp>().cloned().unwrap_or_default();
        let (body, verdict) = upload::receive(blob, size, checks, given_up).await?;
        let (body, is_count) = match body.try_into_bytes() {
            Ok(bytes) => (Body::from(bytes.clone()), is_count(&bytes)),
            Err(body) => (body, false),
        };
        let computed = (size <= upload::WHOLE_BYTES_MAX).then(|| verdict.checksum());
        let kept = match &computed {
            // The store can count on in it, and the checksum would stay.
            _ if is_count => None,
            Some(computed) => checks::kept(computed).map(|(algorithm, value)| (algorithm, value.to_owned())),
            // A checksum that follows a large body comes too late to be kept beside it.
            None => known,
        };
        Ok(Received { body, verdict, kept, computed })
    }

    fn attributes(&self, headers: &HeaderMap) -> S3Result<Attributes> {
        metadata::attributes(headers, self.attributes_kept)
    }

    async fn list(&self, request: &listing::Request<'_>) -> S3Result<Page> {
        self.buckets.check(request.bucket).await?;
        listing::page(&self.store, request).await
    }

    /// A value to copy from, where it is as the conditions demand.
    async fn source(
        &self,
        source: &dto::CopySource,
        conditions: &conditions::Read,
        range: ByteRange,
    ) -> S3Result<(Key, Value)> {
        let dto::CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(not_implemented("a copy from an access point"));
        };
        check_version_id(version_id.as_deref())?;
        if !s3s::path::check_bucket_name(bucket) {
            return Err(s3_error!(InvalidBucketName, "the source's bucket has no sound name"));
        }
        self.buckets.check(bucket).await?;
        let from = keys::existing(bucket, key)?.ok_or_else(no_such_key)?;
        let options = GetOptions::default().range(range);
        let found = self.store.adapter().get(&from, options).await.map_err(refusal)?;
        let found = found.found().ok_or_else(no_such_key)?;
        conditions.check_source(&found.metadata)?;
        Ok((from, found))
    }
}

/// Which bytes, in the store's terms.
fn byte_range(range: Option<&dto::Range>) -> ByteRange {
    match range {
        None => ByteRange::Full,
        Some(dto::Range::Int { first, last: None }) => ByteRange::From(*first),
        Some(dto::Range::Int { first, last: Some(last) }) => ByteRange::Bounded(*first, last + 1),
        Some(dto::Range::Suffix { length }) => ByteRange::Last(*length),
    }
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        request: S3Request<dto::CreateBucketInput>,
    ) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        buckets::create(self, request).await
    }

    async fn head_bucket(
        &self,
        request: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        buckets::head(self, request).await
    }

    async fn delete_bucket(
        &self,
        request: S3Request<dto::DeleteBucketInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
        buckets::delete(self, request).await
    }

    async fn list_buckets(
        &self,
        request: S3Request<dto::ListBucketsInput>,
    ) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        buckets::list(self, request).await
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<dto::GetBucketLocationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
        buckets::location(self, request).await
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<dto::GetBucketVersioningInput>,
    ) -> S3Result<S3Response<dto::GetBucketVersioningOutput>> {
        buckets::versioning(self, request).await
    }

    async fn put_object(
        &self,
        request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        objects::put(self, request).await
    }

    async fn get_object(
        &self,
        request: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        objects::get(self, request).await
    }

    async fn head_object(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        objects::head(self, request).await
    }

    async fn copy_object(
        &self,
        request: S3Request<dto::CopyObjectInput>,
    ) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        objects::copy(self, request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        deletes::delete(self, request).await
    }

    async fn delete_objects(
        &self,
        request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        deletes::delete_many(self, request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        lists::list_v2(self, request).await
    }

    async fn list_objects(
        &self,
        request: S3Request<dto::ListObjectsInput>,
    ) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        lists::list(self, request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        uploads::create(self, request).await
    }

    async fn upload_part(
        &self,
        request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        uploads::put_part(self, request).await
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<dto::UploadPartCopyInput>,
    ) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        uploads::copy_part(self, request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        uploads::complete(self, request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        uploads::abort(self, request).await
    }

    async fn list_parts(
        &self,
        request: S3Request<dto::ListPartsInput>,
    ) -> S3Result<S3Response<dto::ListPartsOutput>> {
        uploads::list_parts(self, request).await
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<dto::ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        uploads::list(self, request).await
    }
}

/// Nothing for none, as S3 leaves an empty list out.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}

/// Whether the store may take a value for a number and change it, with what is kept beside it.
fn is_count(bytes: &[u8]) -> bool {
    const BYTES_MAX: usize = 64;
    bytes.len() <= BYTES_MAX
        && std::str::from_utf8(bytes).is_ok_and(|text| text.trim_ascii().parse::<i64>().is_ok())
}
