//! What a server said instead of doing it, and what that means to a caller.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use leasehold_core::{Capability, Error, ErrorKind};
use serde::Deserialize;

/// An answer that is no success.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The machine-readable code, empty where the server gave none: to `HEAD` none ever does.
    pub(crate) code: String,
    message: String,
    region: Option<String>,
    /// When the server thinks it is.
    date: Option<SystemTime>,
}

/// What kind of refusal it is, for those who decide what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The precondition did not hold when the write would have been applied.
    Precondition,
    /// There is no such key.
    NoSuchKey,
    /// There is no such upload: it was completed, aborted, or never there.
    NoSuchUpload,
    /// Two conditional writes met and neither was decided. Send again.
    Undecided,
    /// Slower, please.
    Throttled,
    /// The server failed; it may have done it before, and will not do it later.
    Failed,
    /// Something between here and the server failed, or the server did not say what happened: it may have been done, and
    /// may still be.
    Gateway,
    /// The keys are over.
    Expired,
    /// The call will never succeed as it stands.
    Wrong,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Document {
    code: String,
    message: String,
    region: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Self {
        let text = std::str::from_utf8(body).unwrap_or_default();
        let document: Document = quick_xml::de::from_str(text).unwrap_or_default();
        Self::known(status, headers, document)
    }

    /// What a server put into an answer that had begun as a success.
    pub(crate) fn within_success(headers: &HeaderMap, body: &Bytes) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, headers, body)
    }

    fn known(status: StatusCode, headers: &HeaderMap, Document { code, message, region }: Document) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // What a server says is shown to people; not without a bound.
        let bounded = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        let region = text("x-amz-bucket-region").or(region.as_deref());
        Self {
            status,
            code: bounded(&code, 100),
            message: bounded(&message, 300),
            region: region.map(|region| bounded(region, 100)),
            date: text(header::DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok()),
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        match (self.code.as_str(), self.status.as_u16()) {
            ("PreconditionFailed", _) | (_, 412 | 304) => Reason::Precondition,
            ("ConditionalRequestConflict" | "OperationAborted", _) | (_, 409) => Reason::Undecided,
            ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired", _) => Reason::Expired,
            (
                "SlowDown"
                | "Throttling"
                | "ThrottlingException"
                | "TooManyRequests"
                | "RequestLimitExceeded"
                | "ServiceUnavailable",
                _,
            )
            | (_, 429) => Reason::Throttled,
            ("NoSuchUpload", _) => Reason::NoSuchUpload,
            ("NoSuchKey", _) => Reason::NoSuchKey,
            // A code is the surer sign; without one, a key is what is usually missing.
            ("", 404) => Reason::NoSuchKey,
            ("RequestTimeout" | "InternalError", _) | (_, 408 | 500) => Reason::Failed,
            ("NotImplemented" | "QuotaExceeded" | "XMinioStorageFull", _) | (_, 501 | 507) => Reason::Wrong,
            (code, 503) if !code.is_empty() => Reason::Failed,
            (_, 500..=599) => Reason::Gateway,
            _ => Reason::Wrong,
        }
    }

    /// The error for a caller. `now` is this machine's time, `region` the one that was signed for.
    pub(crate) fn error(&self, now: SystemTime, bucket: &str, region: &str) -> Error {
        let (kind, message) = self.explain(now, bucket, region);
        Error::new(kind, message).because(self.said())
    }

    fn explain(&self, now: SystemTime, bucket: &str, region: &str) -> (ErrorKind, String) {
        match self.reason() {
            Reason::Precondition => {
                return (
                    ErrorKind::Conflict,
                    "the precondition did not hold; nothing was written".to_owned(),
                );
            }
            Reason::Undecided => {
                let message = "another conditional write was under way; send it again";
                return (ErrorKind::Unavailable, message.to_owned());
            }
            Reason::Throttled => {
                let message = "the server asks for a slower pace; wait before the next try";
                return (ErrorKind::Throttled, message.to_owned());
            }
            Reason::Failed | Reason::Gateway => {
                let message = format!("the server failed with status {}; try again", self.status.as_u16());
                return (ErrorKind::Unavailable, message);
            }
            Reason::NoSuchKey => return (ErrorKind::Unexpected, "there is no such key".to_owned()),
            Reason::NoSuchUpload => {
                return (ErrorKind::Unexpected, "the multipart upload is gone".to_owned());
            }
            Reason::Expired => {
                let message = "the session's credentials have expired; get new ones";
                return (ErrorKind::Denied, message.to_owned());
            }
            Reason::Wrong => {}
        }
        let elsewhere = self.region.as_deref().filter(|other| !other.is_empty() && *other != region);
        match (self.code.as_str(), self.status.as_u16()) {
            ("NoSuchBucket", _) => {
                (ErrorKind::Invalid, format!("there is no bucket {bucket:?}; create it, or check its name"))
            }
            (
                "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
                _,
            )
            | (_, 301 | 307) => {
                let there =
                    elsewhere.map_or("another region".to_owned(), |region| format!("region {region:?}"));
                let message = format!("bucket {bucket:?} is in {there}, not in {region:?}; set region to it");
                (ErrorKind::Invalid, message)
            }
            ("RequestTimeTooSkewed" | "RequestExpired", _) => (ErrorKind::Denied, self.skew(now)),
            ("SignatureDoesNotMatch", _) => {
                let message = "the signature does not match; check the secret access key and the region";
                (ErrorKind::Denied, message.to_owned())
            }
            ("InvalidAccessKeyId", _) => {
                (ErrorKind::Denied, "the server does not know the access key; check it".to_owned())
            }
            ("InvalidToken", _) => {
                (ErrorKind::Denied, "the session token is not valid; get a new one".to_owned())
            }
            ("EntityTooLarge", _) | (_, 413) => {
                (ErrorKind::Invalid, "the value is larger than the server takes".to_owned())
            }
            ("QuotaExceeded" | "XMinioStorageFull", _) | (_, 507) => {
                (ErrorKind::Full, "the store has no room left; free some, or go to another store".to_owned())
            }
            ("NotImplemented", _) | (_, 501) => (
                ErrorKind::Unsupported(Capability::ConditionalPut),
                "the server does not implement what was asked; nothing was written".to_owned(),
            ),
            ("BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody", _) => {
                (ErrorKind::Unavailable, "the request was damaged on its way; send it again".to_owned())
            }
            (_, 401 | 403) => {
                let message = format!("access to bucket {bucket:?} is denied; check keys and policy");
                (ErrorKind::Denied, message)
            }
            (_, 400..=499) => (ErrorKind::Invalid, "the server refused the request as wrong".to_owned()),
            _ => (ErrorKind::Unexpected, "the server answered what was not expected".to_owned()),
        }
    }

    fn skew(&self, now: SystemTime) -> String {
        let Some(server) = self.date else {
            return "the clock of this machine differs too much from the server's; set it".to_owned();
        };
        let (apart, way) = match now.duration_since(server) {
            Ok(ahead) => (ahead, "ahead of"),
            Err(behind) => (behind.duration(), "behind"),
        };
        let minutes = apart.as_secs() / 60;
        format!("the clock of this machine is {minutes} minutes {way} the server's; set it")
    }

    fn said(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => format!("status {}", self.status.as_u16()),
            (code, message) => format!("status {}, {code}: {message}", self.status.as_u16()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message><Region>eu-1</Region></Error>"
        );
        Refusal::new(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body.into())
    }

    #[test]
    fn a_refusal_means_what_the_contract_says() {
        for (status, code, reason) in [
            (412, "PreconditionFailed", Reason::Precondition),
            (412, "", Reason::Precondition),
            (304, "", Reason::Precondition),
            (409, "ConditionalRequestConflict", Reason::Undecided),
            (409, "", Reason::Undecided),
            (429, "TooManyRequests", Reason::Throttled),
            (503, "SlowDown", Reason::Throttled),
            (503, "ServiceUnavailable", Reason::Throttled),
            (503, "SlowDownWrite", Reason::Failed),
            (500, "InternalError", Reason::Failed),
            (500, "", Reason::Failed),
            (502, "", Reason::Gateway),
            (503, "", Reason::Gateway),
            (504, "", Reason::Gateway),
            (520, "", Reason::Gateway),
            (524, "", Reason::Gateway),
            (501, "NotImplemented", Reason::Wrong),
            (507, "", Reason::Wrong),
            (404, "NoSuchKey", Reason::NoSuchKey),
            (404, "", Reason::NoSuchKey),
            (404, "NoSuchUpload", Reason::NoSuchUpload),
            (404, "NoSuchBucket", Reason::Wrong),
            (400, "ExpiredToken", Reason::Expired),
            (403, "AccessDenied", Reason::Wrong),
        ] {
            assert_eq!(refusal(status, code).reason(), reason, "{status} {code}");
        }
    }

    #[test]
    fn an_explanation_says_what_to_do() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (status, code, kind, words) in [
            (404, "NoSuchBucket", ErrorKind::Invalid, "no bucket \"photos\""),
            (301, "PermanentRedirect", ErrorKind::Invalid, "region \"eu-1\""),
            (403, "SignatureDoesNotMatch", ErrorKind::Denied, "secret access key"),
            (403, "InvalidAccessKeyId", ErrorKind::Denied, "access key"),
            (403, "AccessDenied", ErrorKind::Denied, "policy"),
            (403, "RequestTimeTooSkewed", ErrorKind::Denied, "clock of this machine"),
            (400, "ExpiredToken", ErrorKind::Denied, "expired"),
        ] {
            let error = refusal(status, code).error(now, "photos", "us-east-1");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let mut skewed = refusal(403, "RequestTimeTooSkewed");
        skewed.date = Some(now - Duration::from_secs(3_600));
        assert!(skewed.error(now, "b", "r").to_string().contains("60 minutes ahead of"));
    }
}
