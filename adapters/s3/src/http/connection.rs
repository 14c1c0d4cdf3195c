//! One connection, driven by whoever waits for its answer.
//!
//! It has no task of its own, so that a request costs no way from one task to another and back; where few are under way at once,
//! waking a second task costs more than everything else that is done for a request.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::unconstrained};

use super::pool::Pool;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Driver = http1::Connection<Stream, Full<Bytes>>;

/// How often a connection whose ends wake each other is driven before other tasks have their turn.
const DRIVES_MAX: u32 = 2;

/// The most headers that an answer may have: all that fit into what S3 allows for metadata. Room for them is paid for by every
/// answer, so it is made where it is needed.
const HEADERS_MAX: usize = 1_024;

/// For what comes from a connection that is driven here, and from nowhere else.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection is closed.
    driver: Option<Pin<Box<Driver>>>,
    bell: Arc<Bell>,
    /// Of the bell.
    waker: Waker,
    /// Whether it takes answers of many headers.
    pub(super) is_roomy: bool,
}

/// Wakes whoever waits for a connection, and nobody while it is driven: its two ends wake each other then, and a task that is
/// woken while it runs has the runtime wake another thread to run it, which costs as much as all else that is done for a
/// request.
#[derive(Default)]
struct Bell {
    has_rung: AtomicBool,
    waiting: AtomicWaker,
}

impl Bell {
    /// From now on it wakes nobody, and it has not rung.
    fn hush(&self) {
        drop(self.waiting.take());
        self.has_rung.store(false, Ordering::SeqCst);
    }

    fn has_rung(&self) -> bool {
        self.has_rung.load(Ordering::SeqCst)
    }

    /// Wakes `waiting` when it rings, or now if it has.
    fn wakes(&self, waiting: &Waker) {
        self.waiting.register(waiting);
        if self.has_rung() {
            self.waiting.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::SeqCst);
        self.waiting.wake();
    }
}

/// Why a connection gave no answer, and the request when none of it was written.
pub(super) struct Unanswered {
    pub(super) source: hyper::Error,
    pub(super) unsent: Option<Request<Full<Bytes>>>,
    pub(super) was_roomy: bool,
}

impl Connection {
    /// `is_roomy` says whether it shall take answers of many headers.
    pub(super) async fn open(stream: Stream, is_roomy: bool) -> Result<Self, hyper::Error> {
        let mut protocol = http1::Builder::new();
        if is_roomy {
            protocol.max_headers(HEADERS_MAX);
        }
        let (sender, driver) = protocol.handshake(stream).await?;
        let bell = Arc::<Bell>::default();
        Ok(Self { sender, driver: Some(Box::pin(driver)), waker: bell.clone().into(), bell, is_roomy })
    }

    /// Reads and writes what can be read and written now.
    pub(super) fn drive(&mut self) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready()
        {
            // Whoever waits for an answer learns why from there.
            self.driver = None;
        }
    }

    /// Drives the connection until it has brought about what `outcome` looks for, which comes from nowhere else.
    fn poll_outcome<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut outcome: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        for _ in 0..DRIVES_MAX {
            self.bell.hush();
            self.drive();
            let polled = outcome(&mut nobody());
            if polled.is_ready() {
                return polled;
            }
            if !self.bell.has_rung() {
                break;
            }
        }
        self.bell.wakes(cx.waker());
        Poll::Pending
    }

    /// Whether it can take another request.
    pub(super) fn is_idle(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    pub(super) async fn exchange(
        mut self,
        request: Request<Full<Bytes>>,
        pool: &Arc<Pool>,
    ) -> Result<Response<Payload>, Unanswered> {
        // A task that has used up its share of a turn is told to wait by waking what asks, and nobody hears that here: what is
        // there must be seen.
        let mut answer = std::pin::pin!(unconstrained(self.sender.try_send_request(request)));
        let answered = poll_fn(|cx| self.poll_outcome(cx, |cx| answer.as_mut().poll(cx)));
        let (head, body) = match answered.await {
            Ok(response) => response.into_parts(),
            Err(mut error) => {
                let unsent = error.take_message();
                return Err(Unanswered { source: error.into_error(), unsent, was_roomy: self.is_roomy });
            }
        };
        let mut payload = Payload { body, behind: Some((self, pool.clone())) };
        if payload.body.is_end_stream() {
            payload.rest();
        }
        Ok(Response::from_parts(head, payload))
    }
}

/// The body of an answer, and the connection that it comes from. Dropped before its end, it closes the connection.
pub(crate) struct Payload {
    body: Incoming,
    behind: Option<(Connection, Arc<Pool>)>,
}

impl Payload {
    /// At its end, gives the connection to the next request.
    fn rest(&mut self) {
        if let Some((mut connection, pool)) = self.behind.take() {
            connection.drive();
            if connection.is_idle() {
                pool.put(connection);
            }
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // What is there already first. Only when it is asked for more does the connection read on.
        let this = &mut *self;
        let mut polled = Pin::new(&mut this.body).poll_frame(&mut nobody());
        if polled.is_pending()
            && let Some((connection, _)) = &mut this.behind
        {
            polled = connection.poll_outcome(cx, |cx| Pin::new(&mut this.body).poll_frame(cx));
        }
        match &polled {
            Poll::Ready(None) => self.rest(),
            Poll::Ready(Some(Err(_))) => self.behind = None,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload")
    }
}
