//! Objects one by one.

use aws_sdk_s3::{primitives::ByteStream, types::ChecksumMode};
use leasehold_core::Store;
use leasehold_fs::Fs;

use crate::{
    support::{BUCKET, Place, refused},
    wire::{Request, ask},
};

#[tokio::test]
async fn an_object_comes_back_as_it_was_put() {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = Fs::open(directory.path()).await.unwrap();
    for place in [Place::new().await, Place::over(Store::new(on_disk)).await] {
        for (key, length) in [("empty", 0), ("small", 5), ("a/b c/é+%&?=", 1_000), ("large", 1 << 20)] {
            let bytes: Vec<u8> = (0..length).map(|_| fastrand::u8(..)).collect();
            let tag = place.put(key, bytes.clone()).await;
            assert_eq!(place.get(key).await.as_deref(), Some(&*bytes), "{key}");
            let head = place.client.head_object().bucket(BUCKET).key(key).send().await.unwrap();
            assert_eq!(head.e_tag(), Some(&*tag));
            assert_eq!(head.content_length(), Some(length));
            assert!(head.last_modified().is_some());
            let there = place.store.get(format!("{BUCKET}/{key}")).await.unwrap().unwrap();
            assert_eq!(format!("\"{}\"", there.version()), tag, "the tag is the version");
        }
        place.client.delete_object().bucket(BUCKET).key("small").send().await.unwrap();
        place.client.delete_object().bucket(BUCKET).key("small").send().await.unwrap();
        assert_eq!(place.get("small").await, None);
        let head = place.client.head_object().bucket(BUCKET).key("small").send().await.unwrap_err();
        assert_eq!(head.raw_response().unwrap().status().as_u16(), 404);
    }
}

#[tokio::test]
async fn an_object_in_no_bucket_is_refused() {
    let place = Place::new().await;
    place.store.put("nowhere/k", "not an object").await.unwrap();
    let put = place.client.put_object().bucket("nowhere").key("k").body(ByteStream::from_static(b"x"));
    refused(put.send().await, 404, "NoSuchBucket");
    refused(place.client.get_object().bucket("nowhere").key("k").send().await, 404, "NoSuchBucket");
    refused(place.client.delete_object().bucket("nowhere").key("k").send().await, 404, "NoSuchBucket");
    refused(place.client.list_objects_v2().bucket("nowhere").send().await, 404, "NoSuchBucket");
    assert!(place.store.get("nowhere/k").await.unwrap().is_some());
}

#[tokio::test]
async fn what_no_key_can_be_is_refused_when_written_and_not_there_when_read() {
    let place = Place::new().await;
    let long = "k".repeat(1_020);
    for (key, code) in [
        ("dir/", "InvalidArgument"),
        ("a//b", "InvalidArgument"),
        ("a\nb", "InvalidArgument"),
        (&long, "KeyTooLongError"),
    ] {
        let put = place.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"x"));
        refused(put.send().await, 400, code);
        let got = place.client.get_object().bucket(BUCKET).key(key).send().await;
        let deleted = place.client.delete_object().bucket(BUCKET).key(key).send().await;
        if code == "KeyTooLongError" {
            refused(got, 400, code);
            refused(deleted, 400, code);
        } else {
            refused(got, 404, "NoSuchKey");
            deleted.unwrap();
        }
    }
}

#[tokio::test]
async fn ranges_are_the_bytes_that_were_asked_for() {
    let place = Place::new().await;
    let bytes: Vec<u8> = (0..100).collect();
    place.put("k", bytes.clone()).await;
    place.put("none", "").await;
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=5-9", 5..10),
        ("bytes=90-", 90..100),
        ("bytes=99-", 99..100),
        ("bytes=50-1000", 50..100),
        ("bytes=-7", 93..100),
        ("bytes=-1000", 0..100),
    ] {
        let got = place.client.get_object().bucket(BUCKET).key("k").range(range).send().await.unwrap();
        let told = format!("bytes {}-{}/100", expected.start, expected.end - 1);
        assert_eq!(got.content_range(), Some(&*told), "{range}");
        assert_eq!(got.content_length(), Some((expected.end - expected.start) as i64));
        assert_eq!(got.body.collect().await.unwrap().to_vec(), bytes[expected], "{range}");
        let head = place.client.head_object().bucket(BUCKET).key("k").range(range).send().await.unwrap();
        assert_eq!(head.content_range(), Some(&*told), "{range}");
    }
    for (key, size, range) in [
        ("k", 100, "bytes=100-"),
        ("k", 100, "bytes=200-300"),
        ("k", 100, "bytes=-0"),
        ("none", 0, "bytes=0-"),
        ("none", 0, "bytes=-1"),
    ] {
        let told = place.client.get_object().bucket(BUCKET).key(key).range(range).send().await.unwrap_err();
        let answer = told.raw_response().unwrap();
        assert_eq!(answer.headers().get("content-range"), Some(&*format!("bytes */{size}")), "{key} {range}");
        refused::<(), _>(Err(told), 416, "InvalidRange");
    }
}

