//! Answers that the upstream never gave, in the form in which S3 gives them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};

/// An error reply with an S3 error document as its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    retry_after_secs: Option<u32>,
    empty: bool,
}

impl Answer {
    /// Any status with any `<Code>`.
    ///
    /// # Panics
    ///
    /// If `status` is none, from 100 to 999.
    #[must_use]
    pub fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        let status = StatusCode::from_u16(status).expect("a status between 100 and 999");
        Self { status, code, message, retry_after_secs: None, empty: false }
    }

    /// 409 `ConditionalRequestConflict`: two conditional writes met; S3 asks to try again.
    #[must_use]
    pub fn conflict() -> Self {
        let message =
            "The conditional request cannot succeed due to a conflicting operation against this resource.";
        Self::new(409, "ConditionalRequestConflict", message)
    }

    /// 412 `PreconditionFailed`.
    #[must_use]
    pub fn precondition_failed() -> Self {
        let message = "At least one of the pre-conditions you specified did not hold";
        Self::new(412, "PreconditionFailed", message)
    }

    /// 404 `NoSuchKey`, S3's reply to `If-Match` on a missing key among others.
    #[must_use]
    pub fn no_such_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.")
    }

    /// 404 `NoSuchUpload`: a multipart upload that is completed, aborted or unknown.
    #[must_use]
    pub fn no_such_upload() -> Self {
        Self::new(404, "NoSuchUpload", "The specified upload does not exist.")
    }

    /// 429 `TooManyRequests`, R2's reply to more than about one write a second on one key.
    #[must_use]
    pub fn too_many_requests() -> Self {
        Self::new(429, "TooManyRequests", "Reduce your concurrent request rate for the same object.")
    }

    /// 503 `SlowDown`, S3's reply to more than a prefix can take.
    #[must_use]
    pub fn slow_down() -> Self {
        Self::new(503, "SlowDown", "Please reduce your request rate.")
    }

    /// 503 `ServiceUnavailable`.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailable", "Service is unable to handle request.")
    }

    /// 500 `InternalError`, after which nobody knows what happened.
    #[must_use]
    pub fn internal_error() -> Self {
        Self::new(500, "InternalError", "We encountered an internal error. Please try again.")
    }

    /// 403 `RequestTimeTooSkewed`: the client's clock is off by more than a quarter of an hour.
    #[must_use]
    pub fn request_time_too_skewed() -> Self {
        let message = "The difference between the request time and the server's time is too large.";
        Self::new(403, "RequestTimeTooSkewed", message)
    }

    /// 400 `ExpiredToken`: the session token has run out.
    #[must_use]
    pub fn expired_token() -> Self {
        Self::new(400, "ExpiredToken", "The provided token has expired.")
    }

    /// Adds `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_secs = Some(seconds);
        self
    }

    /// Leaves the document out, as gateways and load balancers do.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.empty = true;
        self
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether a server could say this to such a request: reads have no races to lose.
    pub(crate) fn suits(&self, method: &Method) -> bool {
        let reads = method == Method::GET || method == Method::HEAD;
        !(reads && matches!(self.status, StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED))
    }

    pub(crate) fn response(&self, path: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after_secs {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if !self.empty {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            *response.body_mut() = Bytes::from(self.document(path));
        }
        response
    }

    fn document(&self, path: &str) -> String {
        let resource = path.replace('&', "&amp;").replace('<', "&lt;");
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message><Resource>{resource}\
             </Resource><RequestId>FAULTPROXY</RequestId></Error>",
            self.code, self.message
        )
    }
}
