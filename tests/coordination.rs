//! The coordinators on every store and through every layer that keeps a store linearizable; through the others, none.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{future::IntoFuture, sync::Arc, time::Duration};

use leasehold::{
    Capability, ErrorKind, Store,
    coordination::{
        Counter, Elections, Ids, Latch, Leases, Locks, Node, Ttl, Wait, Watch,
        members::Members,
        shards::{LeasedShards, LedShards, Move, ShardCoordinator, ShardGuard},
    },
    fs::Fs,
    layers::{Batch, Cache, Compress, Encrypt, Faults, Keys, Limit, Meter, Retry, Timeout, Trace, Verify},
    memory::Memory,
    s3::S3,
};
use leasehold_s3_server::{Credentials, S3Server};

/// Far beyond anything that should happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn ttl() -> Ttl {
    Ttl::new(Duration::from_secs(2)).unwrap()
}

fn node(name: &str) -> Node {
    Node::new(name).unwrap()
}

/// A round of everything, by two nodes with handles of their own.
async fn coordinate(ours: Store, theirs: Store) {
    lease_and_fence(&ours, &theirs).await;
    lock_and_hand_on(&ours, &theirs).await;
    elect(&ours, &theirs).await;
    number(&ours, &theirs).await;
    meet(&ours, &theirs).await;
    for led in [false, true] {
        divide(&ours, &theirs, led).await;
    }
}

async fn lease_and_fence(ours: &Store, theirs: &Store) {
    let first = Leases::connect(ours.clone(), node("a")).await.unwrap();
    let second = Leases::connect(theirs.clone(), node("b")).await.unwrap();
    let lease = first.acquire("lease").ttl(ttl()).await.unwrap().unwrap();
    let stale = lease.guard(ours.namespace("data").unwrap()).trusting_only_the_store();
    stale.put("k", "1").await.unwrap();
    assert!(second.acquire("lease").wait(Wait::Try).await.unwrap().is_none());
    lease.release().await.unwrap();
    let lease = second.acquire("lease").ttl(ttl()).await.unwrap().unwrap();
    let guarded = lease.guard(theirs.namespace("data").unwrap());
    assert_eq!(guarded.get("k").await.unwrap().unwrap(), "1");
    assert_eq!(stale.put("k", "2").await.unwrap_err().kind(), ErrorKind::Fenced);
    lease.release().await.unwrap();
}

async fn lock_and_hand_on(ours: &Store, theirs: &Store) {
    let first = Locks::connect(ours.clone(), node("a")).ttl(ttl()).await.unwrap();
    let second = Locks::connect(theirs.clone(), node("b")).ttl(ttl()).await.unwrap();
    let held = first.exclusive("lock").await.unwrap().unwrap();
    let waiting = tokio::spawn(second.exclusive("lock").fair().into_future());
    while first.observe("lock").await.unwrap().unwrap().queue.is_empty() {
        tokio::task::yield_now().await;
    }
    held.release().await.unwrap();
    waiting.await.unwrap().unwrap().unwrap().release().await.unwrap();
    let (reader, other) = (first.shared("lock").await.unwrap(), second.shared("lock").await.unwrap());
    assert!(first.exclusive("lock").wait(Wait::Try).await.unwrap().is_none());
    drop((reader, other));
    first.close().await.unwrap();
    second.close().await.unwrap();
}

async fn elect(ours: &Store, theirs: &Store) {
    let first = Elections::connect(ours.clone(), node("a")).await.unwrap();
    let second = Elections::connect(theirs.clone(), node("b")).await.unwrap();
    let leadership = first.campaign("job").ttl(ttl()).await.unwrap().unwrap();
    leadership.proclaim("here").await.unwrap();
    let seen = second.observe("job").await.unwrap().unwrap();
    assert_eq!((seen.node.name(), seen.proclaimed.unwrap()), ("a", "here".into()));
    leadership.hand_over("b").await.unwrap();
    second.campaign("job").ttl(ttl()).await.unwrap().unwrap().resign().await.unwrap();
}

async fn number(ours: &Store, theirs: &Store) {
    let first = Counter::connect(ours.clone(), "orders").await.unwrap();
    let second = Counter::connect(theirs.clone(), "orders").await.unwrap();
    assert!(first.next().await.unwrap() < second.next().await.unwrap());
    let one = Ids::connect(ours.clone(), "orders").await.unwrap();
    let other = Ids::connect(theirs.clone(), "orders").await.unwrap();
    let (one, other) = (one.take(10).await.unwrap(), other.take(10).await.unwrap());
    assert!(one.end() <= other.start() || other.end() <= one.start());
}

async fn meet(ours: &Store, theirs: &Store) {
    let member = Members::join(ours.clone(), node("a")).ttl(ttl()).await.unwrap();
    let seen = Members::observe(theirs.clone()).await.unwrap().look().await.unwrap();
    assert_eq!(seen.members[0].node.name(), "a");
    let mut watch = Watch::prefix(theirs, "_cluster/members/info/").unwrap();
    assert_eq!(watch.next().await.unwrap().added.len(), 1);
    member.leave().await.unwrap();
    let gone = async { while watch.next().await.unwrap().removed.is_empty() {} };
    tokio::time::timeout(PATIENCE, gone).await.expect("the watch tells");
    let latch = Latch::connect(ours.clone(), "ready", 1).await.unwrap();
    let other = Latch::connect(theirs.clone(), "ready", 1).await.unwrap();
    latch.count_down(1).await.unwrap();
    assert!(other.wait(Wait::Forever).await.unwrap());
}

