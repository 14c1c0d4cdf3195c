//! Requests and answers over connections that are kept, and a failure that says whether anything was sent.

mod connection;
mod framing;
mod head;
mod payload;
mod pool;

use std::{error::Error as StdError, fmt, future::poll_fn, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use leasehold_core::{Error, ErrorKind, Result};
use parking_lot::RwLock;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::{
    runtime::{Handle, Id},
    time,
};
use tower_service::Service;

pub(crate) use payload::Payload;

use crate::target::Place;

use connection::Connection;
use pool::Pool;

type Connector = HttpsConnector<HttpConnector>;

/// Pools of runtimes that ended are forgotten beyond this many.
const POOLS_MAX: usize = 16;

/// An HTTP/1.1 client. Sockets belong to the runtime that opened them, so each runtime has its own: a request never waits for
/// another runtime that is stuck or has ended.
pub(crate) struct Http {
    connector: Connector,
    connect_timeout: Duration,
    pools: RwLock<Vec<(Id, Arc<Pool>)>>,
}

/// What is asked of a server.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) place: Place,
    /// With `host`, and without what tells the length of the body.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The server cannot have got the whole request.
    NotSent(BoxedError),
    /// The request may have arrived, and may still be acted on.
    Lost(io::Error),
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
        Ok(Self { connector, connect_timeout, pools: RwLock::default() })
    }

    /// Sends a request once and waits for the head of its answer. A request that met a connection which took
    /// nothing of it goes out on another.
    pub(crate) async fn send(
        &self,
        server: &Uri,
        request: &Request,
        timeout: Duration,
    ) -> Result<Response<Payload>, NoAnswer> {
        time::timeout(timeout, self.exchange(server, request))
            .await
            .unwrap_or(Err(NoAnswer::TimedOut(timeout)))
    }

    async fn exchange(&self, server: &Uri, request: &Request) -> Result<Response<Payload>, NoAnswer> {
        let pool = self.pool();
        while let Some(connection) = pool.take().await {
            match connection.exchange(request, &pool).await {
                Err(NoAnswer::NotSent(_)) => {}
                answered => return answered,
            }
        }
        let connection = self.connect(server.clone()).await.map_err(NoAnswer::NotSent)?;
        connection.exchange(request, &pool).await
    }

    async fn connect(&self, server: Uri) -> Result<Connection, BoxedError> {
        let mut connector = self.connector.clone();
        let connected = async {
            poll_fn(|cx| connector.poll_ready(cx)).await?;
            connector.call(server).await
        };
        Ok(Connection::new(time::timeout(self.connect_timeout, connected).await??))
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
        let pool = Arc::new(Pool::new(handle));
        pools.push((runtime, pool.clone()));
        pool
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}
