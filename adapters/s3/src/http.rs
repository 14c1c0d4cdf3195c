//! Connections: each driven by whoever waits for its answer, kept for the next request, and a failure that says whether
//! anything was sent.
//!
//! A connection has no task of its own, so that a request costs no way from one task to another and back; where few are under
//! way at once, waking a second task costs more than everything else that is done for a request.

use std::{
    error::Error as StdError,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, Response, Uri, uri::PathAndQuery};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use leasehold_core::{Error, ErrorKind, Result};
use parking_lot::{Mutex, RwLock};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::{
    net::TcpStream,
    runtime::{Handle, Id},
    task::unconstrained,
    time::{self, Instant},
};
use tower_service::Service;

type Connector = HttpsConnector<HttpConnector>;
type Driver = http1::Connection<MaybeHttpsStream<TokioIo<TcpStream>>, Full<Bytes>>;

/// Servers close idle connections after some seconds; ours go before that, so that few requests meet a closed one.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// How often a connection whose ends wake each other is driven before other tasks have their turn.
const DRIVES_MAX: u32 = 2;

/// The most headers that an answer may have: all that fit into what S3 allows for metadata. Room for them is made, and paid for
/// by every answer, once an answer has come that has more than the usual hundred.
const HEADERS_MAX: usize = 1_024;

/// Pools of runtimes that ended are forgotten beyond this many.
const POOLS_MAX: usize = 16;

/// An HTTP/1.1 client. Sockets belong to the runtime that opened them, so each runtime has its own: a request never waits for
/// another runtime that is stuck or has ended.
pub(crate) struct Http {
    connector: Connector,
    connect_timeout: Duration,
    pools: RwLock<Vec<(Id, Arc<Pool>)>>,
    /// Whether connections have room for many headers.
    roomy: AtomicBool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// No byte of the request left this process.
    NotSent(BoxedError),
    /// The request may have arrived, and may still be acted on.
    Lost(BoxedError),
    /// The same, because the answer has many headers; from now on there is room for them.
    Crowded(BoxedError),
    /// The same, because the time was up.
    TimedOut(Duration),
}

type BoxedError = Box<dyn StdError + Send + Sync>;

