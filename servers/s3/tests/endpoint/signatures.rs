//! Who is let in.

use std::time::Duration;

use aws_sdk_s3::{
    Client, config::Credentials as AwsCredentials, error::ProvideErrorMetadata as _,
    presigning::PresigningConfig, primitives::ByteStream,
};
use aws_sigv4::http_request::SignableBody;
use leasehold_core::{Clock, Store, SystemClock};
use leasehold_memory::Memory;
use leasehold_s3_server::Credentials;

use crate::{
    support::{ACCESS, BUCKET, Place, SECRET, client, config, refused},
    wire::{Request, Wire, ask},
};

const HOUR: i64 = 3_600;

#[tokio::test]
async fn only_the_right_secret_is_let_in() {
    let place = Place::new().await;
    let url = place.server.url();
    refused(client(&url, ACCESS, "wrong").list_buckets().send().await, 403, "SignatureDoesNotMatch");
    refused(client(&url, "nobody", SECRET).list_buckets().send().await, 403, "InvalidAccessKeyId");
    let unsigned = Client::from_conf(
        config(&url, AwsCredentials::new("", "", None, None, "test")).allow_no_auth().build(),
    );
    let _ = unsigned;
    let mut wire = Wire::open(&place.server).await;
    wire.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "").await.refused(403, "AccessDenied");
}

#[tokio::test]
async fn a_request_of_another_time_is_refused() {
    let place = Place::new().await;
    for ahead in [-HOUR, HOUR, -16 * 60, 16 * 60] {
        let request = Request { ahead, ..Request::default() };
        ask(&place.server, request, "").await.refused(403, "RequestTimeTooSkewed");
    }
    for ahead in [-14 * 60, 14 * 60] {
        assert_eq!(ask(&place.server, Request { ahead, ..Request::default() }, "").await.status, 200);
    }
}

#[tokio::test]
async fn what_the_signature_does_not_cover_is_refused() {
    let place = Place::new().await;
    let put = |unsigned| Request {
        method: "PUT",
        path: "/bucket/k",
        headers: &[("content-length", "1")],
        unsigned,
        payload: SignableBody::UnsignedPayload,
        ..Request::default()
    };
    let answer = ask(&place.server, put(&[("x-amz-meta-added", "by somebody")]), "x").await;
    answer.refused(403, "AccessDenied");
    assert_eq!(place.get("k").await, None);
    assert_eq!(ask(&place.server, put(&[("x-other", "harmless")]), "x").await.status, 200);
}

