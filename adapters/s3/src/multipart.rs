//! Large values: uploaded in parts, seen all at once when the upload is completed.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, FuturesUnordered, StreamExt};
use http::Method;
use leasehold_core::{Attributes, Body, Error, Key, Precondition, Result, Version, check_size};
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::{
    headers::{self, WriteId, Writes},
    outcome::Unwritten,
    wire::{Call, Wire},
    write::{self, Sending},
    xml,
};

/// How many parts an upload has at most.
pub(crate) const PARTS_MAX: u64 = 10_000;

/// How many parts are on their way at once.
const PARTS_IN_FLIGHT: usize = 4;

/// A body cut into pieces of one size, the last one shorter.
pub(crate) struct Pieces {
    chunks: BoxStream<'static, Result<Bytes>>,
    pending: Bytes,
    piece_bytes: usize,
    announced: Option<u64>,
    total: u64,
    total_max: u64,
}

impl Pieces {
    pub(crate) fn new(body: Body, piece_bytes: usize, total_max: u64) -> Self {
        let announced = body.size();
        Self {
            chunks: body.into_stream(),
            pending: Bytes::new(),
            piece_bytes,
            announced,
            total: 0,
            total_max,
        }
    }

    /// The next piece; shorter than the others, or empty, at the end.
    ///
    /// # Errors
    /// What the body fails with, and [`Invalid`](leasehold_core::ErrorKind::Invalid) when it does not have the size that was announced or
    /// is larger than what is taken.
    pub(crate) async fn next(&mut self) -> Result<Bytes> {
        let mut piece = BytesMut::new();
        loop {
            let room = self.piece_bytes - piece.len();
            if piece.is_empty() && self.pending.len() >= room {
                // Cut from what is at hand, without a copy.
                return Ok(self.pending.split_to(room));
            }
            piece.reserve(if piece.is_empty() && !self.pending.is_empty() { self.piece_bytes } else { 0 });
            piece.extend_from_slice(&self.pending.split_to(room.min(self.pending.len())));
            if piece.len() == self.piece_bytes {
                return Ok(piece.freeze());
            }
            match self.chunks.next().await.transpose()? {
                Some(chunk) => {
                    self.total += chunk.len() as u64;
                    if self.total > self.total_max {
                        let most = self.total_max;
                        return Err(Error::invalid(format!(
                            "a value is at most {most} bytes here; split it"
                        )));
                    }
                    self.pending = chunk;
                }
                None => {
                    check_size(self.announced, self.total)?;
                    return Ok(piece.freeze());
                }
            }
        }
    }
}

/// An upload that is aborted when it is dropped before its end.
pub(crate) struct Upload {
    wire: Arc<Wire>,
    key: Key,
    upload: String,
    id: WriteId,
    /// Whether its parts are of no use to anybody when this goes.
    open: AtomicBool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    upload_id: String,
}

impl Upload {
    pub(crate) async fn begin(wire: &Arc<Wire>, key: &Key, attributes: &Attributes) -> Result<Self> {
        let id = WriteId::draw(&wire.environment);
        let mut call = Call::new(Method::POST, Some(key));
        call.query = vec![("uploads", "")];
        headers::describe(&mut call.headers, attributes, &id, &Writes::default())?;
        let (_, document) = wire.document(&call).await.map_err(|failed| wire.error(failed))?;
        let begun: Begun = xml::read(&document, "InitiateMultipartUploadResult")?;
        let open = AtomicBool::new(true);
        Ok(Self { wire: wire.clone(), key: key.clone(), upload: begun.upload_id, id, open })
    }

    /// Sends all pieces, `first` before the others, a few at a time. Returns their tags in order.
    pub(crate) async fn send(&self, first: Bytes, pieces: &mut Pieces) -> Result<Vec<String>> {
        let mut under_way = FuturesUnordered::new();
        let mut tags = Vec::new();
        let mut piece = first;
        loop {
            if tags.len() as u64 == PARTS_MAX {
                let message =
                    format!("a value has at most {PARTS_MAX} parts; announce its size, or use larger parts");
                return Err(Error::invalid(message));
            }
            let last = piece.len() < pieces.piece_bytes;
            if !(last && piece.is_empty()) {
                tags.push(String::new());
                under_way.push(self.send_one(tags.len(), piece));
            }
            while under_way.len() >= PARTS_IN_FLIGHT || (last && !under_way.is_empty()) {
                if let Some(sent) = under_way.next().await {
                    let (number, tag): (usize, String) = sent?;
                    tags[number - 1] = tag;
                }
            }
            if last {
                return Ok(tags);
            }
            piece = pieces.next().await?;
        }
    }

