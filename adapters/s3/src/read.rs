//! Reading: a head, a value, a range of it, or word that it has not changed.

use std::{ops::Range, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, response};
use leasehold_core::{
    Body, ByteRange, Error, ErrorKind, GetOptions, Key, Lookup, Metadata, Object, Result, Version,
};

use crate::{
    bucket, headers,
    http::Payload,
    refusal::Reason,
    wire::{Call, Content, Failed, Wire},
};

const CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
const ENABLED: HeaderValue = HeaderValue::from_static("ENABLED");

/// Values up to this are read to their end before they are handed out, and read again when the connection breaks.
const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// The largest offset that is sent.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// How often a range is resolved anew because the value changed meanwhile.
const RANGE_ROUNDS_MAX: u32 = 4;

pub(crate) async fn head(wire: &Wire, key: &Key) -> Result<Option<Metadata>> {
    match wire.repeat(&Call::new(Method::HEAD, Some(key)), 0).await {
        Ok(answer) => {
            let size = headers::content_length(&answer.parts.headers).ok_or_else(no_length)?;
            headers::metadata(&answer.parts.headers, size).map(Some)
        }
        Err(failed) if failed.reason() == Some(Reason::NoSuchKey) => bucket::check(wire).await.map(|()| None),
        Err(failed) => Err(wire.error(failed)),
    }
}

pub(crate) async fn get(wire: &Arc<Wire>, key: &Key, options: GetOptions) -> Result<Lookup> {
    let GetOptions { range: wanted, if_changed_from, .. } = options;
    // A range in other words, and the one version for which they mean the same.
    let (mut range, mut resolved_for) = (wanted, None);
    for _ in 0..RANGE_ROUNDS_MAX {
        let Some(asked) = in_header(range)? else {
            // An empty range cannot be asked for; what is left to learn is whether there is a value that long.
            return Ok(match head(wire, key).await? {
                None => Lookup::Absent,
                Some(metadata) if Some(&metadata.version) == if_changed_from.as_ref() => Lookup::Unchanged,
                Some(metadata) => empty(range.resolve(metadata.size)?, metadata),
            });
        };
        match get_once(wire, key, range, asked, if_changed_from.as_ref(), resolved_for.as_ref()).await? {
            Part::Found(lookup) => return Ok(*lookup),
            Part::Replaced => (range, resolved_for) = (wanted, None),
            // Not satisfiable: past the end, or exactly at it, which is an empty range.
            Part::NotThere => match head(wire, key).await? {
                None => return Ok(Lookup::Absent),
                Some(metadata) if Some(&metadata.version) == if_changed_from.as_ref() => {
                    return Ok(Lookup::Unchanged);
                }
                Some(metadata) => {
                    let resolved = wanted.resolve(metadata.size)?;
                    if resolved.is_empty() {
                        return Ok(empty(resolved, metadata));
                    }
                    // Some servers refuse to send the last bytes of a value that has fewer; by offsets they do.
                    (range, resolved_for) = (resolved.into(), Some(metadata.version));
                }
            },
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "the value changed again and again while a part was read; try again",
    ))
}

/// What came of asking for a part.
enum Part {
    Found(Box<Lookup>),
    /// The range cannot be satisfied.
    NotThere,
    /// There is another version than the one that was asked for.
    Replaced,
}

impl From<Lookup> for Part {
    fn from(lookup: Lookup) -> Self {
        Self::Found(Box::new(lookup))
    }
}