#[tokio::test]
async fn the_checksum_that_was_sent_comes_back_with_the_whole_object() {
    let place = Place::new().await;
    let put = |key: &'static str| {
        place.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"hello"))
    };
    let get = |key: &'static str| {
        place.client.get_object().bucket(BUCKET).key(key).checksum_mode(ChecksumMode::Enabled)
    };
    let told = put("k").checksum_sha256("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=").send().await.unwrap();
    assert_eq!(told.checksum_sha256(), Some("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="));
    let got = get("k").send().await.unwrap();
    assert_eq!(got.checksum_sha256(), Some("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="));
    assert!(
        got.metadata().is_none_or(|metadata| metadata.is_empty()),
        "the server's own attribute stays its own"
    );
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
    // By default the client sends one after the body.
    put("default").send().await.unwrap();
    assert_eq!(get("default").send().await.unwrap().checksum_crc32(), Some("NhCmhg=="));
    // A part has another one.
    assert_eq!(get("k").range("bytes=0-1").send().await.unwrap().checksum_sha256(), None);
}

#[tokio::test]
async fn a_version_id_is_refused_and_not_ignored() {
    let place = Place::new().await;
    place.put("k", "x").await;
    refused(
        place.client.get_object().bucket(BUCKET).key("k").version_id("1").send().await,
        501,
        "NotImplemented",
    );
    refused(
        place.client.delete_object().bucket(BUCKET).key("k").version_id("1").send().await,
        501,
        "NotImplemented",
    );
    place.client.get_object().bucket(BUCKET).key("k").version_id("null").send().await.unwrap();
    assert!(place.get("k").await.is_some());
}

#[tokio::test]
async fn a_range_of_an_object_that_was_replaced_is_answered_with_the_whole() {
    let place = Place::new().await;
    let old = place.put("k", "0123456789").await;
    let new = place.put("k", "abcdefghij").await;
    let head = place.client.head_object().bucket(BUCKET).key("k").send().await.unwrap();
    let time = head.last_modified().unwrap().fmt(aws_sdk_s3::primitives::DateTimeFormat::HttpDate).unwrap();
    let earlier = "Thu, 01 Jan 1970 00:00:00 GMT".to_owned();
    let weak = format!("W/{new}");
    for (range, condition, told) in [
        ("bytes=2-3", &new, (206, "cd")),
        ("bytes=2-3", &time, (206, "cd")),
        ("bytes=2-3", &old, (200, "abcdefghij")),
        ("bytes=2-3", &weak, (200, "abcdefghij")),
        ("bytes=2-3", &earlier, (200, "abcdefghij")),
        // What would be past the end is not looked at.
        ("bytes=20-", &old, (200, "abcdefghij")),
    ] {
        let headers = [("range", range), ("if-range", condition.as_str())];
        let request = Request { path: "/bucket/k", headers: &headers, ..Request::default() };
        let answer = ask(&place.server, request, "").await;
        assert_eq!((answer.status, answer.body.as_str()), told, "{range} {condition}");
        let head = place.client.head_object().bucket(BUCKET).key("k").range(range);
        let condition = condition.clone();
        let head = head.customize().mutate_request(move |request| {
            request.headers_mut().insert("if-range", condition.clone());
        });
        assert_eq!(head.send().await.unwrap().content_length(), Some(told.1.len() as i64));
    }
    let past = [("range", "bytes=20-"), ("if-range", new.as_str())];
    let request = Request { path: "/bucket/k", headers: &past, ..Request::default() };
    ask(&place.server, request, "").await.refused(416, "InvalidRange");
}

#[tokio::test]
async fn no_checksum_is_kept_beside_a_number_that_the_store_may_change() {
    let place = Place::new().await;
    for (body, counts) in [("5", true), (" -17\n", true), ("5.0", false), ("", false)] {
        place.put("k", body).await;
        let get =
            || place.client.get_object().bucket(BUCKET).key("k").checksum_mode(ChecksumMode::Enabled).send();
        let got = get().await.unwrap();
        assert_eq!(got.checksum_crc32().is_none(), counts, "{body:?}");
        if counts {
            let sum = place.store.increment("bucket/k", 1).await.unwrap();
            // The client compares what it is told.
            assert_eq!(
                get().await.unwrap().body.collect().await.unwrap().to_vec(),
                sum.to_string().into_bytes()
            );
        }
    }
}
