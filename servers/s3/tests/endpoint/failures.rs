//! A store that fails, and what a client is told.

use aws_sdk_s3::primitives::ByteStream;
use leasehold_core::Store;
use leasehold_layers::{Fault, Faults, Verb};
use leasehold_memory::Memory;

use crate::support::{BUCKET, Place, refused};

#[tokio::test]
async fn an_unknown_outcome_is_told_as_one_and_never_as_a_conflict() {
    let faults = Faults::new();
    let place = Place::over(Store::new(Memory::new()).layer(faults.clone())).await;
    let put = || place.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"x"));
    faults.next(Verb::Put, Fault::After);
    refused(put().if_none_match("*").send().await, 500, "InternalError");
    assert_eq!(place.get("k").await.unwrap(), b"x", "it was applied all the same");
    faults.next(Verb::Put, Fault::Ghost);
    refused(put().send().await, 500, "InternalError");
    faults.next(Verb::Delete, Fault::After);
    refused(place.client.delete_object().bucket(BUCKET).key("k").send().await, 500, "InternalError");
    assert_eq!(place.get("k").await, None);
}

#[tokio::test]
async fn what_certainly_did_not_happen_may_be_sent_again() {
    let faults = Faults::new();
    let place = Place::over(Store::new(Memory::new()).layer(faults.clone())).await;
    let put = || place.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"x"));
    faults.next(Verb::Put, Fault::Before);
    refused(put().send().await, 503, "ServiceUnavailable");
    assert_eq!(place.get("k").await, None);
    faults.next(Verb::Get, Fault::Before);
    refused(place.client.get_object().bucket(BUCKET).key("k").send().await, 503, "ServiceUnavailable");
    faults.next(Verb::List, Fault::Before);
    refused(place.client.list_objects_v2().bucket(BUCKET).send().await, 503, "ServiceUnavailable");
}

#[tokio::test]
async fn a_full_store_says_so() {
    let place = Place::over(Store::new(Memory::new().capacity_bytes(10_000))).await;
    let put = place.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from(vec![0; 20_000]));
    refused(put.send().await, 507, "InsufficientStorage");
}
