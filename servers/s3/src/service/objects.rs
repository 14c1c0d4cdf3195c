//! Objects: whole, in ranges, and copied.

use http::StatusCode;
use leasehold_core::{ByteRange, GetOptions, Lookup, Precondition, PutOptions};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto, s3_error};

use super::{COPY_ATTEMPTS_MAX, Service, byte_range, check_version_id};
use crate::{
    blob, checks, conditions,
    errors::{lost, no_such_key, range_not_satisfiable, refusal, with_status},
    etag, keys, metadata,
};

pub(super) async fn put(
    service: &Service,
    mut request: S3Request<dto::PutObjectInput>,
) -> S3Result<S3Response<dto::PutObjectOutput>> {
    let body = request.input.body.take();
    let input = &request.input;
    let precondition = conditions::of_write(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let key = keys::object(&input.bucket, &input.key)?;
    let attributes = service.attributes(&request.headers)?;
    let _writing = service.buckets.writing(&input.bucket).await?;
    let received = service.receive(body, input.content_length, &request).await?;
    let attributes = match (&received.kept, service.attributes_kept) {
        (Some((algorithm, value)), true) => metadata::with_checksum(attributes, algorithm, value),
        _ => attributes,
    };
    let options = PutOptions::from(precondition.clone()).attributes(attributes);
    let version = match service.store.adapter().put(&key, received.body, options).await {
        Ok(version) => version,
        Err(error) if received.verdict.is_refused() => return Err(received.verdict.refusal(error)),
        Err(error) => return Err(lost(&service.store, &key, &precondition, error).await),
    };
    let checksum = received.computed.unwrap_or_else(|| received.verdict.checksum());
    let mut output = dto::PutObjectOutput { e_tag: Some(etag::tag(&version)), ..Default::default() };
    output.checksum_type = checks::kept(&checksum).and_then(|_| full_object());
    tell_checksums!(output, checksum);
    Ok(S3Response::new(output))
}

pub(super) async fn get(
    service: &Service,
    request: S3Request<dto::GetObjectInput>,
) -> S3Result<S3Response<dto::GetObjectOutput>> {
    let (input, headers) = (request.input, request.headers);
    check_version_id(input.version_id.as_deref())?;
    check_part_number(input.part_number)?;
    service.buckets.check(&input.bucket).await?;
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
        let metadata = match service.store.adapter().get(&key, options).await {
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
                if past && let Ok(Some(metadata)) = service.store.head(&key).await {
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
        output.content_range = Some(format!("bytes {}-{}/{size}", found.range.start, found.range.end - 1));
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

pub(super) async fn head(
    service: &Service,
    request: S3Request<dto::HeadObjectInput>,
) -> S3Result<S3Response<dto::HeadObjectOutput>> {
    let (input, headers) = (request.input, request.headers);
    check_version_id(input.version_id.as_deref())?;
    check_part_number(input.part_number)?;
    service.buckets.check(&input.bucket).await?;
    let key = keys::existing(&input.bucket, &input.key)?.ok_or_else(no_such_key)?;
    let found = service.store.adapter().head(&key).await.map_err(refusal)?.ok_or_else(no_such_key)?;
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

pub(super) async fn copy(
    service: &Service,
    request: S3Request<dto::CopyObjectInput>,
) -> S3Result<S3Response<dto::CopyObjectOutput>> {
    let input = &request.input;
    let precondition = conditions::of_headers(&request.headers)?;
    let key = keys::object(&input.bucket, &input.key)?;
    let _writing = service.buckets.writing(&input.bucket).await?;
    let conditions = conditions::Read {
        if_match: input.copy_source_if_match.clone(),
        if_none_match: input.copy_source_if_none_match.clone(),
        if_modified_since: input.copy_source_if_modified_since.clone(),
        if_unmodified_since: input.copy_source_if_unmodified_since.clone(),
    };
    let mut again = COPY_ATTEMPTS_MAX;
    let version = loop {
        let (from, found) = service.source(&input.copy_source, &conditions, ByteRange::Full).await?;
        let attributes = match input.metadata_directive.as_ref().map(dto::MetadataDirective::as_str) {
            None | Some(dto::MetadataDirective::COPY) if from == key => {
                return Err(s3_error!(
                    InvalidRequest,
                    "a copy of an object to itself has to replace its metadata"
                ));
            }
            None | Some(dto::MetadataDirective::COPY) => metadata::copied(found.metadata.attributes.clone()),
            Some(dto::MetadataDirective::REPLACE) => {
                let attributes = service.attributes(&request.headers)?;
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
        let is_own = from == key && matches!(precondition, Precondition::None) && service.conditions_kept;
        let put =
            if is_own { Precondition::Matches(found.metadata.version.clone()) } else { precondition.clone() };
        let options = PutOptions::from(put).attributes(attributes);
        match service.store.adapter().put(&key, found.body, options).await {
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
            Err(error) => return Err(lost(&service.store, &key, &precondition, error).await),
        }
    };
    // When it was written is the store's to say; where it cannot be asked, the copy has been made all the same.
    let written =
        service.store.head(&key).await.ok().flatten().filter(|metadata| metadata.version == version);
    let result = dto::CopyObjectResult {
        e_tag: Some(etag::tag(&version)),
        last_modified: written.as_ref().map(metadata::modified),
        ..Default::default()
    };
    Ok(S3Response::new(dto::CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
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

fn full_object() -> Option<dto::ChecksumType> {
    Some(dto::ChecksumType::from_static(dto::ChecksumType::FULL_OBJECT))
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
