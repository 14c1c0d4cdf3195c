//! Buckets.

use s3s::{S3Request, S3Response, S3Result, dto, s3_error};

use super::{Service, at_most, owner};
use crate::{errors::not_implemented, listing::Position};

pub(super) async fn create(
    service: &Service,
    request: S3Request<dto::CreateBucketInput>,
) -> S3Result<S3Response<dto::CreateBucketOutput>> {
    let input = request.input;
    let configuration = input.create_bucket_configuration.as_ref();
    let location = configuration
        .and_then(|configuration| configuration.location_constraint.as_ref())
        .map(|location| location.as_str().to_owned());
    if let (Some(asked), Some(ours)) = (&location, &service.region)
        && asked != ours
    {
        return Err(s3_error!(IllegalLocationConstraintException, "buckets of this server are in {ours:?}"));
    }
    service.buckets.create(&input.bucket, location).await?;
    let location = Some(format!("/{}", input.bucket));
    Ok(S3Response::new(dto::CreateBucketOutput { location }))
}

pub(super) async fn head(
    service: &Service,
    request: S3Request<dto::HeadBucketInput>,
) -> S3Result<S3Response<dto::HeadBucketOutput>> {
    service.buckets.check(&request.input.bucket).await?;
    let bucket_region = service.region.clone();
    Ok(S3Response::new(dto::HeadBucketOutput { bucket_region, ..Default::default() }))
}

pub(super) async fn delete(
    service: &Service,
    request: S3Request<dto::DeleteBucketInput>,
) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
    let (buckets, uploads, name) = (service.buckets.clone(), service.uploads.clone(), request.input.bucket);
    let deleted = service.to_the_end(async move {
        let closed = buckets.close(&name)?;
        let ids = uploads.ids(&name).await?;
        buckets.delete(&name).await?;
        drop(closed);
        uploads.abort_all(&name, &ids).await
    });
    deleted.await?;
    Ok(S3Response::new(dto::DeleteBucketOutput::default()))
}

pub(super) async fn list(
    service: &Service,
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
    let (buckets, more) = service.buckets.list(prefix, after.as_deref(), entries_max).await?;
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

pub(super) async fn location(
    service: &Service,
    request: S3Request<dto::GetBucketLocationInput>,
) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
    let location =
        service.buckets.get(&request.input.bucket).await?.location.or_else(|| service.region.clone());
    // S3 has no name for the place where it began.
    let location =
        location.filter(|location| location != "us-east-1").map(dto::BucketLocationConstraint::from);
    Ok(S3Response::new(dto::GetBucketLocationOutput { location_constraint: location }))
}

pub(super) async fn versioning(
    service: &Service,
    request: S3Request<dto::GetBucketVersioningInput>,
) -> S3Result<S3Response<dto::GetBucketVersioningOutput>> {
    service.buckets.check(&request.input.bucket).await?;
    Ok(S3Response::new(dto::GetBucketVersioningOutput::default()))
}
