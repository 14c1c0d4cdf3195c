//! A bucket in this process that behaves as R2 does, and an edge in front of it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use leasehold_conformance::ContentVersions;
use leasehold_core::Store;
use leasehold_memory::Memory;
use leasehold_r2::{Open, R2};
use leasehold_s3_server::{Credentials, Listening, S3Server};
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::AbortHandle};

const ID: &str = "access";
const SECRET: &str = "hush";
const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const TOKEN: &str = "token-of-the-edge";

/// A server with a bucket, and an edge before it.
pub(crate) struct Place {
    pub(crate) below: Store,
    pub(crate) server: Listening,
    pub(crate) edge: Edge,
}

impl Place {
    pub(crate) async fn start() -> Self {
        let below = Store::new(ContentVersions::new(Memory::new()));
        let credentials = Credentials::new(ID, SECRET);
        let server = S3Server::new(below.clone()).credentials(credentials).bucket("photos");
        let server = server.bind("127.0.0.1:0").await.unwrap();
        Self { edge: Edge::start(below.namespace("photos").unwrap()).await, below, server }
    }

    pub(crate) fn open(&self) -> Open {
        R2::bucket(ACCOUNT, "photos").endpoint(self.server.url()).keys(ID, SECRET)
    }

    pub(crate) async fn direct(&self) -> Store {
        Store::new(self.open().await.unwrap())
    }

    pub(crate) async fn through_the_edge(&self) -> Store {
        Store::new(self.open().edge(self.edge.url(), TOKEN).await.unwrap())
    }
}

/// What the Worker does, as far as it matters to a reader: keeps values until it is told to forget them.
pub(crate) struct Edge {
    address: SocketAddr,
    /// Reads that the bucket had to answer.
    pub(crate) misses: Arc<AtomicUsize>,
    /// Does not forget, and says that it did.
    pub(crate) deaf: Arc<AtomicBool>,
    /// Answers nothing but failures.
    pub(crate) broken: Arc<AtomicBool>,
    accepting: AbortHandle,
}

#[derive(Clone)]
struct Worker {
    bucket: Store,
    kept: Arc<Mutex<HashMap<String, (String, Bytes)>>>,
    misses: Arc<AtomicUsize>,
    deaf: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
}

impl Edge {
    async fn start(bucket: Store) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let worker = Worker {
            bucket,
            kept: Arc::default(),
            misses: Arc::default(),
            deaf: Arc::default(),
            broken: Arc::default(),
        };
        let (misses, deaf, broken) = (worker.misses.clone(), worker.deaf.clone(), worker.broken.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let worker = worker.clone();
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |request| {
                        let worker = worker.clone();
                        async move { Ok::<_, Infallible>(worker.answer(request).await) }
                    }),
                ));
            }
        });
        Self { address, misses, deaf, broken, accepting: accepting.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn refusal(status: u16, code: &str) -> Response<Full<Bytes>> {
    let document = format!("<Error><Code>{code}</Code></Error>");
    Response::builder().status(status).body(Full::from(document)).unwrap()
}

impl Worker {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if self.broken.load(Ordering::SeqCst) {
            return refusal(500, "InternalError");
        }
        let authorization = request.headers().get(header::AUTHORIZATION);
        if authorization.is_none_or(|given| given != &format!("Bearer {TOKEN}")) {
            return refusal(401, "AccessDenied");
        }
        let key = request.uri().path().trim_start_matches('/').to_owned();
        let (method, query) = (request.method().clone(), request.uri().query().map(str::to_owned));
        let _ = request.into_body().collect().await;
        match method {
            Method::GET | Method::HEAD => self.read(&key).await,
            Method::POST if query.as_deref() == Some("purge=") => {
                if !self.deaf.load(Ordering::SeqCst) {
                    self.kept.lock().remove(&key);
                }
                Response::builder().status(204).body(Full::default()).unwrap()
            }
            _ => refusal(405, "MethodNotAllowed"),
        }
    }

    async fn read(&self, key: &str) -> Response<Full<Bytes>> {
        let kept = self.kept.lock().get(key).cloned();
        let (tag, bytes) = match kept {
            Some(kept) => kept,
            None => {
                self.misses.fetch_add(1, Ordering::SeqCst);
                let Some(found) = self.bucket.get(key).await.unwrap() else {
                    return refusal(404, "NoSuchKey");
                };
                let read = (found.version().to_string(), found.bytes().await.unwrap());
                self.kept.lock().insert(key.to_owned(), read.clone());
                read
            }
        };
        Response::builder()
            .header(header::ETAG, format!("\"{}\"", tag.trim_matches('"').replace('"', "%22")))
            .body(Full::from(bytes))
            .unwrap()
    }
}
