//! What is said of an object.

use aws_sdk_s3::primitives::ByteStream;

use crate::support::{BUCKET, Place, refused};

#[tokio::test]
async fn what_is_said_of_an_object_comes_back_with_it() {
    let place = Place::new().await;
    let put = place.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"x"));
    put.content_type("text/html")
        .cache_control("max-age=60")
        .content_disposition("attachment; filename=\"a.txt\"")
        .content_encoding("gzip")
        .content_language("de, en")
        .metadata("colour", "blue")
        .metadata("With-Case", "Kept As Is")
        .send()
        .await
        .unwrap();
    let got = place.client.get_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(got.content_type(), Some("text/html"));
    assert_eq!(got.cache_control(), Some("max-age=60"));
    assert_eq!(got.content_disposition(), Some("attachment; filename=\"a.txt\""));
    assert_eq!(got.content_encoding(), Some("gzip"));
    assert_eq!(got.content_language(), Some("de, en"));
    let metadata = got.metadata().unwrap();
    assert_eq!(
        (metadata["colour"].as_str(), metadata["with-case"].as_str(), metadata.len()),
        ("blue", "Kept As Is", 2)
    );
    let head = place.client.head_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!((head.content_type(), head.metadata()), (Some("text/html"), Some(metadata)));
    let there = place.store.head("bucket/k").await.unwrap().unwrap();
    assert_eq!(there.attributes.get("content-type"), Some("text/html"));
    assert_eq!(there.attributes.get("colour"), Some("blue"));

    place.put("k", "again").await;
    let head = place.client.head_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert!(head.metadata().is_none_or(|metadata| metadata.is_empty()), "a write replaces what was said too");
}

#[tokio::test]
async fn a_reader_can_ask_for_other_headers() {
    let place = Place::new().await;
    let put =
        place.client.put_object().bucket(BUCKET).key("k").content_type("text/html").cache_control("no-store");
    put.body(ByteStream::from_static(b"x")).send().await.unwrap();
    let get = place.client.get_object().bucket(BUCKET).key("k").response_content_type("text/plain");
    let got = get.send().await.unwrap();
    assert_eq!((got.content_type(), got.cache_control()), (Some("text/plain"), Some("no-store")));
}

#[tokio::test]
async fn metadata_that_cannot_be_kept_is_refused() {
    let place = Place::new().await;
    let put = |name: &str, value: &str| {
        let put = place.client.put_object().bucket(BUCKET).key("k").metadata(name, value);
        put.body(ByteStream::from_static(b"x")).send()
    };
    refused(put("a", &"x".repeat(2_100)).await, 400, "MetadataTooLarge");
    refused(put("content-type", "x").await, 400, "InvalidArgument");
    refused(put("s3.checksum", "x").await, 400, "InvalidArgument");
    assert_eq!(place.get("k").await, None);
    put("a", &"x".repeat(2_000)).await.unwrap();
}

#[tokio::test]
async fn what_asks_for_more_than_there_is_is_refused_and_not_ignored() {
    let place = Place::new().await;
    let put = || place.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"x"));
    use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption, StorageClass};
    refused(put().acl(ObjectCannedAcl::PublicRead).send().await, 501, "NotImplemented");
    refused(put().server_side_encryption(ServerSideEncryption::Aes256).send().await, 501, "NotImplemented");
    refused(put().storage_class(StorageClass::Glacier).send().await, 501, "NotImplemented");
    refused(put().tagging("a=b").send().await, 501, "NotImplemented");
    refused(put().expected_bucket_owner("123456789012").send().await, 501, "NotImplemented");
    refused(place.client.get_object_acl().bucket(BUCKET).key("k").send().await, 501, "NotImplemented");
    refused(place.client.get_bucket_policy().bucket(BUCKET).send().await, 501, "NotImplemented");
    assert_eq!(place.get("k").await, None);
    put().acl(ObjectCannedAcl::Private).storage_class(StorageClass::Standard).send().await.unwrap();
}
