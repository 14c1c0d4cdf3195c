//! Uploads in parts.

use leasehold_core::{Body, Version};
use s3s::{S3Request, S3Response, S3Result, dto, s3_error};
use tokio::sync::oneshot;

use super::{
    COMPLETION_SILENT, Received, Service, at_most, byte_range, encoding::Encoding, ended, owner, some,
};
use crate::{
    checks::Checks,
    conditions,
    errors::not_implemented,
    etag, keys, listing, metadata,
    multipart::{self, Completion, Named},
    upload::Verdict,
};

pub(super) async fn create(
    service: &Service,
    request: S3Request<dto::CreateMultipartUploadInput>,
) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
    let input = &request.input;
    keys::object(&input.bucket, &input.key)?;
    let attributes = service.attributes(&request.headers)?;
    let _writing = service.buckets.writing(&input.bucket).await?;
    let upload_id = service.uploads.begin(&input.bucket, &input.key, &attributes).await?;
    Ok(S3Response::new(dto::CreateMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        checksum_algorithm: input.checksum_algorithm.clone(),
        checksum_type: input.checksum_type.clone(),
        upload_id: Some(upload_id),
        ..Default::default()
    }))
}

pub(super) async fn put_part(
    service: &Service,
    mut request: S3Request<dto::UploadPartInput>,
) -> S3Result<S3Response<dto::UploadPartOutput>> {
    let body = request.input.body.take();
    let input = &request.input;
    check_number(input.part_number)?;
    service.buckets.check(&input.bucket).await?;
    service.uploads.get(&input.bucket, &input.key, &input.upload_id).await?;
    let Received { body, verdict, computed, .. } =
        service.receive(body, input.content_length, &request).await?;
    let dto::UploadPartInput { bucket, upload_id, part_number, .. } = request.input;
    let version = service.put_part(bucket, upload_id, part_number, body, Some(verdict.clone())).await?;
    let checksum = computed.unwrap_or_else(|| verdict.checksum());
    let mut output = dto::UploadPartOutput { e_tag: Some(etag::tag(&version)), ..Default::default() };
    tell_checksums!(output, checksum);
    Ok(S3Response::new(output))
}

pub(super) async fn copy_part(
    service: &Service,
    request: S3Request<dto::UploadPartCopyInput>,
) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
    let input = &request.input;
    check_number(input.part_number)?;
    service.buckets.check(&input.bucket).await?;
    service.uploads.get(&input.bucket, &input.key, &input.upload_id).await?;
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
    let (_, found) = service.source(&input.copy_source, &conditions, byte_range(range.as_ref())).await?;
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
    let version = service.put_part(bucket, upload_id, part_number, found.body, None).await?;
    let result = dto::CopyPartResult {
        e_tag: Some(etag::tag(&version)),
        last_modified: Some(modified),
        ..Default::default()
    };
    Ok(S3Response::new(dto::UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
}

pub(super) async fn complete(
    service: &Service,
    request: S3Request<dto::CompleteMultipartUploadInput>,
) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
    let input = request.input;
    let precondition = conditions::of_write(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let writing = service.buckets.writing(&input.bucket).await?;
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
    let uploads = service.uploads.clone();
    let mut outcome = service.in_background(async move {
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
                Ok(dto::CompleteMultipartUploadOutput { bucket, key, location, e_tag, ..Default::default() })
            };
            let future: leasehold_core::BoxFuture<'static, _> = Box::pin(later);
            Ok(S3Response::new(dto::CompleteMultipartUploadOutput { future: Some(future), ..output }))
        }
    }
}

pub(super) async fn abort(
    service: &Service,
    request: S3Request<dto::AbortMultipartUploadInput>,
) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
    let input = request.input;
    service.buckets.check(&input.bucket).await?;
    let uploads = service.uploads.clone();
    let aborted = async move { uploads.abort(&input.bucket, &input.key, &input.upload_id).await };
    service.to_the_end(aborted).await?;
    Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
}

pub(super) async fn list_parts(
    service: &Service,
    request: S3Request<dto::ListPartsInput>,
) -> S3Result<S3Response<dto::ListPartsOutput>> {
    let input = request.input;
    service.buckets.check(&input.bucket).await?;
    service.uploads.get(&input.bucket, &input.key, &input.upload_id).await?;
    let parts_max = at_most(input.max_parts, listing::ENTRIES_MAX)?;
    let after = input.part_number_marker.unwrap_or(0);
    let (parts, more) = service.uploads.parts(&input.bucket, &input.upload_id, after, parts_max).await?;
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

pub(super) async fn list(
    service: &Service,
    request: S3Request<dto::ListMultipartUploadsInput>,
) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
    let input = request.input;
    service.buckets.check(&input.bucket).await?;
    if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(not_implemented("a delimiter in a list of uploads"));
    }
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let uploads_max = at_most(input.max_uploads, listing::ENTRIES_MAX)?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let (key_marker, id_marker) = (input.key_marker.as_deref(), input.upload_id_marker.as_deref());
    let mut uploads = service.uploads.list(&input.bucket).await?;
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

fn check_number(number: i32) -> S3Result<()> {
    if (1..=multipart::NUMBER_MAX).contains(&number) {
        Ok(())
    } else {
        Err(s3_error!(InvalidArgument, "part numbers go from 1 to {}", multipart::NUMBER_MAX))
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