async fn get_once(
    wire: &Arc<Wire>,
    key: &Key,
    range: ByteRange,
    asked: Option<HeaderValue>,
    unless: Option<&Version>,
    only: Option<&Version>,
) -> Result<Part> {
    let mut call = Call::new(Method::GET, Some(key));
    call.headers.insert(CHECKSUM_MODE, ENABLED);
    if let Some(asked) = asked {
        call.headers.insert(header::RANGE, asked);
    }
    if let Some(version) = unless {
        // What can be no ETag is nobody's, so whatever is there has changed from it.
        if let Some(tag) = headers::tag(version) {
            call.headers.insert(header::IF_NONE_MATCH, tag);
        }
    }
    if let Some(tag) = only.and_then(headers::tag) {
        call.headers.insert(header::IF_MATCH, tag);
    }
    let answer = match wire.repeat(&call, WHOLE_BYTES_MAX).await {
        Ok(answer) => answer,
        // Without a code it may be anything that stands in front of the server, and not the key, that is missing.
        Err(Failed::Refused(refusal)) if refusal.reason() == Reason::NoSuchKey && refusal.code.is_empty() => {
            let message = "a 404 came without word of what is missing; check the endpoint, or try again";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Err(Failed::Refused(refusal)) if refusal.reason() == Reason::NoSuchKey => {
            return Ok(Lookup::Absent.into());
        }
        Err(Failed::Refused(refusal)) if refusal.status == StatusCode::RANGE_NOT_SATISFIABLE => {
            return Ok(Part::NotThere);
        }
        Err(failed) if only.is_some() && failed.reason() == Some(Reason::Precondition) => {
            return Ok(Part::Replaced);
        }
        Err(failed) => return Err(wire.error(failed)),
    };
    if answer.parts.status == StatusCode::NOT_MODIFIED {
        return Ok(Lookup::Unchanged.into());
    }
    if answer.parts.status == StatusCode::PARTIAL_CONTENT
        && matches!(&answer.body, Content::Whole(part) if part.is_empty())
    {
        // Some servers answer a range that cannot be satisfied with a part that is empty.
        return Ok(Part::NotThere);
    }
    found(wire, range, &answer.parts, answer.body).map(Part::from)
}

fn found(wire: &Arc<Wire>, range: ByteRange, parts: &response::Parts, content: Content) -> Result<Lookup> {
    let headers = &parts.headers;
    let sent = match &content {
        Content::Whole(bytes) => bytes.len() as u64,
        Content::Flowing(_) => headers::content_length(headers).ok_or_else(no_length)?,
    };
    let bytes = sent;
    let (sent, size) = match parts.status {
        StatusCode::PARTIAL_CONTENT => content_range(headers).ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, "the server sent a part and did not say which")
        })?,
        _ => (0..sent, sent),
    };
    if sent.end.checked_sub(sent.start) != Some(bytes) {
        return Err(Error::new(ErrorKind::Unexpected, "the server sent another part than it says"));
    }
    // A server may send the whole value instead of the part; then the rest is cut off here.
    let wanted = range.resolve(size)?;
    if sent != wanted && sent != (0..size) {
        return Err(Error::new(ErrorKind::Unexpected, "the server sent another part than was asked for"));
    }
    let metadata = headers::metadata(headers, size)?;
    let digest = (sent == (0..size)).then(|| Expected::read(headers)).flatten();
    let body = match content {
        Content::Whole(bytes) => {
            if let Some(expected) = digest {
                expected.check(crc_fast::checksum(expected.algorithm, &bytes))?;
            }
            let skipped = (wanted.start - sent.start) as usize;
            Body::from_bytes(bytes.slice(skipped..skipped + (wanted.end - wanted.start) as usize))
        }
        Content::Flowing(body) if sent == wanted => {
            flowing(wire.clone(), body, sent.end - sent.start, digest)
        }
        Content::Flowing(_) => {
            let message = "the server does not send parts of large values, only whole ones";
            return Err(Error::new(ErrorKind::Unexpected, message));
        }
    };
    Ok(Lookup::Found(Object::new(metadata, wanted, body)))
}

/// A body as it arrives. Each piece has to come within the time-out; the end is an error unless it is where it was said to
/// be and the checksum is right.
fn flowing(wire: Arc<Wire>, body: Payload, size: u64, expected: Option<Expected>) -> Body {
    let state = Flow {
        wire,
        body,
        left: size,
        digest: expected.map(|expected| (expected, Digest::new(expected.algorithm))),
    };
    let chunks =
        stream::try_unfold(
            state,
            |mut state| async move { Ok(state.next().await?.map(|chunk| (chunk, state))) },
        );
    Body::from_stream(chunks.boxed(), Some(size))
}

