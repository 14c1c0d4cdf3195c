//! Each fault does what it says.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use leasehold_fault_proxy::{Answer, BODY_BYTES_MAX, Fault, FaultProxy, Gate, Until, When};
use support::{Client, Endpoint, call};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LONG: Duration = Duration::from_secs(3_600);

/// A proxy whose next request meets this fault.
async fn with(fault: Fault) -> (Endpoint, FaultProxy) {
    let endpoint = Endpoint::start().await;
    let proxy = FaultProxy::start(endpoint.address);
    proxy.script(When::any(), [fault]);
    (endpoint, proxy)
}

/// All that a server sends in answer to these bytes until it closes.
async fn raw(proxy: &FaultProxy, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn a_lost_reply_was_applied() {
    let (endpoint, proxy) = with(Fault::LoseReply).await;
    assert!(call(proxy.address(), "PUT", "/b/k", "one").await.unwrap_err().is_incomplete_message());
    assert_eq!(endpoint.bodies(), ["one"]);
}

#[tokio::test]
async fn a_lost_reply_was_applied_also_when_the_client_left_first() {
    let (endpoint, proxy) = with(Fault::LoseReply).await;
    let put = b"PUT /b/k HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\none";
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(put).await.unwrap();
    drop(stream);
    while proxy.count() == 0 {
        tokio::task::yield_now().await;
    }
    proxy.idle().await;
    assert_eq!(endpoint.bodies(), ["one"]);
}

#[tokio::test]
async fn a_held_request_is_applied_when_the_gate_opens_although_the_client_has_gone() {
    let gate = Gate::new();
    let (endpoint, proxy) = with(Fault::HoldRequest(Until::Gate(gate.clone()))).await;
    let mut client = Client::connect(proxy.address()).await;
    tokio::select! {
        _ = client.call("PUT", "/b/k", "late") => panic!("the gate is shut"),
        () = gate.arrived(1) => {}
    }
    drop(client);
    assert_eq!(call(proxy.address(), "PUT", "/b/k", "early").await.unwrap().status, 200);
    assert_eq!(endpoint.bodies(), ["early"]);
    gate.open();
    proxy.idle().await;
    assert_eq!(endpoint.bodies(), ["early", "late"]);
    assert_eq!(endpoint.object("/b/k").unwrap(), "late");
}

#[tokio::test]
async fn a_held_request_is_answered_when_the_client_has_waited() {
    let gate = Gate::new();
    let (endpoint, proxy) = with(Fault::HoldRequest(Until::Gate(gate.clone()))).await;
    let address = proxy.address();
    let waiting = tokio::spawn(async move { call(address, "PUT", "/b/k", "one").await.unwrap().status });
    gate.arrived(1).await;
    assert!(endpoint.got().is_empty());
    gate.open();
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn a_request_can_be_held_until_the_client_hangs_up() {
    let (endpoint, proxy) = with(Fault::HoldRequest(Until::ClientGone)).await;
    let put = b"PUT /b/k HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nlate";
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(put).await.unwrap();
    while proxy.count() == 0 {
        tokio::task::yield_now().await;
    }
    // More than enough turns for a request that is not held.
    for _ in 0..10 {
        assert_eq!(call(proxy.address(), "GET", "/b/k", "").await.unwrap().status, 404);
    }
    drop(stream);
    proxy.idle().await;
    assert_eq!(endpoint.object("/b/k").unwrap(), "late");
}

#[tokio::test(start_paused = true)]
async fn a_request_can_be_held_for_a_time() {
    let (_endpoint, proxy) = with(Fault::HoldRequest(Until::After(LONG))).await;
    let start = tokio::time::Instant::now();
    assert_eq!(call(proxy.address(), "PUT", "/b/k", "one").await.unwrap().status, 200);
    assert!(start.elapsed() >= LONG, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_held_reply_is_of_a_request_that_was_applied() {
    let gate = Gate::new();
    let (endpoint, proxy) = with(Fault::HoldReply(Until::Gate(gate.clone()))).await;
    let address = proxy.address();
    let waiting = tokio::spawn(async move { call(address, "PUT", "/b/k", "one").await.unwrap().status });
    gate.arrived(1).await;
    assert_eq!(endpoint.bodies(), ["one"]);
    assert!(!waiting.is_finished());
    gate.open();
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn an_answer_of_its_own_is_in_s3s_form_and_applies_nothing() {
    for (answer, status, code) in [
        (Answer::conflict(), 409, "ConditionalRequestConflict"),
        (Answer::precondition_failed(), 412, "PreconditionFailed"),
        (Answer::too_many_requests(), 429, "TooManyRequests"),
        (Answer::internal_error(), 500, "InternalError"),
        (Answer::slow_down(), 503, "SlowDown"),
        (Answer::unavailable(), 503, "ServiceUnavailable"),
        (Answer::no_such_key(), 404, "NoSuchKey"),
        (Answer::new(418, "Teapot", "short and stout"), 418, "Teapot"),
    ] {
        let (endpoint, proxy) = with(Fault::Answer(answer)).await;
        let mut client = Client::connect(proxy.address()).await;
        let called = client.call("PUT", "/b/a&b", "one").await.unwrap();
        assert_eq!(called.status, status);
        assert_eq!(called.headers["content-type"], "application/xml");
        let body = String::from_utf8(called.body.unwrap().to_vec()).unwrap();
        assert!(body.contains(&format!("<Error><Code>{code}</Code>")), "{body}");
        assert!(body.contains("<Resource>/b/a&amp;b</Resource>"), "{body}");
        assert!(endpoint.got().is_empty());
        // The connection lives on.
        assert_eq!(client.call("PUT", "/b/k", "two").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn an_answer_after_applying_replaces_the_servers_own() {
    let (endpoint, proxy) = with(Fault::AnswerApplied(Answer::slow_down().retry_after(7))).await;
    let mut client = Client::connect(proxy.address()).await;
    let called = client.call("PUT", "/b/k", "one").await.unwrap();
    assert_eq!(called.status, 503);
    assert_eq!(called.headers["retry-after"], "7");
    assert!(!called.headers.contains_key("etag"));
    assert_eq!(endpoint.bodies(), ["one"]);
    assert_eq!(client.call("GET", "/b/k", "").await.unwrap().body.unwrap(), "one");
}

#[tokio::test]
async fn an_answer_can_come_without_a_document_and_to_a_head_has_none() {
    let (_endpoint, proxy) = with(Fault::Answer(Answer::unavailable().without_body())).await;
    proxy.script(When::method("HEAD"), [Fault::Answer(Answer::no_such_key())]);
    let mut client = Client::connect(proxy.address()).await;
    let called = client.call("GET", "/b/k", "").await.unwrap();
    assert_eq!((called.status.as_u16(), called.body.unwrap().len()), (503, 0));
    let called = client.call("HEAD", "/b/k", "").await.unwrap();
    assert_eq!((called.status.as_u16(), called.body.unwrap().len()), (404, 0));
    assert_eq!(client.call("PUT", "/b/k", "one").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_truncated_reply_stops_at_that_byte_and_promises_the_whole() {
    let object: Vec<u8> = (0..1_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    for (bytes, arrive) in [(0, 0), (1, 1), (499_999, 499_999), (999_999, 999_999), (5_000_000, 999_999)] {
        let (endpoint, proxy) = with(Fault::TruncateReply { bytes }).await;
        endpoint.set("/b/k", object.clone());
        let reply = raw(&proxy, b"GET /b/k HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&reply[..end]);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(head.contains("content-length: 1000000"), "{head}");
        assert!(reply[end..] == object[..arrive], "{} bytes of {arrive}", reply.len() - end);
    }
}

#[tokio::test]
async fn a_reply_without_a_body_cannot_be_truncated() {
    let (_endpoint, proxy) = with(Fault::TruncateReply { bytes: 0 }).await;
    proxy.script(When::any(), [Fault::TruncateReply { bytes: 0 }]);
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.call("PUT", "/b/k", "one").await.unwrap().status, 200);
    let called = client.call("HEAD", "/b/k", "").await.unwrap();
    assert_eq!((called.status.as_u16(), called.headers["content-length"].to_str().unwrap()), (200, "3"));
    assert_eq!(proxy.scripted_left(), 0);
}

#[tokio::test]
async fn a_cut_request_can_stay_unseen() {
    for bytes in [0, 1, 2, 3, 1_000] {
        let (endpoint, proxy) = with(Fault::CutRequest { bytes, forward: false }).await;
        call(proxy.address(), "PUT", "/b/k", "one").await.unwrap_err();
        proxy.idle().await;
        assert_eq!(endpoint.connections(), 0);
    }
}

#[tokio::test]
async fn a_cut_request_can_reach_the_server_in_part() {
    for (bytes, arrive) in [(0, ""), (2, "on"), (1_000, "on")] {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultProxy::start(upstream.local_addr().unwrap());
        proxy.script(When::any(), [Fault::CutRequest { bytes, forward: true }]);
        let server = async {
            let (mut stream, _) = upstream.accept().await.unwrap();
            let mut request = String::new();
            stream.read_to_string(&mut request).await.unwrap();
            request
        };
        let (failed, request) = tokio::join!(call(proxy.address(), "PUT", "/b/k", "one"), server);
        failed.unwrap_err();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("PUT /b/k HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-length: 3"), "{head}");
        assert_eq!(body, arrive);
    }
}

#[tokio::test]
async fn a_cut_request_without_a_body_never_arrives() {
    let (endpoint, proxy) = with(Fault::CutRequest { bytes: 9, forward: true }).await;
    call(proxy.address(), "GET", "/b/k", "").await.unwrap_err();
    assert_eq!(endpoint.connections(), 0);
}

#[tokio::test]
async fn a_reset_is_one_and_the_server_hears_nothing() {
    let (endpoint, proxy) = with(Fault::Reset).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"PUT /b/k HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(endpoint.connections(), 0);
}

#[tokio::test]
async fn a_duplicate_comes_again_after_others_have_written() {
    let gate = Gate::new();
    let (endpoint, proxy) = with(Fault::Duplicate(Until::Gate(gate.clone()))).await;
    assert_eq!(call(proxy.address(), "PUT", "/b/k", "one").await.unwrap().headers["etag"], "\"tag\"");
    assert_eq!(call(proxy.address(), "PUT", "/b/k", "two").await.unwrap().status, 200);
    assert_eq!(endpoint.bodies(), ["one", "two"]);
    gate.open();
    proxy.idle().await;
    assert_eq!(endpoint.bodies(), ["one", "two", "one"]);
    let got = endpoint.got();
    assert_eq!(got[0].head.headers, got[2].head.headers);
    assert_eq!(got[0].head.uri, got[2].head.uri);
}

#[tokio::test]
async fn a_duplicate_comes_at_once_when_it_waits_for_the_call_only() {
    let (endpoint, proxy) = with(Fault::Duplicate(Until::ClientGone)).await;
    let mut client = Client::connect(proxy.address()).await;
    client.call("PUT", "/b/k", "one").await.unwrap();
    proxy.idle().await;
    assert_eq!(endpoint.bodies(), ["one", "one"]);
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_swallows_and_never_answers() {
    let (endpoint, proxy) = with(Fault::BlackHole).await;
    let mut client = Client::connect(proxy.address()).await;
    tokio::time::timeout(LONG, client.call("PUT", "/b/k", "one")).await.unwrap_err();
    proxy.idle().await;
    assert_eq!(endpoint.connections(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_to_keep_is_refused_aloud() {
    for fault in [Fault::HoldRequest(Until::ClientGone), Fault::Duplicate(Until::ClientGone)] {
        let (endpoint, proxy) = with(fault).await;
        let put = format!("PUT /b/k HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(put.as_bytes()).await.unwrap();
        stream.write_all(&vec![0; BODY_BYTES_MAX + 1]).await.unwrap();
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"HTTP/1.1 413");
        assert_eq!(endpoint.connections(), 0);
    }
}

#[tokio::test]
async fn what_is_held_is_dropped_with_the_proxy() {
    let gate = Gate::new();
    let (endpoint, proxy) = with(Fault::HoldRequest(Until::Gate(gate.clone()))).await;
    let address = proxy.address();
    let waiting = tokio::spawn(async move { call(address, "PUT", "/b/k", "one").await.is_err() });
    gate.arrived(1).await;
    drop(proxy);
    assert!(waiting.await.unwrap(), "its connection is closed");
    gate.open();
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(endpoint.got().is_empty());
}
