//! One connection: a request goes out, its answer comes in.
//!
//! It has no task of its own. Whoever waits for the answer writes and reads, so that a request costs no way from one task to
//! another and back; where few are under way at once, waking a second task costs more than everything else that is done for one.

use std::{
    future::{Future as _, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Response};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::{coop::has_budget_remaining, yield_now},
};

use super::{
    NoAnswer, Request,
    head::{self, Head},
    payload::Payload,
    pool::Pool,
};

/// What a connector opens.
pub(super) type Opened = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Room for what is read at once: a head, and a small body with it.
pub(super) const READ_BYTES: usize = 16 << 10;

pub(super) struct Connection {
    stream: Box<TokioIo<Opened>>,
    output: Output,
    /// What was read and is part of no answer yet.
    pub(super) input: BytesMut,
}

/// A request on its way.
#[derive(Default)]
struct Output {
    head: BytesMut,
    body: Bytes,
    written: usize,
    progress: Progress,
}

#[derive(Default)]
enum Progress {
    #[default]
    Leaving,
    /// All of it has left.
    Out,
    /// The connection takes no more of it. An answer may have come before that.
    Broken(io::Error),
}

impl Connection {
    pub(super) fn new(stream: Opened) -> Self {
        let stream = Box::new(TokioIo::new(stream));
        Self { stream, output: Output::default(), input: BytesMut::new() }
    }

    /// Whether the server has neither closed it nor said anything that it was not asked. Costs a system call only when
    /// something has come.
    pub(super) async fn is_quiet(&mut self) -> bool {
        // A task that has used up its share of a turn would see nothing.
        while !has_budget_remaining() {
            yield_now().await;
        }
        let (mut byte, mut stream) = ([0], Pin::new(&mut self.stream));
        let looked = stream.as_mut().poll_read(&mut nobody(), &mut ReadBuf::new(&mut byte));
        // Who sends so much of what only TLS has use for that a turn is over is not quiet either.
        looked.is_pending() && has_budget_remaining()
    }

    /// Sends a request and waits for the head of its answer. At the answer's end the connection goes to `pool`; dropped before,
    /// it is closed.
    pub(super) async fn exchange(
        mut self,
        request: &Request,
        pool: &Arc<Pool>,
    ) -> Result<Response<Payload>, NoAnswer> {
        self.output.begin(request);
        let head = match poll_fn(|cx| self.poll_head(cx, &request.method)).await {
            Ok(head) => head,
            Err(source) => return Err(self.output.no_answer(source)),
        };
        let mut response =
            Response::new(Payload::new(head.framing, self, head.persists.then(|| pool.clone())));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<io::Result<Head>> {
        loop {
            let known = self.input.len();
            if ready!(self.poll_fill(cx, READ_BYTES))? == 0 {
                return Poll::Ready(Err(ended("the server closed the connection before it answered")));
            }
            if let Some(head) = head::read(&mut self.input, known, method)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Reads what has come, and tells how much; and writes what is left to write: a server may begin to answer before it has
    /// read everything.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        self.output.poll(&mut *self.stream, cx)?;
        pin!(self.stream.read_buf(into)).poll(cx)
    }

    /// The same into what belongs to nothing yet, with `room` for it.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let mut input = std::mem::take(&mut self.input);
        if input.is_empty() || input.len() == input.capacity() {
            input.reserve(room);
        }
        let read = self.poll_read(cx, &mut input);
        self.input = input;
        read
    }

    /// Whether another request can follow, and then nothing of this one is kept.
    pub(super) fn reset(&mut self) -> bool {
        let ends_here = matches!(self.output.progress, Progress::Out) && self.input.is_empty();
        self.output.body = Bytes::new();
        // What was read from the front of a buffer is part of it again.
        if !self.input.try_reclaim(READ_BYTES) || self.input.capacity() > READ_BYTES {
            self.input = BytesMut::new();
        }
        ends_here
    }
}

impl Output {
    fn begin(&mut self, request: &Request) {
        self.head.clear();
        head::write(request, &mut self.head);
        self.body = request.body.clone();
        (self.written, self.progress) = (0, Progress::Leaving);
    }

    /// Writes what can be written now.
    ///
    /// # Errors
    /// When nothing at all could be written. Later, what broke it is kept: the answer may have come.
    fn poll(&mut self, stream: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> io::Result<()> {
        if !matches!(self.progress, Progress::Leaving) {
            return Ok(());
        }
        self.progress = match self.poll_write(Pin::new(stream), cx) {
            Poll::Pending => Progress::Leaving,
            Poll::Ready(Ok(())) => Progress::Out,
            Poll::Ready(Err(source)) if self.written == 0 => return Err(source),
            Poll::Ready(Err(source)) => Progress::Broken(source),
        };
        Ok(())
    }

    fn poll_write(
        &mut self,
        mut stream: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
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
        stream.poll_flush(cx)
    }

    /// Over TLS some records may have left before the first failure, but never the last: the server has no whole request.
    fn no_answer(&mut self, source: io::Error) -> NoAnswer {
        match std::mem::take(&mut self.progress) {
            _ if self.written == 0 => NoAnswer::NotSent(source.into()),
            Progress::Broken(earlier) => NoAnswer::Lost(earlier),
            Progress::Leaving | Progress::Out => NoAnswer::Lost(source),
        }
    }
}

/// For a look that nobody waits for.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// What comes of an answer that ends too early.
pub(super) fn ended(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_answer(written: usize, progress: Progress) -> String {
        format!("{:?}", Output { written, progress, ..Output::default() }.no_answer(ended("later")))
    }

    #[tokio::test]
    async fn a_request_is_out_once_nothing_of_it_is_held_back() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        // Takes everything at once, and passes it on when it can.
        let mut stream = tokio::io::BufWriter::new(ours);
        let mut output = Output::default();
        output.head.extend_from_slice(b"PUT /bucket/k HTTP/1.1\r\ncontent-length: 5\r\n\r\n");
        output.body = Bytes::from_static(b"value");
        let mut arrived = Vec::new();
        while !matches!(output.progress, Progress::Out) {
            output.poll(&mut stream, &mut nobody()).unwrap();
            let mut read = [0; 16];
            let length = theirs.read(&mut read).await.unwrap();
            arrived.extend_from_slice(&read[..length]);
        }
        assert!(arrived.ends_with(b"content-length: 5\r\n\r\nvalue"));
    }

    #[test]
    fn a_request_of_which_nothing_was_taken_is_unsent_and_the_first_failure_is_told() {
        for (written, progress, told) in [
            (0, Progress::Leaving, ["NotSent", "later"]),
            (1, Progress::Leaving, ["Lost", "later"]),
            (1, Progress::Out, ["Lost", "later"]),
            (1, Progress::Broken(ended("first")), ["Lost", "first"]),
        ] {
            let shown = no_answer(written, progress);
            assert!(told.iter().all(|word| shown.contains(word)), "{shown}, not {told:?}");
        }
    }
}
