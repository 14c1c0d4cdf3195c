//! Writing one value in one request, or completing a multipart upload, to an outcome.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use leasehold_core::{Attributes, Error, ErrorKind, Key, Precondition, Result, Version};
use serde::Deserialize;

use crate::{
    headers::{self, WriteId, Writes},
    outcome::{Next, Pause, Seen, Sent, Unwritten, Write},
    refusal::{Reason, Refusal},
    wire::{Call, Failed, Wire},
    xml,
};

const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-crc64nvme");
/// How long a server may put the parts of a large value together; it sends white space meanwhile.
const COMPLETION_PATIENCE: Duration = Duration::from_secs(600);

const ANY: HeaderValue = HeaderValue::from_static("*");

/// One write: what is sent until there is an outcome, the same each time.
#[derive(Debug)]
pub(crate) struct Sending<'a> {
    pub(crate) key: &'a Key,
    pub(crate) call: Call<'a>,
    pub(crate) precondition: &'a Precondition,
    pub(crate) id: WriteId,
    /// Whether the call completes a multipart upload, whose answer may begin as a success and end as a failure.
    pub(crate) completes: bool,
}

impl<'a> Sending<'a> {
    /// A write of a whole value that follows the writes `before`.
    pub(crate) fn put(
        wire: &Wire,
        key: &'a Key,
        body: Bytes,
        precondition: &'a Precondition,
        attributes: &Attributes,
        before: &Writes,
    ) -> Result<Self> {
        let id = WriteId::draw(&wire.environment);
        let mut call = Call::new(Method::PUT, Some(key));
        headers::describe(&mut call.headers, attributes, &id, before)?;
        let sum = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &body).to_be_bytes();
        call.headers.insert(CHECKSUM, crate::wire::header_value(&BASE64_STANDARD.encode(sum))?);
        condition(&mut call.headers, precondition)?;
        call.body = body;
        Ok(Self { key, call, precondition, id, completes: false })
    }

    /// Sends, looks and waits until there is an outcome.
    pub(crate) async fn settle(&self, wire: &Wire) -> Result<Version, Unwritten> {
        let mut write = Write::new(self.precondition, wire.pace.attempts_max);
        if self.completes {
            write = write.patient();
        }
        let mut next = Next::Send { pause: None };
        let mut steps = 0;
        loop {
            next = match next {
                Next::Done(outcome) => return outcome,
                Next::Send { pause } => {
                    self.rest(wire, pause, &mut steps).await;
                    write.sent(self.send(wire).await)
                }
                Next::Look { pause } => {
                    self.rest(wire, pause, &mut steps).await;
                    write.seen(self.look(wire).await)
                }
            };
        }
    }

    async fn rest(&self, wire: &Wire, pause: Option<Pause>, steps: &mut u32) {
        if let Some(pause) = pause {
            wire.pace.wait(*steps, pause == Pause::Throttled, &wire.environment).await;
            *steps += 1;
        }
    }

    async fn send(&self, wire: &Wire) -> Sent {
        match wire.send(&self.call).await {
            Ok(response) if self.completes => {
                let (parts, body) = response.into_parts();
                match wire.collect_within(body, COMPLETION_PATIENCE.max(wire.timeout)).await {
                    Ok(body) => self.completed(wire, &parts.headers, &body),
                    Err(failed) => Sent::Lost(wire.error(failed)),
                }
            }
            // Without its version it is looked up.
            Ok(response) => headers::version(response.headers()).map_or_else(Sent::Lost, Sent::Applied),
            Err(failed) => self.failed(wire, failed),
        }
    }

    fn completed(&self, wire: &Wire, headers: &HeaderMap, body: &Bytes) -> Sent {
        match completion(body) {
            Some(tag) => Sent::Applied(headers::untagged(&tag)),
            None => self.failed(wire, Failed::Refused(Refusal::within_success(headers, body))),
        }
    }

    fn failed(&self, wire: &Wire, failed: Failed) -> Sent {
        let reason = failed.reason();
        let lost = matches!(failed, Failed::Lost(_));
        let error = wire.error(failed);
        match reason {
            Some(Reason::Precondition) => Sent::Precondition,
            // What is not there cannot have the expected version.
            Some(Reason::NoSuchKey) if matches!(self.precondition, Precondition::Matches(_)) => {
                Sent::Precondition
            }
            // An upload cannot be completed after this; its caller has to begin another one.
            Some(Reason::Undecided) if self.completes => Sent::Refused(error.retryable(true)),
            Some(Reason::Undecided) => Sent::NotApplied(error),
            Some(Reason::Throttled) => Sent::Throttled(error),
            Some(Reason::Failed) => Sent::Failed(error),
            Some(Reason::Gateway) => Sent::Lost(error),
            // Completed by a copy of this call, or gone.
            Some(Reason::NoSuchUpload) => Sent::Failed(error),
            Some(_) if error.kind() == ErrorKind::Unavailable => Sent::NotApplied(error),
            Some(_) => Sent::Refused(error),
            None if lost => Sent::Lost(error),
            None if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                Sent::NotApplied(error)
            }
            None => Sent::Refused(error),
        }
    }

    async fn look(&self, wire: &Wire) -> Seen {
        match wire.send(&Call::new(Method::HEAD, Some(self.key))).await {
            Ok(response) => match headers::version(response.headers()) {
                Err(error) => Seen::Nothing(error),
                Ok(version) => {
                    let writes = Writes::read(response.headers());
                    if writes.newest_is(&self.id) {
                        Seen::Ours(version)
                    } else if writes.include(&self.id) {
                        // It was applied and counted on since. Nobody can learn the version it had; this one is none
                        // that a value ever has.
                        Seen::Ours(self.id.replaced())
                    } else if *self.precondition == Precondition::Matches(version) {
                        Seen::Base
                    } else {
                        Seen::Other
                    }
                }
            },
            Err(failed) if failed.reason() == Some(Reason::NoSuchKey) => match self.precondition {
                Precondition::Absent => Seen::Base,
                _ => Seen::Other,
            },
            Err(failed) => Seen::Nothing(wire.error(failed)),
        }
    }
}

