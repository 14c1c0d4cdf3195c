//! What a client is told when a store refuses.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use leasehold_core::{Error, ErrorKind, Key, Precondition, Store};
use s3s::{S3Error, S3ErrorCode, s3_error};

/// The answer for an error of the store.
///
/// An unknown outcome is always `InternalError`: a client may take 412 and 503 for "nothing was written", and nothing
/// else says that nobody knows. Where the store is and which key it used are not the client's business, so only the
/// message goes out.
#[expect(clippy::needless_pass_by_value, reason = "it is used in map_err")]
pub(crate) fn refusal(error: Error) -> S3Error {
    if error.is_indeterminate() {
        return s3_error!(
            InternalError,
            "the outcome is unknown, it may have been applied: {}",
            error.message()
        );
    }
    let message = error.message().to_owned();
    match error.kind() {
        ErrorKind::Conflict => S3Error::with_message(S3ErrorCode::PreconditionFailed, message),
        ErrorKind::Denied | ErrorKind::Fenced => S3Error::with_message(S3ErrorCode::AccessDenied, message),
        ErrorKind::Full => {
            // Clients send 503 again at once, which frees no space; 507 is left alone by them.
            let code = S3ErrorCode::Custom("InsufficientStorage".into());
            with_status(S3Error::with_message(code, message), StatusCode::INSUFFICIENT_STORAGE)
        }
        ErrorKind::Invalid => S3Error::with_message(S3ErrorCode::InvalidArgument, message),
        ErrorKind::Throttled => S3Error::with_message(S3ErrorCode::SlowDown, message),
        ErrorKind::Timeout | ErrorKind::Unavailable => {
            S3Error::with_message(S3ErrorCode::ServiceUnavailable, message)
        }
        ErrorKind::Unsupported(_) => S3Error::with_message(S3ErrorCode::NotImplemented, message),
        _ => S3Error::with_message(S3ErrorCode::InternalError, message),
    }
}

/// Why a conditional write lost: where the key is gone, that is what S3 says.
pub(crate) async fn lost(store: &Store, key: &Key, precondition: &Precondition, error: Error) -> S3Error {
    let lost = error.is_conflict() && !error.is_indeterminate();
    if lost && matches!(precondition, Precondition::Matches(_)) && matches!(store.head(key).await, Ok(None)) {
        return no_such_key();
    }
    refusal(error)
}

/// There is nothing under the key.
pub(crate) fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "there is no such object")
}

/// `what` is something that this server does not do.
pub(crate) fn not_implemented(what: impl std::fmt::Display) -> S3Error {
    s3_error!(NotImplemented, "{what} is not supported by this server; nothing was done")
}

/// The same error with another status.
pub(crate) fn with_status(mut error: S3Error, status: StatusCode) -> S3Error {
    error.set_status_code(status);
    error
}

/// 304 with the tag that still holds.
pub(crate) fn not_modified(tag: Option<HeaderValue>) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    let mut headers = HeaderMap::new();
    if let Some(tag) = tag {
        headers.insert(header::ETAG, tag);
    }
    error.set_headers(headers);
    error
}

/// 416 with the size that there is.
pub(crate) fn range_not_satisfiable(size: u64) -> S3Error {
    let mut error =
        s3_error!(InvalidRange, "the requested range is not satisfiable: the object has {size} bytes");
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(range) = HeaderValue::try_from(format!("bytes */{size}")) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    error.set_headers(headers);
    error
}

#[cfg(test)]
mod tests {
    use leasehold_core::Capability;

    use super::*;

    #[test]
    fn an_unknown_outcome_is_never_called_a_refusal() {
        for kind in [ErrorKind::Conflict, ErrorKind::Timeout, ErrorKind::Throttled, ErrorKind::Full] {
            let told = refusal(Error::new(kind, "x").indeterminate());
            assert_eq!(told.code(), &S3ErrorCode::InternalError, "{kind}");
        }
    }

    #[test]
    fn every_kind_has_an_answer() {
        let status = |kind| refusal(Error::new(kind, "x")).status_code().map(|status| status.as_u16());
        for (kind, expected) in [
            (ErrorKind::Conflict, 412),
            (ErrorKind::Corrupt, 500),
            (ErrorKind::Denied, 403),
            (ErrorKind::Full, 507),
            (ErrorKind::Invalid, 400),
            (ErrorKind::Throttled, 503),
            (ErrorKind::Timeout, 503),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Unsupported(Capability::Attributes), 501),
            (ErrorKind::Unexpected, 500),
        ] {
            assert_eq!(status(kind), Some(expected), "{kind}");
        }
    }
}
