//! Connections: one pool for each runtime, no retries of its own, and a failure that says whether anything was sent.

use std::{error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use leasehold_core::{Error, ErrorKind, Result};
use parking_lot::RwLock;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::{
    runtime::{Handle, Id},
    time,
};

type Connector = HttpsConnector<HttpConnector>;
type Pool = Client<Connector, Full<Bytes>>;

/// Servers close idle connections after some seconds; ours go before that, so that few requests meet a closed one.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// The most headers that an answer may have.
const HEADERS_MAX: usize = 1_024;

/// Pools of runtimes that ended are forgotten beyond this many.
const POOLS_MAX: usize = 16;

/// An HTTP/1.1 client. A connection is driven by the runtime that opened it, so each runtime has its own: a request never
/// waits for another runtime that is stuck or has ended.
pub(crate) struct Http {
    connector: Connector,
    pools: RwLock<Vec<(Id, Pool)>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// No byte of the request left this process.
    NotSent(BoxedError),
    /// The request may have arrived, and may still be acted on.
    Lost(BoxedError),
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
        tcp.set_connect_timeout(Some(connect_timeout));
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
        Ok(Self { connector, pools: RwLock::default() })
    }

    /// Sends a request once and waits for the head of its answer. A request that met a connection which was closed
    /// before any of it was written goes out on another.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, NoAnswer> {
        match time::timeout(timeout, self.pool().request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => Err(NoAnswer::NotSent(error.into())),
            Ok(Err(error)) => Err(NoAnswer::Lost(error.into())),
            Err(_) => Err(NoAnswer::TimedOut(timeout)),
        }
    }

    fn pool(&self) -> Pool {
        let runtime = Handle::current().id();
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
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            // A value may have a few hundred short attributes, and each is a header.
            .http1_max_headers(HEADERS_MAX)
            .build(self.connector.clone());
        pools.push((runtime, pool.clone()));
        pool
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}
