//! Clients that stop in the middle. Time is paused: it goes on when nothing else does.

use std::time::Duration;

use aws_sigv4::http_request::SignableBody;
use leasehold_core::{Limits, Store};
use leasehold_layers::{Faults, Verb};
use leasehold_memory::Memory;
use leasehold_s3_server::GRACE;

use crate::{
    support::Place,
    wire::{Request, Wire},
};

/// Far beyond every limit of the server.
const PATIENCE: Duration = Duration::from_secs(1_000);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it ends by itself")
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_is_given_up_whoever_reads_it() {
    let place = Place::new().await;
    let decoded = ("x-amz-decoded-content-length", "1000000");
    let trailer = ("x-amz-trailer", "x-amz-checksum-crc32");
    let signed = || SignableBody::Precomputed("STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into());
    let of_hash = || SignableBody::Precomputed("a".repeat(64));
    for (method, path, length, headers, payload, sent) in [
        ("PUT", "/bucket/small", "100", vec![], SignableBody::UnsignedPayload, "x"),
        ("PUT", "/bucket/large", "1000000", vec![], SignableBody::UnsignedPayload, "x"),
        ("PUT", "/bucket/nothing", "1000000", vec![], SignableBody::UnsignedPayload, ""),
        ("PUT", "/bucket/hashed", "1000000", vec![], of_hash(), "x"),
        (
            "PUT",
            "/bucket/unsigned",
            "1000100",
            vec![decoded, trailer],
            SignableBody::StreamingUnsignedPayloadTrailer,
            "f4240\r\nx",
        ),
        (
            "PUT",
            "/bucket/signed",
            "1000100",
            vec![decoded],
            signed(),
            &format!("10000;chunk-signature={}\r\nx", "0".repeat(64)),
        ),
        ("PUT", "/made", "100", vec![], SignableBody::UnsignedPayload, "<Create"),
        ("POST", "/bucket?delete", "100", vec![], SignableBody::UnsignedPayload, "<Delete>"),
        (
            "POST",
            "/bucket?delete",
            "100",
            vec![("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")],
            SignableBody::UnsignedPayload,
            "<Delete>",
        ),
        ("POST", "/bucket/k?uploadId=x", "100", vec![], SignableBody::UnsignedPayload, ""),
    ] {
        let headers = [vec![("content-length", length)], headers].concat();
        let request = Request { method, path, headers: &headers, payload, ..Request::default() };
        let mut wire = Wire::open(&place.server).await;
        let answer = in_time(wire.ask(&request.signed(&place.server), sent)).await;
        answer.refused(400, "RequestTimeout");
    }
    let left = place.store.list("").await.unwrap();
    assert_eq!(left.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["_s3/buckets/bucket"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_slow_and_not_silent_is_waited_for() {
    let place = Place::new().await;
    let request = Request {
        method: "PUT",
        path: "/bucket/k",
        headers: &[("content-length", "5")],
        payload: SignableBody::UnsignedPayload,
        ..Request::default()
    };
    let mut wire = Wire::open(&place.server).await;
    wire.send(request.signed(&place.server)).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        wire.send("x").await;
    }
    assert_eq!(wire.receive().await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_its_answer_loses_its_connection() {
    let memory = Memory::new().limits(Limits { value_bytes_max: 64 << 20, ..Limits::default() });
    let place = Place::with(Store::new(memory), |server| server.connections_max(1)).await;
    place.store.put("bucket/large", vec![0; 64 << 20]).await.unwrap();
    let mut stalled = Wire::open(&place.server).await;
    stalled.send(Request { path: "/bucket/large", ..Request::default() }.signed(&place.server)).await;
    // Served only when the first is not any more.
    let mut next = Wire::open(&place.server).await;
    let head = Request::default().signed(&place.server);
    assert_eq!(in_time(next.ask(&head, "")).await.status, 200);
    assert!(stalled.receive().await.is_none_or(|answer| answer.status == 200));
}

#[tokio::test]
async fn a_write_that_does_not_end_is_ended_by_stopping() {
    let faults = Faults::new();
    let place = Place::over(Store::new(Memory::new()).layer(faults.clone())).await;
    let gate = faults.hold(Verb::Put);
    let request = Request {
        method: "PUT",
        path: "/bucket/k",
        headers: &[("content-length", "1")],
        payload: SignableBody::UnsignedPayload,
        ..Request::default()
    };
    let mut wire = Wire::open(&place.server).await;
    wire.send(request.signed(&place.server) + "x").await;
    gate.reached().await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    in_time(place.server.stop()).await;
    assert!(begun.elapsed() >= GRACE && begun.elapsed() < 2 * GRACE);
    gate.release();
    assert!(wire.receive().await.is_none());
    assert!(place.store.get("bucket/k").await.unwrap().is_none());
}
