use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use leasehold_core::{
    Body, ByteRange, Capability, Clock, Environment, ErrorKind, GetOptions, Key, Lookup, Operation, Scope,
    Store,
};
use leasehold_memory::Memory;

use super::traffic::{Join, Traffic};
use crate::{Cache, Fault, Faults, Meter, Verb};

const AGE: Duration = Duration::from_secs(10);
const ROOM: u64 = 1 << 20;

/// A clock that goes on when it is told to.
#[derive(Debug, Default)]
struct ByHand(AtomicU64);

impl ByHand {
    fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Relaxed);
    }
}

impl Clock for ByHand {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }

    fn boottime(&self) -> Duration {
        self.monotonic()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }
}

/// A cached store over a faulty one, the store below, and what can be looked at and turned.
struct Bench {
    below: Store,
    store: Store,
    cache: Cache,
    meter: Meter,
    faults: Faults,
    clock: Arc<ByHand>,
}

fn bench(cache: Cache) -> Bench {
    let (below, faults, meter) = (Store::new(Memory::new()), Faults::new(), Meter::new());
    let clock = Arc::new(ByHand::default());
    let cache =
        cache.with_environment(Environment { clock: clock.clone(), random: Environment::default().random });
    let store = below.clone().layer(faults.clone()).layer(meter.clone()).layer(cache.clone());
    Bench { below, store, cache, meter, faults, clock }
}

fn stale() -> Bench {
    bench(Cache::bounded_staleness(ROOM, AGE))
}

fn revalidating() -> Bench {
    bench(Cache::revalidate(ROOM))
}

async fn text(store: &Store, key: &str) -> Option<String> {
    match store.get(key).await.unwrap() {
        Some(object) => Some(object.text().await.unwrap()),
        None => None,
    }
}

#[tokio::test]
async fn a_value_is_fetched_once_and_then_comes_from_memory() {
    let bench = stale();
    bench.below.put("k", "v").await.unwrap();
    for _ in 0..3 {
        assert_eq!(text(&bench.store, "k").await.unwrap(), "v");
    }
    bench.store.head("k").await.unwrap().unwrap();
    assert_eq!(bench.meter.counts().total(), 1);
    let stats = bench.cache.stats();
    assert_eq!((stats.loads, stats.misses, stats.hits), (1, 1, 3));
}

#[tokio::test]
async fn a_foreign_write_is_seen_within_the_bound_and_not_necessarily_before() {
    let bench = stale();
    bench.below.put("k", "old").await.unwrap();
    text(&bench.store, "k").await;
    bench.below.put("k", "new").await.unwrap();
    bench.clock.forward(AGE - Duration::from_nanos(1));
    assert_eq!(text(&bench.store, "k").await.unwrap(), "old");
    bench.clock.forward(Duration::from_nanos(1));
    assert_eq!(text(&bench.store, "k").await.unwrap(), "new");
    assert!(!bench.store.capabilities().supports(Capability::Linearizable));
}

#[tokio::test]
async fn the_age_of_a_value_counts_from_the_beginning_of_its_read() {
    let bench = stale();
    bench.below.put("k", "old").await.unwrap();
    let gate = bench.faults.hold_reply(Verb::Get);
    let (read, ()) = tokio::join!(text(&bench.store, "k"), async {
        gate.reached().await;
        bench.below.put("k", "new").await.unwrap();
        bench.clock.forward(AGE);
        gate.release();
    });
    assert_eq!(read.unwrap(), "old");
    assert_eq!(text(&bench.store, "k").await.unwrap(), "new");
}

#[tokio::test]
async fn what_is_expired_is_asked_about_and_not_fetched_again() {
    let bench = stale();
    bench.below.put("k", "12345678").await.unwrap();
    text(&bench.store, "k").await;
    bench.clock.forward(AGE);
    assert_eq!(text(&bench.store, "k").await.unwrap(), "12345678");
    assert_eq!((bench.meter.counts().requests(Verb::Get), bench.meter.counts().bytes_out), (2, 8));
    // And is as good as new then.
    text(&bench.store, "k").await;
    assert_eq!(bench.meter.counts().requests(Verb::Get), 2);
}