async fn divide(ours: &Store, theirs: &Store, led: bool) {
    let join = async |store: &Store, name: &str| -> Arc<dyn ShardCoordinator> {
        let (store, node) = (store.namespace(if led { "led" } else { "leased" }).unwrap(), node(name));
        if led {
            Arc::new(LedShards::join(store, node, 2).ttl(ttl()).await.unwrap()) as _
        } else {
            Arc::new(LeasedShards::join(store, node, 2).ttl(ttl()).await.unwrap()) as _
        }
    };
    let nodes = [join(ours, "a").await, join(theirs, "b").await];
    let gains = nodes.each_ref().map(|shards| tokio::spawn(share(shards.clone())));
    let mut shares = Vec::new();
    for gain in gains {
        shares.push(tokio::time::timeout(PATIENCE, gain).await.expect("a share for each").unwrap());
    }
    for (guard, shards) in shares.into_iter().zip(&nodes) {
        shards.leave().await.unwrap();
        guard.release().await.unwrap();
    }
}

/// Waits until each of two nodes has one of two shards.
async fn share(shards: Arc<dyn ShardCoordinator>) -> ShardGuard {
    let mut guards: Vec<ShardGuard> = Vec::new();
    loop {
        let owners = shards.watch(None, Wait::Try).await.unwrap().unwrap();
        if guards.len() == 1 && owners.per_node().len() == 2 {
            return guards.remove(0);
        }
        match tokio::time::timeout(Duration::from_millis(50), shards.moves()).await {
            Ok(Some(Move::Gained(guard))) => guards.push(guard),
            Ok(Some(Move::Revoked(shard))) => guards.retain(|guard| guard.shard() != shard),
            _ => {}
        }
    }
}

type Through = fn(Store) -> Store;

fn keys() -> Keys {
    Keys::new("new", [2; 32]).unwrap()
}

/// The layers that keep what coordinators need.
const SOUND: [(&str, Through); 13] = [
    ("nothing", |store| store),
    ("batch", |store| store.layer(Batch::group_commit())),
    ("cache", |store| store.layer(Cache::revalidate(ROOM))),
    ("compress", |store| store.layer(Compress::default())),
    ("encrypt", |store| store.layer(Encrypt::new(keys()))),
    ("faults", |store| store.layer(Faults::seeded(1).delay(0.05, Duration::from_millis(2)))),
    ("limit", |store| store.layer(Limit::new().at_once(8))),
    ("meter", |store| store.layer(Meter::new())),
    ("namespace", |store| store.namespace("below").unwrap()),
    ("retry", |store| store.layer(Retry::new())),
    ("timeout", |store| store.layer(Timeout::after(Duration::from_secs(30)))),
    ("trace", |store| store.layer(Trace::new())),
    ("a stack", |store| {
        let store =
            store.layer(Timeout::after(Duration::from_secs(30))).layer(Retry::new()).layer(Meter::new());
        let store = store.layer(Batch::group_commit()).layer(Verify::new()).layer(Encrypt::new(keys()));
        store.layer(Compress::default()).layer(Cache::revalidate(ROOM))
    }),
];

const ROOM: u64 = 4 << 20;

/// Through every layer at once, each in a namespace of its own.
async fn through_every_layer(open: impl AsyncFn() -> Store) {
    let mut running = tokio::task::JoinSet::new();
    for (name, through) in SOUND {
        let (ours, theirs) = (open().await, open().await);
        running.spawn(async move {
            let under = |store: Store| through(store.namespace(name.replace(' ', "-")).unwrap());
            let everything = coordinate(under(ours), under(theirs));
            tokio::time::timeout(2 * PATIENCE, everything).await.unwrap_or_else(|_| panic!("{name} hangs"));
            name
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_runs_in_memory() {
    let memory = Memory::new();
    through_every_layer(async || Store::new(memory.clone())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_runs_on_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    through_every_layer(async || Store::new(Fs::open(directory.path()).durable(false).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_runs_on_s3() {
    let server = S3Server::new(Store::new(Memory::new())).credentials(Credentials::new("id", "key"));
    let server = server.bucket("bucket").bind("127.0.0.1:0").await.unwrap();
    let open = async || {
        let bucket = S3::bucket("bucket").region("us-east-1").endpoint(server.url()).keys("id", "key");
        Store::new(bucket.conditional_delete(true).await.unwrap())
    };
    through_every_layer(open).await;
}

#[tokio::test]
async fn a_layer_that_takes_away_what_they_need_is_named() {
    let weak: [(&str, Through); 2] = [
        ("the cache of bounded staleness", |store| {
            store.layer(Cache::bounded_staleness(ROOM, Duration::from_secs(1)))
        }),
        ("the write-behind batch", |store| store.layer(Batch::write_behind())),
    ];
    for (name, through) in weak {
        // Whatever is around it.
        let store = through(Store::new(Memory::new()).layer(Retry::new())).layer(Meter::new());
        let store = store.namespace("n").unwrap();
        let errors = [
            Leases::connect(store.clone(), node("a")).await.map(drop),
            Locks::connect(store.clone(), node("a")).await.map(drop),
            Elections::connect(store.clone(), node("a")).await.map(drop),
            Counter::connect(store.clone(), "c").await.map(drop),
            Ids::connect(store.clone(), "c").await.map(drop),
            Latch::connect(store.clone(), "l", 1).await.map(drop),
            Members::join(store.clone(), node("a")).await.map(drop),
            LeasedShards::join(store.clone(), node("a"), 1).await.map(drop),
            LedShards::join(store.clone(), node("a"), 1).await.map(drop),
        ];
        for error in errors.map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::Unsupported(Capability::Linearizable), "{error}");
            assert!(error.message().contains(name), "{error}");
        }
    }
}
