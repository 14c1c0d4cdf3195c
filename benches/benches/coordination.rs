//! What a free lease costs: acquired and released, in memory and on a directory; and what a plan of shards costs.
//!
//! `cargo bench -p leasehold-benches --bench coordination`

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{hint::black_box, path::Path};

use leasehold::{
    Store,
    coordination::{
        Leases, Node, NodeName, Token, Wait,
        shards::{Candidate, PlanOptions, ShardId, ShardMap, plan},
    },
    fs::Fs,
    layers::{Meter, Verb},
    memory::Memory,
};
use leasehold_benches::Contest;
use tokio::runtime::Runtime;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let place = std::env::var("MEMORY").unwrap_or_else(|_| "/dev/shm".to_owned());
    let root = tempfile::Builder::new().prefix("leasehold-bench-").tempdir_in(place).unwrap();
    let (memory, directory) = (Meter::new(), Meter::new());
    let in_memory = connect(&runtime, Store::new(Memory::new()).layer(memory.clone()));
    let on_directory = connect(&runtime, open(&runtime, root.path()).layer(directory.clone()));
    println!("requests to certify a store, once: {}", memory.counts().total());
    Contest::new("acquire and release a free lease", 2_000, 1)
        .enter("directory, not durable", |operations, _| cycle(&runtime, &on_directory, operations))
        .enter("memory", |operations, _| cycle(&runtime, &in_memory, operations))
        .run();
    println!("  floor: under 100 µs of CPU each");
    for (name, leases, meter) in [("memory", &in_memory, &memory), ("directory", &on_directory, &directory)] {
        let before = meter.counts();
        cycle(&runtime, leases, 1);
        let spent = meter.counts().since(&before);
        let (gets, puts) = (spent.requests(Verb::Get), spent.requests(Verb::Put));
        println!("  requests on {name}: {gets} gets, {puts} puts");
    }
    plans();
}

fn open(runtime: &Runtime, path: &Path) -> Store {
    Store::new(runtime.block_on(async { Fs::open(path).durable(false).await }).unwrap())
}

fn connect(runtime: &Runtime, store: Store) -> Leases {
    runtime.block_on(Leases::connect(store, Node::new("bench").unwrap())).unwrap()
}

fn cycle(runtime: &Runtime, leases: &Leases, operations: usize) {
    runtime.block_on(async {
        for _ in 0..operations {
            let lease = leases.acquire("free").wait(Wait::Try).await.unwrap().unwrap();
            lease.release().await.unwrap();
        }
    });
}

/// Planning is pure computation: no store, one thread, deterministic names.
fn plans() {
    let nodes = |count: usize| -> Vec<Candidate> {
        (0..count).map(|number| Candidate::new(NodeName::new(format!("node-{number}")).unwrap())).collect()
    };
    let options = PlanOptions::default();
    let free = ShardMap::new(Token::new(1), (0..10_000).map(ShardId::new)).unwrap();
    let owned = free.apply(&plan(&free, &nodes(100), &options)).unwrap();
    let work = |map: &ShardMap, count: usize| {
        let (map, nodes, options) = (map.clone(), nodes(count), options.clone());
        move |operations: usize, _: usize| {
            for _ in 0..operations {
                black_box(plan(black_box(&map), &nodes, &options));
            }
        }
    };
    Contest::new("plan 10,000 shards on 100 nodes", 20, 1)
        .enter("from scratch", work(&free, 100))
        .enter("one node more", work(&owned, 101))
        .enter("one node fewer", work(&owned, 99))
        .enter("nothing to do", work(&owned, 100))
        .run();
    println!("  floor: under 50,000 µs of CPU each; the map is {} bytes", owned.encode().len());
}
