//! The server: what it serves and to whom, and the listener.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use leasehold_core::{Error, ErrorKind, Result, Store};
use s3s::{
    config::{S3Config, StaticConfigProvider},
    service::S3ServiceBuilder,
};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, timeout_at},
};

use crate::{
    access::{Credentials, Gate},
    endpoint::{Endpoint, XML_BYTES_MAX},
    service::Service,
    socket::Socket,
};

/// The smallest part of an upload, but for its last one, as on S3: 5 MiB.
pub const PART_BYTES_MIN: u64 = 5 << 20;

/// How long [`Listening::stop`] waits for requests in flight.
pub const GRACE: Duration = Duration::from_secs(5);

/// How long a connection may take to send the head of a request, and may rest between two.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);

/// The head of a request, and what is read from a connection at a time, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How long to wait when the system has no descriptor for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An S3 server before it listens.
///
/// ```
/// # use leasehold_core::Store;
/// # use leasehold_s3_server::{Credentials, S3Server};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let store = Store::new(leasehold_memory::Memory::new());
/// let server = S3Server::new(store)
///     .credentials(Credentials::new("access", "secret"))
///     .bucket("photos")
///     .bind("127.0.0.1:0")
///     .await?;
/// println!("aws --endpoint-url {} s3 ls", server.url());
/// server.stop().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is served before bind"]
pub struct S3Server {
    store: Store,
    known: Vec<Credentials>,
    anonymous: bool,
    region: Option<String>,
    buckets: Vec<String>,
    part_bytes_min: u64,
    connections_max: usize,
}

impl S3Server {
    /// A server of `store`. It needs [`credentials`](Self::credentials), or to be told that it needs none.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            known: Vec::new(),
            anonymous: false,
            region: None,
            buckets: Vec::new(),
            part_bytes_min: PART_BYTES_MIN,
            connections_max: 1_024,
        }
    }

    /// Takes requests that are signed with these. May be given more than once.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.known.push(credentials);
        self
    }

    /// Takes requests that are not signed, and from anybody who can connect. For tests.
    ///
    /// Signed requests are refused then, since nothing could check them.
    pub fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Refuses requests that are signed for another region. Without this, any region will do.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Makes a bucket at the start, unless it is there. May be given more than once.
    pub fn bucket(mut self, name: impl Into<String>) -> Self {
        self.buckets.push(name.into());
        self
    }

    /// How small a part of an upload may be that is not the last; [`PART_BYTES_MIN`] unless told otherwise.
    pub fn part_bytes_min(mut self, bytes: u64) -> Self {
        self.part_bytes_min = bytes;
        self
    }

    /// How many connections are served at the same time; more of them wait. 1,024 unless told otherwise.
    ///
    /// This bounds memory, too. A connection takes up to 64 KiB for what it reads, and one of: an object of up to
    /// 256 KiB, two chunks as they arrive of a larger one, a document of up to 4 MiB from somebody whose signature
    /// was sound, or a signed chunk of up to 1 MiB. Larger signed chunks, of up to 16 MiB, take up to 256 MiB
    /// together; beyond that a request is refused (503). What the store takes for a write comes on top.
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// The endpoint without a listener. Whoever serves it ends connections that take nothing of their answers.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) without credentials, or with some that nobody could sign with.
    pub fn service(&self) -> Result<Endpoint> {
        self.parts().map(|(endpoint, _)| endpoint)
    }

    fn parts(&self) -> Result<(Endpoint, Service)> {
        if self.known.is_empty() != self.anonymous {
            return Err(Error::invalid(if self.anonymous {
                "an anonymous server checks no credentials; give them, or leave anonymous() out"
            } else {
                "an S3 server needs credentials; give an access key and a secret key"
            }));
        }
        if let Some(flaw) = self.known.iter().find_map(Credentials::flaw) {
            return Err(Error::invalid(flaw));
        }
        let signed = !self.anonymous;
        let service = Service::new(self.store.clone(), self.part_bytes_min, signed, self.region.clone());
        let mut builder = S3ServiceBuilder::new(service.clone());
        let mut config = S3Config::default();
        config.xml_max_body_size = XML_BYTES_MAX as usize;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        if signed {
            let gate = Gate::new(&self.known, self.region.clone());
            builder.set_auth(gate.clone());
            builder.set_access(gate);
        }
        let first = self.store.environment().random.bits() >> 16;
        Ok((Endpoint::new(builder.build(), first), service))
    }

    /// Listens, and serves until the returned handle is stopped or dropped.
    ///
    /// Needs a tokio runtime, which may have one thread. Costs a bind, and a write for each bucket to make.
    ///
    /// # Errors
    /// As [`service`](Self::service); [`Unavailable`](ErrorKind::Unavailable) when the address cannot be bound;
    /// what the store fails with when a bucket is made.
    pub async fn bind(self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Listening> {
        let (endpoint, service) = self.parts()?;
        for name in &self.buckets {
            if !s3s::path::check_bucket_name(name) {
                return Err(Error::invalid(format!(
                    "{name:?} is no name of a bucket: it has 3 to 63 of a-z, 0-9, \"-\" and \".\""
                )));
            }
            service.make_bucket(name).await?;
        }
        let failed = |error: std::io::Error| {
            let message =
                format!("the address {address:?} cannot be listened on ({error}); choose another one");
            Error::new(ErrorKind::Unavailable, message).because(error)
        };
        let listener = TcpListener::bind(&address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the listener has no address").because(error)
        })?;
        let (stop, stopped) = watch::channel(false);
        let connections = Arc::new(Semaphore::new(self.connections_max));
        let task = tokio::spawn(serve(listener, endpoint, service, connections, stopped));
        Ok(Listening { address, stop, ended: AbortOnDrop(task.abort_handle()), task })
    }
}

