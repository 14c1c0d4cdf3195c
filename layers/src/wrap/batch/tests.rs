use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{join, join_all},
};
use leasehold_core::{
    BatchOptions, Body, BoxStream, Bytes, Capabilities, Capability, Changes, DeleteOptions, Entry, ErrorKind,
    GetOptions, Key, ListOptions, Lookup, Metadata, Operation, Outcome, PutOptions, Result, Scope,
    StorageAdapter, Store, Version, async_trait,
};
use leasehold_memory::Memory;

use super::{
    Batch,
    queue::{Change, Limits, Queue, Size},
};
use crate::{Fault, Faults, Gate, Meter, Verb};

/// A batching store over one that can be held and counted.
struct Bench {
    below: Store,
    store: Store,
    batch: Batch,
    meter: Meter,
    faults: Faults,
}

fn bench(batch: Batch) -> Bench {
    let (below, faults, meter) = (Store::new(Memory::new()), Faults::new(), Meter::new());
    let store = below.clone().layer(faults.clone()).layer(meter.clone()).layer(batch.clone());
    Bench { below, store, batch, meter, faults }
}

fn grouped() -> Bench {
    bench(Batch::group_commit())
}

/// Nothing is sent before it is flushed.
fn behind() -> Bench {
    bench(Batch::write_behind().wait(Duration::from_secs(3600)))
}

impl Bench {
    /// A write that is under way until the gate is released.
    async fn occupied(&self) -> Gate {
        let gate = self.faults.hold(Verb::Batch);
        let store = self.store.clone();
        tokio::spawn(async move { store.put("first", "").await });
        gate.reached().await;
        gate
    }

    fn batches(&self) -> (u64, u64) {
        let counts = self.meter.counts();
        (counts.requests(Verb::Batch), counts.batch_entries)
    }
}

