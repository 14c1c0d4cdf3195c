//! A connection that can be cut at an exact byte, or reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How a connection is to end, told by whoever holds a clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    flags: Arc<Flags>,
}

#[derive(Debug, Default)]
struct Flags {
    cut: AtomicBool,
    reset: AtomicBool,
}

impl Ending {
    /// Ends the connection once all that HTTP has given it so far has been written.
    pub(crate) fn cut_when_flushed(&self) {
        self.flags.cut.store(true, Ordering::Relaxed);
    }

    /// Makes the end, whenever it comes, a reset.
    pub(crate) fn reset(&self) {
        self.flags.reset.store(true, Ordering::Relaxed);
    }
}

/// A TCP connection whose end can be chosen.
pub(crate) struct Wire {
    stream: TokioIo<TcpStream>,
    ending: Ending,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, ending: Ending) -> Self {
        Self { stream: TokioIo::new(stream), ending }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.ending.flags.reset.load(Ordering::Relaxed) {
            // A connection that is gone already cannot be reset, and need not be.
            let _ = self.stream.inner().set_zero_linger();
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.ending.flags.cut.load(Ordering::Relaxed) {
            // hyper flushes the connection only when its own buffer is empty: every byte before the cut is out.
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "cut by the fault proxy",
            )));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
