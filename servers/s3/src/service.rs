//! The operations of the protocol, each as a few calls of the store.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use leasehold_core::{
    Attributes, BatchOptions, Body, ByteRange, Capability, DeleteOptions, GetOptions, Key, Lookup,
    Object as Value, Operation, Precondition, PutOptions, Store, Version,
};
use parking_lot::Mutex;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto, s3_error};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    blob,
    buckets::Buckets,
    checks::{self, Checks},
    conditions,
    errors::{not_implemented, range_not_satisfiable, refusal, with_status},
    etag,
    incoming::GivenUp,
    keys,
    listing::{self, Item, Page, Position},
    metadata,
    multipart::{self, Completion, Named, Uploads},
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

/// Why a conditional write lost: where the key is gone, that is what S3 says.
pub(crate) async fn lost(
    store: &Store,
    key: &Key,
    precondition: &Precondition,
    error: leasehold_core::Error,
) -> S3Error {
    let lost = error.is_conflict() && !error.is_indeterminate();
    if lost && matches!(precondition, Precondition::Matches(_)) && matches!(store.head(key).await, Ok(None)) {
        return no_such_key();
    }
    refusal(error)
}

fn ended() -> S3Error {
    s3_error!(InternalError, "the server ends; the outcome is unknown")
}

fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "there is no such object")
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

/// Whether the store may take a value for a number and change it, with what is kept beside it.
fn is_count(bytes: &[u8]) -> bool {
    const BYTES_MAX: usize = 64;
    bytes.len() <= BYTES_MAX
        && std::str::from_utf8(bytes).is_ok_and(|text| text.trim_ascii().parse::<i64>().is_ok())
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

/// `partNumber=1` is the whole of an object whose parts are not told apart.
fn check_part_number(number: Option<i32>) -> S3Result<()> {
    match number {
        None | Some(1) => Ok(()),
        Some(_) => {
            let code = S3ErrorCode::Custom("InvalidPartNumber".into());
            let message = "objects of this server have one part; leave partNumber out";
            Err(with_status(S3Error::with_message(code, message), StatusCode::RANGE_NOT_SATISFIABLE))
        }
    }
}

fn check_number(number: i32) -> S3Result<()> {
    if (1..=multipart::NUMBER_MAX).contains(&number) {
        Ok(())
    } else {
        Err(s3_error!(InvalidArgument, "part numbers go from 1 to {}", multipart::NUMBER_MAX))
    }
}

fn set_checksum(output: &mut dto::Checksum, algorithm: &str, value: &str) {
    let value = Some(value.to_owned());
    match algorithm {
        "crc64nvme" => output.checksum_crc64nvme = value,
        "crc32c" => output.checksum_crc32c = value,
        "crc32" => output.checksum_crc32 = value,
        "sha256" => output.checksum_sha256 = value,
        "sha1" => output.checksum_sha1 = value,
        _ => {}
    }
}

fn full_object() -> Option<dto::ChecksumType> {
    Some(dto::ChecksumType::from_static(dto::ChecksumType::FULL_OBJECT))
}

/// Encodes keys in lists where the client asked for it.
struct Encoding(bool);

impl Encoding {
    fn of(asked: Option<&dto::EncodingType>) -> S3Result<Self> {
        match asked.map(dto::EncodingType::as_str) {
            None => Ok(Self(false)),
            Some("url") => Ok(Self(true)),
            Some(_) => Err(s3_error!(InvalidArgument, "the encoding type is \"url\" or none")),
        }
    }

    fn name(&self) -> Option<dto::EncodingType> {
        self.0.then(|| dto::EncodingType::from_static(dto::EncodingType::URL))
    }

    fn text(&self, text: &str) -> String {
        const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'_')
            .remove(b'.')
            .remove(b'~')
            .remove(b'/');
        if self.0 { percent_encoding::utf8_percent_encode(text, KEPT).to_string() } else { text.to_owned() }
    }

    fn objects(&self, items: &[Item], with_owner: bool) -> Vec<dto::Object> {
        let object = |item: &Item| match item {
            Item::Common(_) => None,
            Item::Object(key, metadata) => Some(dto::Object {
                key: Some(self.text(key)),
                e_tag: Some(etag::tag(&metadata.version)),
                size: i64::try_from(metadata.size).ok(),
                last_modified: Some(metadata::modified(metadata)),
                storage_class: Some(dto::ObjectStorageClass::from_static(dto::ObjectStorageClass::STANDARD)),
                owner: with_owner.then(owner),
                ..Default::default()
            }),
        };
        items.iter().filter_map(object).collect()
    }

    fn common_prefixes(&self, items: &[Item]) -> Vec<dto::CommonPrefix> {
        let prefix = |item: &Item| match item {
            Item::Common(prefix) => Some(dto::CommonPrefix { prefix: Some(self.text(prefix)) }),
            Item::Object(..) => None,
        };
        items.iter().filter_map(prefix).collect()
    }
}

