//! The body of an answer.

use std::{fmt, future::poll_fn, io, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    connection::{Connection, READ_BYTES, ended},
    framing::Framing,
    pool::Pool,
};

/// Room for a piece where much is to come.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// The body of an answer, and the connection that it comes from. Dropped before its end, it closes the connection.
pub(crate) struct Payload {
    framing: Framing,
    /// Until the body is over, or has broken off; and where the connection goes then, if the server takes another request.
    behind: Option<(Connection, Option<Arc<Pool>>)>,
}

impl Payload {
    pub(super) fn new(framing: Framing, connection: Connection, pool: Option<Arc<Pool>>) -> Self {
        let mut payload = Self { framing, behind: Some((connection, pool)) };
        payload.rest_at_end();
        payload
    }

    /// How many bytes are still to come, where the server has said so.
    pub(crate) fn left(&self) -> Option<u64> {
        self.framing.left()
    }

    /// The next piece; `None` at the end. Cancel safe: nothing is lost.
    pub(crate) async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        let piece = self.next().await;
        if piece.is_err() {
            self.behind = None;
        }
        self.rest_at_end();
        piece
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.framing.is_over() {
            let Some((connection, _)) = &mut self.behind else { return Err(ended("the answer broke off")) };
            if let Some(piece) = self.framing.take(&mut connection.input)? {
                return Ok(Some(piece));
            }
            if self.framing.is_over() {
                break;
            }
            let left = self.framing.left().and_then(|left| usize::try_from(left).ok());
            let room = left.unwrap_or(READ_BYTES).clamp(READ_BYTES, PIECE_BYTES_MAX);
            if poll_fn(|cx| connection.poll_fill(cx, room)).await? == 0 {
                self.framing.close()?;
            }
        }
        Ok(None)
    }

    /// All of it, in one allocation where its length is known.
    ///
    /// # Errors
    /// When it is longer than `most`, or breaks off.
    pub(crate) async fn whole(mut self, most: usize) -> io::Result<Bytes> {
        let too_long =
            || io::Error::new(io::ErrorKind::InvalidData, "the answer is longer than any should be");
        let expected = self.left().map(|left| usize::try_from(left).unwrap_or(usize::MAX));
        if expected.is_some_and(|expected| expected > most) {
            return Err(too_long());
        }
        let first = self.piece().await?.unwrap_or_default();
        if self.framing.is_over() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(expected.unwrap_or(2 * first.len()));
        whole.put(first);
        while !self.framing.is_over() {
            if let (Framing::Length(left), Some((connection, _))) = (&mut self.framing, &mut self.behind) {
                // What had come already is in; the rest need not be put down elsewhere first.
                let room = usize::try_from(*left).unwrap_or(usize::MAX);
                match poll_fn(|cx| connection.poll_read(cx, &mut (&mut whole).limit(room))).await? {
                    0 => return Err(ended("the answer broke off")),
                    read => *left -= read as u64,
                }
            } else if let Some(piece) = self.piece().await? {
                whole.put(piece);
            }
            if whole.len() > most {
                return Err(too_long());
            }
        }
        self.rest_at_end();
        Ok(whole.freeze())
    }

    /// At its end, gives the connection to the next request.
    fn rest_at_end(&mut self) {
        if self.framing.is_over()
            && let Some((mut connection, Some(pool))) = self.behind.take()
            && connection.reset()
        {
            pool.put(connection);
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload")
    }
}