#[tokio::test]
async fn a_presigned_url_holds_for_its_time_and_its_request() {
    let place = Place::new().await;
    place.put("k", "content").await;
    let get = |start: Duration, lasts: u64| {
        let time = SystemClock.wall() - start;
        let config =
            PresigningConfig::builder().start_time(time).expires_in(Duration::from_secs(lasts)).build();
        place.client.get_object().bucket(BUCKET).key("k").presigned(config.unwrap())
    };
    let head = |uri: &str| {
        let path = uri.split_once(&place.server.address().to_string()).unwrap().1;
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", place.server.address())
    };
    let good = get(Duration::ZERO, 60).await.unwrap();
    let answer = Wire::open(&place.server).await.ask(&head(good.uri()), "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "content"));
    // An hour old, and made for two.
    let old = get(Duration::from_secs(3_600), 7_200).await.unwrap();
    assert_eq!(Wire::open(&place.server).await.ask(&head(old.uri()), "").await.status, 200);
    let expired = get(Duration::from_secs(3_600), 60).await.unwrap();
    Wire::open(&place.server).await.ask(&head(expired.uri()), "").await.refused(403, "AccessDenied");
    let other = good.uri().replace("/bucket/k?", "/bucket/other?");
    Wire::open(&place.server).await.ask(&head(&other), "").await.refused(403, "SignatureDoesNotMatch");
    let longer = good.uri().replace("X-Amz-Expires=60", "X-Amz-Expires=600");
    Wire::open(&place.server).await.ask(&head(&longer), "").await.refused(403, "SignatureDoesNotMatch");
    let for_ever = good.uri().replace("X-Amz-Expires=60", "X-Amz-Expires=700000");
    let answer = Wire::open(&place.server).await.ask(&head(&for_ever), "").await;
    answer.refused(400, "AuthorizationQueryParametersError");

    let config = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let put = place
        .client
        .put_object()
        .bucket(BUCKET)
        .key("put")
        .if_none_match("*")
        .presigned(config)
        .await
        .unwrap();
    let path = put.uri().split_once(&place.server.address().to_string()).unwrap().1.to_owned();
    let mut request =
        format!("PUT {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: 3\r\n", place.server.address());
    for (name, value) in put.headers() {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    assert_eq!(Wire::open(&place.server).await.ask(&request, "new").await.status, 200);
    Wire::open(&place.server).await.ask(&request, "old").await.refused(412, "PreconditionFailed");
    assert_eq!(place.get("put").await.unwrap(), b"new");
}

#[tokio::test]
async fn temporary_credentials_need_their_token() {
    let place = Place::with(Store::new(Memory::new()), |server| {
        server.credentials(Credentials::new("temporary", "secret").session_token("token"))
    })
    .await;
    let with = |access_key: &str, secret: &str, token: Option<&str>| {
        let credentials = AwsCredentials::new(access_key, secret, token.map(str::to_owned), None, "test");
        Client::from_conf(config(&place.server.url(), credentials).build())
    };
    with("temporary", "secret", Some("token")).list_buckets().send().await.unwrap();
    for (access_key, secret, token) in [
        ("temporary", "secret", None),
        ("temporary", "secret", Some("other")),
        (ACCESS, SECRET, Some("token")),
    ] {
        refused(with(access_key, secret, token).list_buckets().send().await, 400, "InvalidToken");
    }
}

#[tokio::test]
async fn another_region_is_refused_where_one_is_named() {
    let place = Place::with(Store::new(Memory::new()), |server| server.region("eu-west-1")).await;
    let told = place.client.list_buckets().send().await.unwrap_err();
    assert!(told.message().unwrap().contains("eu-west-1"));
    refused::<(), _>(Err(told), 400, "AuthorizationHeaderMalformed");
    let elsewhere = Place::with(Store::new(Memory::new()), |server| server.region("us-east-1")).await;
    elsewhere.client.list_buckets().send().await.unwrap();
}

#[tokio::test]
async fn old_signatures_and_forms_are_refused() {
    let place = Place::new().await;
    for (head, status, code) in [
        (
            "GET / HTTP/1.1\r\nhost: x\r\nauthorization: AWS access:c2ln\r\ndate: x\r\n\r\n",
            400,
            "InvalidRequest",
        ),
        (
            "GET /bucket/k?AWSAccessKeyId=access&Signature=x&Expires=1 HTTP/1.1\r\nhost: x\r\n\r\n",
            400,
            "InvalidRequest",
        ),
        (
            "POST /bucket HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 0\r\n\r\n",
            501,
            "NotImplemented",
        ),
    ] {
        Wire::open(&place.server).await.ask(head, "").await.refused(status, code);
    }
}

#[tokio::test]
async fn an_anonymous_server_lets_in_whoever_does_not_sign() {
    let store = Store::new(Memory::new());
    let server = leasehold_s3_server::S3Server::new(store.clone()).anonymous().bucket(BUCKET);
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let mut wire = Wire::open(&server).await;
    let answer = wire.ask("PUT /bucket/k HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n", "x").await;
    assert_eq!(answer.status, 200);
    assert_eq!(wire.ask("GET /bucket/k HTTP/1.1\r\nhost: x\r\n\r\n", "").await.body, "x");
    // Bodies in chunks can be read only with the signature they hang on.
    let chunked =
        "PUT /bucket/c HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-encoding: aws-chunked\r\n\r\n";
    wire.ask(chunked, "x").await.refused(501, "NotImplemented");
    let hash = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let lied = format!(
        "PUT /bucket/c HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\nx-amz-content-sha256: {hash}\r\n\r\n"
    );
    Wire::open(&server).await.ask(&lied, "x").await.refused(400, "XAmzContentSHA256Mismatch");
    assert!(store.get("bucket/c").await.unwrap().is_none());
    let signed = client(&server.url(), ACCESS, SECRET);
    let put = signed.put_object().bucket(BUCKET).key("c").body(ByteStream::from_static(b"x"));
    refused(put.send().await, 501, "NotImplemented");
}

#[tokio::test]
async fn a_scope_of_another_service_is_refused_before_the_body_is_read() {
    let place = Place::new().await;
    for scope in ["sts/aws4_request", "s3/aws5_request", "s3"] {
        for request in [
            format!(
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nauthorization: AWS4-HMAC-SHA256 Credential=access/20260101/us-east-1/{scope}, SignedHeaders=host, Signature=00\r\n\r\n"
            ),
            format!(
                "POST /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00&X-Amz-Credential=access%2F20260101%2Fus-east-1%2F{} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n",
                scope.replace('/', "%2F")
            ),
        ] {
            let answer = Wire::open(&place.server).await.ask(&request, "").await;
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.body.contains("scope"), "{answer:?}");
        }
    }
    let mut wire = Wire::open(&place.server).await;
    wire.ask("GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\r\n", "")
        .await
        .refused(400, "AuthorizationHeaderMalformed");
}
