//! The proxy: its listener, and what a test says to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::in_flight::InFlight;
use crate::plan::Plan;
use crate::random::Dice;
use crate::relay::Relay;
use crate::seen::Log;
use crate::tasks::Tasks;
use crate::upstream::Upstream;
use crate::wire::{Ending, Wire};
use crate::{Fault, Rates, Seen, When};

/// Connections that may wait to be accepted. Hundreds of clients come at once, and one that is turned away would wait
/// a second before it tries again.
const BACKLOG: u32 = 4_096;

/// A proxy in front of one server. It ends, with all that it holds, when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FaultProxy {
    /// Starts a proxy on a free loopback port, on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or when there is no loopback port to be had.
    #[must_use]
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = listen().expect("a loopback port can be had");
        let address = listener.local_addr().expect("a bound socket has an address");
        let tasks = Arc::new(Tasks::new());
        let shared = Arc::new(Shared {
            upstream: Upstream { address: upstream, tasks: Arc::clone(&tasks) },
            plan: Mutex::default(),
            log: Mutex::default(),
            in_flight: InFlight::new(),
            latency_nanos: AtomicU64::new(0),
            started: Instant::now(),
        });
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as an endpoint: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Meets the next requests that match with these faults, one each, in this order.
    ///
    /// Several scripts may run at once; the one that was given first has its turn first.
    pub fn script(&self, when: When, faults: impl IntoIterator<Item = Fault>) {
        self.shared.plan.lock().script(when, faults);
    }

    /// How many scripted faults have met no request yet.
    #[must_use]
    pub fn scripted_left(&self) -> usize {
        self.shared.plan.lock().scripted_left()
    }

    /// Meets every request that matches with this fault, where no script does.
    pub fn always(&self, when: When, fault: Fault) {
        self.shared.plan.lock().always(when, fault);
    }

    /// Meets requests by chance, where neither a script nor a standing fault does. Replaces earlier rates.
    ///
    /// The same seed gives the same faults in the order in which requests arrive.
    ///
    /// # Panics
    ///
    /// If the rates add up to more than 1.
    pub fn random(&self, seed: u64, rates: Rates) {
        self.shared.plan.lock().random(Dice::new(seed, rates));
    }

    /// Ends all faults: scripts, standing and random ones. What is held stays held.
    pub fn calm(&self) {
        *self.shared.plan.lock() = Plan::default();
    }

    /// Adds this latency to every request before it is passed on or meets its fault. Zero ends it.
    pub fn set_latency(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.shared.latency_nanos.store(nanos, Ordering::Relaxed);
    }

    /// The requests that have arrived, at most the last [`REQUESTS_KEPT`](crate::REQUESTS_KEPT), in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.log.lock().kept()
    }

    /// How many requests have arrived.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.log.lock().count()
    }

    /// How many of them match.
    ///
    /// # Panics
    ///
    /// If more than [`REQUESTS_KEPT`](crate::REQUESTS_KEPT) have arrived, because some are no longer known.
    #[must_use]
    pub fn count_of(&self, when: &When) -> usize {
        self.shared.log.lock().count_of(when)
    }

    /// Forgets the requests that have arrived, so that counting starts again.
    pub fn forget(&self) {
        *self.shared.log.lock() = Log::default();
    }

    /// Waits until no request is on its way: what was held has been passed on and answered, whoever still listens.
    ///
    /// A request in a black hole is on its way to nowhere and is not waited for.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn idle(&self) {
        self.shared.in_flight.none().await;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.upstream.tasks.end();
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) upstream: Upstream,
    pub(crate) in_flight: InFlight,
    plan: Mutex<Plan>,
    log: Mutex<Log>,
    latency_nanos: AtomicU64,
    started: Instant,
}

impl Shared {
    /// Decides about a request and logs it.
    pub(crate) fn meet(&self, head: &Parts) -> Fault {
        let fault = self.plan.lock().next(head);
        self.log.lock().push(Seen::new(head, self.started.elapsed(), fault.clone()));
        fault
    }

    pub(crate) fn latency(&self) -> Option<Duration> {
        let nanos = self.latency_nanos.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => shared.upstream.tasks.spawn(converse(stream, Arc::clone(&shared))),
            // The client has gone before it was accepted, or the process is out of files for a moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let ending = Ending::default();
    let relay = Arc::new(Relay::new(shared, ending.clone()));
    let service = service_fn(move |request| {
        let relay = Arc::clone(&relay);
        async move { relay.serve(request).await }
    });
    // hyper would add a date that the upstream did not send, and needs a timer to give up on slow heads.
    let connection = http1::Builder::new()
        .auto_date_header(false)
        .header_read_timeout(None)
        .serve_connection(Wire::new(stream, ending), service);
    // It ends with an error whenever a fault ends it.
    let _ = connection.await;
}