#[tokio::test]
async fn revalidation_shows_a_foreign_write_at_once_and_saves_the_body() {
    let bench = revalidating();
    bench.below.put("k", "12345678").await.unwrap();
    for _ in 0..3 {
        assert_eq!(text(&bench.store, "k").await.unwrap(), "12345678");
    }
    assert_eq!((bench.meter.counts().requests(Verb::Get), bench.meter.counts().bytes_out), (3, 8));
    assert_eq!((bench.cache.stats().hits, bench.cache.stats().misses), (2, 1));
    bench.below.put("k", "new").await.unwrap();
    assert_eq!(text(&bench.store, "k").await.unwrap(), "new");
    bench.below.delete("k").await.unwrap();
    assert_eq!(text(&bench.store, "k").await, None);
    bench.below.put("k", "newer").await.unwrap();
    assert_eq!(text(&bench.store, "k").await.unwrap(), "newer");
    assert!(bench.store.capabilities().supports(Capability::Linearizable));
}

#[tokio::test]
async fn absence_is_remembered_until_it_is_written() {
    let bench = stale();
    assert_eq!(text(&bench.store, "k").await, None);
    assert_eq!(text(&bench.store, "k").await, None);
    assert_eq!(bench.meter.counts().total(), 1);
    bench.store.put("k", "v").await.unwrap();
    assert_eq!(text(&bench.store, "k").await.unwrap(), "v");

    let bench = self::bench(Cache::bounded_staleness(ROOM, AGE).absent_for(Duration::ZERO));
    assert_eq!(text(&bench.store, "k").await, None);
    bench.below.put("k", "v").await.unwrap();
    assert_eq!(text(&bench.store, "k").await.unwrap(), "v");
}

/// Every kind of own write, between the beginning and the end of a read of the old value.
#[tokio::test]
async fn a_slow_read_never_puts_an_old_value_over_an_own_write() {
    for mode in [stale, revalidating] {
        for write in 0..5 {
            let bench = mode();
            bench.below.put("k", "1").await.unwrap();
            let gate = bench.faults.hold_reply(Verb::Get);
            let store = bench.store.clone();
            let slow = tokio::spawn(async move { text(&store, "k").await });
            gate.reached().await;
            let wanted = match write {
                0 => bench.store.put("k", "2").await.map(|_| Some("2")),
                1 => bench.store.delete("k").await.map(|()| None),
                2 => bench.store.increment("k", 1).await.map(|_| Some("2")),
                3 => {
                    let version = bench.below.head("k").await.unwrap().unwrap().version;
                    bench.store.put("k", "2").if_match(version).await.map(|_| Some("2"))
                }
                _ => bench.store.put_many([("k", "2")]).await.remove(0).map(|_| Some("2")),
            };
            let wanted = wanted.unwrap().map(str::to_owned);
            gate.release();
            assert_eq!(slow.await.unwrap().unwrap(), "1");
            assert_eq!(text(&bench.store, "k").await, wanted, "write {write}");
        }
    }
}

#[tokio::test]
async fn a_read_during_a_write_is_not_kept() {
    let bench = stale();
    bench.below.put("k", "old").await.unwrap();
    let gate = bench.faults.hold(Verb::Put);
    let store = bench.store.clone();
    let put = tokio::spawn(async move { store.put("k", "new").await });
    gate.reached().await;
    assert_eq!(text(&bench.store, "k").await.unwrap(), "old");
    gate.release();
    put.await.unwrap().unwrap();
    assert_eq!(text(&bench.store, "k").await.unwrap(), "new");
}

