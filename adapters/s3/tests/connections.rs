//! Connections: used again, also by another task, and given up when the server has.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use leasehold_core::Store;
use tokio::{net::TcpListener, sync::mpsc};

use support::bucket;

const BYTES: usize = 1 << 20;
/// How many headers of its own an answer has about a key of that name.
const CROWD: usize = 900;

/// A server that answers every request, `requests_max` of them on one connection. It tells of each connection that it closed.
struct Server {
    url: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    closed: mpsc::UnboundedReceiver<()>,
}

async fn serve(requests_max: usize) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (sender, closed) = mpsc::unbounded_channel();
    let counts = (connections.clone(), requests.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counts.0.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(connection(stream, requests_max, counts.1.clone(), sender.clone()));
        }
    });
    Server { url, connections, requests, closed }
}

/// Closes without a word, as servers and what stands before them do with connections that they have had enough of.
async fn connection(
    stream: tokio::net::TcpStream,
    requests_max: usize,
    requests: Arc<AtomicUsize>,
    closed: mpsc::UnboundedSender<()>,
) {
    let enough = Arc::new(tokio::sync::Notify::new());
    let (told, answered) = (enough.clone(), AtomicUsize::new(0));
    let service = service_fn(move |request| {
        requests.fetch_add(1, Ordering::SeqCst);
        let (told, is_last) = (told.clone(), answered.fetch_add(1, Ordering::SeqCst) + 1 == requests_max);
        async move {
            let answer = answer(request).await;
            if is_last {
                told.notify_one();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut serving = std::pin::pin!(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        _ = serving.as_mut() => {}
        () = enough.notified() => {
            // What was answered still has to be written; then it rests, and is dropped as it is.
            std::future::poll_fn(|cx| {
                let _ = serving.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
        }
    }
    let _ = closed.send(());
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let about = |key| request.uri().path().ends_with(key);
    let headers = if about("/crowded") { CROWD } else { 0 };
    let bytes = if about("/small") { 1 << 10 } else { BYTES };
    drop(request.into_body().collect().await);
    let mut response = Response::builder().header("etag", "\"1\"");
    for number in 0..headers {
        response = response.header(format!("x-amz-meta-{number}"), "v");
    }
    let body = if get { Full::from(vec![7; bytes]) } else { Full::default() };
    response.body(body).unwrap()
}

#[tokio::test]
async fn one_connection_serves_one_request_after_the_other() {
    let server = serve(usize::MAX).await;
    let store = Store::new(bucket(server.url.clone()).await.unwrap());
    for _ in 0..10 {
        store.put("k", "v").await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().bytes().await.unwrap().len(), BYTES);
        assert!(store.head("k").await.unwrap().is_some());
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_passed_from_task_to_task() {
    let server = serve(usize::MAX).await;
    let store = Store::new(bucket(server.url.clone()).await.unwrap());
    for _ in 0..50 {
        let store = store.clone();
        // The head comes to one task and the body to another.
        let found = tokio::spawn(async move { store.get("k").await.unwrap().unwrap() }).await.unwrap();
        let bytes = tokio::spawn(async move { found.bytes().await.unwrap() }).await.unwrap();
        assert_eq!(bytes.len(), BYTES);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_written_to() {
    let mut server = serve(1).await;
    let store = Store::new(bucket(server.url.clone()).await.unwrap());
    for number in 1..=5 {
        store.put("k", "v").if_absent().await.unwrap();
        // Not a second request and no look: none was in doubt.
        assert_eq!(server.requests.load(Ordering::SeqCst), number);
        server.closed.recv().await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_body_that_is_not_read_to_its_end_takes_its_connection_along() {
    let server = serve(usize::MAX).await;
    let store = Store::new(bucket(server.url.clone()).await.unwrap());
    for number in 1..=3 {
        drop(store.get("k").await.unwrap().unwrap());
        assert_eq!(server.connections.load(Ordering::SeqCst), number);
    }
}

#[tokio::test]
async fn a_task_that_waits_for_an_answer_is_woken_once() {
    let server = serve(usize::MAX).await;
    let store = Store::new(bucket(server.url.clone()).await.unwrap());
    store.put("small", "v").await.unwrap();
    let mut requests = std::pin::pin!(async {
        for _ in 0..20 {
            assert_eq!(store.get("small").await.unwrap().unwrap().bytes().await.unwrap().len(), 1 << 10);
            store.put("small", "v").await.unwrap();
        }
    });
    let mut wakes = 0;
    std::future::poll_fn(|cx| {
        wakes += 1;
        requests.as_mut().poll(cx)
    })
    .await;
    // One for each request, one to begin with, and a few for answers that came in two pieces.
    assert!(wakes <= 50, "woken {wakes} times for 40 requests");
}

/// Polls `work`, and before every second poll uses up `used` of what a task may do in one turn.
async fn hurried<T>(used: u32, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        polls += 1;
        for _ in 0..if polls % 2 == 0 { used } else { 0 } {
            let _ = std::pin::pin!(tokio::task::coop::consume_budget()).poll(cx);
        }
        work.as_mut().poll(cx)
    })
    .await
}

#[tokio::test]
async fn an_answer_is_seen_by_a_task_that_has_used_up_its_turn() {
    let server = serve(usize::MAX).await;
    let store = Store::new(bucket(server.url.clone()).await.unwrap());
    // A turn is 128 steps.
    for used in 110..130 {
        let get = async { store.get("k").await.unwrap().unwrap().bytes().await.unwrap() };
        let read = tokio::select! {
            // First: a late wake would find the answer as well.
            biased;
            () = tokio::time::sleep(Duration::from_secs(5)) => panic!("nobody was woken for the answer: {used} steps"),
            read = hurried(used, get) => read,
        };
        assert_eq!(read.len(), BYTES);
    }
}

/// Polls `work` when the task has nothing left of its turn, three times.
async fn tired<T>(work: impl Future<Output = T>) -> T {
    let (mut work, mut polls) = (std::pin::pin!(work), 0);
    std::future::poll_fn(|cx| {
        polls += 1;
        while polls <= 3 && tokio::task::coop::has_budget_remaining() {
            let _ = std::pin::pin!(tokio::task::coop::consume_budget()).poll(cx);
        }
        work.as_mut().poll(cx)
    })
    .await
}

#[tokio::test]
async fn a_task_that_has_used_up_its_turn_knows_which_connections_are_open() {
    let open = serve(usize::MAX).await;
    let store = Store::new(bucket(open.url.clone()).await.unwrap());
    for _ in 0..3 {
        tired(store.put("k", "v").into_future()).await.unwrap();
    }
    assert_eq!(open.connections.load(Ordering::SeqCst), 1);

    let mut closing = serve(1).await;
    let store = Store::new(bucket(closing.url.clone()).await.unwrap());
    for number in 1..=3 {
        tired(store.put("k", "v").if_absent().into_future()).await.unwrap();
        assert_eq!(closing.requests.load(Ordering::SeqCst), number);
        closing.closed.recv().await.unwrap();
    }
}

#[tokio::test]
async fn many_headers_are_read() {
    let server = serve(usize::MAX).await;
    let store = Store::new(bucket(server.url.clone()).await.unwrap());
    for requests in 1..=3 {
        let found = store.get("crowded").await.unwrap().unwrap();
        assert_eq!(found.bytes().await.unwrap().len(), BYTES);
        assert_eq!(server.requests.load(Ordering::SeqCst), requests);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn connections_of_a_runtime_that_ended_are_not_waited_for() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = servers.block_on(serve(usize::MAX));
    let first = runtime();
    let store = first.block_on(async { Store::new(bucket(server.url.clone()).await.unwrap()) });
    first.block_on(store.put("k", "v").into_future()).unwrap();
    drop(first);
    runtime().block_on(store.put("k", "v").into_future()).unwrap();
}
