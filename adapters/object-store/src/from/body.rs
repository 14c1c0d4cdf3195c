//! A body in pieces: what fits into one request, then parts of one size.

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use leasehold_core::{Body, Error, Result, check_size};
use object_store::{PutPayload, PutPayloadMut};

/// Chunks below this are copied together; larger ones are passed on as they are.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// A body on its way out.
pub(super) struct Pieces {
    chunks: BoxStream<'static, Result<Bytes>>,
    announced: Option<u64>,
    bytes_max: u64,
    taken: u64,
    /// What came with the last piece and belongs to the next one.
    rest: Bytes,
    ended: bool,
}

impl Pieces {
    /// A body of at most `bytes_max`.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) when it announces more.
    pub(super) fn new(body: Body, bytes_max: u64) -> Result<Self> {
        let announced = body.size();
        if announced.is_some_and(|size| size > bytes_max) {
            return Err(too_large(bytes_max));
        }
        Ok(Self {
            chunks: body.into_stream(),
            announced,
            bytes_max,
            taken: 0,
            rest: Bytes::new(),
            ended: false,
        })
    }

    /// The next piece: of exactly `bytes` unless it is the last, and whether it is that.
    ///
    /// # Errors
    /// What the body fails with; [`Invalid`](leasehold_core::ErrorKind::Invalid) when it is over its limit or does not have
    /// the size it announced.
    pub(super) async fn next(&mut self, bytes: usize) -> Result<(PutPayload, bool)> {
        let (mut piece, mut missing) = (PutPayloadMut::new(), bytes);
        loop {
            if self.rest.is_empty() && !self.fill().await? {
                return Ok((piece.freeze(), true));
            }
            if missing == 0 {
                return Ok((piece.freeze(), false));
            }
            let taken = self.rest.split_to(missing.min(self.rest.len()));
            missing -= taken.len();
            if taken.len() < COPIED_BYTES_MAX {
                piece.extend_from_slice(&taken);
            } else {
                piece.push(taken);
            }
        }
    }

    /// Takes the next chunk that is not empty; `false` at the end.
    async fn fill(&mut self) -> Result<bool> {
        while !self.ended && self.rest.is_empty() {
            match self.chunks.next().await.transpose()? {
                Some(chunk) => {
                    self.taken += chunk.len() as u64;
                    if self.announced.is_some_and(|size| self.taken > size) {
                        check_size(self.announced, self.taken)?;
                    }
                    if self.taken > self.bytes_max {
                        return Err(too_large(self.bytes_max));
                    }
                    self.rest = chunk;
                }
                None => {
                    // A stream may do anything when it is asked past its end.
                    self.ended = true;
                    check_size(self.announced, self.taken)?;
                }
            }
        }
        Ok(!self.rest.is_empty())
    }
}

fn too_large(bytes_max: u64) -> Error {
    Error::invalid(format!("the value is over the limit of {bytes_max} bytes; nothing was written"))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use leasehold_core::ErrorKind;

    use super::*;

    fn body(chunks: &[usize], announced: Option<u64>) -> Body {
        let mut next = 0u8;
        let chunks: Vec<Result<Bytes>> = chunks
            .iter()
            .map(|size| {
                let chunk = std::iter::repeat_with(|| {
                    next = next.wrapping_add(1);
                    next
                });
                Ok(chunk.take(*size).collect())
            })
            .collect();
        Body::from_stream(stream::iter(chunks).boxed(), announced)
    }

    async fn pieces(chunks: &[usize], size: usize) -> Vec<usize> {
        let mut pieces = Pieces::new(body(chunks, None), u64::MAX).unwrap();
        let (mut sizes, mut all) = (Vec::new(), Vec::new());
        loop {
            let (piece, last) = pieces.next(size).await.unwrap();
            sizes.push(piece.content_length());
            piece.iter().for_each(|bytes| all.extend_from_slice(bytes));
            if last {
                let wanted = body(&[chunks.iter().sum()], None).bytes().await.unwrap();
                assert!(all == wanted, "{chunks:?} in pieces of {size} came out changed");
                return sizes;
            }
        }
    }

    #[tokio::test]
    async fn all_pieces_but_the_last_have_one_size() {
        assert_eq!(pieces(&[], 10).await, [0]);
        assert_eq!(pieces(&[0, 3, 0], 10).await, [3]);
        assert_eq!(pieces(&[10], 10).await, [10]);
        assert_eq!(pieces(&[10, 0], 10).await, [10]);
        assert_eq!(pieces(&[11], 10).await, [10, 1]);
        assert_eq!(pieces(&[3, 3, 3, 3], 5).await, [5, 5, 2]);
        assert_eq!(pieces(&[20_000, 40_000, 1], 30_000).await, [30_000, 30_000, 1]);
    }

    #[tokio::test]
    async fn a_body_that_is_not_what_it_announced_is_refused() {
        for (chunks, announced) in [(&[3, 3][..], 5), (&[3, 3], 7), (&[], 1), (&[1], 0)] {
            let mut pieces = Pieces::new(body(chunks, Some(announced)), 100).unwrap();
            assert_eq!(pieces.next(100).await.unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        assert!(Pieces::new(body(&[3, 3], Some(6)), 5).is_err());
        assert!(Pieces::new(body(&[3, 3], None), 5).unwrap().next(100).await.is_err());
        assert!(Pieces::new(body(&[3, 2], None), 5).unwrap().next(100).await.is_ok());
    }
}