#[tokio::test]
async fn a_read_from_during_a_write_is_neither_kept_nor_joined_after_it() {
    let bench = stale();
    bench.below.put("k", "old").await.unwrap();
    let (put_gate, get_gate) = (bench.faults.hold(Verb::Put), bench.faults.hold_reply(Verb::Get));
    let (writer, reader) = (bench.store.clone(), bench.store.clone());
    let put = tokio::spawn(async move { writer.put("k", "new").await });
    put_gate.reached().await;
    let slow = tokio::spawn(async move { text(&reader, "k").await });
    get_gate.reached().await;
    put_gate.release();
    put.await.unwrap().unwrap();
    assert_eq!(text(&bench.store, "k").await.unwrap(), "new");
    get_gate.release();
    assert_eq!(slow.await.unwrap().unwrap(), "old");
    assert_eq!(text(&bench.store, "k").await.unwrap(), "new");
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_or_that_was_dropped_takes_the_key_out() {
    let bench = stale();
    bench.below.put("k", "old").await.unwrap();
    text(&bench.store, "k").await;
    bench.faults.next(Verb::Put, Fault::After);
    assert!(bench.store.put("k", "new").await.unwrap_err().is_indeterminate());
    assert_eq!(text(&bench.store, "k").await.unwrap(), "new");

    let _gate = bench.faults.hold_reply(Verb::Put);
    let store = bench.store.clone();
    assert!(async { store.put("k", "newer").await }.now_or_never().is_none());
    assert_eq!(text(&bench.store, "k").await.unwrap(), "newer");
}

#[tokio::test]
async fn a_lost_race_takes_the_key_out_so_that_an_update_ends() {
    let bench = stale();
    bench.below.put("k", "1").await.unwrap();
    text(&bench.store, "k").await;
    bench.below.put("k", "2").await.unwrap();
    let conflict = {
        let version = bench.store.head("k").await.unwrap().unwrap().version;
        bench.store.put("k", "3").if_match(version).await.unwrap_err()
    };
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    assert_eq!(text(&bench.store, "k").await.unwrap(), "2");
}

#[tokio::test]
async fn reads_of_one_key_at_one_time_share_a_request() {
    let bench = stale();
    bench.below.put("k", "v").await.unwrap();
    let gate = bench.faults.hold_reply(Verb::Get);
    let reads = join_all((0..10).map(|_| text(&bench.store, "k")));
    let (read, ()) = tokio::join!(reads, async {
        gate.reached().await;
        gate.release();
    });
    assert!(read.iter().all(|text| text.as_deref() == Some("v")));
    assert_eq!(bench.meter.counts().requests(Verb::Get), 1);
}

#[tokio::test]
async fn a_read_joins_no_request_that_is_older_than_the_bound() {
    let bench = stale();
    bench.below.put("k", "old").await.unwrap();
    let gate = bench.faults.hold_reply(Verb::Get);
    let store = bench.store.clone();
    let slow = tokio::spawn(async move { text(&store, "k").await });
    gate.reached().await;
    bench.below.put("k", "new").await.unwrap();
    bench.clock.forward(AGE);
    let late = text(&bench.store, "k");
    let (late, ()) = tokio::join!(late, async { gate.release() });
    assert_eq!(late.unwrap(), "new");
    slow.await.unwrap();
}

#[tokio::test]
async fn a_panic_below_is_told_to_all_who_wait() {
    let cache = Cache::bounded_staleness(ROOM, AGE);
    let traffic = Traffic::<()>::new(super::shelf::Shelf::new(&cache));
    let key = Key::new("k").unwrap();
    let first = traffic.share(&key, Join::Within(AGE), |_| async { panic!("as planned") });
    let second = traffic.share(&key, Join::Within(AGE), |_| async { unreachable!("it joins") });
    assert!(first.await.is_err() && second.await.is_err());
    assert_eq!(traffic.keys(), 0);
}

#[tokio::test]
async fn a_read_that_revalidates_joins_no_request_that_has_begun() {
    let bench = revalidating();
    bench.below.put("k", "old").await.unwrap();
    let gate = bench.faults.hold_reply(Verb::Get);
    let early = tokio::spawn({
        let store = bench.store.clone();
        async move { text(&store, "k").await }
    });
    gate.reached().await;
    // The early one has its answer already: those that begin now must see this.
    bench.below.put("k", "new").await.unwrap();
    let late = join_all((0..10).map(|_| text(&bench.store, "k")));
    let (late, ()) = tokio::join!(late, async { gate.release() });
    assert_eq!(early.await.unwrap().unwrap(), "old");
    assert!(late.iter().all(|text| text.as_deref() == Some("new")), "{late:?}");
    assert_eq!(bench.meter.counts().requests(Verb::Get), 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_stops_nobody_else() {
    let bench = stale();
    bench.below.put("k", "v").await.unwrap();
    let gate = bench.faults.hold_reply(Verb::Get);
    let mut first = Box::pin(text(&bench.store, "k"));
    assert!(first.as_mut().now_or_never().is_none());
    let second = tokio::spawn({
        let store = bench.store.clone();
        async move { text(&store, "k").await }
    });
    gate.reached().await;
    tokio::task::yield_now().await;
    drop(first);
    gate.release();
    assert_eq!(second.await.unwrap().unwrap(), "v");
    assert_eq!(bench.meter.counts().requests(Verb::Get), 1);
}

#[tokio::test]
async fn a_failed_read_is_told_to_all_and_kept_by_nobody() {
    let bench = stale();
    bench.below.put("k", "v").await.unwrap();
    bench.faults.next(Verb::Get, Fault::Before);
    assert_eq!(bench.store.get("k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(text(&bench.store, "k").await.unwrap(), "v");
}

#[tokio::test]
async fn ranges_of_what_is_here_are_cut_out_of_it() {
    let bench = stale();
    bench.below.put("k", "0123456789").await.unwrap();
    let part = |range: ByteRange| {
        let store = &bench.store;
        async move { store.get("k").range(range).await.map(Option::unwrap) }
    };
    // Not here: read through.
    assert_eq!(part((2..4).into()).await.unwrap().text().await.unwrap(), "23");
    text(&bench.store, "k").await;
    let requests = bench.meter.counts().total();
    for (range, wanted) in [((2..4).into(), "23"), ((8..).into(), "89"), (ByteRange::Last(3), "789")] {
        let object = part(range).await.unwrap();
        assert_eq!(object.metadata.size, 10);
        assert_eq!(object.text().await.unwrap(), wanted);
    }
    assert_eq!(part((11..).into()).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(bench.meter.counts().total(), requests);
}

#[tokio::test]
async fn a_reader_who_has_the_value_is_told_so() {
    for mode in [stale, revalidating] {
        let bench = mode();
        let version = bench.below.put("k", "v").await.unwrap();
        for _ in 0..2 {
            let lookup = bench.store.get("k").if_changed_from(version.clone()).await.unwrap();
            assert!(matches!(lookup, Lookup::Unchanged), "{lookup:?}");
        }
        let next = bench.below.put("k", "w").await.unwrap();
        bench.clock.forward(AGE);
        let lookup = bench.store.get("k").if_changed_from(version.clone()).await.unwrap();
        assert_eq!(lookup.found().unwrap().version(), &next);
    }
}

#[tokio::test]
async fn large_and_streamed_values_pass_and_are_not_kept() {
    let bench = bench(Cache::bounded_staleness(ROOM, AGE).value_bytes_max(100));
    bench.below.put("k", vec![b'x'; 101]).await.unwrap();
    let reads = join_all((0..5).map(|_| text(&bench.store, "k"))).await;
    assert!(reads.iter().all(|text| text.as_ref().unwrap().len() == 101));
    bench.below.put("k", "new").await.unwrap();
    assert_eq!(text(&bench.store, "k").await.unwrap(), "new");
}

#[tokio::test]
async fn the_room_is_kept_to() {
    let bench = stale();
    for n in 0..2_000 {
        bench.below.put(format!("k{n}"), vec![7; 1_000]).await.unwrap();
        bench.store.get(format!("k{n}")).await.unwrap();
    }
    let stats = bench.cache.stats();
    assert!(stats.evictions > 1_000, "{stats:?}");
    assert!(format!("{:?}", bench.store).contains("of 1048576 bytes"), "{:?}", bench.store);
}

#[tokio::test]
async fn what_nobody_reads_is_asked_for_again() {
    let idle = Duration::from_secs(2);
    let bench = bench(Cache::bounded_staleness(ROOM, AGE).time_to_idle(idle));
    bench.below.put("k", "v").await.unwrap();
    for _ in 0..4 {
        text(&bench.store, "k").await;
        bench.clock.forward(idle / 2);
    }
    assert_eq!(bench.cache.stats().loads, 1);
    bench.clock.forward(idle);
    text(&bench.store, "k").await;
    assert_eq!(bench.cache.stats().loads, 2);
}

#[tokio::test]
async fn a_batch_of_reads_asks_only_for_what_is_not_here() {
    for (mode, entries) in [(stale as fn() -> Bench, 2), (revalidating, 3)] {
        let bench = mode();
        bench.below.put_many([("a", "1"), ("b", "22"), ("c", "333")]).await;
        text(&bench.store, "a").await;
        let before = bench.meter.counts();
        for round in 0..2 {
            let found = bench.store.get_many(["a", "b", "none"]).await;
            let sizes: Vec<_> =
                found.into_iter().map(|found| found.unwrap().map(|object| object.metadata.size)).collect();
            assert_eq!(sizes, [Some(1), Some(2), None], "round {round}");
            if round == 0 {
                assert_eq!(bench.meter.counts().since(&before).batch_entries, entries);
            }
        }
        let key = Key::new("a").unwrap();
        let range = Operation::Get(key, GetOptions::default().range(0..0));
        let results = bench.store.batch(vec![range], leasehold_core::BatchOptions::default()).await;
        assert!(results[0].is_ok());
        // What the batch brought is here now.
        let requests = bench.meter.counts().bytes_out;
        text(&bench.store, "b").await;
        assert_eq!(bench.meter.counts().bytes_out, requests);
    }
}

#[tokio::test]
async fn a_batch_with_a_write_is_seen_by_what_comes_after() {
    let bench = stale();
    bench.below.put("k", "old").await.unwrap();
    text(&bench.store, "k").await;
    let key = Key::new("k").unwrap();
    let operations = vec![
        Operation::Put(key.clone(), Body::from("new"), Default::default()),
        Operation::Get(key, GetOptions::default()),
    ];
    bench
        .store
        .batch(operations, Default::default())
        .await
        .into_iter()
        .for_each(|result| drop(result.unwrap()));
    assert_eq!(text(&bench.store, "k").await.unwrap(), "new");
}

#[tokio::test]
async fn keys_on_which_nothing_is_under_way_take_no_memory() {
    let cache = Cache::bounded_staleness(ROOM, AGE);
    let traffic = Traffic::<()>::new(super::shelf::Shelf::new(&cache));
    let key = Key::new("k").unwrap();
    let (write, read) = (traffic.write(&key), traffic.read(&key));
    let mut flight = traffic.share(&key, Join::Within(AGE), |read| async move {
        drop(read);
        std::future::pending().await
    });
    let joined = traffic.share(&key, Join::Within(AGE), |_| async { unreachable!("it joins") });
    assert!((&mut flight).now_or_never().is_none());
    assert_eq!(traffic.keys(), 1);
    drop((write, read, flight, joined));
    assert_eq!(traffic.keys(), 0);
}

#[tokio::test]
async fn a_cache_that_may_be_stale_tells_of_no_change() {
    let below = Store::new(Memory::new());
    let scope = Scope::Key(Key::new("k").unwrap());
    let asking = below.clone().layer(Cache::revalidate(ROOM));
    assert!(asking.capabilities().supports(Capability::Changes));
    assert!(asking.adapter().changes(&scope).await.unwrap().is_some());
    // Who is woken reads what is kept, and would sleep on it.
    let stale = below.layer(Cache::bounded_staleness(ROOM, AGE));
    assert!(!stale.capabilities().supports(Capability::Changes));
    assert!(stale.adapter().changes(&scope).await.unwrap().is_none());
}
