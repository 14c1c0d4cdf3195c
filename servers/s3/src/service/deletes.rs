//! Deletes, of one object or many.

use leasehold_core::{BatchOptions, DeleteOptions, Operation};
use s3s::{S3Request, S3Response, S3Result, dto, s3_error};

use super::{Service, check_version_id, some};
use crate::{
    conditions,
    errors::{lost, no_such_key, not_implemented, refusal},
    keys, listing,
};

pub(super) async fn delete(
    service: &Service,
    request: S3Request<dto::DeleteObjectInput>,
) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
    let input = request.input;
    check_version_id(input.version_id.as_deref())?;
    service.buckets.check(&input.bucket).await?;
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
    match service.store.adapter().delete(&key, options).await {
        Ok(()) => done(),
        Err(error) => Err(lost(&service.store, &key, &precondition, error).await),
    }
}

pub(super) async fn delete_many(
    service: &Service,
    request: S3Request<dto::DeleteObjectsInput>,
) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
    let input = request.input;
    service.buckets.check(&input.bucket).await?;
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
    let batch_max = service.store.capabilities().limits().batch_operations_max.max(1);
    let mut outcomes = Vec::with_capacity(operations.len());
    let mut rest = operations.into_iter();
    loop {
        let batch: Vec<_> = rest.by_ref().take(batch_max).collect();
        if batch.is_empty() {
            break;
        }
        outcomes.extend(service.store.batch(batch, BatchOptions::default()).await);
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
