//! A value of 1 GiB is written and read in pieces, and only a few of them are in memory at any time. One test in a process of
//! its own, because it is about the memory of the whole process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use leasehold_core::{Body, Store};
use tokio::net::TcpListener;

use support::bucket;

const GIB: u64 = 1 << 30;
const CHUNK: usize = 64 << 10;
const EXTRA_KIB_MAX: u64 = 64 << 10;
const CLEAR: &str = "/proc/self/clear_refs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_goes_there_and_back_in_little_memory() {
    if std::fs::write(CLEAR, "5").is_err() {
        eprintln!("SKIPPED: this system does not count the peak of memory anew");
        return;
    }
    let store = Store::new(bucket(serve().await).await.unwrap());
    // Connections, buffers and threads that are there anyway.
    store.put("small", vec![7; 100]).await.unwrap();
    for announced in [Some(GIB), None] {
        let before = reset_peak();
        store.put("k", Body::from_stream(gibibyte().boxed(), announced)).await.unwrap();
        assert_extra(before, "written");
    }
    let before = reset_peak();
    let mut read = store.get("k").await.unwrap().unwrap().body.into_stream();
    let mut bytes = 0;
    while let Some(chunk) = read.next().await {
        bytes += chunk.unwrap().len() as u64;
    }
    assert_eq!(bytes, GIB);
    assert_extra(before, "read");
}

fn gibibyte<E>() -> impl futures_util::Stream<Item = Result<Bytes, E>> + Send {
    static CONTENT: [u8; CHUNK] = [7; CHUNK];
    stream::repeat_with(|| Ok(Bytes::from_static(&CONTENT))).take((GIB / CHUNK as u64) as usize)
}

fn kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// From here on the peak counts anew. Returns what is in use now.
fn reset_peak() -> u64 {
    std::fs::write(CLEAR, "5").unwrap();
    kib("VmRSS")
}

fn assert_extra(before: u64, what: &str) {
    let extra = kib("VmHWM").saturating_sub(before);
    println!("1 GiB {what} in {} MiB more", extra >> 10);
    assert!(extra < EXTRA_KIB_MAX, "1 GiB was {what} in {} MiB more", extra >> 10);
}

/// A server that takes everything and keeps nothing.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(connection);
        }
    });
    url
}

type Content = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>) -> Result<Response<Content>, Infallible> {
    let (method, query) = (request.method().clone(), request.uri().query().unwrap_or_default().to_owned());
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let document = |text: &'static str| Full::from(text).boxed_unsync();
    let content = match method {
        Method::POST if query.starts_with("uploads") => {
            document("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
        }
        Method::POST => {
            document("<CompleteMultipartUploadResult><ETag>\"1\"</ETag></CompleteMultipartUploadResult>")
        }
        Method::GET => StreamBody::new(gibibyte().map(|chunk| chunk.map(Frame::data))).boxed_unsync(),
        _ => Full::default().boxed_unsync(),
    };
    let mut answer = Response::builder().header("etag", "\"1\"");
    if method == Method::GET {
        answer = answer.header("content-length", GIB);
    }
    Ok(answer.body(content).unwrap())
}
