use std::{sync::Arc, time::Duration};

use leasehold_core::{BatchOptions, Body, Bytes, Error, ErrorKind, Key, Operation, PutOptions, Store};
use leasehold_memory::Memory;
use parking_lot::Mutex;

use super::{May, Retry, adapter::Retried};
use crate::{Fault, Faults, Meter, Verb};

/// A store that fails as it is told, tried again at once, and what really arrives at it.
fn place() -> (Store, Faults, Meter) {
    let (faults, meter) = (Faults::new(), Meter::new());
    let retry = Retry::new().waits(Duration::from_micros(10), Duration::from_micros(50));
    let store = Store::new(Memory::new()).layer(faults.clone()).layer(meter.clone()).layer(retry);
    (store, faults, meter)
}

#[tokio::test]
async fn what_certainly_failed_is_tried_again() {
    let (store, faults, meter) = place();
    for verb in [Verb::Put, Verb::Get, Verb::Head, Verb::Delete, Verb::Increment] {
        faults.times(3, verb, Fault::Before);
    }
    let version = store.put("k", "1").if_absent().await.unwrap();
    assert!(store.get("k").await.unwrap().is_some());
    assert_eq!(store.head("k").await.unwrap().unwrap().version, version);
    assert_eq!(store.increment("k", 1).await.unwrap(), 2);
    store.delete("k").await.unwrap();
    assert_eq!(meter.counts().requests(Verb::Put), 4);
}

#[tokio::test]
async fn tries_are_bounded_and_the_last_error_is_told() {
    let (store, faults, meter) = place();
    faults.times(9, Verb::Get, Fault::Before);
    let error = store.get("k").await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(meter.counts().requests(Verb::Get), 4);
}

#[tokio::test]
async fn an_unknown_outcome_of_a_conditional_write_is_left_to_the_caller() {
    let (store, faults, meter) = place();
    faults.next(Verb::Put, Fault::After);
    let error = store.put("k", "v").if_absent().await.unwrap_err();
    assert!(error.is_indeterminate(), "{error}");
    faults.next(Verb::Increment, Fault::After);
    let error = store.increment("n", 1).await.unwrap_err();
    assert!(error.is_indeterminate(), "{error}");
    assert_eq!((meter.counts().requests(Verb::Put), meter.counts().requests(Verb::Increment)), (1, 1));
    assert_eq!(store.increment("n", 0).await.unwrap(), 1, "it was counted once");
}

#[tokio::test]
async fn what_can_never_succeed_is_tried_once() {
    let (store, _faults, meter) = place();
    store.put("k", "no number").await.unwrap();
    assert_eq!(store.increment("k", 1).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(store.put("k", "v").if_absent().await.unwrap_err().is_conflict());
    assert_eq!((meter.counts().requests(Verb::Increment), meter.counts().requests(Verb::Put)), (1, 2));
}

#[tokio::test]
async fn a_stream_is_sent_once() {
    let (store, faults, meter) = place();
    faults.next(Verb::Put, Fault::Before);
    let chunks = futures_util::stream::iter([Ok(Bytes::from_static(b"v"))]);
    store.put("k", Body::from_stream(Box::pin(chunks), None)).await.unwrap_err();
    assert_eq!(meter.counts().requests(Verb::Put), 1);
}

#[tokio::test]
async fn a_list_goes_on_where_it_broke_off() {
    let (store, faults, _meter) = place();
    for number in 0..20 {
        store.put(format!("k{number:02}"), "v").await.unwrap();
    }
    faults.times(2, Verb::List, Fault::Before);
    assert_eq!(store.list("k").await.unwrap().len(), 20);
}

#[tokio::test]
async fn entries_that_stand_alone_are_tried_again_and_others_are_not() {
    let (store, faults, _meter) = place();
    faults.next(Verb::Batch, Fault::Before);
    let put = |name: &str, text: &'static str| {
        Operation::Put(Key::new(name).unwrap(), text.into(), PutOptions::default())
    };
    let operations = vec![put("alone", "1"), put("twice", "2"), put("twice", "3")];
    let results = store.batch(operations, BatchOptions::default()).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
    assert!(store.head("alone").await.unwrap().is_some() && store.head("twice").await.unwrap().is_none());
}

#[tokio::test]
async fn without_a_budget_errors_come_through_at_once() {
    let (store, faults, meter) = place();
    faults.times(1_000, Verb::Get, Fault::Before);
    for _ in 0..100 {
        store.get("k").await.unwrap_err();
    }
    assert_eq!(meter.counts().requests(Verb::Get), 100 + 100, "each call, and one retry for each token");
}

#[tokio::test]
async fn an_error_after_an_unknown_one_is_unknown_too() {
    let retried =
        Retried { retry: Retry::new().waits(Duration::ZERO, Duration::ZERO), inner: Arc::new(Memory::new()) };
    let errors = Mutex::new(vec![
        Error::new(ErrorKind::Denied, "no"),
        Error::new(ErrorKind::Unavailable, "lost").indeterminate().retryable(true),
    ]);
    let call = || {
        let error = errors.lock().pop().expect("no third try");
        async move { Err::<(), _>(error) }
    };
    let error = retried.call(May::Anything, call).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.is_indeterminate(), "{error}");
}

#[test]
fn what_would_count_twice_is_sent_again_only_when_it_did_nothing() {
    let unknown = Error::new(ErrorKind::Unavailable, "lost").indeterminate().retryable(true);
    let known = Error::new(ErrorKind::Unavailable, "busy");
    assert!(May::Anything.repeat(&unknown) && May::Anything.repeat(&known));
    assert!(!May::Nothing.repeat(&unknown) && May::Nothing.repeat(&known));
    assert!(!May::Never.repeat(&known));
}