/// A server that listens. Dropping it ends it at once, with all its connections.
#[derive(Debug)]
#[must_use = "dropping it ends the server"]
pub struct Listening {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    ended: AbortOnDrop,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listening {
    /// Where it listens; the port is the real one, also when it was asked to choose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint URL for a client on this machine.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            });
        }
        format!("http://{address}")
    }

    /// Takes no more connections and no more requests, and waits up to [`GRACE`] for those in flight, and for uploads
    /// that are being completed or removed; then ends them. When this returns, nothing is left that would ask the
    /// store for anything.
    pub async fn stop(self) {
        let Self { stop, ended, task, .. } = self;
        let _ = stop.send(true);
        let _ = task.await;
        drop(ended);
    }
}

/// Accepts connections until told to stop. Connections live in its set, and end with it.
async fn serve(
    listener: TcpListener,
    endpoint: Endpoint,
    service: Service,
    permits: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let told = stopped.clone();
    loop {
        tokio::select! {
            // A sender that is gone has been dropped, and this task with it.
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => {}
            (stream, permit) = accept(&listener, &permits) => {
                let connection = connection(stream, permit, endpoint.clone(), told.clone());
                connections.spawn(connection);
            }
        }
    }
    drop(listener);
    let deadline = Instant::now() + GRACE;
    end(connections, deadline).await;
    // Nobody is left who could begin more of it.
    end(service.take_background(), deadline).await;
}

/// Waits until `deadline` for tasks to end, and then ends them.
async fn end(mut tasks: JoinSet<()>, deadline: Instant) {
    let _ = timeout_at(deadline, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
}

/// Cancel-safe: a connection is taken from the system in the last step.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            // Either the client has gone already, or there are no descriptors left for the moment.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    endpoint: Endpoint,
    mut stopped: watch::Receiver<bool>,
) {
    // Small answers must not wait for acknowledgements of the ones before.
    let _ = stream.set_nodelay(true);
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Socket::new(stream)), endpoint)
    );
    tokio::select! {
        // A connection that fails is the client's to notice.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
