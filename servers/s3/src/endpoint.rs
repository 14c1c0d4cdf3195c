//! The endpoint as an HTTP service: what is refused before, and set right after, the protocol itself.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use s3s::{HttpError, HttpRequest, HttpResponse, S3Result, dto::StreamingBlob, s3_error, service::S3Service};
use tokio::sync::Semaphore;

use crate::{
    access,
    checks::Checks,
    chunks,
    errors::not_implemented,
    incoming::{self, GivenUp},
    metadata,
    upload::{self, Verdict},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// The largest body of a request that is no object.
pub(crate) const XML_BYTES_MAX: u64 = 4 << 20;

/// Parameters of a query that some operation of this server takes, or that mean nothing.
const PARAMETERS: &[&str] = &[
    "continuation-token",
    "delete",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "location",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "partNumber",
    "part-number-marker",
    "prefix",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "start-after",
    "upload-id-marker",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "x-id",
    "X-Amz-Algorithm",
    "X-Amz-Content-Sha256",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    // Which checksum a client would like is its own business; the value would come in a header.
    "x-amz-checksum-mode",
    "x-amz-sdk-checksum-algorithm",
];

/// Headers that some operation of this server takes, or that mean nothing here, after `x-amz-`.
const HEADERS: &[&str] = &[
    "checksum-algorithm",
    "checksum-crc32",
    "checksum-crc32c",
    "checksum-crc64nvme",
    "checksum-mode",
    "checksum-sha1",
    "checksum-sha256",
    "checksum-type",
    "content-sha256",
    "copy-source",
    "copy-source-if-match",
    "copy-source-if-modified-since",
    "copy-source-if-none-match",
    "copy-source-if-unmodified-since",
    "copy-source-range",
    "date",
    "decoded-content-length",
    "metadata-directive",
    "mp-object-size",
    // Nobody is charged.
    "request-payer",
    "sdk-checksum-algorithm",
    "security-token",
    "trailer",
    "user-agent",
];

/// Headers that are taken with these values, which say what is so anyway, and refused with others.
const HEADERS_BY_VALUE: &[(&str, &[&str])] = &[
    ("x-amz-acl", &["private", "bucket-owner-full-control"]),
    ("x-amz-bucket-object-lock-enabled", &["false", "False"]),
    ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
    ("x-amz-storage-class", &["STANDARD"]),
];

/// The longest time that a presigned URL may hold, as on S3: seven days.
const PRESIGNED_SECONDS_MAX: u64 = 7 * 24 * 3_600;

/// An S3 endpoint as a service of HTTP requests, to be served by whatever listens.
///
/// Cloning shares it. Made by [`S3Server::service`](crate::S3Server::service).
#[derive(Clone)]
pub struct Endpoint {
    protocol: S3Service,
    requests: Arc<AtomicU64>,
    budget: Arc<Semaphore>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

impl Endpoint {
    /// `first` is where request ids begin.
    pub(crate) fn new(protocol: S3Service, first: u64) -> Self {
        Self { protocol, requests: Arc::new(AtomicU64::new(first)), budget: chunks::budget() }
    }

    /// Answers one request. Nothing that a client sends makes this fail; the error is the protocol's and ends the
    /// connection.
    ///
    /// # Errors
    /// When an answer cannot be put into HTTP.
    ///
    /// # Cancel safety
    /// A write whose future is dropped may or may not have happened. The completion of an upload in parts goes on.
    pub async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let id = self.requests.fetch_add(1, Ordering::Relaxed);
        let head = request.method() == Method::HEAD;
        let prepared = acceptable(&request).and_then(|()| {
            let (request, given_up) = incoming::guarded(request, &self.budget);
            Ok((with_checked_form(request, &given_up)?, given_up))
        });
        let mut response = match prepared {
            Err(refused) => told(refused)?,
            Ok(((request, form), given_up)) => {
                let response = self.protocol.call(request).await?;
                let failed = response.status().is_client_error() || response.status().is_server_error();
                // Whoever receives an object takes the reason, and tells it unless the outcome is unknown.
                let given_up = || given_up.take().filter(|_| failed);
                match form.and_then(|form| form.take_refusal()).or_else(given_up) {
                    Some(refused) => told(refused)?,
                    None => declared_once(response),
                }
            }
        };
        if head
            && response.status() == StatusCode::OK
            && response.headers().contains_key(header::CONTENT_RANGE)
        {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        if let Ok(id) = HeaderValue::try_from(format!("{id:016X}")) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        Ok(response)
    }
}

impl hyper::service::Service<http::Request<Incoming>> for Endpoint {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<HttpResponse, HttpError>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let endpoint = self.clone();
        Box::pin(async move { Self::call(&endpoint, request.map(s3s::Body::from)).await })
    }
}

fn told(refused: s3s::S3Error) -> Result<HttpResponse, HttpError> {
    refused.to_http_response().map_err(|error| HttpError::new(Box::new(error)))
}

/// An answer that began before its outcome was known, and turns out to be a refusal, declares itself as XML again.
fn declared_once(response: HttpResponse) -> HttpResponse {
    // Nothing else of the protocol says this.
    if !response.headers().contains_key(header::TRANSFER_ENCODING) {
        return response;
    }
    response.map(|body| {
        let mut is_declared = false;
        s3s::Body::http_body_unsync(body.map_frame(move |frame| {
            frame.map_data(|bytes: Bytes| {
                let declaration = if bytes.starts_with(b"<?xml") {
                    bytes.windows(2).position(|pair| pair == b"?>").map_or(0, |at| at + 2)
                } else {
                    0
                };
                let again = declaration > 0 && std::mem::replace(&mut is_declared, true);
                if again { bytes.slice(declaration..) } else { bytes }
            })
        }))
    })
}

/// Refuses what this server would otherwise ignore, or take for something else.
fn acceptable(request: &HttpRequest) -> S3Result<()> {
    let headers = request.headers();
    let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    if authorization.starts_with(b"AWS ") || access::query(request.uri(), "AWSAccessKeyId").is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "signatures of version 2 are not taken; sign with version 4 (for AWS's command line: name a region)"
        ));
    }
    check_scope(headers, request.uri())?;
    check_parameters(request.uri())?;
    check_headers(headers)?;
    if !authorization.is_empty() && access::query(request.uri(), "X-Amz-Signature").is_some() {
        return Err(s3_error!(
            InvalidArgument,
            "a request is signed in its header or in its query, not in both"
        ));
    }
    let expires = access::query(request.uri(), "X-Amz-Expires");
    if let Some(seconds) = expires.and_then(|seconds| seconds.parse::<u64>().ok())
        && seconds > PRESIGNED_SECONDS_MAX
    {
        return Err(s3_error!(
            AuthorizationQueryParametersError,
            "X-Amz-Expires is over a week, {PRESIGNED_SECONDS_MAX} seconds"
        ));
    }
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if request.method() == Method::POST && kind.to_ascii_lowercase().starts_with(b"multipart/form-data") {
        return Err(not_implemented("an upload from a browser's form"));
    }
    Ok(())
}