async fn text(store: &Store, key: &str) -> Option<String> {
    match store.get(key).await.unwrap() {
        Some(object) => Some(object.text().await.unwrap()),
        None => None,
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

#[tokio::test]
async fn a_lone_write_waits_for_nobody() {
    let bench = grouped();
    for n in 0..3 {
        bench.store.put("k", format!("{n}")).await.unwrap();
    }
    assert_eq!(bench.batches(), (3, 3));
}

#[tokio::test]
async fn writes_that_come_while_one_is_under_way_share_a_batch() {
    let bench = grouped();
    let gate = bench.occupied().await;
    let writes = join_all((0..50).map(|n| bench.store.put(format!("k{n}"), format!("{n}")).into_future()));
    let (versions, ()) = join(writes, async { gate.release() }).await;
    assert_eq!(bench.batches(), (2, 51));
    for (n, version) in versions.into_iter().enumerate() {
        let metadata = bench.below.head(format!("k{n}")).await.unwrap().unwrap();
        assert_eq!(version.unwrap(), metadata.version);
    }
}

#[tokio::test]
async fn callers_that_write_again_share_the_next_batch() {
    let bench = grouped();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64 {
        let store = bench.store.clone();
        tasks.spawn(async move {
            for n in 0..20 {
                store.put(format!("k{task}"), format!("{n}")).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let (batches, entries) = bench.batches();
    assert_eq!(entries, 64 * 20);
    assert!(batches <= 20 + 2, "{batches} batches of {entries} entries");
}

#[tokio::test]
async fn a_batch_goes_when_it_is_full_or_late_though_another_is_under_way() {
    let bench = bench(Batch::group_commit().entries_max(10));
    let _gate = bench.occupied().await;
    join_all((0..10).map(|n| bench.store.put(format!("k{n}"), "").into_future())).await;
    assert_eq!(bench.batches(), (2, 11));

    let bench = self::bench(Batch::group_commit().bytes_max(100));
    let _gate = bench.occupied().await;
    join_all((0..2).map(|n| bench.store.put(format!("k{n}"), vec![0; 50]).into_future())).await;
    assert_eq!(bench.batches(), (2, 3));

    let bench = self::bench(Batch::group_commit().wait(Duration::from_millis(1)));
    let _gate = bench.occupied().await;
    bench.store.put("k", "").await.unwrap();
}

#[tokio::test]
async fn writes_of_one_key_are_stored_in_the_order_they_came() {
    let bench = bench(Batch::group_commit().entries_max(3));
    let gate = bench.faults.hold(Verb::Batch);
    // The first is under way; the others of its key wait for it, those of other keys do not.
    let first = tokio::spawn({
        let store = bench.store.clone();
        async move { store.put("k", "0").await }
    });
    gate.reached().await;
    let others = join_all((1..30).map(|n| bench.store.put("k", format!("{n}")).into_future()));
    let elsewhere = join_all((0..3).map(|n| bench.store.put(format!("e{n}"), "").into_future()));
    let (others, ()) = join(others, async {
        elsewhere.await.into_iter().for_each(|written| drop(written.unwrap()));
        assert_eq!(text(&bench.below, "k").await, None);
        gate.release();
    })
    .await;
    first.await.unwrap().unwrap();
    assert!(others.iter().all(Result::is_ok));
    assert_eq!(text(&bench.below, "k").await.unwrap(), "29");
    assert_eq!(bench.batches().1, 33, "nothing was left out");
}

#[tokio::test]
async fn conditional_writes_keep_their_place_among_the_others() {
    let bench = grouped();
    let version = bench.below.put("k", "0").await.unwrap();
    let gate = bench.occupied().await;
    let store = &bench.store;
    let calls = async {
        tokio::join!(
            store.put("k", "1").if_match(version.clone()).into_future(),
            store.put("k", "2").into_future(),
            store.put("k", "3").if_match(version.clone()).into_future(),
            store.put("k", "4").if_absent().into_future(),
            store.delete("k").if_match(version).into_future(),
        )
    };
    let ((one, two, three, four, five), ()) = join(calls, async { gate.release() }).await;
    assert!(one.is_ok() && two.is_ok());
    assert!(
        three.unwrap_err().is_conflict()
            && four.unwrap_err().is_conflict()
            && five.unwrap_err().is_conflict()
    );
    assert_eq!(text(&bench.below, "k").await.unwrap(), "2");
}

#[tokio::test]
async fn puts_are_coalesced_only_when_asked_and_never_past_a_condition() {
    for coalesce in [false, true] {
        let bench = bench(Batch::group_commit().coalesce(coalesce));
        assert_eq!(bench.store.capabilities().supports(Capability::UniqueVersions), !coalesce);
        let gate = bench.occupied().await;
        let store = &bench.store;
        let calls = async {
            tokio::join!(
                store.put("k", "1").into_future(),
                store.put("k", "2").into_future(),
                store.put("k", "3").if_absent().into_future(),
                store.put("k", "4").into_future(),
                store.delete("k").into_future(),
                store.put("k", "5").into_future(),
                store.put("k", "6").into_future(),
            )
        };
        let ((one, two, three, ..), ()) = join(calls, async { gate.release() }).await;
        assert_eq!(one.unwrap() == two.unwrap(), coalesce);
        assert!(three.unwrap_err().is_conflict());
        assert_eq!(text(&bench.below, "k").await.unwrap(), "6");
        assert_eq!(bench.batches().1, if coalesce { 1 + 5 } else { 1 + 7 });
    }
}

#[tokio::test]
async fn each_caller_is_told_about_its_own_entry() {
    let bench = grouped();
    bench.faults.next_on("lost", Verb::Put, Fault::After).unwrap();
    bench.faults.next_on("refused", Verb::Put, Fault::Before).unwrap();
    let gate = bench.occupied().await;
    let writes = join_all(["a", "lost", "refused", "b"].map(|key| bench.store.put(key, "v").into_future()));
    let (results, ()) = join(writes, async { gate.release() }).await;
    let unknown: Vec<_> =
        results.iter().map(|result| result.as_ref().err().map(|error| error.is_indeterminate())).collect();
    assert_eq!(unknown, [None, Some(true), Some(false), None]);
}

#[tokio::test]
async fn a_failing_batch_fails_its_callers_and_nobody_later() {
    let bench = grouped();
    bench.faults.times(2, Verb::Batch, Fault::Before);
    assert_eq!(bench.store.put("k", "v").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(bench.store.put("k", "v").await.is_err());
    bench.store.put("k", "v").await.unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_write_and_stops_nobody() {
    let bench = grouped();
    let gate = bench.occupied().await;
    assert!(bench.store.put("gone", "v").into_future().now_or_never().is_none());
    let (written, ()) = join(bench.store.put("k", "v").into_future(), async { gate.release() }).await;
    written.unwrap();
    assert_eq!(text(&bench.below, "gone").await.unwrap(), "v");
}

#[tokio::test]
async fn who_watches_is_woken_by_what_its_own_readers_see() {
    let bench = bench(Batch::write_behind().wait(Duration::from_secs(3600)));
    let scope = Scope::Key(Key::new("k").unwrap());
    let mut above = bench.store.adapter().changes(&scope).await.unwrap().unwrap();
    let mut below = bench.below.adapter().changes(&scope).await.unwrap().unwrap();
    bench.store.put("k", "1").await.unwrap();
    // Answered, and pending: a change for those who read here, and for nobody else.
    assert_eq!(above.next().now_or_never(), Some(Some(())));
    assert_eq!(below.next().now_or_never(), None);
    bench.store.flush().await.unwrap();
    assert_eq!(below.next().now_or_never(), Some(Some(())));
    while above.next().now_or_never().is_some() {}
    // What is given up is another change: what was read is not there any more.
    bench.store.delete("k").await.unwrap();
    assert_eq!(above.next().now_or_never(), Some(Some(())));
    bench.faults.next(Verb::Batch, Fault::Before);
    bench.store.flush().await.unwrap_err();
    assert_eq!(above.next().now_or_never(), Some(Some(())));
    assert_eq!(text(&bench.store, "k").await.unwrap(), "1");
    // And what others write below.
    assert_eq!(above.next().now_or_never(), None);
    bench.below.put("k", "2").await.unwrap();
    assert_eq!(above.next().now_or_never(), Some(Some(())));
}

/// Panics at every second batch, and then answers with too little.
#[derive(Debug)]
struct Broken(Arc<dyn StorageAdapter>, AtomicUsize);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

#[async_trait]
impl StorageAdapter for Broken {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.0.head(key).await
    }
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.0.get(key, options).await
    }
    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.0.put(key, body, options).await
    }
    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.0.delete(key, options).await
    }
    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.0.list(options)
    }
    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.0.increment(key, delta).await
    }
    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        match self.1.fetch_add(1, Relaxed) {
            0 => panic!("as planned"),
            1 => Vec::new(),
            _ => self.0.batch(operations, options).await,
        }
    }

    async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.0.changes(scope).await
    }
}

