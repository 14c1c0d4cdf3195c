//! One connection: a request goes out, its answer comes in.
//!
//! It has no task of its own. Whoever waits for the answer writes and reads, so that a request costs no way from one task to
//! another and back; where few are under way at once, waking a second task costs more than everything else that is done for one.

use std::{
    fmt,
    future::{Future as _, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Request, Response};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::unconstrained,
};

use super::{
    framing::Framing,
    head::{self, Head},
    pool::Pool,
};

/// What a connector opens.
pub(super) type Opened = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Room for what is read at once: a head, and a small body with it.
const READ_BYTES: usize = 16 << 10;

/// The same where more is to come.
const READ_BYTES_MAX: usize = 64 << 10;

pub(super) struct Connection {
    stream: Box<TokioIo<Opened>>,
    /// What was read and is part of no answer yet.
    input: BytesMut,
    /// For the heads of requests.
    output: BytesMut,
}

/// Why a connection gave no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) source: io::Error,
    /// Whether any of the request was written.
    pub(super) sent: bool,
}

impl Connection {
    pub(super) fn new(stream: Opened) -> Self {
        Self { stream: Box::new(TokioIo::new(stream)), input: BytesMut::new(), output: BytesMut::new() }
    }

    /// Whether the server has neither closed it nor said anything that it was not asked. Costs a system call only when
    /// something has come.
    pub(super) fn is_quiet(&mut self) -> bool {
        let (mut byte, mut stream) = ([0], Pin::new(&mut self.stream));
        let look = poll_fn(|cx| stream.as_mut().poll_read(cx, &mut ReadBuf::new(&mut byte)));
        // A task that has used up its share of a turn would see nothing.
        pin!(unconstrained(look)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Sends a request and waits for the head of its answer. At the answer's end the connection goes to `pool`; dropped before,
    /// it is closed.
    pub(super) async fn exchange(
        mut self,
        request: &Request<Bytes>,
        pool: &Arc<Pool>,
    ) -> Result<Response<Payload>, Unanswered> {
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        head::write(request, &mut output);
        let mut outgoing = Outgoing { head: &output, body: request.body(), written: 0, is_out: false };
        let mut broken = None;
        // A server may answer before it has read everything, and then hang up.
        let answered = poll_fn(|cx| {
            if broken.is_none()
                && let Poll::Ready(Err(source)) = outgoing.poll(&mut self.stream, cx)
            {
                if outgoing.written == 0 {
                    return Poll::Ready(Err(source));
                }
                broken = Some(source);
            }
            self.poll_head(cx, request.method())
        });
        let answered = answered.await;
        let (sent, is_out) = (outgoing.written > 0, outgoing.is_out);
        let head = answered.map_err(|source| Unanswered { source: broken.unwrap_or(source), sent })?;
        self.output = output;
        let mut payload = Payload {
            framing: head.framing,
            behind: Some((self, pool.clone())),
            serves_on: head.persists && is_out,
        };
        payload.rest_at_end();
        let mut response = Response::new(payload);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<io::Result<Head>> {
        loop {
            if ready!(self.poll_fill(cx, READ_BYTES))? == 0 {
                return Poll::Ready(Err(ended("the server closed the connection before it answered")));
            }
            if let Some(head) = head::read(&mut self.input, method)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Reads what has come, and tells how much. There is `room` for it.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.input.is_empty() || self.input.len() == self.input.capacity() {
            self.input.reserve(room);
        }
        pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    /// Forgets what was only needed for one answer.
    fn tidy(&mut self) {
        if self.input.capacity() > READ_BYTES {
            self.input = BytesMut::new();
        }
    }
}

/// A request on its way.
struct Outgoing<'a> {
    head: &'a [u8],
    body: &'a [u8],
    written: usize,
    /// Whether all of it has left.
    is_out: bool,
}

impl Outgoing<'_> {
    fn poll(&mut self, stream: &mut TokioIo<Opened>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        while self.written < self.head.len() + self.body.len() {
            let head = &self.head[self.written.min(self.head.len())..];
            let body = &self.body[self.written.saturating_sub(self.head.len())..];
            let both = [IoSlice::new(head), IoSlice::new(body)];
            let parts = if head.is_empty() { &both[1..] } else { &both[..] };
            match ready!(stream.as_mut().poll_write_vectored(cx, parts))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        if !self.is_out {
            ready!(stream.poll_flush(cx))?;
            self.is_out = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// The body of an answer, and the connection that it comes from. Dropped before its end, it closes the connection.
pub(crate) struct Payload {
    framing: Framing,
    /// Until the body is over, or has broken off.
    behind: Option<(Connection, Arc<Pool>)>,
    /// Whether the connection takes another request afterwards.
    serves_on: bool,
}

impl Payload {
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
            let Some((connection, _)) = &mut self.behind else { return Err(broke_off()) };
            if let Some(piece) = self.framing.take(&mut connection.input)? {
                return Ok(Some(piece));
            }
            if self.framing.is_over() {
                break;
            }
            let left = self.framing.left().and_then(|left| usize::try_from(left).ok());
            let room = left.unwrap_or(READ_BYTES).clamp(READ_BYTES, READ_BYTES_MAX);
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
                match connection.stream.read_buf(&mut (&mut whole).limit(room)).await? {
                    0 => return Err(broke_off()),
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
            && let Some((mut connection, pool)) = self.behind.take()
            && self.serves_on
            && connection.input.is_empty()
        {
            connection.tidy();
            pool.put(connection);
        }
    }
}

fn broke_off() -> io::Error {
    ended("the answer broke off")
}

fn ended(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload")
    }
}
