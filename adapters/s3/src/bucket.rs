//! The bucket itself: making it, and finding out whether it is there.

use std::sync::atomic::Ordering;

use http::{HeaderMap, Method, StatusCode};
use leasehold_core::Result;

use crate::{
    refusal::Refusal,
    wire::{Call, Failed, Wire},
};

/// Finds out, once, whether the bucket is there: to a head, a server does not say what is missing.
pub(crate) async fn check(wire: &Wire) -> Result<()> {
    if wire.bucket_seen.load(Ordering::Relaxed) {
        return Ok(());
    }
    match wire.repeat(&Call::new(Method::HEAD, None), 0).await {
        Err(Failed::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => {
            let document = "<Error><Code>NoSuchBucket</Code></Error>";
            let missing = Refusal::new(StatusCode::NOT_FOUND, &HeaderMap::new(), &document.into());
            Err(wire.error(Failed::Refused(missing)))
        }
        Ok(_) => {
            wire.bucket_seen.store(true, Ordering::Relaxed);
            Ok(())
        }
        // Who may not ask about the bucket may still use it, and not everything that serves keys knows the question.
        Err(Failed::Refused(refusal)) if matches!(refusal.status.as_u16(), 400 | 401 | 403 | 405 | 501) => {
            wire.bucket_seen.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(failed) => Err(wire.error(failed)),
    }
}

/// Makes the bucket. One that is there already and belongs to the caller is as good.
pub(crate) async fn create(wire: &Wire) -> Result<()> {
    let mut call = Call::new(Method::PUT, None);
    if wire.region != "us-east-1" {
        call.body = format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
            wire.region
        )
        .into();
    }
    match wire.send(&call).await {
        Ok(_) => Ok(()),
        Err(Failed::Refused(refusal))
            if ["BucketAlreadyOwnedByYou", "BucketAlreadyExists"].contains(&refusal.code.as_str()) =>
        {
            // Somebody else's bucket says so at the first use.
            Ok(())
        }
        Err(failed) => Err(wire.error(failed)),
    }
}