/// Nothing for none, as S3 leaves an empty list out.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        request: S3Request<dto::CreateBucketInput>,
    ) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        let input = request.input;
        let configuration = input.create_bucket_configuration.as_ref();
        let location = configuration
            .and_then(|configuration| configuration.location_constraint.as_ref())
            .map(|location| location.as_str().to_owned());
        if let (Some(asked), Some(ours)) = (&location, &self.region)
            && asked != ours
        {
            return Err(s3_error!(
                IllegalLocationConstraintException,
                "buckets of this server are in {ours:?}"
            ));
        }
        self.buckets.create(&input.bucket, location).await?;
        let location = Some(format!("/{}", input.bucket));
        Ok(S3Response::new(dto::CreateBucketOutput { location }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        self.buckets.check(&request.input.bucket).await?;
        let bucket_region = self.region.clone();
        Ok(S3Response::new(dto::HeadBucketOutput { bucket_region, ..Default::default() }))
    }

    async fn delete_bucket(
        &self,
        request: S3Request<dto::DeleteBucketInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
        let (buckets, uploads, name) = (self.buckets.clone(), self.uploads.clone(), request.input.bucket);
        let deleted = self.to_the_end(async move {
            let closed = buckets.close(&name)?;
            let ids = uploads.ids(&name).await?;
            buckets.delete(&name).await?;
            drop(closed);
            uploads.abort_all(&name, &ids).await
        });
        deleted.await?;
        Ok(S3Response::new(dto::DeleteBucketOutput::default()))
    }

    async fn list_buckets(
        &self,
        request: S3Request<dto::ListBucketsInput>,
    ) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        let input = request.input;
        if input.bucket_region.is_some() {
            return Err(not_implemented("a list of the buckets of one region"));
        }
        let entries_max = at_most(input.max_buckets, 10_000)?;
        let after = match input.continuation_token.as_deref().map(Position::of_token).transpose()? {
            Some(Position::After(name)) => Some(name),
            _ => None,
        };
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let (buckets, more) = self.buckets.list(prefix, after.as_deref(), entries_max).await?;
        let last = buckets.last().map(|(name, _)| Position::After(name.clone()).token());
        let buckets = buckets.into_iter().map(|(name, bucket)| dto::Bucket {
            creation_date: Some(bucket.created().into()),
            name: Some(name),
            bucket_region: bucket.location,
        });
        Ok(S3Response::new(dto::ListBucketsOutput {
            buckets: Some(buckets.collect()),
            continuation_token: last.filter(|_| more),
            owner: Some(owner()),
            prefix: input.prefix,
        }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<dto::GetBucketLocationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
        let location =
            self.buckets.get(&request.input.bucket).await?.location.or_else(|| self.region.clone());
        // S3 has no name for the place where it began.
        let location =
            location.filter(|location| location != "us-east-1").map(dto::BucketLocationConstraint::from);
        Ok(S3Response::new(dto::GetBucketLocationOutput { location_constraint: location }))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<dto::GetBucketVersioningInput>,
    ) -> S3Result<S3Response<dto::GetBucketVersioningOutput>> {
        self.buckets.check(&request.input.bucket).await?;
        Ok(S3Response::new(dto::GetBucketVersioningOutput::default()))
    }

    async fn put_object(
        &self,
        mut request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let body = request.input.body.take();
        let input = &request.input;
        let precondition = conditions::of_write(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let key = keys::object(&input.bucket, &input.key)?;
        let attributes = self.attributes(&request.headers)?;
        let _writing = self.buckets.writing(&input.bucket).await?;
        let received = self.receive(body, input.content_length, &request).await?;
        let attributes = match (&received.kept, self.attributes_kept) {
            (Some((algorithm, value)), true) => metadata::with_checksum(attributes, algorithm, value),
            _ => attributes,
        };
        let options = PutOptions::from(precondition.clone()).attributes(attributes);
        let version = match self.store.adapter().put(&key, received.body, options).await {
            Ok(version) => version,
            Err(error) if received.verdict.is_refused() => return Err(received.verdict.refusal(error)),
            Err(error) => return Err(lost(&self.store, &key, &precondition, error).await),
        };
        let checksum = received.computed.unwrap_or_else(|| received.verdict.checksum());
        let mut output = dto::PutObjectOutput { e_tag: Some(etag::tag(&version)), ..Default::default() };
        output.checksum_type = checks::kept(&checksum).and_then(|_| full_object());
        tell_checksums!(output, checksum);
        Ok(S3Response::new(output))
    }

    async fn get_object(
        &self,
        request: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let (input, headers) = (request.input, request.headers);
        check_version_id(input.version_id.as_deref())?;
        check_part_number(input.part_number)?;
        self.buckets.check(&input.bucket).await?;
        let key = keys::existing(&input.bucket, &input.key)?.ok_or_else(no_such_key)?;
        let conditions = conditions::Read {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let known = conditions.unchanged_from();
        let mut range = input.range;
        let found = loop {
            let mut options = GetOptions::default().range(byte_range(range.as_ref()));
            options.if_changed_from.clone_from(&known);
            let metadata = match self.store.adapter().get(&key, options).await {
                Ok(Lookup::Absent) => return Err(no_such_key()),
                Ok(Lookup::Unchanged) => {
                    let tag = known.as_ref().and_then(|version| etag::tag(version).to_http_header().ok());
                    return Err(crate::errors::not_modified(tag));
                }
                Ok(Lookup::Found(found)) => {
                    conditions.check(&found.metadata)?;
                    if range.is_none() || conditions::range_holds(&headers, &found.metadata) {
                        break found;
                    }
                    found.metadata
                }
                Err(error) => {
                    // A range past the end is the only thing that can be wrong with this call; the size is to be told.
                    let past = range.is_some() && error.kind() == leasehold_core::ErrorKind::Invalid;
                    if past && let Ok(Some(metadata)) = self.store.head(&key).await {
                        metadata
                    } else {
                        return Err(refusal(error));
                    }
                }
            };
            conditions.check(&metadata)?;
            if conditions::range_holds(&headers, &metadata) {
                return Err(range_not_satisfiable(metadata.size));
            }
            // The part is of something that has been replaced, so the whole is sent.
            range = None;
        };
        let size = found.metadata.size;
        if range.is_some() && found.range.is_empty() {
            return Err(range_not_satisfiable(size));
        }
        let mut headers = metadata::headers(&found.metadata.attributes);
        for (name, asked) in [
            ("content-type", input.response_content_type.is_some()),
            ("content-language", input.response_content_language.is_some()),
            ("content-encoding", input.response_content_encoding.is_some()),
            ("content-disposition", input.response_content_disposition.is_some()),
            ("cache-control", input.response_cache_control.is_some()),
            ("expires", input.response_expires.is_some()),
        ] {
            if asked {
                headers.remove(name);
            }
        }
        let mut output = dto::GetObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: i64::try_from(found.range.end - found.range.start).ok(),
            e_tag: Some(etag::tag(&found.metadata.version)),
            last_modified: Some(metadata::modified(&found.metadata)),
            ..Default::default()
        };
        if range.is_some() {
            output.content_range =
                Some(format!("bytes {}-{}/{size}", found.range.start, found.range.end - 1));
        } else if input.checksum_mode.is_some()
            && let Some((algorithm, value)) = metadata::checksum(&found.metadata.attributes)
        {
            let mut checksum = dto::Checksum::default();
            set_checksum(&mut checksum, algorithm, value);
            output.checksum_type = full_object();
            tell_checksums!(output, checksum);
        }
        output.body = Some(blob::of(found.body));
        Ok(S3Response::with_headers(output, headers))
    }

    async fn head_object(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let (input, headers) = (request.input, request.headers);
        check_version_id(input.version_id.as_deref())?;
        check_part_number(input.part_number)?;
        self.buckets.check(&input.bucket).await?;
        let key = keys::existing(&input.bucket, &input.key)?.ok_or_else(no_such_key)?;
        let found = self.store.adapter().head(&key).await.map_err(refusal)?.ok_or_else(no_such_key)?;
        let conditions = conditions::Read {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        conditions.check(&found)?;
        let mut output = dto::HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: i64::try_from(found.size).ok(),
            e_tag: Some(etag::tag(&found.version)),
            last_modified: Some(metadata::modified(&found)),
            ..Default::default()
        };
        let range = input.range.filter(|_| conditions::range_holds(&headers, &found));
        if let Some(asked) = &range {
            let range = asked.check(found.size).ok().filter(|range| !range.is_empty());
            let range = range.ok_or_else(|| range_not_satisfiable(found.size))?;
            output.content_length = i64::try_from(range.end - range.start).ok();
            output.content_range = Some(format!("bytes {}-{}/{}", range.start, range.end - 1, found.size));
        } else if input.checksum_mode.is_some()
            && let Some((algorithm, value)) = metadata::checksum(&found.attributes)
        {
            let mut checksum = dto::Checksum::default();
            set_checksum(&mut checksum, algorithm, value);
            output.checksum_type = full_object();
            tell_checksums!(output, checksum);
        }
        Ok(S3Response::with_headers(output, metadata::headers(&found.attributes)))
    }

    async fn delete_object(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        let input = request.input;
        check_version_id(input.version_id.as_deref())?;
        self.buckets.check(&input.bucket).await?;
        let done = || Ok(S3Response::new(dto::DeleteObjectOutput::default()));
        let if_match = match &input.if_match {
            None => None,
            Some(dto::ETagCondition::Any) => return Err(not_implemented("If-Match with \"*\" on a delete")),
            Some(condition) => Some(conditions::version(condition)?),
        };
        let Some(key) = keys::existing(&input.bucket, &input.key)? else {
            // Nothing has such a key, so it is deleted already; but it does not have a version either.
            return if if_match.is_none() { done() } else { Err(no_such_key()) };
        };
        let options = if_match.map_or_else(DeleteOptions::default, DeleteOptions::matching);
        let precondition = options.precondition();
        match self.store.adapter().delete(&key, options).await {
            Ok(()) => done(),
            Err(error) => Err(lost(&self.store, &key, &precondition, error).await),
        }
    }

    async fn delete_objects(
        &self,
        request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let input = request.input;
        self.buckets.check(&input.bucket).await?;
        let objects = input.delete.objects;
        if objects.is_empty() || objects.len() > listing::ENTRIES_MAX {
            return Err(s3_error!(MalformedXML, "name 1 to {} objects to delete", listing::ENTRIES_MAX));
        }
        let mut results: Vec<Option<S3Result<()>>> = Vec::with_capacity(objects.len());
        let mut operations = Vec::with_capacity(objects.len());
        for object in &objects {
            results.push(match delete_operation(&input.bucket, object) {
                Ok(Some(operation)) => {
                    operations.push(operation);
                    None
                }
                Ok(None) => Some(Ok(())),
                Err(refused) => Some(Err(refused)),
            });
        }
        let batch_max = self.store.capabilities().limits().batch_operations_max.max(1);
        let mut outcomes = Vec::with_capacity(operations.len());
        let mut rest = operations.into_iter();
        loop {
            let batch: Vec<_> = rest.by_ref().take(batch_max).collect();
            if batch.is_empty() {
                break;
            }
            outcomes.extend(self.store.batch(batch, BatchOptions::default()).await);
        }
        let mut outcomes = outcomes.into_iter();
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        for (object, result) in objects.into_iter().zip(results) {
            let result = result.unwrap_or_else(|| match outcomes.next() {
                Some(outcome) => outcome.map(drop).map_err(refusal),
                None => {
                    Err(s3_error!(InternalError, "the store answered for fewer keys than it was asked about"))
                }
            });
            match result {
                Ok(()) => deleted.push(dto::DeletedObject { key: Some(object.key), ..Default::default() }),
                Err(refused) => errors.push(dto::Error {
                    code: Some(refused.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: refused.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        if input.delete.quiet == Some(true) {
            deleted.clear();
        }
        Ok(S3Response::new(dto::DeleteObjectsOutput {
            deleted: some(deleted),
            errors: some(errors),
            ..Default::default()
        }))
    }

    async fn copy_object(
        &self,
        request: S3Request<dto::CopyObjectInput>,
    ) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        let input = &request.input;
        let precondition = conditions::of_headers(&request.headers)?;
        let key = keys::object(&input.bucket, &input.key)?;
        let _writing = self.buckets.writing(&input.bucket).await?;
        let conditions = conditions::Read {
            if_match: input.copy_source_if_match.clone(),
            if_none_match: input.copy_source_if_none_match.clone(),
            if_modified_since: input.copy_source_if_modified_since.clone(),
            if_unmodified_since: input.copy_source_if_unmodified_since.clone(),
        };
        let mut again = COPY_ATTEMPTS_MAX;
        let version = loop {
            let (from, found) = self.source(&input.copy_source, &conditions, ByteRange::Full).await?;
            let attributes = match input.metadata_directive.as_ref().map(dto::MetadataDirective::as_str) {
                None | Some(dto::MetadataDirective::COPY) if from == key => {
                    return Err(s3_error!(
                        InvalidRequest,
                        "a copy of an object to itself has to replace its metadata"
                    ));
                }
                None | Some(dto::MetadataDirective::COPY) => {
                    metadata::copied(found.metadata.attributes.clone())
                }
                Some(dto::MetadataDirective::REPLACE) => {
                    let attributes = self.attributes(&request.headers)?;
                    match metadata::checksum(&found.metadata.attributes) {
                        Some((algorithm, value)) => metadata::with_checksum(attributes, algorithm, value),
                        None => attributes,
                    }
                }
                Some(_) => {
                    return Err(s3_error!(InvalidArgument, "the metadata directive is COPY or REPLACE"));
                }
            };
            // What is read is put back, and must not undo a write in between.
            let is_own = from == key && matches!(precondition, Precondition::None) && self.conditions_kept;
            let put = if is_own {
                Precondition::Matches(found.metadata.version.clone())
            } else {
                precondition.clone()
            };
            let options = PutOptions::from(put).attributes(attributes);
            match self.store.adapter().put(&key, found.body, options).await {
                Ok(version) => break version,
                Err(error) if is_own && error.is_conflict() && !error.is_indeterminate() => {
                    again -= 1;
                    if again == 0 {
                        return Err(s3_error!(
                            OperationAborted,
                            "the object is written all the time; nothing was copied"
                        ));
                    }
                }
                Err(error) => return Err(lost(&self.store, &key, &precondition, error).await),
            }
        };
        // When it was written is the store's to say; where it cannot be asked, the copy has been made all the same.
        let written =
            self.store.head(&key).await.ok().flatten().filter(|metadata| metadata.version == version);
        let result = dto::CopyObjectResult {
            e_tag: Some(etag::tag(&version)),
            last_modified: written.as_ref().map(metadata::modified),
            ..Default::default()
        };
        Ok(S3Response::new(dto::CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let input = request.input;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let entries_max = at_most(input.max_keys, listing::ENTRIES_MAX)?;
        let start = match input.continuation_token.as_deref() {
            Some(token) => Some(Position::of_token(token)?),
            None => input.start_after.clone().filter(|after| !after.is_empty()).map(Position::After),
        };
        let page = self
            .list(&listing::Request {
                bucket: &input.bucket,
                prefix: input.prefix.as_deref().unwrap_or_default(),
                delimiter: input.delimiter.as_deref().unwrap_or_default(),
                start,
                entries_max,
            })
            .await?;
        Ok(S3Response::new(dto::ListObjectsV2Output {
            key_count: i32::try_from(page.items.len()).ok(),
            max_keys: i32::try_from(entries_max).ok(),
            contents: some(encoding.objects(&page.items, input.fetch_owner == Some(true))),
            common_prefixes: some(encoding.common_prefixes(&page.items)),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_ref().map(Position::token),
            continuation_token: input.continuation_token,
            delimiter: input.delimiter.map(|text| encoding.text(&text)),
            prefix: Some(encoding.text(input.prefix.as_deref().unwrap_or_default())),
            start_after: input.start_after.map(|text| encoding.text(&text)),
            encoding_type: encoding.name(),
            name: Some(input.bucket),
            ..Default::default()
        }))
    }

    async fn list_objects(
        &self,
        request: S3Request<dto::ListObjectsInput>,
    ) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        let input = request.input;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let entries_max = at_most(input.max_keys, listing::ENTRIES_MAX)?;
        let delimiter = input.delimiter.as_deref().unwrap_or_default();
        let page = self
            .list(&listing::Request {
                bucket: &input.bucket,
                prefix: input.prefix.as_deref().unwrap_or_default(),
                delimiter,
                start: input.marker.clone().filter(|marker| !marker.is_empty()).map(Position::After),
                entries_max,
            })
            .await?;
        // Without a delimiter the last key is the marker, and S3 does not say it twice.
        let next_marker = page.next.as_ref().filter(|_| !delimiter.is_empty()).map(|next| match next {
            Position::After(text) | Position::AfterPrefix(text) => encoding.text(text),
        });
        Ok(S3Response::new(dto::ListObjectsOutput {
            max_keys: i32::try_from(entries_max).ok(),
            contents: some(encoding.objects(&page.items, true)),
            common_prefixes: some(encoding.common_prefixes(&page.items)),
            is_truncated: Some(page.next.is_some()),
            next_marker,
            marker: Some(encoding.text(input.marker.as_deref().unwrap_or_default())),
            delimiter: input.delimiter.as_deref().map(|text| encoding.text(text)),
            prefix: Some(encoding.text(input.prefix.as_deref().unwrap_or_default())),
            encoding_type: encoding.name(),
            name: Some(input.bucket),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        let input = &request.input;
        keys::object(&input.bucket, &input.key)?;
        let attributes = self.attributes(&request.headers)?;
        let _writing = self.buckets.writing(&input.bucket).await?;
        let upload_id = self.uploads.begin(&input.bucket, &input.key, &attributes).await?;
        Ok(S3Response::new(dto::CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            checksum_algorithm: input.checksum_algorithm.clone(),
            checksum_type: input.checksum_type.clone(),
            upload_id: Some(upload_id),
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        mut request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let body = request.input.body.take();
        let input = &request.input;
        check_number(input.part_number)?;
        self.buckets.check(&input.bucket).await?;
        self.uploads.get(&input.bucket, &input.key, &input.upload_id).await?;
        let Received { body, verdict, computed, .. } =
            self.receive(body, input.content_length, &request).await?;
        let dto::UploadPartInput { bucket, upload_id, part_number, .. } = request.input;
        let version = self.put_part(bucket, upload_id, part_number, body, Some(verdict.clone())).await?;
        let checksum = computed.unwrap_or_else(|| verdict.checksum());
        let mut output = dto::UploadPartOutput { e_tag: Some(etag::tag(&version)), ..Default::default() };
        tell_checksums!(output, checksum);
        Ok(S3Response::new(output))
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<dto::UploadPartCopyInput>,
    ) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        let input = &request.input;
        check_number(input.part_number)?;
        self.buckets.check(&input.bucket).await?;
        self.uploads.get(&input.bucket, &input.key, &input.upload_id).await?;
        let range = match input.copy_source_range.as_deref().map(dto::Range::parse) {
            None => None,
            Some(Ok(range @ dto::Range::Int { last: Some(_), .. })) => Some(range),
            Some(_) => return Err(s3_error!(InvalidArgument, "the range of a source is bytes=FIRST-LAST")),
        };
        let conditions = conditions::Read {
            if_match: input.copy_source_if_match.clone(),
            if_none_match: input.copy_source_if_none_match.clone(),
            if_modified_since: input.copy_source_if_modified_since.clone(),
            if_unmodified_since: input.copy_source_if_unmodified_since.clone(),
        };
        let (_, found) = self.source(&input.copy_source, &conditions, byte_range(range.as_ref())).await?;
        if let Some(dto::Range::Int { last: Some(last), .. }) = range
            && last >= found.metadata.size
        {
            return Err(s3_error!(
                InvalidArgument,
                "the range ends past the source's {} bytes",
                found.metadata.size
            ));
        }
        let modified = metadata::modified(&found.metadata);
        let dto::UploadPartCopyInput { bucket, upload_id, part_number, .. } = request.input;
        let version = self.put_part(bucket, upload_id, part_number, found.body, None).await?;
        let result = dto::CopyPartResult {
            e_tag: Some(etag::tag(&version)),
            last_modified: Some(modified),
            ..Default::default()
        };
        Ok(S3Response::new(dto::UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let input = request.input;
        let precondition = conditions::of_write(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let writing = self.buckets.writing(&input.bucket).await?;
        let mut checks = Checks::default();
        for (algorithm, value) in [
            ("crc64nvme", &input.checksum_crc64nvme),
            ("crc32c", &input.checksum_crc32c),
            ("crc32", &input.checksum_crc32),
            ("sha256", &input.checksum_sha256),
            ("sha1", &input.checksum_sha1),
        ] {
            let Some(value) = value else { continue };
            // A checksum of checksums says in its end of how many. The parts' own are compared.
            if !value.contains('-') {
                checks.expect(algorithm, value);
            }
        }
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let parts = parts.into_iter().map(named).collect::<S3Result<Vec<_>>>()?;
        let output = dto::CompleteMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            ..Default::default()
        };
        let completion = Completion {
            bucket: input.bucket,
            key: input.key,
            id: input.upload_id,
            parts,
            options: precondition.into(),
            object_bytes: input.mpu_object_size.and_then(|bytes| u64::try_from(bytes).ok()),
            checks,
        };
        let uploads = self.uploads.clone();
        let mut outcome = self.in_background(async move {
            let _writing = writing;
            uploads.complete(completion).await
        });
        let told = |outcome: Result<S3Result<Version>, oneshot::error::RecvError>| match outcome {
            Ok(Ok(version)) => Ok(etag::tag(&version)),
            Ok(Err(refused)) => Err(refused),
            Err(_) => Err(ended()),
        };
        match tokio::time::timeout(COMPLETION_SILENT, &mut outcome).await {
            Ok(outcome) => {
                let e_tag = Some(told(outcome)?);
                Ok(S3Response::new(dto::CompleteMultipartUploadOutput { e_tag, ..output }))
            }
            Err(_) => {
                let (bucket, key, location) =
                    (output.bucket.clone(), output.key.clone(), output.location.clone());
                let later = async move {
                    let e_tag = Some(told(outcome.await)?);
                    Ok(dto::CompleteMultipartUploadOutput {
                        bucket,
                        key,
                        location,
                        e_tag,
                        ..Default::default()
                    })
                };
                let future: leasehold_core::BoxFuture<'static, _> = Box::pin(later);
                Ok(S3Response::new(dto::CompleteMultipartUploadOutput { future: Some(future), ..output }))
            }
        }
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        let input = request.input;
        self.buckets.check(&input.bucket).await?;
        let uploads = self.uploads.clone();
        let aborted = async move { uploads.abort(&input.bucket, &input.key, &input.upload_id).await };
        self.to_the_end(aborted).await?;
        Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
    }

    async fn list_parts(
        &self,
        request: S3Request<dto::ListPartsInput>,
    ) -> S3Result<S3Response<dto::ListPartsOutput>> {
        let input = request.input;
        self.buckets.check(&input.bucket).await?;
        self.uploads.get(&input.bucket, &input.key, &input.upload_id).await?;
        let parts_max = at_most(input.max_parts, listing::ENTRIES_MAX)?;
        let after = input.part_number_marker.unwrap_or(0);
        let (parts, more) = self.uploads.parts(&input.bucket, &input.upload_id, after, parts_max).await?;
        let next = parts.last().map(|part| part.number).filter(|_| more);
        let parts = parts.into_iter().map(|part| dto::Part {
            part_number: Some(part.number),
            e_tag: Some(etag::tag(&part.metadata.version)),
            size: i64::try_from(part.metadata.size).ok(),
            last_modified: Some(metadata::modified(&part.metadata)),
            ..Default::default()
        });
        Ok(S3Response::new(dto::ListPartsOutput {
            parts: some(parts.collect()),
            is_truncated: Some(more),
            max_parts: i32::try_from(parts_max).ok(),
            next_part_number_marker: next,
            part_number_marker: Some(after),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            owner: Some(owner()),
            storage_class: Some(dto::StorageClass::from_static(dto::StorageClass::STANDARD)),
            ..Default::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<dto::ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        let input = request.input;
        self.buckets.check(&input.bucket).await?;
        if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(not_implemented("a delimiter in a list of uploads"));
        }
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let uploads_max = at_most(input.max_uploads, listing::ENTRIES_MAX)?;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let (key_marker, id_marker) = (input.key_marker.as_deref(), input.upload_id_marker.as_deref());
        let mut uploads = self.uploads.list(&input.bucket).await?;
        uploads.retain(|(_, upload)| upload.key.starts_with(prefix));
        if let Some(marker) = key_marker.filter(|marker| !marker.is_empty()) {
            // With an id, the list goes on within the uploads of one key.
            uploads.retain(|(id, upload)| match id_marker {
                Some(last) if !last.is_empty() => (upload.key.as_str(), id.as_str()) > (marker, last),
                _ => upload.key.as_str() > marker,
            });
        }
        let more = uploads_max > 0 && uploads.len() > uploads_max;
        uploads.truncate(uploads_max);
        let last = uploads.last().filter(|_| more).map(|(id, upload)| (id.clone(), upload.key.clone()));
        let (next_id, next_key) = last.unzip();
        let uploads = uploads.into_iter().map(|(id, upload)| dto::MultipartUpload {
            initiated: Some(upload.started().into()),
            key: Some(encoding.text(&upload.key)),
            upload_id: Some(id),
            owner: Some(owner()),
            storage_class: Some(dto::StorageClass::from_static(dto::StorageClass::STANDARD)),
            ..Default::default()
        });
        Ok(S3Response::new(dto::ListMultipartUploadsOutput {
            uploads: some(uploads.collect()),
            is_truncated: Some(more),
            max_uploads: i32::try_from(uploads_max).ok(),
            next_key_marker: next_key.map(|key| encoding.text(&key)),
            next_upload_id_marker: next_id,
            key_marker: input.key_marker.map(|key| encoding.text(&key)),
            upload_id_marker: input.upload_id_marker,
            prefix: Some(encoding.text(prefix)),
            encoding_type: encoding.name(),
            bucket: Some(input.bucket),
            ..Default::default()
        }))
    }
}

impl Service {
    async fn put_part(
        &self,
        bucket: String,
        id: String,
        number: i32,
        body: Body,
        verdict: Option<Verdict>,
    ) -> S3Result<Version> {
        let uploads = self.uploads.clone();
        self.to_the_end(async move { uploads.put_part(&bucket, &id, number, body, verdict).await }).await
    }
}

fn named(part: dto::CompletedPart) -> S3Result<Named> {
    let number =
        part.part_number.ok_or_else(|| s3_error!(MalformedXML, "a part is named without its number"))?;
    check_number(number)?;
    let checksums = [
        ("crc64nvme", part.checksum_crc64nvme),
        ("crc32c", part.checksum_crc32c),
        ("crc32", part.checksum_crc32),
        ("sha256", part.checksum_sha256),
        ("sha1", part.checksum_sha1),
    ];
    let checksums =
        checksums.into_iter().filter_map(|(algorithm, value)| Some((algorithm, value?))).collect();
    Ok(Named { number, version: multipart::named_version(part.e_tag.as_ref()), checksums })
}

/// The delete of one object; `None` where there is nothing to do.
fn delete_operation(bucket: &str, object: &dto::ObjectIdentifier) -> S3Result<Option<Operation>> {
    check_version_id(object.version_id.as_deref())?;
    if object.last_modified_time.is_some() || object.size.is_some() {
        return Err(not_implemented("a delete on condition of a time or a size"));
    }
    let if_match = match &object.e_tag {
        None => None,
        Some(tag) => Some(conditions::version(&dto::ETagCondition::ETag(tag.clone()))?),
    };
    match keys::existing(bucket, &object.key)? {
        Some(key) => {
            let options = if_match.map_or_else(DeleteOptions::default, DeleteOptions::matching);
            Ok(Some(Operation::Delete(key, options)))
        }
        None if if_match.is_none() => Ok(None),
        None => Err(no_such_key()),
    }
}
