//! What meets no fault passes unchanged; and which fault meets which request.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use leasehold_fault_proxy::{Answer, BODY_BYTES_MAX, Fault, FaultProxy, Gate, Rates, Until, When};
use support::{Client, Endpoint, call};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

async fn calm() -> (Endpoint, FaultProxy) {
    let endpoint = Endpoint::start().await;
    let proxy = FaultProxy::start(endpoint.address);
    (endpoint, proxy)
}

#[tokio::test]
async fn every_byte_of_a_request_that_may_be_signed_passes() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(upstream.local_addr().unwrap());
    let request = "PUT /b//a%2Fb/%C3%A9%20x/%2e./~!$&'()*+,;=:@?list-type=2&prefix=%2B+/&x HTTP/1.1\r\n\
        host: signed.example:8443\r\n\
        authorization: AWS4-HMAC-SHA256 Credential=A/b, SignedHeaders=host, Signature=00ff\r\n\
        x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n\
        x-amz-meta-note:  two  spaces \r\n\
        x-amz-meta-note: again\r\n\
        if-none-match: *\r\n\
        content-length: 3\r\n\
        \r\n\
        one";
    let reply = "HTTP/1.1 207 Odd Status\r\n\
        etag: \"abc\"\r\n\
        x-amz-meta-a:  b\r\n\
        content-length: 2\r\n\
        \r\n\
        ok";
    let server = async {
        let (mut stream, _) = upstream.accept().await.unwrap();
        let mut got = vec![0; 4_096];
        let mut length = 0;
        while !got[..length].ends_with(b"\r\n\r\none") {
            length += stream.read(&mut got[length..]).await.unwrap();
        }
        stream.write_all(reply.as_bytes()).await.unwrap();
        String::from_utf8(got[..length].to_vec()).unwrap()
    };
    let client = async {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut got = vec![0; 4_096];
        let mut length = 0;
        while !got[..length].ends_with(b"\r\n\r\nok") {
            length += stream.read(&mut got[length..]).await.unwrap();
        }
        String::from_utf8(got[..length].to_vec()).unwrap()
    };
    let (sent, answered) = tokio::join!(server, client);
    assert_eq!(lines(&sent), lines(request));
    assert_eq!(lines(&answered), lines(reply));
}

/// First line, headers in any order and without the spaces around them, which are not part of HTTP's message, body.
fn lines(message: &str) -> Vec<String> {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap().to_owned();
    let mut headers: Vec<String> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            format!("{name}: {}", value.trim())
        })
        .collect();
    headers.sort();
    [vec![first], headers, vec![body.to_owned()]].concat()
}

#[tokio::test]
async fn a_client_connection_uses_one_upstream_connection() {
    let (endpoint, proxy) = calm().await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..20 {
        assert_eq!(client.call("PUT", "/b/k", "one").await.unwrap().status, 200);
        assert_eq!(client.call("GET", "/b/k", "").await.unwrap().body.unwrap(), "one");
    }
    assert_eq!(endpoint.connections(), 1);
    assert_eq!(proxy.count(), 40);
    assert_eq!(endpoint.got().len(), 40);
}

#[tokio::test]
async fn an_upstream_that_closes_idle_connections_is_reached_again() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(upstream.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for _ in 0..20 {
            let (mut stream, _) = upstream.accept().await.unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"\r\n\r\none") {
                stream.read_buf(&mut got).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    });
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..20 {
        assert_eq!(client.call("PUT", "/b/k", "one").await.unwrap().status, 200);
    }
    server.await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_is_down_is_no_answer() {
    let (endpoint, proxy) = calm().await;
    let mut client = Client::connect(proxy.address()).await;
    client.call("PUT", "/b/k", "one").await.unwrap();
    drop(endpoint);
    assert!(client.call("PUT", "/b/k", "one").await.unwrap_err().is_incomplete_message());
}

#[tokio::test]
async fn a_body_larger_than_what_is_kept_streams_through() {
    let (endpoint, proxy) = calm().await;
    let body = Bytes::from(vec![7; BODY_BYTES_MAX + 1]);
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.call("PUT", "/b/k", body.clone()).await.unwrap().status, 200);
    assert!(endpoint.object("/b/k").unwrap() == body);
    assert!(client.call("GET", "/b/k", "").await.unwrap().body.unwrap() == body);
}

#[tokio::test]
async fn hundreds_of_requests_wait_at_once() {
    let gate = Gate::new();
    let (endpoint, proxy) = calm().await;
    proxy.always(When::any(), Fault::HoldRequest(Until::Gate(gate.clone())));
    let mut calls = JoinSet::new();
    for n in 0..256 {
        let address = proxy.address();
        calls.spawn(async move { call(address, "PUT", &format!("/b/{n}"), "x").await.unwrap().status });
    }
    gate.arrived(256).await;
    assert_eq!(endpoint.connections(), 0);
    gate.open();
    assert!(calls.join_all().await.iter().all(|status| status.is_success()));
}