#[tokio::test]
async fn a_store_that_panics_or_answers_too_little_leaves_writes_unknown_and_the_layer_usable() {
    let broken = |inner: Arc<dyn StorageAdapter>| -> Arc<dyn StorageAdapter> {
        Arc::new(Broken(inner, AtomicUsize::new(0)))
    };
    let store = Store::new(Memory::new()).layer(broken).layer(Batch::group_commit());
    for _ in 0..2 {
        let error = store.put("k", "v").await.unwrap_err();
        assert!(error.is_indeterminate() && error.kind() == ErrorKind::Unexpected, "{error}");
    }
    store.put("k", "v").await.unwrap();
}

#[tokio::test]
async fn increments_streams_and_batches_come_after_what_was_written_before() {
    for bench in [grouped(), behind()] {
        let store = bench.store.clone();
        let waits = bench.batch.behind;
        let gate = if waits { None } else { Some(bench.occupied().await) };
        let put = async {
            let (n, s) =
                tokio::join!(store.put("n", "41").into_future(), store.put("s", "old").into_future());
            n.and(s).unwrap();
        };
        let later = async {
            assert_eq!(store.increment("n", 1).await.unwrap(), 42);
            let chunks = futures_util::stream::iter([Ok(Bytes::from_static(b"new"))]);
            store.put("s", Body::from_stream(chunks.boxed(), None)).await.unwrap();
            let delete = Operation::Delete(key("s"), DeleteOptions::default());
            assert!(store.batch(vec![delete], BatchOptions::default()).await.remove(0).is_ok());
        };
        tokio::join!(put, later, async {
            if let Some(gate) = gate {
                gate.release();
            }
        });
        assert_eq!(text(&bench.below, "n").await.unwrap(), "42");
        assert_eq!(text(&bench.below, "s").await, None);
    }
}

