//! Copies within the server.

use aws_sdk_s3::types::MetadataDirective;
use leasehold_core::Store;
use leasehold_layers::{Fault, Faults, Verb};
use leasehold_memory::Memory;

use crate::support::{BUCKET, Place, refused};

const STALE: &str = "\"0-0\"";

#[tokio::test]
async fn a_copy_has_the_content_and_what_is_said_of_it() {
    let place = Place::new().await;
    place.client.create_bucket().bucket("other").send().await.unwrap();
    let put = place
        .client
        .put_object()
        .bucket(BUCKET)
        .key("a b/é")
        .content_type("text/plain")
        .metadata("colour", "blue");
    put.body(vec![7; 300_000].into()).send().await.unwrap();
    let copy = || place.client.copy_object().bucket("other").key("copy").copy_source("bucket/a%20b/%C3%A9");
    let told = copy().send().await.unwrap();
    let result = told.copy_object_result().unwrap();
    assert!(result.last_modified().is_some());
    let got = place.client.get_object().bucket("other").key("copy").send().await.unwrap();
    assert_eq!((got.e_tag(), got.content_type()), (result.e_tag(), Some("text/plain")));
    assert_eq!(got.metadata().unwrap()["colour"], "blue");
    assert_eq!(got.body.collect().await.unwrap().to_vec(), vec![7; 300_000]);

    let replace = copy().metadata_directive(MetadataDirective::Replace).metadata("shape", "round");
    replace.send().await.unwrap();
    let head = place.client.head_object().bucket("other").key("copy").send().await.unwrap();
    assert_eq!(head.metadata().unwrap().get("shape").map(String::as_str), Some("round"));
    assert_eq!((head.metadata().unwrap().len(), head.content_type()), (1, Some("binary/octet-stream")));
}

#[tokio::test]
async fn a_copy_is_made_under_the_conditions_of_its_source() {
    let place = Place::new().await;
    let tag = place.put("source", "x").await;
    let copy = || place.client.copy_object().bucket(BUCKET).key("copy").copy_source("bucket/source");
    refused(copy().copy_source_if_match(STALE).send().await, 412, "PreconditionFailed");
    refused(copy().copy_source_if_none_match(&tag).send().await, 412, "PreconditionFailed");
    assert_eq!(place.get("copy").await, None);
    copy().copy_source_if_match(&tag).copy_source_if_none_match(STALE).send().await.unwrap();
    assert_eq!(place.get("copy").await.unwrap(), b"x");
    let from = |source: &str| place.client.copy_object().bucket(BUCKET).key("c").copy_source(source).send();
    refused(from("bucket/none").await, 404, "NoSuchKey");
    refused(from("nowhere/none").await, 404, "NoSuchBucket");
    refused(from("_s3/buckets/bucket").await, 400, "InvalidArgument");
    refused(from("bucket/source?versionId=1").await, 501, "NotImplemented");
}

#[tokio::test]
async fn a_copy_is_made_under_the_conditions_of_its_target() {
    let place = Place::new().await;
    place.put("source", "x").await;
    let copy = |condition: (&'static str, String)| {
        let copy = place.client.copy_object().bucket(BUCKET).key("copy").copy_source("bucket/source");
        copy.customize().mutate_request(move |request| {
            request.headers_mut().insert(condition.0, condition.1.clone());
        })
    };
    copy(("if-none-match", "*".into())).send().await.unwrap();
    refused(copy(("if-none-match", "*".into())).send().await, 412, "PreconditionFailed");
    refused(copy(("if-match", STALE.into())).send().await, 412, "PreconditionFailed");
    let head = place.client.head_object().bucket(BUCKET).key("copy").send().await.unwrap();
    copy(("if-match", head.e_tag().unwrap().into())).send().await.unwrap();
    refused(copy(("if-match", head.e_tag().unwrap().into())).send().await, 412, "PreconditionFailed");
}

#[tokio::test]
async fn a_copy_to_itself_changes_metadata_or_nothing() {
    let place = Place::new().await;
    place.put("k", "x").await;
    let copy = || place.client.copy_object().bucket(BUCKET).key("k").copy_source("bucket/k");
    refused(copy().send().await, 400, "InvalidRequest");
    copy().metadata_directive(MetadataDirective::Replace).metadata("a", "b").send().await.unwrap();
    let head = place.client.head_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(head.metadata().unwrap()["a"], "b");
    assert_eq!(place.get("k").await.unwrap(), b"x");
}

#[tokio::test]
async fn a_copy_to_itself_does_not_undo_a_newer_write() {
    let memory = Store::new(Memory::new());
    let faults = Faults::new();
    let place = Place::over(memory.clone().layer(faults.clone())).await;
    place.put("k", "old").await;
    let gate = faults.hold(Verb::Put);
    let copy = place.client.copy_object().bucket(BUCKET).key("k").copy_source("bucket/k");
    let copy = copy.metadata_directive(MetadataDirective::Replace).metadata("a", "b");
    let copy = tokio::spawn(copy.send());
    gate.reached().await;
    memory.put("bucket/k", "new").await.unwrap();
    gate.release();
    copy.await.unwrap().unwrap();
    let got = place.client.get_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(got.metadata().unwrap()["a"], "b");
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"new");

    faults.times(100, Verb::Put, Fault::Before);
    let copy = place.client.copy_object().bucket(BUCKET).key("k").copy_source("bucket/k");
    refused(copy.metadata_directive(MetadataDirective::Replace).send().await, 503, "ServiceUnavailable");
}
