//! A body on its way in: received, checked, and handed on before its last chunk is believed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use leasehold_core::{Body, Error};
use parking_lot::Mutex;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    dto::{Checksum, StreamingBlob},
    s3_error,
    stream::ByteStream as _,
};

use crate::{
    checks::{self, Checks},
    incoming::GivenUp,
};

/// A body of at most this size is received whole before the store is asked, which costs the store less than a stream.
pub(crate) const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// What became of a body that was handed to the store.
#[derive(Clone, Default)]
pub(crate) struct Verdict(Arc<Mutex<Option<S3Result<Checksum>>>>);

impl Verdict {
    pub(crate) fn set(&self, verdict: S3Result<Checksum>) {
        *self.0.lock() = Some(verdict);
    }

    /// What was computed from the body.
    pub(crate) fn checksum(&self) -> Checksum {
        self.0.lock().take().and_then(Result::ok).unwrap_or_default()
    }

    /// Why a write failed: because of the body, or as the store says.
    pub(crate) fn refusal(&self, error: Error) -> S3Error {
        match self.0.lock().take() {
            Some(Err(refused)) if !error.is_indeterminate() => refused,
            _ => crate::errors::refusal(error),
        }
    }

    /// Why the body was refused, if it was.
    pub(crate) fn take_refusal(&self) -> Option<S3Error> {
        self.0.lock().take().and_then(Result::err)
    }

    /// Whether the body was refused.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(*self.0.lock(), Some(Err(_)))
    }
}

/// The length of a body, from the transfer or from the header.
///
/// # Errors
/// `MissingContentLength` without one; `EntityTooLarge` over `bytes_max`.
pub(crate) fn size(blob: &StreamingBlob, content_length: Option<i64>, bytes_max: u64) -> S3Result<u64> {
    let announced = content_length.and_then(|length| u64::try_from(length).ok());
    let exact = blob.remaining_length().exact().map(|length| length as u64);
    let size = exact.or(announced).ok_or_else(|| {
        s3_error!(MissingContentLength, "send a Content-Length, or x-amz-decoded-content-length with chunks")
    })?;
    if size > bytes_max {
        return Err(s3_error!(
            EntityTooLarge,
            "a value of {size} bytes is over this store's limit of {bytes_max} bytes; nothing was written"
        ));
    }
    Ok(size)
}

/// Receives a body of `size` bytes: a small one whole and checked, a large one as a stream that fails in its last chunk
/// unless every check holds.
pub(crate) async fn receive(
    blob: StreamingBlob,
    size: u64,
    checks: Checks,
    given_up: GivenUp,
) -> S3Result<(Body, Verdict)> {
    let verdict = Verdict::default();
    let chunks = checked(arriving(blob, size, given_up), checks, verdict.clone());
    if size > WHOLE_BYTES_MAX {
        let told = |refused: Refused| Error::invalid("the body was refused").because(refused);
        let chunks = chunks.map(move |chunk| chunk.map_err(told)).boxed();
        return Ok((Body::from_stream(chunks, Some(size)), verdict));
    }
    let bytes = collect(chunks, size).await;
    match bytes {
        Ok(bytes) => Ok((bytes.into(), verdict)),
        Err(Refused) => Err(verdict.take_refusal().unwrap_or_else(|| s3_error!(IncompleteBody))),
    }
}

/// The verdict says why.
#[derive(Debug)]
pub(crate) struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it was cut off, too long, or not what its digest says")
    }
}

impl std::error::Error for Refused {}

/// Most small bodies arrive in one chunk, which is then not copied.
async fn collect(
    mut chunks: BoxStream<'static, Result<Bytes, Refused>>,
    size: u64,
) -> Result<Bytes, Refused> {
    let first = match chunks.next().await {
        None => return Ok(Bytes::new()),
        Some(first) => first?,
    };
    let Some(second) = chunks.next().await else { return Ok(first) };
    let mut all = BytesMut::with_capacity(size as usize);
    all.extend_from_slice(&first);
    all.extend_from_slice(&second?);
    while let Some(chunk) = chunks.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(all.freeze())
}

/// A body as it arrives, which has `size` bytes or ends in a refusal.
pub(crate) fn arriving(
    blob: StreamingBlob,
    size: u64,
    given_up: GivenUp,
) -> BoxStream<'static, S3Result<Bytes>> {
    stream::try_unfold((blob, size, given_up), |(mut blob, left, given_up)| async move {
        let Some(chunk) = blob.next().await else {
            let cut = || s3_error!(IncompleteBody, "the body ended {left} bytes short; nothing was written");
            return if left == 0 { Ok(None) } else { Err(cut()) };
        };
        let chunk = chunk.map_err(|error| given_up.take().unwrap_or_else(|| broken(&*error)))?;
        let left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
            s3_error!(IncompleteBody, "the body is longer than announced; nothing was written")
        })?;
        Ok(Some((chunk, (blob, left, given_up))))
    })
    .boxed()
}

/// The same chunks, checked. One is always held back: whoever has all the bytes knows that they were the right ones.
pub(crate) fn checked(
    chunks: BoxStream<'static, S3Result<Bytes>>,
    checks: Checks,
    verdict: Verdict,
) -> BoxStream<'static, Result<Bytes, Refused>> {
    let passing = Passing { chunks, checks: Some(checks), verdict, held: None };
    stream::unfold(passing, |mut passing| async move {
        let chunk = passing.next().await?;
        Some((chunk, passing))
    })
    .boxed()
}

struct Passing {
    chunks: BoxStream<'static, S3Result<Bytes>>,
    /// None after the end, and after a refusal.
    checks: Option<Checks>,
    verdict: Verdict,
    held: Option<Bytes>,
}

impl Passing {
    async fn next(&mut self) -> Option<Result<Bytes, Refused>> {
        loop {
            let checks = self.checks.as_mut()?;
            match self.chunks.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    checks.update(&chunk);
                    if let Some(ready) = self.held.replace(chunk) {
                        return Some(Ok(ready));
                    }
                }
                Some(Err(refused)) => {
                    self.checks = None;
                    self.verdict.set(Err(refused));
                    return Some(Err(Refused));
                }
                None => {
                    let finished = self.checks.take().map(Checks::finish)?;
                    let refused = finished.is_err();
                    self.verdict.set(finished);
                    return if refused { Some(Err(Refused)) } else { self.held.take().map(Ok) };
                }
            }
        }
    }
}

/// What the protocol's own checks of a body say, which have no type of their own outside of their crate.
fn broken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> S3Error {
    let told = error.to_string();
    if told.contains("Sha256Mismatch") {
        checks::content_mismatch()
    } else if told.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "the signature of a chunk does not match; nothing was written")
    } else {
        S3Error::with_message(S3ErrorCode::IncompleteBody, "the body was cut off; nothing was written")
    }
}