#[tokio::test]
async fn what_is_written_behind_is_read_at_once_and_stored_later() {
    let bench = behind();
    bench.below.put("gone", "v").await.unwrap();
    let version = bench.store.put("k", "0123456789").await.unwrap();
    bench.store.delete("gone").await.unwrap();
    assert_eq!(bench.meter.counts().total(), 0);
    assert_eq!(bench.store.head("k").await.unwrap().unwrap().version, version);
    assert_eq!(bench.store.get("k").range(2..4).await.unwrap().unwrap().text().await.unwrap(), "23");
    assert!(matches!(
        bench.store.get("k").if_changed_from(version.clone()).await.unwrap(),
        Lookup::Unchanged
    ));
    assert_eq!(text(&bench.store, "gone").await, None);
    assert_eq!(text(&bench.below, "k").await, None);
    bench.batch.flush().await.unwrap();
    assert_eq!((text(&bench.below, "k").await.unwrap().len(), text(&bench.below, "gone").await), (10, None));
    for capability in [Capability::Linearizable, Capability::Durable] {
        assert!(!bench.store.capabilities().supports(capability));
    }
}

#[tokio::test]
async fn a_version_keeps_its_name_when_the_write_is_stored() {
    let bench = behind();
    let version = bench.store.put("k", "1").await.unwrap();
    bench.batch.flush().await.unwrap();
    assert_eq!(bench.store.head("k").await.unwrap().unwrap().version, version);
    assert_eq!(bench.store.list("").await.unwrap()[0].metadata.version, version);
    assert!(matches!(
        bench.store.get("k").if_changed_from(version.clone()).await.unwrap(),
        Lookup::Unchanged
    ));
    let next = bench.store.put("k", "2").if_match(version.clone()).await.unwrap();
    assert!(bench.store.put("k", "3").if_match(version).await.unwrap_err().is_conflict());
    assert_eq!(bench.store.head("k").await.unwrap().unwrap().version, next);
}

#[tokio::test]
async fn a_condition_on_a_pending_write_is_decided_by_the_store() {
    let bench = behind();
    let first = bench.store.put("k", "1").await.unwrap();
    let second = bench.store.put("k", "2").await.unwrap();
    assert!(bench.store.put("k", "3").if_match(first).await.unwrap_err().is_conflict());
    bench.store.put("k", "4").if_match(second).await.unwrap();
    assert!(bench.store.put("k", "5").if_absent().await.unwrap_err().is_conflict());
    assert!(bench.store.compare_and_swap("k", Some("4"), "6").await.unwrap());
    assert_eq!(text(&bench.below, "k").await.unwrap(), "6");
}

#[tokio::test]
async fn a_version_outlives_a_later_write_that_fails() {
    let bench = behind();
    let first = bench.store.put("k", "1").await.unwrap();
    bench.store.put("k", "2").await.unwrap();
    // One write of a key goes in a batch, so the second is hit.
    let gate = bench.faults.hold(Verb::Put);
    let flush = async {
        gate.reached().await;
        bench.faults.next(Verb::Put, Fault::Before);
        gate.release();
    };
    let (flushed, ()) = join(bench.batch.flush(), flush).await;
    flushed.unwrap_err();
    assert_eq!(text(&bench.store, "k").await.unwrap(), "1");
    bench.store.put("k", "3").if_match(first).await.unwrap();
}

#[tokio::test]
async fn a_list_shows_what_is_pending() {
    let bench = behind();
    bench.below.put("b", "v").await.unwrap();
    bench.store.put("a", "v").await.unwrap();
    bench.store.delete("b").await.unwrap();
    let keys: Vec<_> =
        bench.store.list("").await.unwrap().into_iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["a"]);
}