/// A version that no server can have given out is no value's.
pub(crate) fn nobodys() -> Error {
    Error::conflict("the value has another version now, or is gone; read it again and decide again")
}

/// The headers of a precondition.
pub(crate) fn condition(headers: &mut HeaderMap, precondition: &Precondition) -> Result<()> {
    match precondition {
        Precondition::None => {}
        Precondition::Absent => {
            headers.insert(header::IF_NONE_MATCH, ANY);
        }
        Precondition::Matches(version) => {
            headers.insert(header::IF_MATCH, headers::tag(version).ok_or_else(nobodys)?);
        }
    }
    Ok(())
}

impl Unwritten {
    /// As callers are told.
    pub(crate) fn error(self, precondition: &Precondition) -> Error {
        match self {
            Self::Conflict => match precondition {
                Precondition::Absent => Error::conflict("the key exists already; nothing was written"),
                _ => Error::conflict(
                    "the value has another version now, or is gone; read it again and decide again",
                ),
            },
            Self::Error(error) => error,
            // Without a condition a caller may well send it again; with one, somebody has to look first.
            Self::Unknown { error, .. } if *precondition == Precondition::None => {
                error.indeterminate().retryable(true)
            }
            Self::Unknown { error, .. } => error.indeterminate(),
        }
    }
}

#[derive(Deserialize)]
struct Completed {
    #[serde(rename = "ETag")]
    tag: String,
}

/// The ETag of a completed upload; `None` for a document that says something else.
fn completion(document: &Bytes) -> Option<String> {
    xml::read::<Completed>(document, "CompleteMultipartUploadResult").ok().map(|completed| completed.tag)
}
