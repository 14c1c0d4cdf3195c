use futures_util::stream::{self, StreamExt};
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