#[tokio::test]
async fn failures_go_to_the_hook_and_to_the_next_flush() {
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let hook = seen.clone();
    let batch = Batch::write_behind()
        .wait(Duration::from_secs(3600))
        .on_error(move |key, error| hook.lock().push((key.to_string(), error.is_indeterminate())));
    let bench = bench(batch);
    bench.faults.next_on("a", Verb::Put, Fault::Before).unwrap();
    bench.faults.next_on("b", Verb::Put, Fault::After).unwrap();
    for key in ["a", "b", "c"] {
        bench.store.put(key, "v").await.unwrap();
    }
    let error = bench.batch.flush().await.unwrap_err();
    assert!(error.to_string().contains("2 write(s) failed"), "{error}");
    assert_eq!(*seen.lock(), [("a".to_owned(), false), ("b".to_owned(), true)]);
    bench.batch.flush().await.unwrap();
    // A write that failed is no longer read as if it had not.
    assert_eq!(text(&bench.store, "a").await, None);
    assert_eq!(text(&bench.store, "c").await.unwrap(), "v");
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_at_once() {
    let small = leasehold_core::Limits { value_bytes_max: 3, ..Default::default() };
    let store = Store::new(Memory::new().limits(small)).layer(Batch::write_behind());
    assert_eq!(store.put("k", "four").await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn past_what_may_be_pending_callers_wait() {
    let bench = bench(Batch::write_behind().wait(Duration::from_secs(3600)).pending_max(10, 1 << 20));
    let gate = bench.faults.hold(Verb::Batch);
    for n in 0..10 {
        bench.store.put(format!("k{n}"), "v").await.unwrap();
    }
    // Makes the first batch go, and then there is room.
    bench.store.put("k10", "v").await.unwrap();
    gate.reached().await;
    for n in 11..20 {
        bench.store.put(format!("k{n}"), "v").await.unwrap();
    }
    gate.release();
    bench.batch.close().await.unwrap();
    assert_eq!(bench.below.list("").await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_closed_layer_has_stored_everything_and_takes_nothing_more() {
    for bench in [grouped(), behind()] {
        let gate = if bench.batch.behind { None } else { Some(bench.occupied().await) };
        let pending = bench.store.put("k", "v").into_future();
        let close = async {
            tokio::task::yield_now().await;
            let closed = bench.batch.close();
            let (closed, ()) = join(closed, async {
                if let Some(gate) = gate {
                    gate.release();
                }
            })
            .await;
            closed.unwrap();
        };
        let (written, ()) = join(pending, close).await;
        written.unwrap();
        assert_eq!(text(&bench.below, "k").await.unwrap(), "v");
        let error = bench.store.put("l", "v").await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && !error.is_indeterminate() && !error.is_retryable());
        assert!(bench.store.increment("n", 1).await.is_err());
        assert!(bench.store.put_many([("l", "v")]).await[0].is_err());
        assert_eq!(text(&bench.store, "k").await.unwrap(), "v");
    }
}

#[tokio::test]
async fn intervals_differ_by_pattern() {
    let batch = Batch::write_behind()
        .wait(Duration::from_secs(3600))
        .interval("balances/**", Duration::ZERO)
        .unwrap()
        .interval("typing/**", Duration::from_millis(1))
        .unwrap();
    let bench = bench(batch);
    bench.store.put("balances/7", "1").await.unwrap();
    assert_eq!(text(&bench.below, "balances/7").await.unwrap(), "1");
    bench.store.put("other", "1").await.unwrap();
    bench.store.put("typing/7", "1").await.unwrap();
    while text(&bench.below, "typing/7").await.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(text(&bench.below, "other").await, None);
}

#[test]
fn a_queue_counts_what_it_holds() {
    let limits = Limits { wait: Duration::from_secs(1), entries: 2, bytes: 100, flights: 2 };
    let mut queue = Queue::new(limits, true);
    let put = |size: usize| Change::Put(Bytes::from(vec![0; size]), PutOptions::default());
    let (now, hold) = (Duration::ZERO, Duration::from_secs(5));
    let size = |entries, bytes| Size { entries, bytes };
    queue.push(key("a"), put(10), (), now, hold);
    assert_eq!((queue.size(), queue.alarm()), (size(1, 10), Some(hold)));
    assert!(queue.depart(now).is_none());
    // Takes the place of the first.
    queue.push(key("a"), put(20), (), now, hold);
    assert_eq!(queue.size(), size(1, 20));
    // Enough is held.
    queue.push(key("b"), put(5), (), now, hold);
    let items = queue.depart(now).unwrap();
    assert_eq!(items.iter().map(|item| item.waiters.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((queue.size(), queue.is_through(queue.issued())), (size(0, 0), false));
    queue.landed(items.iter().map(|item| (&item.key, item.number)), now);
    assert!(queue.is_through(queue.issued()) && queue.last(&key("a")).is_none());
}

#[test]
fn what_waits_behind_its_own_key_rings_no_alarm_and_hurries_nobody() {
    let limits = Limits { wait: Duration::from_secs(1), entries: 2, bytes: 100, flights: 4 };
    let mut queue = Queue::new(limits, false);
    let put = || Change::Put(Bytes::new(), PutOptions::default());
    queue.push(key("a"), put(), (), Duration::ZERO, Duration::ZERO);
    let first = queue.depart(Duration::ZERO).unwrap();
    for _ in 0..5 {
        queue.push(key("a"), put(), (), Duration::ZERO, Duration::ZERO);
    }
    let late = Duration::from_secs(10);
    assert_eq!((queue.alarm(), queue.depart(late).is_none()), (None, true));
    queue.push(key("b"), put(), (), late, Duration::ZERO);
    assert!(queue.depart(late).is_none(), "another key is neither late nor one of many");
    queue.landed(first.iter().map(|item| (&item.key, item.number)), late);
    queue.release();
    let next: Vec<_> = queue.depart(late).unwrap().into_iter().map(|item| item.key.to_string()).collect();
    assert_eq!(next.len(), 2, "one of each key: {next:?}");
}

#[tokio::test]
async fn an_increment_waits_for_what_came_before_it_and_not_for_what_comes_meanwhile() {
    let bench = grouped();
    let (first_gate, second_gate) = (bench.faults.hold(Verb::Batch), bench.faults.hold(Verb::Batch));
    let put = |value| {
        let store = bench.store.clone();
        tokio::spawn(async move { store.put("n", value).await })
    };
    let first = put("1");
    first_gate.reached().await;
    let mut increment = Box::pin(bench.store.increment("n", 1));
    assert!((&mut increment).now_or_never().is_none());
    let second = put("5");
    tokio::task::yield_now().await;
    first_gate.release();
    second_gate.reached().await;
    assert_eq!(increment.await.unwrap(), 2);
    second_gate.release();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(text(&bench.below, "n").await.unwrap(), "5");
}

#[test]
fn a_runtime_that_ends_leaves_its_writes_unknown_and_the_layer_usable() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let bench = behind();
    let gate = bench.faults.hold(Verb::Batch);
    first.block_on(async {
        bench.store.put("k", "v").await.unwrap();
        let flush = bench.batch.flush();
        let reached = gate.reached();
        futures_util::pin_mut!(flush, reached);
        futures_util::future::select(flush, reached).await;
    });
    drop(first);
    second.block_on(async {
        let error = bench.batch.flush().await.unwrap_err();
        assert!(error.is_indeterminate(), "{error}");
        assert_eq!(text(&bench.store, "k").await, None);
        bench.store.put("k", "w").await.unwrap();
        bench.batch.close().await.unwrap();
        assert_eq!(text(&bench.below, "k").await.unwrap(), "w");
    });
}

#[tokio::test]
async fn a_hook_that_panics_stops_nobody() {
    let bench =
        bench(Batch::write_behind().wait(Duration::from_secs(3600)).on_error(|_, _| panic!("as planned")));
    bench.faults.next_on("a", Verb::Put, Fault::Before).unwrap();
    bench.store.put("a", "v").await.unwrap();
    bench.store.put("b", "v").await.unwrap();
    bench.batch.flush().await.unwrap_err();
    assert_eq!(text(&bench.below, "b").await.unwrap(), "v");
}
