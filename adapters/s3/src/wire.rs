//! One signed request and its answer. Decides nothing about conditions; resends only what certainly was not acted on.

use std::{io, sync::atomic::AtomicBool, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, response};
use leasehold_core::{Environment, Error, ErrorKind, Result};

use crate::{
    credentials::Credentials,
    http::{Http, NoAnswer, Payload, Request},
    pace::Pace,
    refusal::{Reason, Refusal},
    sign::{self, Unsigned},
    target::Target,
};

/// The largest document that is read: an error, a page of a list, the outcome of many deletes.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;

/// Bodies up to this are hashed where they are; larger ones off the runtime's threads, or not at all over TLS, whose
/// records are authenticated anyway.
const HASHED_INLINE_MAX: usize = 1 << 20;

/// The slowest upload that is waited for, in bytes a second.
const UPLOAD_BYTES_A_SECOND_MIN: u64 = 256 << 10;

const UNSIGNED: HeaderValue = HeaderValue::from_static("UNSIGNED-PAYLOAD");
const EMPTY: HeaderValue =
    HeaderValue::from_static("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

/// The way to a bucket.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) target: Target,
    pub(crate) region: String,
    pub(crate) credentials: Credentials,
    pub(crate) http: Http,
    pub(crate) pace: Pace,
    /// For the head of an answer, and for each piece of its body.
    pub(crate) timeout: Duration,
    pub(crate) environment: Environment,
    /// Whether it is known that there is such a bucket.
    pub(crate) bucket_seen: AtomicBool,
}

/// A request about a key, or about the bucket.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) key: Option<&'a str>,
    /// In the order of the names.
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, key: Option<&'a str>) -> Self {
        Self { method, key, query: Vec::new(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// Whether the answer is a value, and not a document about one.
    fn is_value(&self) -> bool {
        self.method == Method::GET && self.key.is_some() && self.query.is_empty()
    }
}

/// A success, with its body as far as it was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) parts: response::Parts,
    pub(crate) body: Content,
}

/// A body that is at hand, or one that is still coming.
#[derive(Debug)]
pub(crate) enum Content {
    Whole(Bytes),
    Flowing(Payload),
}

/// Why a call did not succeed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The server cannot have got the whole request.
    NotSent(Error),
    /// It may have been acted on, and may still be.
    Lost(Error),
    /// The server said no.
    Refused(Refusal),
}