#[tokio::test(start_paused = true)]
async fn latency_is_added_to_every_request() {
    let (_endpoint, proxy) = calm().await;
    let latency = Duration::from_secs(100);
    proxy.set_latency(latency);
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..3 {
        let start = tokio::time::Instant::now();
        assert_eq!(client.call("PUT", "/b/k", "x").await.unwrap().status, 200);
        assert!(start.elapsed() >= latency);
    }
    proxy.set_latency(Duration::ZERO);
    let start = tokio::time::Instant::now();
    client.call("PUT", "/b/k", "x").await.unwrap();
    assert!(start.elapsed() < latency);
}

#[tokio::test]
async fn a_script_meets_the_requests_it_is_for_in_order() {
    let (endpoint, proxy) = calm().await;
    let busy = || Fault::Answer(Answer::slow_down());
    proxy.script(
        When::method("PUT").path_contains("/k"),
        [Fault::Pass, busy(), Fault::Answer(Answer::conflict())],
    );
    let mut client = Client::connect(proxy.address()).await;
    let mut statuses = Vec::new();
    for (method, path) in [
        ("PUT", "/b/other"),
        ("PUT", "/b/k"),
        ("GET", "/b/k"),
        ("PUT", "/b/k"),
        ("PUT", "/b/k"),
        ("PUT", "/b/k"),
    ] {
        statuses.push(client.call(method, path, "").await.unwrap().status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 503, 409, 200]);
    assert_eq!(proxy.scripted_left(), 0);
    assert_eq!(endpoint.got().len(), 4);
    assert_eq!(proxy.count_of(&When::method("PUT").path_contains("/k")), 4);
    let faults: Vec<bool> =
        proxy.requests().iter().map(|seen| matches!(seen.fault, Fault::Answer(_))).collect();
    assert_eq!(faults, [false, false, false, true, true, false]);
}

#[tokio::test]
async fn a_fault_can_be_for_a_query_or_a_header() {
    let (_endpoint, proxy) = calm().await;
    proxy.always(When::any().query_contains("uploadId="), Fault::Answer(Answer::no_such_upload()));
    proxy.always(When::any().header("if-match"), Fault::Answer(Answer::precondition_failed()));
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.call("PUT", "/b/k?partNumber=1&uploadId=x", "").await.unwrap().status, 404);
    assert_eq!(client.call("PUT", "/b/k?partNumber=1", "").await.unwrap().status, 200);
    let conditional = || {
        let request = Request::builder().method("PUT").uri("/b/k").header("host", "h");
        request.header("if-match", "\"x\"").body(Full::default()).unwrap()
    };
    assert_eq!(client.send(conditional()).await.unwrap().status, 412);
    proxy.calm();
    assert_eq!(client.send(conditional()).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_log_says_what_came_and_can_be_forgotten() {
    let (_endpoint, proxy) = calm().await;
    let mut client = Client::connect(proxy.address()).await;
    client.call("PUT", "/b/%20?x=1", "").await.unwrap();
    client.call("GET", "/b/k", "").await.unwrap();
    let seen = proxy.requests();
    assert_eq!(
        (seen[0].method.as_str(), &*seen[0].path, seen[0].query.as_deref()),
        ("PUT", "/b/%20", Some("x=1"))
    );
    assert_eq!((seen[1].method.as_str(), &*seen[1].path, seen[1].query.as_deref()), ("GET", "/b/k", None));
    assert_eq!(seen[1].headers["host"], proxy.address().to_string());
    assert!(seen[0].at <= seen[1].at);
    proxy.forget();
    assert_eq!((proxy.count(), proxy.requests().len()), (0, 0));
}

#[tokio::test]
async fn under_every_fault_at_random_what_is_acknowledged_is_applied() {
    let (endpoint, proxy) = calm().await;
    proxy.random(42, Rates { hold_max: Duration::from_millis(2), ..Rates::even(0.6) });
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let address = proxy.address();
        writers.spawn(async move {
            let (mut acknowledged, mut unanswered) = (Vec::new(), 0);
            for n in 0..100 {
                let path = format!("/b/{writer}-{n}");
                // A request that is held until the client hangs up would wait for ever without a limit.
                let call = call(address, "PUT", &path, "x");
                match tokio::time::timeout(Duration::from_millis(100), call).await {
                    Ok(Ok(called)) if called.status == 200 => acknowledged.push(path),
                    Ok(Ok(called)) => assert!([409, 429, 500, 503].contains(&called.status.as_u16())),
                    Ok(Err(_)) | Err(_) => unanswered += 1,
                }
            }
            (acknowledged, unanswered)
        });
    }
    let outcomes = writers.join_all().await;
    proxy.idle().await;
    let acknowledged: Vec<&String> = outcomes.iter().flat_map(|(acknowledged, _)| acknowledged).collect();
    assert!(acknowledged.iter().all(|path| endpoint.object(path).is_some()));
    assert!(!acknowledged.is_empty());
    assert!(outcomes.iter().any(|(_, unanswered)| *unanswered > 0));
}
