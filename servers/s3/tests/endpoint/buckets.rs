//! Buckets.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_sigv4::http_request::SignableBody;

use crate::{
    support::{BUCKET, Place, refused},
    wire::{Request, Wire},
};

#[tokio::test]
async fn buckets_are_made_listed_and_deleted_when_empty() {
    let place = Place::new().await;
    let client = &place.client;
    client.create_bucket().bucket("another").send().await.unwrap();
    refused(client.create_bucket().bucket("another").send().await, 409, "BucketAlreadyOwnedByYou");
    let listed = client.list_buckets().send().await.unwrap();
    let names: Vec<_> = listed.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(names, ["another", BUCKET]);
    assert!(listed.buckets()[0].creation_date().is_some());
    client.head_bucket().bucket("another").send().await.unwrap();
    let location = client.get_bucket_location().bucket("another").send().await.unwrap();
    assert!(location.location_constraint().is_none_or(|location| location.as_str().is_empty()));

    place.put("k", "x").await;
    refused(client.delete_bucket().bucket(BUCKET).send().await, 409, "BucketNotEmpty");
    client.delete_object().bucket(BUCKET).key("k").send().await.unwrap();
    client.delete_bucket().bucket(BUCKET).send().await.unwrap();
    refused(client.delete_bucket().bucket(BUCKET).send().await, 404, "NoSuchBucket");
    refused(client.get_object().bucket(BUCKET).key("k").send().await, 404, "NoSuchBucket");
    let head = client.head_bucket().bucket(BUCKET).send().await.unwrap_err();
    assert_eq!(head.raw_response().unwrap().status().as_u16(), 404);
}

#[tokio::test]
async fn a_list_of_buckets_comes_in_pages() {
    let place = Place::new().await;
    for name in ["b-one", "b-two", "c-one"] {
        place.client.create_bucket().bucket(name).send().await.unwrap();
    }
    let mut names = Vec::new();
    let mut token = None;
    loop {
        let page = place
            .client
            .list_buckets()
            .prefix("b-")
            .max_buckets(1)
            .set_continuation_token(token)
            .send()
            .await
            .unwrap();
        names.extend(page.buckets().iter().filter_map(|bucket| bucket.name().map(str::to_owned)));
        match page.continuation_token() {
            Some(next) => token = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(names, ["b-one", "b-two"]);
}

#[tokio::test]
async fn what_lies_under_the_name_of_a_new_bucket_shows_up() {
    let place = Place::new().await;
    place.store.put("older/a/b", "there before").await.unwrap();
    place.client.create_bucket().bucket("older").send().await.unwrap();
    let got = place.client.get_object().bucket("older").key("a/b").send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"there before");
}

#[tokio::test]
async fn names_that_no_bucket_can_have_are_refused() {
    let place = Place::new().await;
    for name in ["_s3", "AB", "ab", "Upper", "a..b", "192.168.0.1", &"a".repeat(64)] {
        let told = place.client.create_bucket().bucket(name).send().await;
        refused(told, 400, "InvalidBucketName");
    }
    assert!(place.store.list("").await.unwrap().iter().all(|entry| &*entry.key == "_s3/buckets/bucket"));
}

#[tokio::test]
async fn the_servers_own_records_are_out_of_reach() {
    let place = Place::new().await;
    refused(
        place.client.get_object().bucket("_s3").key("buckets/bucket").send().await,
        400,
        "InvalidBucketName",
    );
    refused(place.client.list_objects_v2().bucket("_s3").send().await, 400, "InvalidBucketName");
}

#[tokio::test]
async fn a_bucket_remembers_where_it_was_made() {
    let place = Place::new().await;
    let there =
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::EuWest1).build();
    place.client.create_bucket().bucket("far").create_bucket_configuration(there).send().await.unwrap();
    let location = place.client.get_bucket_location().bucket("far").send().await.unwrap();
    assert_eq!(location.location_constraint(), Some(&BucketLocationConstraint::EuWest1));
    assert_eq!(place.client.get_bucket_versioning().bucket("far").send().await.unwrap().status(), None);
}

#[tokio::test]
async fn a_bucket_that_is_written_into_is_not_deleted() {
    let place = Place::new().await;
    let length = (1 << 20).to_string();
    let head = Request {
        method: "PUT",
        path: "/bucket/k",
        headers: &[("content-length", &length), ("expect", "100-continue")],
        payload: SignableBody::UnsignedPayload,
        ..Request::default()
    };
    let mut wire = Wire::open(&place.server).await;
    wire.send(head.signed(&place.server)).await;
    assert_eq!(wire.receive().await.unwrap().status, 100, "the body is asked for");
    let delete = || place.client.delete_bucket().bucket(BUCKET).send();
    refused(delete().await, 409, "OperationAborted");
    assert_eq!(wire.ask("", vec![0; 1 << 20]).await.status, 200);
    assert_eq!(place.get("k").await.unwrap().len(), 1 << 20);
    refused(delete().await, 409, "BucketNotEmpty");
    place.client.delete_object().bucket(BUCKET).key("k").send().await.unwrap();
    delete().await.unwrap();
}