/// Before anything is read of the body: for other services the protocol reads it before it checks the signature.
fn check_scope(headers: &HeaderMap, uri: &Uri) -> S3Result<()> {
    const SCOPE: &str = "/s3/aws4_request";
    for authorization in headers.get_all(header::AUTHORIZATION) {
        let credential = authorization.to_str().ok().and_then(|text| access::field(text, "Credential"));
        if !credential.is_some_and(|credential| credential.ends_with(SCOPE)) {
            return Err(s3_error!(
                AuthorizationHeaderMalformed,
                "the credential in the header is not for this service; its scope ends in {SCOPE:?}"
            ));
        }
    }
    match access::query(uri, "X-Amz-Credential") {
        Some(credential) if !credential.ends_with(SCOPE) => Err(s3_error!(
            AuthorizationQueryParametersError,
            "X-Amz-Credential is not for this service; its scope ends in {SCOPE:?}"
        )),
        _ => Ok(()),
    }
}

fn check_parameters(uri: &Uri) -> S3Result<()> {
    let Some(query) = uri.query() else { return Ok(()) };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if !PARAMETERS.contains(&name) {
            let shown: String = name.chars().take(64).collect();
            return Err(not_implemented(format_args!("the query parameter {shown:?}")));
        }
    }
    Ok(())
}

fn check_headers(headers: &HeaderMap) -> S3Result<()> {
    for (name, value) in headers {
        let Some(rest) = name.as_str().strip_prefix("x-amz-") else { continue };
        let by_value = || {
            let allowed = HEADERS_BY_VALUE.iter().find(|(header, _)| *header == name.as_str());
            allowed.is_some_and(|(_, values)| {
                values.iter().any(|allowed| value.as_bytes() == allowed.as_bytes())
            })
        };
        if !rest.starts_with("meta-") && !HEADERS.contains(&rest) && !by_value() {
            return Err(not_implemented(format_args!("the header {:?} with this value", name.as_str())));
        }
    }
    Ok(())
}

/// Watches the digests of a body that is no object: the protocol reads it whole and does not compare them.
fn with_checked_form(request: HttpRequest, given_up: &GivenUp) -> S3Result<(HttpRequest, Option<Verdict>)> {
    let headers = request.headers();
    if request.method() != Method::POST || metadata::is_streaming(headers) {
        return Ok((request, None));
    }
    // What the signature covers is compared with the body by the protocol.
    let checks = Checks::asked(headers, None, true)?;
    let has_md5 = headers.contains_key("content-md5");
    if !checks.has_checksum() && !has_md5 {
        return Ok((request, None));
    }
    let completes = access::query(request.uri(), "uploadId").is_some();
    if completes && !has_md5 {
        // There the checksum is the object's.
        return Ok((request, None));
    }
    let checks = if completes { Checks::of_md5(headers)? } else { checks };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let verdict = Verdict::default();
    let (parts, body) = request.into_parts();
    let blob = StreamingBlob::from(body);
    let size = upload::size(&blob, length, XML_BYTES_MAX)?;
    let chunks = upload::checked(upload::arriving(blob, size, given_up.clone()), checks, verdict.clone())
        .map(|chunk| chunk.map_err(Into::into));
    let body = s3s::Body::http_body_unsync(http_body_util::StreamBody::new(
        chunks.map(|chunk: Result<_, s3s::StdError>| chunk.map(http_body::Frame::data)),
    ));
    Ok((HttpRequest::from_parts(parts, body), Some(verdict)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused_and_not_ignored() {
        for (path, sound) in [
            ("/b/k", true),
            ("/b?list-type=2&prefix=a&delimiter=%2F", true),
            ("/b?acl", false),
            ("/b/k?append", false),
            ("/b?", true),
            ("/b/k?X-Amz-Signature=a&x-amz-acl=public-read", false),
        ] {
            assert_eq!(check_parameters(&path.parse().unwrap()).is_ok(), sound, "{path}");
        }
        for (name, value, sound) in [
            ("x-amz-meta-anything", "x", true),
            ("x-amz-date", "x", true),
            ("x-amz-acl", "private", true),
            ("x-amz-acl", "public-read", false),
            ("x-amz-server-side-encryption", "AES256", false),
            ("x-amz-expected-bucket-owner", "1", false),
            ("host", "x", true),
        ] {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            assert_eq!(check_headers(&headers).is_ok(), sound, "{name}: {value}");
        }
    }
}
