//! Bodies that are cut, too long, or not what their digests say.

use aws_sdk_s3::primitives::ByteStream;
use aws_sigv4::http_request::SignableBody;
use leasehold_core::{Limits, Store};
use leasehold_memory::Memory;

use crate::{
    support::{BUCKET, Place, refused},
    wire::{Request, Wire, ask},
};

const OTHER_HASH: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn put<'r>(headers: &'r [(&'r str, &'r str)], payload: SignableBody<'r>) -> Request<'r> {
    Request { method: "PUT", path: "/bucket/k", headers, payload, ..Request::default() }
}

/// That nothing but the record of the bucket is there.
async fn untouched(place: &Place) {
    let left: Vec<_> = place.store.list("").await.unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(left.iter().map(|key| key.as_str()).collect::<Vec<_>>(), ["_s3/buckets/bucket"]);
}

#[tokio::test]
async fn a_body_that_is_cut_off_leaves_nothing() {
    let place = Place::new().await;
    for size in [100, 1 << 20] {
        let length = size.to_string();
        let head = put(&[("content-length", &length)], SignableBody::UnsignedPayload).signed(&place.server);
        let mut wire = Wire::open(&place.server).await;
        wire.send(head).await;
        wire.send(vec![b'x'; size - 1]).await;
        if let Some(answer) = wire.cut().await {
            answer.refused(400, "IncompleteBody");
        }
        untouched(&place).await;
    }
}

#[tokio::test]
async fn digests_that_do_not_match_are_refused_before_anything_is_written() {
    let place = Place::new().await;
    for size in [100, 1 << 20] {
        let (length, body) = (size.to_string(), vec![b'x'; size]);
        let length = ("content-length", length.as_str());
        let precomputed = |hash: &'static str| SignableBody::Precomputed(hash.to_owned());
        let unsigned = || SignableBody::UnsignedPayload;
        for (header, payload, code) in [
            (("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="), unsigned(), "BadDigest"),
            (("content-md5", "not a digest"), unsigned(), "InvalidDigest"),
            (("x-amz-checksum-crc32", "AAAAAA=="), unsigned(), "BadDigest"),
            (("x-amz-checksum-crc32c", "AAAAAA=="), unsigned(), "BadDigest"),
            (("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="), unsigned(), "BadDigest"),
            (("x-amz-checksum-sha1", "AAAAAA=="), unsigned(), "BadDigest"),
            (("x-amz-checksum-sha256", "AAAAAA=="), unsigned(), "BadDigest"),
            (("x-other", "x"), precomputed(OTHER_HASH), "XAmzContentSHA256Mismatch"),
        ] {
            let answer = ask(&place.server, put(&[length, header], payload), &body).await;
            answer.refused(400, code);
        }
        ask(&place.server, put(&[length, ("x-amz-checksum-md5", "x")], unsigned()), &body)
            .await
            .refused(501, "NotImplemented");
        untouched(&place).await;
    }
}

#[tokio::test]
async fn a_checksum_behind_the_body_is_compared_too() {
    let place = Place::new().await;
    for size in [5, 1 << 20] {
        let body = "x".repeat(size);
        let length = size.to_string();
        for (trailer, refusal) in [
            ("x-amz-checksum-crc32:AAAAAA==\r\n", Some("BadDigest")),
            ("", Some("MalformedTrailerError")),
            ("x-amz-checksum-crc32c:AAAAAA==\r\n", Some("MalformedTrailerError")),
        ] {
            let chunks = format!("{size:x}\r\n{body}\r\n0\r\n{trailer}\r\n");
            let on_the_wire = chunks.len().to_string();
            let headers = [
                ("content-length", on_the_wire.as_str()),
                ("x-amz-decoded-content-length", &length),
                ("content-encoding", "aws-chunked"),
                ("x-amz-trailer", "x-amz-checksum-crc32"),
            ];
            let request = put(&headers, SignableBody::StreamingUnsignedPayloadTrailer);
            let answer = ask(&place.server, request, &chunks).await;
            match refusal {
                Some(code) => answer.refused(400, code),
                None => assert_eq!(answer.status, 200),
            }
        }
        untouched(&place).await;
    }
    // The client sends one of its own.
    let sent = place
        .client
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .body(ByteStream::from(vec![1; 1 << 20]))
        .send()
        .await;
    assert!(sent.unwrap().checksum_crc32().is_some());
    let head = place.client.head_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!((head.content_length(), head.content_encoding()), (Some(1 << 20), None));
}

