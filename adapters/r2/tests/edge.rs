//! Reads through an edge that caches: what it may hide, and what it may not.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{sync::atomic::Ordering, time::Duration};

use leasehold_coordination::{Leases, Node};
use leasehold_core::{Capability, ErrorKind, Store};

use support::{Place, TOKEN};

#[tokio::test]
async fn reads_come_from_the_edge_and_may_be_old() {
    let place = Place::start().await;
    let (reader, writer) = (place.through_the_edge().await, place.through_the_edge().await);
    place.direct().await.put("k", "one").await.unwrap();
    for _ in 0..3 {
        assert_eq!(text(&reader, "k").await, "one");
    }
    assert_eq!(place.edge.misses.load(Ordering::SeqCst), 1);
    // Past the edge: nobody tells it.
    place.direct().await.put("k", "two").await.unwrap();
    assert_eq!(text(&reader, "k").await, "one");
    // Through a handle that has it: it is told to forget.
    writer.put("k", "three").await.unwrap();
    assert_eq!(text(&reader, "k").await, "three");
    writer.delete("k").await.unwrap();
    assert!(reader.get("k").await.unwrap().is_none());
}

#[tokio::test]
async fn a_handle_reads_its_own_writes_though_the_edge_does_not_forget() {
    let place = Place::start().await;
    place.edge.deaf.store(true, Ordering::SeqCst);
    let store = place.through_the_edge().await;
    place.direct().await.put("k", "one").await.unwrap();
    assert_eq!(text(&store, "k").await, "one");
    store.put("k", "two").await.unwrap();
    assert_eq!(text(&store, "k").await, "two");
    assert_eq!(text(&place.through_the_edge().await, "k").await, "one", "another may be told the old one");
}

#[tokio::test]
async fn a_loop_that_began_with_an_old_value_goes_on_with_the_new_one() {
    let place = Place::start().await;
    place.edge.deaf.store(true, Ordering::SeqCst);
    let store = place.through_the_edge().await;
    let direct = place.direct().await;
    direct.put("k", "one").await.unwrap();
    assert_eq!(text(&store, "k").await, "one");
    direct.put("k", "two").await.unwrap();
    let appended = store.update("k", |current| {
        let mut text = current.map(Vec::from).unwrap_or_default();
        text.extend_from_slice(b", three");
        Ok(Some(text.into()))
    });
    appended.await.unwrap();
    assert_eq!(text(&direct, "k").await, "two, three");
}

#[tokio::test]
async fn without_the_edge_the_bucket_answers() {
    let place = Place::start().await;
    let store = place.through_the_edge().await;
    store.put("k", "one").await.unwrap();
    place.edge.broken.store(true, Ordering::SeqCst);
    // Another handle: this one would not ask the edge for what it has just written.
    assert_eq!(text(&place.through_the_edge().await, "k").await, "one");
    store.put("k", "two").await.unwrap();
    assert_eq!(text(&place.through_the_edge().await, "k").await, "two");
}

#[tokio::test]
async fn a_wrong_token_is_told_and_not_shown() {
    let place = Place::start().await;
    let open = place.open().edge(place.edge.url(), "not-the-token");
    let store = Store::new(open.await.unwrap());
    let error = store.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let shown = format!("{error} {error:?} {store:?}");
    assert!(!shown.contains("not-the-token") && !shown.contains(TOKEN), "{shown}");
}

#[tokio::test]
async fn nothing_is_coordinated_over_reads_that_may_be_old() {
    let place = Place::start().await;
    let store = place.through_the_edge().await;
    assert!(!store.capabilities().supports(Capability::Linearizable));
    let error = Leases::connect(store, Node::new("node").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported(Capability::Linearizable));
    assert!(place.direct().await.capabilities().supports(Capability::Linearizable));
    Leases::connect(place.direct().await, Node::new("node").unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_asked_of_the_edge_again_after_its_time() {
    let place = Place::start().await;
    let open = place.open().edge(place.edge.url(), TOKEN).edge_age_max(Duration::ZERO);
    let store = Store::new(open.await.unwrap());
    store.put("k", "one").await.unwrap();
    assert_eq!(text(&store, "k").await, "one");
    assert_eq!(place.edge.misses.load(Ordering::SeqCst), 1);
}

async fn text(store: &Store, key: &str) -> String {
    store.get(key).await.unwrap().unwrap().text().await.unwrap()
}
