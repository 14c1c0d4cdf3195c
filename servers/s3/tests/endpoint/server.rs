//! Starting, stopping and limits.

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_sigv4::http_request::SignableBody;
use leasehold_core::{ErrorKind, Store};
use leasehold_layers::{Faults, Verb};
use leasehold_memory::Memory;
use leasehold_s3_server::{Credentials, GRACE, S3Server};

use crate::{
    support::{ACCESS, BUCKET, Place, SECRET},
    wire::{Request, Wire},
};

#[tokio::test]
async fn a_server_needs_credentials_or_to_be_told_that_it_needs_none() {
    let server = || S3Server::new(Store::new(Memory::new()));
    for wrong in [
        server(),
        server().anonymous().credentials(Credentials::new(ACCESS, SECRET)),
        server().credentials(Credentials::new("", SECRET)),
        server().anonymous().bucket("Not A Bucket"),
    ] {
        assert_eq!(wrong.bind("127.0.0.1:0").await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let first = server().anonymous().bind("127.0.0.1:0").await.unwrap();
    let second = server().anonymous().bind(first.address()).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let server = S3Server::new(Store::new(Memory::new())).credentials(Credentials::new(ACCESS, SECRET));
    let shown = format!(
        "{server:?} {:?} {:?}",
        server.service().unwrap(),
        server.clone().bind("127.0.0.1:0").await.unwrap()
    );
    assert!(!shown.contains(SECRET) && shown.contains(ACCESS), "{shown}");
}

#[tokio::test]
async fn a_bucket_made_at_the_start_may_be_there() {
    let place = Place::new().await;
    place.put("k", "x").await;
    let again = Place::over(place.store.clone()).await;
    assert_eq!(again.get("k").await.unwrap(), b"x");
}

#[tokio::test]
async fn stopping_lets_what_is_in_flight_finish() {
    let faults = Faults::new();
    let place = Place::over(Store::new(Memory::new()).layer(faults.clone())).await;
    let gate = faults.hold(Verb::Put);
    let put = place.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"x"));
    let put = tokio::spawn(put.send());
    gate.reached().await;
    let address = place.server.address();
    let mut stop = std::pin::pin!(place.server.stop());
    // It has been told to stop, and waits.
    assert!(futures_util::future::poll_immediate(stop.as_mut()).await.is_none());
    gate.release();
    stop.await;
    put.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert!(place.store.get("bucket/k").await.unwrap().is_some());
}

#[tokio::test]
async fn dropping_ends_connections_at_once() {
    let faults = Faults::new();
    let place = Place::over(Store::new(Memory::new()).layer(faults.clone())).await;
    let gate = faults.hold(Verb::Get);
    let head = Request { path: "/bucket/k", ..Request::default() }.signed(&place.server);
    let mut busy = Wire::open(&place.server).await;
    let mut idle = Wire::open(&place.server).await;
    busy.send(head).await;
    gate.reached().await;
    drop(place.server);
    assert!(busy.receive().await.is_none());
    assert!(idle.receive().await.is_none());
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let place = Place::with(Store::new(Memory::new()), |server| server.connections_max(1)).await;
    let head = || Request::default().signed(&place.server);
    let mut first = Wire::open(&place.server).await;
    assert_eq!(first.ask(&head(), "").await.status, 200);
    let mut second = Wire::open(&place.server).await;
    second.send(head()).await;
    // The first is still being served.
    assert_eq!(first.ask(&head(), "").await.status, 200);
    drop(first);
    assert_eq!(second.receive().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let place = Place::new().await;
    let mut wire = Wire::open(&place.server).await;
    let large = "x".repeat(200_000);
    wire.send(format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {large}\r\n\r\n")).await;
    assert_eq!(wire.receive().await.unwrap().status, 431);
}

#[tokio::test]
async fn every_answer_has_an_id() {
    let place = Place::new().await;
    let mut wire = Wire::open(&place.server).await;
    let head = || Request::default().signed(&place.server);
    let id = |head: &str| {
        head.lines().find_map(|line| line.strip_prefix("x-amz-request-id: ")).unwrap().to_owned()
    };
    let (first, second) = (wire.ask(&head(), "").await, wire.ask(&head(), "").await);
    assert_ne!(id(&first.head), id(&second.head));
}

#[test]
fn a_server_runs_on_one_thread_and_on_many() {
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for runtime in [one, many] {
        let place = runtime.block_on(async {
            let place = Arc::new(Place::new().await);
            place.put("k", "x").await;
            place
        });
        assert_eq!(runtime.block_on(place.get("k")).unwrap(), b"x");
    }
}

#[tokio::test]
async fn stopping_waits_for_a_completion_whose_client_has_gone() {
    let (memory, faults) = (Store::new(Memory::new()), Faults::new());
    let place = Place::over(memory.clone().layer(faults.clone())).await;
    let begun = place.client.create_multipart_upload().bucket(BUCKET).key("k").send().await.unwrap();
    let id = begun.upload_id().unwrap();
    let part = place.client.upload_part().bucket(BUCKET).key("k").upload_id(id).part_number(1);
    let tag = part.body(ByteStream::from_static(b"x")).send().await.unwrap().e_tag.unwrap();
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
    );
    let (path, length) = (format!("/bucket/k?uploadId={id}"), body.len().to_string());
    let request = Request {
        method: "POST",
        path: &path,
        headers: &[("content-length", &length)],
        payload: SignableBody::UnsignedPayload,
        ..Request::default()
    };
    let gate = faults.hold(Verb::Put);
    let mut wire = Wire::open(&place.server).await;
    wire.send(request.signed(&place.server) + &body).await;
    gate.reached().await;
    assert!(wire.cut().await.is_none(), "the server has seen that it is gone");
    tokio::time::pause();
    let mut stop = std::pin::pin!(place.server.stop());
    assert!(tokio::time::timeout(GRACE / 2, stop.as_mut()).await.is_err(), "it waits");
    gate.release();
    stop.await;
    assert!(memory.get("bucket/k").await.unwrap().is_some());
    assert!(memory.list("_s3/parts/").await.unwrap().is_empty());
}
