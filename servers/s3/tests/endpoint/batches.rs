//! Many deletes in one request.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use crate::support::{BUCKET, Place, refused};

fn object(key: &str) -> ObjectIdentifier {
    ObjectIdentifier::builder().key(key).build().unwrap()
}

fn batch(objects: Vec<ObjectIdentifier>, quiet: bool) -> Delete {
    Delete::builder().set_objects(Some(objects)).quiet(quiet).build().unwrap()
}

#[tokio::test]
async fn each_delete_of_a_batch_has_its_own_outcome() {
    let place = Place::new().await;
    let stale = place.put("stale", "1").await;
    place.put("stale", "2").await;
    let exact = place.put("exact", "x").await;
    place.put("plain", "x").await;
    let matching = |key: &str, tag: &str| ObjectIdentifier::builder().key(key).e_tag(tag).build().unwrap();
    let objects = vec![
        object("plain"),
        object("never there"),
        object("dir/"),
        matching("exact", &exact),
        matching("stale", &stale),
        matching("gone", &exact),
        ObjectIdentifier::builder().key("stale").version_id("1").build().unwrap(),
    ];
    let told =
        place.client.delete_objects().bucket(BUCKET).delete(batch(objects, false)).send().await.unwrap();
    let deleted: Vec<_> = told.deleted().iter().map(|deleted| deleted.key().unwrap()).collect();
    assert_eq!(deleted, ["plain", "never there", "dir/", "exact"]);
    let errors: Vec<_> =
        told.errors().iter().map(|error| (error.key().unwrap(), error.code().unwrap())).collect();
    assert_eq!(
        errors,
        [("stale", "PreconditionFailed"), ("gone", "PreconditionFailed"), ("stale", "NotImplemented")]
    );
    let left = place.store.list("bucket/").await.unwrap();
    assert_eq!(left.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["bucket/stale"]);
}

#[tokio::test]
async fn a_quiet_batch_tells_only_what_went_wrong() {
    let place = Place::new().await;
    let tag = place.put("k", "x").await;
    let absent = ObjectIdentifier::builder().key("absent").e_tag(tag).build().unwrap();
    let told = place
        .client
        .delete_objects()
        .bucket(BUCKET)
        .delete(batch(vec![object("k"), absent], true))
        .send()
        .await
        .unwrap();
    assert_eq!((told.deleted().len(), told.errors().len()), (0, 1));
    assert_eq!(place.get("k").await, None);
}

#[tokio::test]
async fn a_thousand_deletes_are_one_request_and_one_more_is_too_many() {
    let place = Place::new().await;
    let keys: Vec<_> = (0..1_000).map(|number| format!("k{number}")).collect();
    place.store.put_many(keys.iter().map(|key| (format!("{BUCKET}/{key}"), "x"))).await;
    let objects = || keys.iter().map(|key| object(key)).collect::<Vec<_>>();
    let mut many = objects();
    many.push(object("one more"));
    let refusal = place.client.delete_objects().bucket(BUCKET).delete(batch(many, false)).send().await;
    refused(refusal, 400, "MalformedXML");
    let told =
        place.client.delete_objects().bucket(BUCKET).delete(batch(objects(), false)).send().await.unwrap();
    assert_eq!(told.deleted().len(), 1_000);
    assert!(place.store.list("bucket/").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_that_is_not_what_its_digest_says_deletes_nothing() {
    let place = Place::new().await;
    place.put("k", "x").await;
    let delete = place.client.delete_objects().bucket(BUCKET).delete(batch(vec![object("k")], false));
    let spoiled = delete.customize().mutate_request(|request| {
        request.headers_mut().insert("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==");
    });
    refused(spoiled.send().await, 400, "BadDigest");
    assert!(place.get("k").await.is_some());
}