impl Http {
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when this machine has no root certificates and `tls` needs some.
    pub(crate) fn new(tls: bool, connect_timeout: Duration) -> Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new();
        let builder = if tls {
            builder.with_provider_and_native_roots(aws_lc_rs::default_provider()).map_err(|source| {
                let message = "this machine has no root certificates; install ca-certificates";
                Error::new(ErrorKind::Unavailable, message).because(source)
            })?
        } else {
            let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .map_err(|source| {
                    Error::new(ErrorKind::Unexpected, "TLS cannot be set up").because(source)
                })?;
            builder
                .with_tls_config(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        };
        let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self { connector, connect_timeout, pools: RwLock::default(), roomy: AtomicBool::new(false) })
    }

    /// Sends a request once and waits for the head of its answer. A request that met a connection which was closed
    /// before any of it was written goes out on another.
    ///
    /// The URI is absolute: it says where to connect, and its path and query are what is asked for.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Response<Payload>, NoAnswer> {
        time::timeout(timeout, self.exchange(request)).await.unwrap_or(Err(NoAnswer::TimedOut(timeout)))
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Payload>, NoAnswer> {
        let place = request.uri().clone();
        let asked = place.path_and_query().cloned();
        *request.uri_mut() = asked.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
        let pool = self.pool();
        while let Some(connection) = pool.take(self.is_roomy()) {
            match connection.exchange(request, &pool).await {
                Err(Unanswered { unsent: Some(unsent), .. }) => request = unsent,
                Err(unanswered) => return Err(self.no_answer(unanswered)),
                Ok(response) => return Ok(response),
            }
        }
        let connection = self.connect(place).await.map_err(NoAnswer::NotSent)?;
        connection.exchange(request, &pool).await.map_err(|unanswered| self.no_answer(unanswered))
    }

    fn no_answer(&self, unanswered: Unanswered) -> NoAnswer {
        let Unanswered { source, unsent, was_roomy } = unanswered;
        if unsent.is_some() {
            return NoAnswer::NotSent(source.into());
        }
        if source.is_parse_too_large() && !was_roomy {
            self.roomy.store(true, Ordering::Relaxed);
            return NoAnswer::Crowded(source.into());
        }
        NoAnswer::Lost(source.into())
    }

    fn is_roomy(&self) -> bool {
        self.roomy.load(Ordering::Relaxed)
    }

    async fn connect(&self, place: Uri) -> Result<Connection, BoxedError> {
        let mut connector = self.connector.clone();
        let connected = async {
            poll_fn(|cx| connector.poll_ready(cx)).await?;
            connector.call(place).await
        };
        let stream = time::timeout(self.connect_timeout, connected).await??;
        let (mut protocol, is_roomy) = (http1::Builder::new(), self.is_roomy());
        if is_roomy {
            protocol.max_headers(HEADERS_MAX);
        }
        let (sender, driver) = protocol.handshake(stream).await?;
        let bell = Arc::<Bell>::default();
        Ok(Connection { sender, driver: Some(Box::pin(driver)), waker: bell.clone().into(), bell, is_roomy })
    }

    fn pool(&self) -> Arc<Pool> {
        let handle = Handle::current();
        let runtime = handle.id();
        if let Some((_, pool)) = self.pools.read().iter().find(|(of, _)| *of == runtime) {
            return pool.clone();
        }
        let mut pools = self.pools.write();
        if let Some((_, pool)) = pools.iter().find(|(of, _)| *of == runtime) {
            return pool.clone();
        }
        if pools.len() == POOLS_MAX {
            pools.remove(0);
        }
        let pool = Arc::new(Pool { handle, idle: Mutex::default() });
        pools.push((runtime, pool.clone()));
        pool
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

/// For what comes from a connection that is driven here, and from nowhere else.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection is closed.
    driver: Option<Pin<Box<Driver>>>,
    bell: Arc<Bell>,
    /// Of the bell.
    waker: Waker,
    /// Whether it takes answers of many headers.
    is_roomy: bool,
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
struct Unanswered {
    source: hyper::Error,
    unsent: Option<Request<Full<Bytes>>>,
    was_roomy: bool,
}

impl Connection {
    /// Reads and writes what can be read and written now.
    fn drive(&mut self) {
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
    fn is_idle(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    async fn exchange(
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

/// Connections that wait for a request, the one that has waited the least last.
struct Pool {
    /// Of the runtime that the sockets belong to.
    handle: Handle,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: Vec<(Connection, Instant)>,
    /// Whether a task is there to close those that have waited for too long.
    is_watched: bool,
}

impl Pool {
    fn take(&self, roomy: bool) -> Option<Connection> {
        loop {
            let (mut connection, since) = self.idle.lock().connections.pop()?;
            // What happened to it meanwhile is learned here: nobody has listened.
            connection.drive();
            if since.elapsed() < IDLE_MAX && connection.is_idle() && connection.is_roomy >= roomy {
                return Some(connection);
            }
        }
    }

    fn put(self: Arc<Self>, connection: Connection) {
        let mut idle = self.idle.lock();
        idle.connections.push((connection, Instant::now()));
        if !idle.is_watched {
            idle.is_watched = true;
            self.handle.spawn(watch(Arc::downgrade(&self)));
        }
    }
}

/// Closes connections that have waited for too long, until there are none.
async fn watch(pool: Weak<Pool>) {
    loop {
        time::sleep(IDLE_MAX).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.lock();
        idle.connections.retain(|(_, since)| since.elapsed() < IDLE_MAX);
        if idle.connections.is_empty() {
            idle.is_watched = false;
            return;
        }
    }
}
