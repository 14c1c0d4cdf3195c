//! A tiny object endpoint and a client without any cleverness.

#![expect(clippy::unwrap_used, reason = "the tests' own server and client")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What the endpoint has got, whole requests only.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
}

#[derive(Default)]
struct State {
    objects: Mutex<BTreeMap<String, Bytes>>,
    got: Mutex<Vec<Got>>,
    connections: AtomicUsize,
}

/// Objects by path: PUT stores, GET and HEAD read.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Endpoint {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let served = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                served.connections.fetch_add(1, Ordering::Relaxed);
                let state = Arc::clone(&served);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = connection.await;
                });
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.state.got.lock().clone()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.got().iter().map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect()
    }

    pub(crate) fn object(&self, path: &str) -> Option<Bytes> {
        self.state.objects.lock().get(path).cloned()
    }

    pub(crate) fn set(&self, path: &str, body: impl Into<Bytes>) {
        self.state.objects.lock().insert(path.to_owned(), body.into());
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let sent = body.collect().await?.to_bytes();
    let path = head.uri.path().to_owned();
    let mut response = Response::builder();
    let body = match head.method.as_str() {
        "PUT" => {
            state.objects.lock().insert(path, sent.clone());
            response = response.header("etag", "\"tag\"");
            Bytes::new()
        }
        _ => match state.objects.lock().get(&path) {
            Some(object) => object.clone(),
            None => {
                response = response.status(StatusCode::NOT_FOUND);
                Bytes::new()
            }
        },
    };
    state.got.lock().push(Got { head, body: sent });
    Ok(response.body(Full::new(body)).unwrap())
}

/// What a call came to.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Result<Bytes, hyper::Error>,
}

/// One connection of a client, kept alive.
pub(crate) struct Client {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { address, sender, connection }
    }

    pub(crate) async fn call(
        &mut self,
        method: &str,
        target: &str,
        body: impl Into<Bytes>,
    ) -> Result<Called, hyper::Error> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.address.to_string())
            .body(Full::new(body.into()))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Called, hyper::Error> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes());
        Ok(Called { status: head.status, headers: head.headers, body })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Hangs up at once, also in the middle of a request.
        self.connection.abort();
    }
}

/// One call over a connection of its own.
pub(crate) async fn call(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: impl Into<Bytes>,
) -> Result<Called, hyper::Error> {
    Client::connect(address).await.call(method, target, body).await
}
