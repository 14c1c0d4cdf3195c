//! R2 takes about one write a second on one key. More of them are asked to wait, and none is taken for a lost race.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::time::Duration;

use leasehold_core::{ErrorKind, Store};
use leasehold_fault_proxy::{Answer, Fault, FaultProxy, When};

use support::Place;

async fn behind_a_proxy() -> (Place, FaultProxy, Store) {
    let place = Place::start().await;
    let proxy = FaultProxy::start(place.server.address());
    let open = place.open().endpoint(proxy.url()).throttled_wait(Duration::from_millis(2));
    let store = Store::new(open.await.unwrap());
    (place, proxy, store)
}

#[tokio::test]
async fn a_429_is_waited_for() {
    let (_place, proxy, store) = behind_a_proxy().await;
    let version = store.put("k", "one").await.unwrap();
    proxy.script(When::method("PUT"), vec![Fault::Answer(Answer::too_many_requests()); 3]);
    store.put("k", "two").if_match(version).await.unwrap();
    assert_eq!(proxy.count_of(&When::method("PUT")), 5);
}

#[tokio::test]
async fn a_429_that_does_not_end_is_throttling_and_no_conflict() {
    let (_place, proxy, store) = behind_a_proxy().await;
    let version = store.put("k", "1").await.unwrap();
    proxy.always(When::method("PUT"), Fault::Answer(Answer::too_many_requests()));
    let error = store.put("k", "two").if_match(version).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert!(error.is_retryable());
    let error = store.increment("k", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
}