#[tokio::test]
async fn chunks_that_are_fewer_or_more_than_announced_are_refused() {
    let place = Place::new().await;
    for (announced, chunks) in [
        ("6", "5\r\nhello\r\n0\r\n\r\n"),
        ("4", "5\r\nhello\r\n0\r\n\r\n"),
        ("5", "nonsense"),
        ("5", "5\r\nhel"),
    ] {
        let on_the_wire = chunks.len().to_string();
        let headers = [
            ("content-length", on_the_wire.as_str()),
            ("x-amz-decoded-content-length", announced),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
        ];
        let request = put(&headers, SignableBody::StreamingUnsignedPayloadTrailer);
        ask(&place.server, request, chunks).await.refused(400, "IncompleteBody");
        untouched(&place).await;
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_refused() {
    let place = Place::new().await;
    let request = put(&[("transfer-encoding", "chunked")], SignableBody::UnsignedPayload);
    ask(&place.server, request, "1\r\nx\r\n0\r\n\r\n").await.refused(411, "MissingContentLength");
    untouched(&place).await;
}

#[tokio::test]
async fn a_body_over_the_stores_limit_is_refused_by_its_length() {
    let memory = Memory::new().limits(Limits { value_bytes_max: 1_000, ..Limits::default() });
    let place = Place::with(Store::new(memory), |server| server.part_bytes_min(1)).await;
    let request =
        put(&[("content-length", "1001"), ("expect", "100-continue")], SignableBody::UnsignedPayload);
    let head = request.signed(&place.server);
    // Not one byte of it is asked for.
    let mut wire = Wire::open(&place.server).await;
    wire.send(head).await;
    wire.receive().await.unwrap().refused(400, "EntityTooLarge");
    untouched(&place).await;
    place.put("k", vec![0; 1_000]).await;

    let begun = place.client.create_multipart_upload().bucket(BUCKET).key("parts").send().await.unwrap();
    let id = begun.upload_id().unwrap();
    let mut parts = Vec::new();
    for number in [1, 2] {
        let part = place.client.upload_part().bucket(BUCKET).key("parts").upload_id(id).part_number(number);
        let stored = part.body(ByteStream::from(vec![0; 501])).send().await.unwrap();
        let named = aws_sdk_s3::types::CompletedPart::builder().part_number(number);
        parts.push(named.set_e_tag(stored.e_tag).build());
    }
    let upload = aws_sdk_s3::types::CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = place.client.complete_multipart_upload().bucket(BUCKET).key("parts").upload_id(id);
    refused(complete.multipart_upload(upload).send().await, 400, "EntityTooLarge");
}

fn crc32(body: &[u8]) -> String {
    let mut hasher = s3s::checksum::ChecksumHasher { crc32: Some(Default::default()), ..Default::default() };
    hasher.update(body);
    hasher.finalize().checksum_crc32.unwrap()
}

#[tokio::test]
async fn one_chunk_may_be_the_whole_body_where_it_is_not_signed() {
    let place = Place::new().await;
    for size in [5, 20 << 20] {
        let body = vec![b'x'; size];
        let length = size.to_string();
        let mut chunks = format!("{size:016x}\r\n").into_bytes();
        chunks.extend_from_slice(&body);
        chunks
            .extend_from_slice(format!("\r\n0\r\nx-amz-checksum-crc32:{}\r\n\r\n", crc32(&body)).as_bytes());
        let on_the_wire = chunks.len().to_string();
        let headers = [
            ("content-length", on_the_wire.as_str()),
            ("x-amz-decoded-content-length", &length),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
        ];
        let request = put(&headers, SignableBody::StreamingUnsignedPayloadTrailer);
        assert_eq!(ask(&place.server, request, &chunks).await.status, 200);
        assert!(place.get("k").await.unwrap() == body, "{size}");
    }
}

#[tokio::test]
async fn a_signed_chunk_that_is_too_large_is_refused_before_it_is_sent() {
    let place = Place::new().await;
    let headers = [("content-length", "40000000"), ("x-amz-decoded-content-length", "33554432")];
    let payload = SignableBody::Precomputed("STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into());
    for size in ["2000000", "102000000"] {
        let head = format!("{size};chunk-signature={}\r\n", "0".repeat(64));
        let answer = ask(&place.server, put(&headers, payload.clone()), head).await;
        answer.refused(400, "EntityTooLarge");
    }
    untouched(&place).await;
}

#[tokio::test]
async fn the_digest_of_a_document_is_compared_whatever_its_encoding_says() {
    let place = Place::new().await;
    place.put("k", "x").await;
    let body = "<Delete><Object><Key>k</Key></Object></Delete>";
    let length = body.len().to_string();
    let headers = [
        ("content-length", length.as_str()),
        ("content-encoding", "aws-chunked"),
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let request = Request {
        method: "POST",
        path: "/bucket?delete",
        headers: &headers,
        payload: SignableBody::UnsignedPayload,
        ..Request::default()
    };
    ask(&place.server, request, body).await.refused(400, "BadDigest");
    assert!(place.get("k").await.is_some());
}
