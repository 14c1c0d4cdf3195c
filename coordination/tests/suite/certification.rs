//! Only stores that keep their conditions carry leases.

use crate::support::*;
use leasehold_coordination::{Leases, Node};
use leasehold_core::{Capability, ErrorKind, Store};

async fn refusal(probe: &Probe) -> leasehold_core::Error {
    let store = store(probe, &ManualClock::default());
    Leases::connect(store, Node::new("a").unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn a_store_that_lacks_a_capability_is_refused_by_name_without_a_request() {
    for capability in [Capability::Linearizable, Capability::ConditionalPut] {
        let probe = Probe::without(capability);
        let error = refusal(&probe).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported(capability));
        assert!(error.to_string().contains(capability.name()), "{error}");
        assert_eq!(probe.take(), Counts::default());
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused_and_leaves_nothing_behind() {
    let probe = Probe::ignoring_conditions();
    let error = refusal(&probe).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported(Capability::ConditionalPut));
    assert!(error.to_string().contains("does not keep conditional writes"), "{error}");
    assert!(Store::new(probe.clone()).list("").await.unwrap().is_empty());
    assert!(refusal(&probe).await.to_string().contains("conditional"), "and again: no verdict was kept");
}

#[tokio::test]
async fn a_certified_store_keeps_the_verdict_and_nothing_else() {
    let (_probe, _clock, store, _leases) = world("a").await;
    let keys: Vec<_> = store.list("").await.unwrap().into_iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["_locks/.certification/verdict-1"]);
}

#[tokio::test]
async fn a_store_that_fails_during_the_probe_is_an_error_and_not_a_verdict() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    probe.all_puts(Some(Fault::ReplyLost));
    let (store, node) = (store(&probe, &clock), Node::new("a").unwrap());
    let connecting = tokio::spawn(Leases::connect(store.clone(), node.clone()));
    let error = clock.advance_until(connecting, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(store.list("").await.unwrap().is_empty());
    // One that is over soon is ridden out.
    probe.all_puts(None);
    probe.next_puts([Fault::ReplyLost, Fault::Refused]);
    let connecting = tokio::spawn(Leases::connect(store.clone(), node));
    clock.advance_until(connecting, 1).await.unwrap();
}
