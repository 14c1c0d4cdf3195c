//! Lists of objects.

use s3s::{S3Request, S3Response, S3Result, dto};

use super::{Service, at_most, encoding::Encoding, some};
use crate::listing::{self, Position};

pub(super) async fn list_v2(
    service: &Service,
    request: S3Request<dto::ListObjectsV2Input>,
) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let entries_max = at_most(input.max_keys, listing::ENTRIES_MAX)?;
    let start = match input.continuation_token.as_deref() {
        Some(token) => Some(Position::of_token(token)?),
        None => input.start_after.clone().filter(|after| !after.is_empty()).map(Position::After),
    };
    let page = service
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

pub(super) async fn list(
    service: &Service,
    request: S3Request<dto::ListObjectsInput>,
) -> S3Result<S3Response<dto::ListObjectsOutput>> {
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let entries_max = at_most(input.max_keys, listing::ENTRIES_MAX)?;
    let delimiter = input.delimiter.as_deref().unwrap_or_default();
    let page = service
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
