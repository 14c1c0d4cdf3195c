use futures_util::{
    FutureExt,
    stream::{self, StreamExt},
};
use leasehold_core::{Body, Bytes, ErrorKind, Store};
use leasehold_memory::Memory;

use crate::{Fault, Faults, Meter, Verb};

#[tokio::test]
async fn requests_errors_and_bytes_are_counted() {
    let meter = Meter::new();
    let store = Store::new(Memory::new()).layer(meter.clone());
    store.put("k", "four").if_absent().await.unwrap();
    store.put("k", "five!").if_absent().await.unwrap_err();
    store.get("k").range(1..3).await.unwrap();
    let counts = meter.counts();
    assert_eq!((counts.requests(Verb::Put), counts.requests(Verb::Get), counts.total()), (2, 1, 3));
    assert_eq!(counts.errors(ErrorKind::Conflict), 1);
    assert_eq!((counts.bytes_in, counts.bytes_out), (9, 2));
}

#[tokio::test]
async fn a_stream_is_counted_as_it_is_read() {
    let meter = Meter::new();
    let store = Store::new(Memory::new()).layer(meter.clone());
    let chunks = stream::iter(["ab", "c"].map(|part| Ok(Bytes::from_static(part.as_bytes()))));
    store.put("k", Body::from_stream(chunks.boxed(), None)).await.unwrap();
    assert_eq!(meter.counts().bytes_in, 3);
}

#[tokio::test]
async fn entries_of_batches_are_counted_one_by_one() {
    let (meter, faults) = (Meter::new(), Faults::new());
    let store = Store::new(Memory::new()).layer(faults.clone()).layer(meter.clone());
    let before = meter.counts();
    faults.next(Verb::Put, Fault::After);
    store.put_many([("a", "1"), ("b", "22")]).await;
    let counts = meter.counts().since(&before);
    assert_eq!((counts.requests(Verb::Batch), counts.batch_entries), (1, 2));
    assert_eq!((counts.indeterminate, counts.errors(ErrorKind::Unavailable)), (1, 1));
    assert_eq!(counts.bytes_in, 3);
}

#[test]
fn measurements_reach_the_recorder() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let faults = Faults::new();
            let store = Store::new(Memory::new()).layer(faults.clone()).layer(Meter::published("orders"));
            store.put("k", "four").await.unwrap();
            store.put("k", "four").if_absent().await.unwrap_err();
            faults.next(Verb::Put, Fault::After);
            store.put("k", "four").await.unwrap_err();
            let _gate = faults.hold(Verb::Get);
            assert!(store.get("k").into_future().now_or_never().is_none());
            store.get("k").await.unwrap();
            store.list("").await.unwrap();
            store.put_many([("a", "1"), ("b", "2")]).await;
        });
    });
    let mut values = std::collections::BTreeMap::new();
    for (key, _, _, value) in seen.snapshot().into_vec() {
        let (_, key) = key.into_parts();
        let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
        assert_eq!(labels[0], "orders");
        values.insert(format!("{} {}", key.name(), labels[1..].join(" ")), value);
    }
    let counted = |name: &str| match values.get(name) {
        Some(metrics_util::debugging::DebugValue::Counter(count)) => *count,
        Some(metrics_util::debugging::DebugValue::Histogram(samples)) => samples.len() as u64,
        Some(metrics_util::debugging::DebugValue::Gauge(gauge)) => gauge.0 as u64,
        None => panic!("{name} is not in {:?}", values.keys()),
    };
    for (name, wanted) in [
        ("leasehold_calls_total put ok", 1),
        ("leasehold_calls_total put conflict", 1),
        ("leasehold_calls_total put unknown", 1),
        ("leasehold_calls_total get cancelled", 1),
        ("leasehold_calls_total get ok", 1),
        ("leasehold_calls_total list ok", 1),
        ("leasehold_call_duration_seconds put", 3),
        ("leasehold_calls_in_flight get", 0),
        ("leasehold_bytes_total in", 14),
        ("leasehold_bytes_total out", 4),
        ("leasehold_batch_entries_total ", 2),
    ] {
        assert_eq!(counted(name), wanted, "{name}");
    }
}
