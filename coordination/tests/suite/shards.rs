//! Both coordinators of shards, behind their one interface: everybody gets a share, nobody serves a shard beside another, and
//! whoever is paused, gone or draining loses its shards to the others.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use leasehold_coordination::{
    Guarded, Node, Token, Wait,
    members::Members,
    shards::{Answer, Ask, LeasedShards, LedShards, Move, Owners, ShardCoordinator, ShardGuard, ShardId},
};
use leasehold_core::{ErrorKind, Store};
use leasehold_fs::Fs;
use leasehold_memory::Memory;
use parking_lot::Mutex;

use crate::support::{Fault, Probe};

const SHARDS: u32 = 12;

/// Which coordinator.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Leased,
    Led,
}

const KINDS: [Kind; 2] = [Kind::Leased, Kind::Led];

async fn join(kind: Kind, store: &Store, node: &str) -> Arc<dyn ShardCoordinator> {
    let (store, node, ttl) = (store.clone(), Node::new(node).unwrap(), "600ms".parse().unwrap());
    match kind {
        Kind::Leased => Arc::new(LeasedShards::join(store, node, SHARDS).ttl(ttl).await.unwrap()),
        Kind::Led => Arc::new(LedShards::join(store, node, SHARDS).ttl(ttl).await.unwrap()),
    }
}

/// Who serves what at the moment, and how often a shard was served.
#[derive(Default)]
struct World {
    serving: Mutex<BTreeMap<ShardId, (String, Arc<ShardGuard>)>>,
    tokens: Mutex<BTreeMap<ShardId, Token>>,
    tenures: AtomicU64,
}

impl World {
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (node, guard) in self.serving.lock().values() {
            if guard.is_valid() {
                *counts.entry(node.clone()).or_default() += 1;
            }
        }
        counts
    }

    fn stops(&self, shard: ShardId, token: Token) {
        let mut serving = self.serving.lock();
        if serving.get(&shard).is_some_and(|(_, standing)| standing.token() == token) {
            serving.remove(&shard);
        }
    }

    /// Waits until each of `nodes` serves so many.
    async fn settles(&self, nodes: &[(&str, usize)]) {
        let wanted: BTreeMap<_, _> = nodes.iter().map(|(node, count)| ((*node).to_owned(), *count)).collect();
        for _ in 0..3000 {
            if self.counts() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("wanted {wanted:?}, and it is {:?}", self.counts());
    }
}

