//! What goes over the wire when nothing goes wrong: how many requests, and of which kind.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use leasehold_core::{Body, Bytes, DeleteOptions, ErrorKind, Key, Operation, StorageAdapter};
use leasehold_fault_proxy::{FaultProxy, When};

use support::Behind;

const MIB: usize = 1 << 20;

/// How many requests `call` costs.
async fn cost<T>(proxy: &FaultProxy, call: impl Future<Output = T>) -> (usize, T) {
    proxy.forget();
    let done = call.await;
    (proxy.count(), done)
}

#[tokio::test]
async fn each_verb_costs_what_its_documentation_says() {
    let behind = Behind::start().await;
    let (store, proxy) = (behind.store().await, &behind.proxy);

    let (requests, first) = cost(proxy, async { store.put("k", "1").if_absent().await.unwrap() }).await;
    assert_eq!(requests, 1, "a conditional put");
    let (requests, second) =
        cost(proxy, async { store.put("k", "2").if_match(first.clone()).await.unwrap() }).await;
    assert_eq!(requests, 1, "a conditional put over a version");
    let (requests, lost) =
        cost(proxy, async { store.put("k", "3").if_match(first).await.unwrap_err() }).await;
    assert_eq!(
        (requests, lost.kind()),
        (2, ErrorKind::Conflict),
        "a lost race, and a look whether it is our own"
    );
    assert_eq!(cost(proxy, async { store.put("k", "2").await.unwrap() }).await.0, 1, "a put");
    assert_eq!(cost(proxy, async { store.get("k").await.unwrap().unwrap() }).await.0, 1, "a get");
    assert_eq!(
        cost(proxy, async { store.get("k").range(0..1).await.unwrap().unwrap() }).await.0,
        1,
        "a range"
    );
    assert_eq!(cost(proxy, async { store.get("none").await.unwrap() }).await.0, 1, "a miss");
    assert_eq!(cost(proxy, async { store.head("k").await.unwrap().unwrap() }).await.0, 1, "a head");
    assert_eq!(
        cost(proxy, async { store.get("k").if_changed_from(second).await.unwrap() }).await.0,
        1,
        "a 304"
    );
    assert_eq!(cost(proxy, async { store.increment("n", 1).await.unwrap() }).await.0, 2, "an increment");
    assert_eq!(cost(proxy, async { store.delete("k").await.unwrap() }).await.0, 1, "a delete");
}

#[tokio::test]
async fn deletes_of_a_batch_share_requests_and_lists_take_pages() {
    let behind = Behind::start().await;
    let (store, proxy) = (behind.store().await, &behind.proxy);
    let direct = behind.direct().await;
    let keys: Vec<String> = (0..1_500).map(|number| format!("k{number:04}")).collect();
    for result in direct.put_many(keys.iter().map(|key| (key.as_str(), "v"))).await {
        result.unwrap();
    }
    let (requests, listed) = cost(proxy, async { store.list("k").await.unwrap() }).await;
    assert_eq!((requests, listed.len()), (2, 1_500));

    let bucket = behind.open().await.unwrap();
    let deletes = keys.iter().map(|key| Operation::Delete(Key::new(key).unwrap(), DeleteOptions::default()));
    let (requests, results) = cost(proxy, bucket.batch(deletes.collect(), Default::default())).await;
    assert_eq!(requests, 2, "1,000 keys a request");
    assert!(results.into_iter().all(|result| result.is_ok()));
    assert!(store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_large_value_goes_in_parts_and_is_seen_whole() {
    let behind = Behind::start().await;
    let bucket = behind.open().part_bytes(5 * MIB as u64).await.unwrap();
    let store = leasehold_core::Store::new(bucket);
    let chunks: Vec<_> = (0..23u8).map(|number| Ok(Bytes::from(vec![number; MIB / 2 + 1]))).collect();
    let whole: Vec<u8> = chunks
        .iter()
        .flat_map(|chunk: &leasehold_core::Result<Bytes>| chunk.as_ref().unwrap().to_vec())
        .collect();
    let body = Body::from_stream(Box::pin(futures_util::stream::iter(chunks)), None);
    let (requests, version) = cost(&behind.proxy, async { store.put("large", body).await.unwrap() }).await;
    assert_eq!(requests, 2 + 3, "begin, three parts, complete");
    let object = store.get("large").await.unwrap().unwrap();
    assert_eq!(object.version(), &version);
    assert!(object.bytes().await.unwrap() == whole);
    assert!(behind.below.list("_s3/uploads").await.unwrap().is_empty(), "no part is left");
}

#[tokio::test]
async fn an_upload_that_is_dropped_or_fails_is_aborted() {
    let behind = Behind::start().await;
    let store = behind.store().await;
    let body = |last: leasehold_core::Result<Bytes>| {
        let chunks: Vec<_> = (0..20).map(|_| Ok(Bytes::from(vec![1; MIB]))).chain([last]).collect();
        Body::from_stream(Box::pin(futures_util::stream::iter(chunks)), None)
    };
    let failed =
        store.put("k", body(Err(leasehold_core::Error::invalid("the source broke")))).await.unwrap_err();
    assert!(failed.to_string().contains("the source broke") && !failed.is_indeterminate(), "{failed}");
    behind.proxy.idle().await;
    while !behind.below.list("_s3/uploads").await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(behind.proxy.count_of(&When::method("DELETE").query_contains("uploadId=")), 1);
    assert!(store.get("k").await.unwrap().is_none());
}