impl Wire {
    /// Sends a call once; once more with new keys when the old ones were refused as expired.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Response<Payload>, Failed> {
        let payload = match &self.credentials {
            Credentials::Provided(_) => self.payload_hash(&call.body).await?,
            Credentials::Anonymous | Credentials::Bearer(_) => UNSIGNED,
        };
        let keys = match &self.credentials {
            Credentials::Provided(provided) => Some(provided.keys().await.map_err(Failed::NotSent)?),
            Credentials::Anonymous | Credentials::Bearer(_) => None,
        };
        let response = self.send_with(call, &payload, keys.as_deref()).await;
        let (Err(Failed::Refused(refusal)), Credentials::Provided(provided), Some(keys)) =
            (&response, &self.credentials, keys)
        else {
            return response;
        };
        // The answer to a head has no body to say that the keys are over.
        let silent = call.method == Method::HEAD && matches!(refusal.status.as_u16(), 400 | 403);
        if refusal.reason() != Reason::Expired && !silent {
            return response;
        }
        match provided.replace(&keys).await {
            Some(keys) => self.send_with(call, &payload, Some(&keys)).await,
            None => response,
        }
    }

    async fn send_with(
        &self,
        call: &Call<'_>,
        payload: &HeaderValue,
        keys: Option<&sign::Keys>,
    ) -> Result<Response<Payload>, Failed> {
        let upload = Duration::from_secs(call.body.len() as u64 / UPLOAD_BYTES_A_SECOND_MIN);
        let timeout = self.timeout + upload;
        let sent = self.http.send(&self.target.server, &self.signed(call, payload, keys), timeout).await;
        let response = sent.map_err(|no_answer| self.no_answer(no_answer))?;
        // Some servers answer a condition of a write with it too, which is a refusal.
        let unchanged = response.status() == StatusCode::NOT_MODIFIED
            && call.method == Method::GET
            && call.headers.contains_key(header::IF_NONE_MATCH);
        if response.status().is_success() || unchanged {
            return Ok(response);
        }
        Err(Failed::Refused(self.refusal(response).await))
    }

    fn signed(&self, call: &Call<'_>, payload: &HeaderValue, keys: Option<&sign::Keys>) -> Request {
        let place = self.target.place(call.key, &call.query);
        let mut headers = call.headers.clone();
        headers.insert(header::HOST, self.target.host.clone());
        match (&self.credentials, keys) {
            (Credentials::Bearer(token), _) => {
                headers.insert(header::AUTHORIZATION, token.clone());
            }
            (_, Some(keys)) => {
                let (path, query) = (place.path(), place.query());
                let unsigned = Unsigned { method: &call.method, path, query, payload };
                sign::sign(&unsigned, &mut headers, keys, &self.region, self.environment.clock.wall());
            }
            (_, None) => {}
        }
        Request { method: call.method.clone(), place, headers, body: call.body.clone() }
    }

    /// Sends a call once, and reads a body of at most `whole_max` bytes, or of unknown length, to its end.
    async fn fetch(&self, call: &Call<'_>, whole_max: u64) -> Result<Answer, Failed> {
        let (parts, body) = self.send(call).await?.into_parts();
        let size = body.left();
        if size.is_none() && call.is_value() {
            // It could be cut off anywhere and nobody would know.
            let message = "the server does not say how long the value is";
            return Err(Failed::Lost(Error::new(ErrorKind::Unexpected, message)));
        }
        let whole = size.is_none_or(|size| size <= whole_max);
        let body = if whole { Content::Whole(self.collect(body).await?) } else { Content::Flowing(body) };
        Ok(Answer { parts, body })
    }

    /// Sends what may be sent any number of times, until it is answered: reads, and writes that nobody sees until they are
    /// completed.
    pub(crate) async fn repeat(&self, call: &Call<'_>, whole_max: u64) -> Result<Answer, Failed> {
        let mut attempt = 0;
        loop {
            match self.fetch(call, whole_max).await {
                Err(failed) if self.pace.goes_on(attempt) && failed.passes() => {
                    self.pace.wait(attempt, failed.throttled(), &self.environment).await;
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    /// The same for a document.
    pub(crate) async fn document(&self, call: &Call<'_>) -> Result<(response::Parts, Bytes), Failed> {
        let Answer { parts, body } = self.repeat(call, DOCUMENT_BYTES_MAX as u64).await?;
        match body {
            Content::Whole(body) => Ok((parts, body)),
            Content::Flowing(_) => {
                let message = "the server's document is larger than any should be";
                Err(Failed::Lost(Error::new(ErrorKind::Unexpected, message)))
            }
        }
    }

    async fn payload_hash(&self, body: &Bytes) -> Result<HeaderValue, Failed> {
        if body.is_empty() {
            return Ok(EMPTY);
        }
        if body.len() <= HASHED_INLINE_MAX {
            return Ok(sign::payload_hash(body));
        }
        if self.target.tls() {
            return Ok(UNSIGNED);
        }
        let body = body.clone();
        let hash = tokio::task::spawn_blocking(move || sign::payload_hash(&body)).await;
        hash.map_err(|source| {
            Failed::NotSent(
                Error::new(ErrorKind::Unavailable, "the runtime is shutting down").because(source),
            )
        })
    }

    async fn refusal(&self, response: Response<Payload>) -> Refusal {
        let (parts, body) = response.into_parts();
        // An answer whose explanation got lost is still the answer.
        let body = self.collect(body).await.unwrap_or_default();
        Refusal::new(parts.status, &parts.headers, &body)
    }

    /// A whole document.
    pub(crate) async fn collect(&self, body: Payload) -> Result<Bytes, Failed> {
        self.collect_within(body, self.timeout).await
    }

    /// The same, with more patience than for the head of an answer.
    pub(crate) async fn collect_within(&self, body: Payload, patience: Duration) -> Result<Bytes, Failed> {
        match tokio::time::timeout(patience, body.whole(DOCUMENT_BYTES_MAX)).await {
            Ok(Ok(whole)) => Ok(whole),
            Ok(Err(source)) => {
                let message = "the answer broke off; try again";
                Err(Failed::Lost(Error::new(ErrorKind::Unavailable, message).because(source)))
            }
            Err(_) => Err(Failed::Lost(self.timed_out(patience))),
        }
    }

    fn no_answer(&self, no_answer: NoAnswer) -> Failed {
        match no_answer {
            NoAnswer::NotSent(source) => Failed::NotSent(
                Error::new(
                    ErrorKind::Unavailable,
                    "the server cannot be reached; check endpoint and network",
                )
                .because(source),
            ),
            NoAnswer::Lost(source) => {
                let message = if source.kind() == io::ErrorKind::InvalidData {
                    "the answer cannot be read; check that the endpoint speaks HTTP/1.1, or try again"
                } else {
                    "the connection broke before an answer came; try again"
                };
                Failed::Lost(Error::new(ErrorKind::Unavailable, message).because(source))
            }
            NoAnswer::TimedOut(after) => Failed::Lost(self.timed_out(after)),
        }
    }

    pub(crate) fn timed_out(&self, after: Duration) -> Error {
        Error::new(ErrorKind::Timeout, format!("no answer within {after:?}; try again"))
    }

    /// The error of something that changes nothing.
    pub(crate) fn error(&self, failed: Failed) -> Error {
        match failed {
            Failed::NotSent(error) | Failed::Lost(error) => error,
            Failed::Refused(refusal) => {
                refusal.error(self.environment.clock.wall(), &self.target.bucket, &self.region)
            }
        }
    }
}

impl Failed {
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::NotSent(_) | Self::Lost(_) => None,
            Self::Refused(refusal) => Some(refusal.reason()),
        }
    }

    /// Whether the next try may go better.
    fn passes(&self) -> bool {
        match self {
            Self::NotSent(error) | Self::Lost(error) => {
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
            }
            Self::Refused(refusal) => {
                matches!(
                    refusal.reason(),
                    Reason::Throttled | Reason::Failed | Reason::Gateway | Reason::Undecided
                )
            }
        }
    }

    pub(crate) fn throttled(&self) -> bool {
        self.reason() == Some(Reason::Throttled)
    }
}

/// A header that a call sets, from text that has been checked.
pub(crate) fn header_value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::invalid("the text has characters that no header can carry"))
}
