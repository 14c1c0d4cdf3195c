//! Lists.

use std::collections::BTreeSet;

use aws_sdk_s3::types::EncodingType;

use crate::support::{BUCKET, Place, refused};

#[tokio::test]
async fn many_keys_come_in_byte_order_page_by_page() {
    let place = Place::new().await;
    let mut keys: BTreeSet<String> = (0..1_495).map(|number| format!("key-{number:05}")).collect();
    keys.extend(["a", "a-b", "a/b", "A", "é"].map(str::to_owned));
    let values = keys.iter().map(|key| (format!("{BUCKET}/{key}"), "x"));
    assert!(place.store.put_many(values).await.iter().all(Result::is_ok));

    let mut pages = place.client.list_objects_v2().bucket(BUCKET).into_paginator().send();
    let mut listed = Vec::new();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        sizes.push(page.key_count().unwrap());
        listed.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
    }
    assert_eq!(sizes, [1_000, 500]);
    assert!(listed.iter().eq(&keys));
    assert_eq!(listed[..4], ["A", "a", "a-b", "a/b"]);

    // The older list, from marker to marker.
    let mut listed = Vec::new();
    let mut marker = None;
    loop {
        let page =
            place.client.list_objects().bucket(BUCKET).max_keys(400).set_marker(marker).send().await.unwrap();
        listed.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        if page.is_truncated() != Some(true) {
            break;
        }
        marker = listed.last().cloned();
    }
    assert!(listed.iter().eq(&keys));
}

#[tokio::test]
async fn a_list_tells_what_a_head_tells() {
    let place = Place::new().await;
    let tag = place.put("k", "four").await;
    let listed = place.client.list_objects_v2().bucket(BUCKET).fetch_owner(true).send().await.unwrap();
    let object = &listed.contents()[0];
    assert_eq!((object.e_tag(), object.size()), (Some(&*tag), Some(4)));
    let head = place.client.head_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(object.last_modified().unwrap().secs(), head.last_modified().unwrap().secs());
    assert!(object.owner().is_some());
    let plain = place.client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert!(plain.contents()[0].owner().is_none());
}

#[tokio::test]
async fn common_prefixes_are_rolled_up_in_pages() {
    let place = Place::new().await;
    for key in ["a", "b/1", "b/2", "b/3/4", "c", "d/1", "e/f/1", "e/f/2"] {
        place.put(key, "x").await;
    }
    let list = || place.client.list_objects_v2().bucket(BUCKET).delimiter("/");
    let whole = list().send().await.unwrap();
    let prefixes = |listed: &aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output| {
        listed.common_prefixes().iter().map(|common| common.prefix().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let keys = |listed: &aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output| {
        listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (keys(&whole), prefixes(&whole)),
        (vec!["a".into(), "c".into()], vec!["b/".into(), "d/".into(), "e/".into()])
    );
    assert_eq!((whole.key_count(), whole.is_truncated()), (Some(5), Some(false)));

    let mut said = Vec::new();
    let mut token = None;
    loop {
        let page = list().max_keys(1).set_continuation_token(token).send().await.unwrap();
        said.extend(keys(&page));
        said.extend(prefixes(&page));
        match page.next_continuation_token() {
            Some(next) => token = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(said, ["a", "b/", "c", "d/", "e/"]);

    let mut said = Vec::new();
    let mut marker = None;
    loop {
        let page = place
            .client
            .list_objects()
            .bucket(BUCKET)
            .delimiter("/")
            .max_keys(2)
            .set_marker(marker)
            .send()
            .await
            .unwrap();
        said.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        said.extend(page.common_prefixes().iter().map(|common| common.prefix().unwrap().to_owned()));
        match page.next_marker() {
            Some(next) => marker = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(said, ["a", "b/", "c", "d/", "e/"]);

    let within = list().prefix("e/").send().await.unwrap();
    assert_eq!((keys(&within), prefixes(&within)), (vec![], vec!["e/f/".into()]));
    let after = list().start_after("b/2").send().await.unwrap();
    assert_eq!(
        (keys(&after), prefixes(&after)),
        (vec!["c".into()], vec!["b/".into(), "d/".into(), "e/".into()])
    );
}

#[tokio::test]
async fn names_are_encoded_where_that_is_asked_for() {
    let place = Place::new().await;
    place.put("a b/é+%&<", "x").await;
    place.put("p p/q", "x").await;
    let listed = place
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .encoding_type(EncodingType::Url)
        .start_after("a a")
        .send()
        .await
        .unwrap();
    assert_eq!(listed.contents()[0].key(), Some("a%20b/%C3%A9%2B%25%26%3C"));
    assert_eq!(listed.start_after(), Some("a%20a"));
    let rolled = place
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .encoding_type(EncodingType::Url)
        .delimiter("/")
        .prefix("p")
        .send();
    assert_eq!(rolled.await.unwrap().common_prefixes()[0].prefix(), Some("p%20p/"));
    let plain = place.client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert_eq!(plain.contents()[0].key(), Some("a b/é+%&<"));
}

#[tokio::test]
async fn a_page_can_be_empty_and_never_too_large() {
    let place = Place::new().await;
    place.put("k", "x").await;
    let list = || place.client.list_objects_v2().bucket(BUCKET);
    let none = list().max_keys(0).send().await.unwrap();
    assert_eq!((none.contents().len(), none.is_truncated(), none.key_count()), (0, Some(false), Some(0)));
    assert_eq!(list().max_keys(5_000).send().await.unwrap().max_keys(), Some(1_000));
    refused(list().max_keys(-1).send().await, 400, "InvalidArgument");
    refused(list().continuation_token("of somebody else").send().await, 400, "InvalidArgument");
}