struct Flow {
    wire: Arc<Wire>,
    body: Payload,
    left: u64,
    digest: Option<(Expected, Digest)>,
}

impl Flow {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = tokio::time::timeout(self.wire.timeout, self.body.piece()).await;
        let piece = piece.map_err(|_| self.wire.timed_out(self.wire.timeout))?;
        let Some(piece) = piece.map_err(|source| broke_off().because(source))? else {
            if self.left > 0 {
                return Err(broke_off());
            }
            if let Some((expected, digest)) = self.digest.take() {
                expected.check(digest.finalize())?;
            }
            return Ok(None);
        };
        self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(broke_off)?;
        if let Some((_, digest)) = &mut self.digest {
            digest.update(&piece);
        }
        Ok(Some(piece))
    }
}

/// The checksum that a server keeps of a whole value.
#[derive(Clone, Copy)]
struct Expected {
    algorithm: CrcAlgorithm,
    sum: u64,
}

impl Expected {
    /// Sums of parts of a multipart upload are not the sum of the whole, and are left alone.
    fn read(headers: &HeaderMap) -> Option<Self> {
        if headers.get("x-amz-checksum-type").is_some_and(|of| of == "COMPOSITE") {
            return None;
        }
        let known = [
            ("x-amz-checksum-crc64nvme", CrcAlgorithm::Crc64Nvme),
            ("x-amz-checksum-crc32c", CrcAlgorithm::Crc32Iscsi),
            ("x-amz-checksum-crc32", CrcAlgorithm::Crc32IsoHdlc),
        ];
        known.into_iter().find_map(|(name, algorithm)| {
            let bytes = BASE64_STANDARD.decode(headers.get(name)?.as_bytes()).ok()?;
            let sum = match bytes.len() {
                4 => u32::from_be_bytes(bytes.try_into().ok()?).into(),
                8 => u64::from_be_bytes(bytes.try_into().ok()?),
                _ => return None,
            };
            Some(Self { algorithm, sum })
        })
    }

    fn check(self, actual: u64) -> Result<()> {
        if actual == self.sum {
            return Ok(());
        }
        let message =
            "the value does not have the checksum that it was stored with; restore it from a good copy";
        Err(Error::new(ErrorKind::Corrupt, message))
    }
}

fn empty(range: Range<u64>, metadata: Metadata) -> Lookup {
    Lookup::Found(Object::new(metadata, range, Body::from_bytes(Bytes::new())))
}

fn broke_off() -> Error {
    Error::new(ErrorKind::Unavailable, "the value broke off on its way; read it again")
}

fn no_length() -> Error {
    Error::new(ErrorKind::Unexpected, "the server does not say how long the value is")
}

/// A range as a header has it: `Some(None)` for the whole value, `None` for a range that is empty whatever the value.
fn in_header(range: ByteRange) -> Result<Option<Option<HeaderValue>>> {
    let text = match range {
        ByteRange::Full => return Ok(Some(None)),
        ByteRange::Bounded(start, end) if start > end => {
            // Says why it is refused.
            range.resolve(0)?;
            return Ok(None);
        }
        ByteRange::Bounded(start, end) if start == end => return Ok(None),
        ByteRange::Last(0) => return Ok(None),
        // No value is that long, and servers read no larger numbers.
        ByteRange::Bounded(start, _) | ByteRange::From(start) if start > OFFSET_MAX => return Ok(None),
        ByteRange::Bounded(start, end) => format!("bytes={start}-{}", (end - 1).min(OFFSET_MAX)),
        ByteRange::From(start) => format!("bytes={start}-"),
        ByteRange::Last(count) => format!("bytes=-{}", count.min(OFFSET_MAX)),
        _ => return Err(Error::invalid("this kind of range is not known here")),
    };
    Ok(Some(Some(crate::wire::header_value(&text)?)))
}

/// The part that was sent, and the size of the whole.
fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, size) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some((first..last.checked_add(1)?, size.parse().ok()?))
}