/// Serves what a node is given, and writes to each shard under its guard.
fn serve(shards: Arc<dyn ShardCoordinator>, world: Arc<World>, data: Store) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(moved) = shards.moves().await {
            let Move::Gained(guard) = moved else { continue };
            let (node, world, data) = (shards.node().name().to_owned(), world.clone(), data.clone());
            tokio::spawn(async move {
                let (shard, guard) = (guard.shard(), Arc::new(guard));
                world.tenures.fetch_add(1, Ordering::SeqCst);
                let before = world.serving.lock().insert(shard, (node.clone(), guard.clone()));
                if let Some((other, before)) = &before {
                    assert!(!before.is_valid(), "{shard} is served by {other} and by {node}");
                }
                let last = world.tokens.lock().insert(shard, guard.token());
                assert!(last.is_none_or(|last| last < guard.token()), "the token of {shard} fell");
                // It may be over before the first write.
                let _ = guard.guard(data).put(format!("shard-{shard}"), node.clone()).await;
                tokio::select! {
                    () = guard.revoked() => {}
                    _ = guard.lost() => {}
                }
                world.stops(shard, guard.token());
                // Whoever else looks at it drops it soon.
                if let Some(guard) = Arc::into_inner(guard) {
                    let _ = guard.release().await;
                }
            });
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_even_out_as_nodes_come_leave_and_drain() {
    for kind in KINDS {
        let store = Store::new(Memory::new());
        let world = Arc::new(World::default());
        let data = store.namespace("data").unwrap();
        let a = join(kind, &store, "a").await;
        let first = serve(a.clone(), world.clone(), data.clone());
        world.settles(&[("a", 12)]).await;
        let b = join(kind, &store, "b").await;
        serve(b.clone(), world.clone(), data.clone());
        world.settles(&[("a", 6), ("b", 6)]).await;
        let c = join(kind, &store, "c").await;
        serve(c.clone(), world.clone(), data.clone());
        world.settles(&[("a", 4), ("b", 4), ("c", 4)]).await;
        let before = world.tenures.load(Ordering::SeqCst);
        a.leave().await.unwrap();
        first.await.unwrap();
        world.settles(&[("b", 6), ("c", 6)]).await;
        assert_eq!(world.tenures.load(Ordering::SeqCst) - before, 4, "{kind:?}: only what it had has moved");
        let operator = Members::observe(store.clone()).await.unwrap();
        assert!(operator.drain("b", true).await.unwrap());
        world.settles(&[("c", 12)]).await;
        assert!(operator.drain("b", false).await.unwrap());
        world.settles(&[("b", 6), ("c", 6)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_owned_goes_to_the_others_and_its_writes_are_refused() {
    for kind in KINDS {
        let memory = Probe::new();
        let (a_way, b_way) = (memory.beside(), memory.beside());
        let (a_store, b_store) = (Store::new(a_way.clone()), Store::new(b_way));
        let data = b_store.namespace("data").unwrap();
        let world = Arc::new(World::default());
        let a = join(kind, &a_store, "a").await;
        serve(a.clone(), world.clone(), data.clone());
        world.settles(&[("a", 12)]).await;
        let b = join(kind, &b_store, "b").await;
        serve(b.clone(), world.clone(), data.clone());
        world.settles(&[("a", 6), ("b", 6)]).await;
        let stale: Vec<_> = {
            let serving = world.serving.lock();
            let of_a = serving.values().filter(|(node, _)| node == "a");
            of_a.map(|(_, guard)| (guard.shard(), guard.token(), guard.guard(data.clone()))).collect()
        };
        a_way.all_puts(Some(Fault::Refused));
        world.settles(&[("b", 12)]).await;
        for (shard, token, guarded) in stale {
            let key = format!("shard-{shard}");
            assert_eq!(guarded.put(&key, "late").await.unwrap_err().kind(), ErrorKind::Fenced);
            // The new owner writes as soon as it serves.
            for _ in 0..500 {
                if Guarded::read_unfenced(&data, &key).await.unwrap().unwrap().token > token {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let record = Guarded::read_unfenced(&data, &key).await.unwrap().unwrap();
            assert!(record.token > token && record.value.unwrap() == "b");
        }
        // It comes back by itself, and gets its share again.
        a_way.all_puts(None);
        world.settles(&[("a", 6), ("b", 6)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_who_owns_what_and_a_shard_can_be_asked_for() {
    for kind in KINDS {
        let store = Store::new(Memory::new());
        let world = Arc::new(World::default());
        let data = store.namespace("data").unwrap();
        let (a, b) = (join(kind, &store, "a").await, join(kind, &store, "b").await);
        serve(a.clone(), world.clone(), data.clone());
        serve(b.clone(), world.clone(), data.clone());
        world.settles(&[("a", 6), ("b", 6)]).await;
        let mut known: Option<Owners> = None;
        let owners = loop {
            let owners = a.watch(known.as_ref(), Wait::Forever).await.unwrap().unwrap();
            if owners.per_node() == BTreeMap::from([("a", 6), ("b", 6)]) {
                break owners;
            }
            known = Some(owners);
        };
        assert!(a.watch(Some(&owners), Wait::Try).await.unwrap().is_none());
        assert_eq!(leasehold_coordination::shards::owners(&store).await.unwrap(), owners, "from the outside");
        for owner in &owners.shards {
            assert_eq!(b.owner(owner.shard).await.unwrap().as_ref(), Some(owner));
        }
        for error in [
            a.owner(ShardId::new(SHARDS)).await.map(drop).unwrap_err(),
            a.acquire(ShardId::new(SHARDS), Wait::Try).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        let of_a = owners.shards.iter().find(|owner| owner.node == "a").unwrap().shard;
        assert_eq!(
            a.acquire(of_a, Wait::Try).await.unwrap_err().kind(),
            ErrorKind::Invalid,
            "it has it already"
        );
        if matches!(kind, Kind::Led) {
            // The leader asks it back from its owner.
            let guard = b.acquire(of_a, Wait::For(Duration::from_secs(20))).await.unwrap().expect("in time");
            assert_eq!((guard.shard(), b.owner(of_a).await.unwrap().unwrap().node.as_str()), (of_a, "b"));
            world.settles(&[("a", 6), ("b", 5)]).await;
            b.release(guard).await.unwrap();
            world.settles(&[("a", 6), ("b", 6)]).await;
        } else {
            assert!(b.acquire(of_a, Wait::Try).await.unwrap().is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_gone_is_replaced_and_the_map_goes_on() {
    let memory = Probe::new();
    let world = Arc::new(World::default());
    let ways: Vec<_> = (0..3).map(|_| memory.beside()).collect();
    let names = ["a", "b", "c"];
    let data = Store::new(memory.beside()).namespace("data").unwrap();
    let mut nodes = Vec::new();
    for (way, name) in ways.iter().zip(names) {
        let node = LedShards::join(Store::new(way.clone()), Node::new(name).unwrap(), SHARDS);
        let node = node.ttl("600ms".parse().unwrap()).await.unwrap();
        serve(Arc::new(node.clone()), world.clone(), data.clone());
        nodes.push(node);
    }
    world.settles(&[("a", 4), ("b", 4), ("c", 4)]).await;
    let store = Store::new(memory.beside());
    let map = LedShards::map(&store).await.unwrap().unwrap();
    let leader = nodes[1].leader().await.unwrap().unwrap();
    let gone = names.iter().position(|name| *name == leader.node.name()).unwrap();
    let topology = LedShards::topology(&store).await.unwrap().unwrap();
    assert_eq!((topology.leader.as_str(), topology.nodes.len()), (names[gone], 3));
    ways[gone].all_puts(Some(Fault::Refused));
    let rest: Vec<_> = names.iter().filter(|name| **name != names[gone]).map(|name| (*name, 6)).collect();
    world.settles(&rest).await;
    let after = LedShards::map(&store).await.unwrap().unwrap();
    assert!(after.token() > map.token() && after.version() > map.version());
    let asker = &nodes[(gone + 1) % 3];
    let to = after.shards()[0].owner().unwrap().to_string();
    let ask = Ask::Acquire { shard: ShardId::new(0), to };
    let within = Duration::from_secs(20);
    assert_eq!(asker.request("key-1", ask.clone(), within).await.unwrap(), Answer::Done);
    let ask = Ask::GiveUp { shard: ShardId::new(0), epoch: 0, owner: "nobody".into() };
    assert!(matches!(asker.request("key-2", ask, within).await.unwrap(), Answer::Refused(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_nobody_answers_is_unknown_and_can_be_asked_again() {
    let store = Store::new(Memory::new());
    let observer = LedShards::join(store, Node::new("o").unwrap(), SHARDS).observer().await.unwrap();
    let ask = |number| Ask::GiveUp { shard: ShardId::new(number), epoch: 0, owner: "nobody".into() };
    let within = Duration::from_millis(30);
    for _ in 0..2 {
        let error = observer.request("key", ask(0), within).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Timeout && error.is_indeterminate(), "{error}");
    }
    assert_eq!(observer.request("key", ask(1), within).await.unwrap_err().kind(), ErrorKind::Invalid);
    observer.leave().await.unwrap();
    assert!(observer.moves().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_divided_over_a_directory_too() {
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let world = Arc::new(World::default());
        for name in ["a", "b"] {
            let store = Store::new(Fs::open(directory.path()).await.unwrap());
            let node = join(kind, &store, name).await;
            serve(node, world.clone(), store.namespace("data").unwrap());
        }
        world.settles(&[("a", 6), ("b", 6)]).await;
    }
}

#[tokio::test]
async fn numbers_of_shards_that_cannot_be_are_refused() {
    let store = Store::new(Memory::new());
    let node = || Node::new("a").unwrap();
    for count in [0, 65_537] {
        let leased = LeasedShards::join(store.clone(), node(), count).await.map(drop).unwrap_err();
        let led = LedShards::join(store.clone(), node(), count).await.map(drop).unwrap_err();
        assert_eq!((leased.kind(), led.kind()), (ErrorKind::Invalid, ErrorKind::Invalid));
    }
    let long = Node::new("n".repeat(96)).unwrap();
    assert_eq!(LedShards::join(store, long, 1).await.map(drop).unwrap_err().kind(), ErrorKind::Invalid);
}