    async fn send_one(&self, number: usize, piece: Bytes) -> Result<(usize, String)> {
        let number_text = number.to_string();
        let mut call = Call::new(Method::PUT, Some(&self.key));
        call.query = vec![("partNumber", number_text.as_str()), ("uploadId", self.upload.as_str())];
        call.body = piece;
        let answer = self.wire.repeat(&call, 0).await.map_err(|failed| self.wire.error(failed))?;
        let tag = headers::version(&answer.parts.headers)?;
        Ok((number, tag.as_str().to_owned()))
    }

    /// Makes the value out of the parts, under the precondition.
    pub(crate) async fn complete(
        self,
        tags: &[String],
        precondition: &Precondition,
    ) -> Result<Version, Unwritten> {
        let mut document =
            String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        for (position, tag) in tags.iter().enumerate() {
            let tag = quick_xml::escape::escape(tag);
            let number = position + 1;
            let _ = write!(document, "<Part><PartNumber>{number}</PartNumber><ETag>\"{tag}\"</ETag></Part>");
        }
        document.push_str("</CompleteMultipartUpload>");
        let mut call = Call::new(Method::POST, Some(&self.key));
        call.query = vec![("uploadId", self.upload.as_str())];
        call.body = document.into();
        write::condition(&mut call.headers, precondition).map_err(Unwritten::Error)?;
        let sending = Sending { key: &self.key, call, precondition, id: self.id.clone(), completes: true };
        // From here on the parts may be needed by a completion that is under way, also when nobody waits for it any more:
        // some servers lose a value when both meet. What is left over is what a bucket's own rules are for.
        self.open.store(false, Ordering::Relaxed);
        let outcome = sending.settle(&self.wire).await;
        let unneeded = matches!(outcome, Err(Unwritten::Conflict | Unwritten::Error(_)));
        self.open.store(unneeded, Ordering::Relaxed);
        outcome
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (*self.open.get_mut(), Handle::try_current()) else { return };
        let (wire, key, upload) = (self.wire.clone(), self.key.clone(), std::mem::take(&mut self.upload));
        // Best effort: what is not aborted here is what a bucket's rule for incomplete uploads is for.
        runtime.spawn(async move {
            let mut call = Call::new(Method::DELETE, Some(&key));
            call.query = vec![("uploadId", upload.as_str())];
            let _ = wire.repeat(&call, 0).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn cut(chunks: &[usize], piece_bytes: usize) -> Vec<usize> {
        let total: usize = chunks.iter().sum();
        let chunks: Vec<_> = chunks.iter().map(|length| Ok(Bytes::from(vec![7; *length]))).collect();
        let body = Body::from_stream(stream::iter(chunks).boxed(), Some(total as u64));
        let mut pieces = Pieces::new(body, piece_bytes, u64::MAX);
        let mut lengths = Vec::new();
        loop {
            let piece = pieces.next().await.unwrap();
            lengths.push(piece.len());
            if piece.len() < piece_bytes {
                return lengths;
            }
        }
    }

    #[tokio::test]
    async fn bodies_are_cut_into_pieces_of_one_size() {
        assert_eq!(cut(&[], 4).await, [0]);
        assert_eq!(cut(&[3], 4).await, [3]);
        assert_eq!(cut(&[4], 4).await, [4, 0]);
        assert_eq!(cut(&[9], 4).await, [4, 4, 1]);
        assert_eq!(cut(&[1, 1, 1, 1, 1, 3, 0, 4], 4).await, [4, 4, 4, 0]);
    }

    #[tokio::test]
    async fn a_body_of_another_size_is_refused() {
        for announced in [1, 3] {
            let body =
                Body::from_stream(stream::iter([Ok(Bytes::from_static(b"ab"))]).boxed(), Some(announced));
            assert!(Pieces::new(body, 4, u64::MAX).next().await.is_err());
        }
        let body = Body::from_stream(stream::iter([Ok(Bytes::from_static(b"abc"))]).boxed(), None);
        assert!(Pieces::new(body, 4, 2).next().await.is_err());
    }
}
