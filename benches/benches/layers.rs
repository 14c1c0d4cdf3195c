//! What layers cost, and the cache beside its neighbours.
//!
//! `cargo bench -p leasehold-benches --bench layers [pass|hit|ratio|batch]`.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use leasehold::{
    Key, Store,
    fs::Fs,
    layers::{Batch, Cache, Limit, Meter, Namespace, ReadOnly, Retry, Timeout, Trace},
    memory::Memory,
};
use leasehold_benches::{Contest, Measure, write_raw};
use opendal::{Operator, layers::FoyerLayer, services};
use tokio::runtime::Runtime;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut all = true;
    if runs("pass") {
        all &= pass(&runtime);
    }
    if runs("hit") {
        all &= hit(&runtime);
    }
    if runs("ratio") {
        all &= ratio(&runtime);
    }
    if runs("batch") {
        all &= batch(&runtime);
    }
    println!("\n{}", if all { "every floor holds" } else { "a floor was MISSED" });
}

fn get(runtime: &Runtime, store: &Store, key: &Key, operations: usize) {
    runtime.block_on(async {
        for _ in 0..operations {
            assert!(store.get(key).await.unwrap().is_some());
        }
    });
}

/// Layers that have nothing to do, over a get from memory.
fn pass(runtime: &Runtime) -> bool {
    const OPERATIONS: usize = 300_000;
    let bare = Store::new(Memory::new());
    let key = Key::new("k").unwrap();
    let layered: Vec<(&str, Store)> = vec![
        ("limit", bare.clone().layer(Limit::new().at_once(64))),
        ("meter", bare.clone().layer(Meter::new())),
        ("namespace", bare.clone().layer(Namespace::new("tenant").unwrap())),
        ("read-only", bare.clone().layer(ReadOnly)),
        ("retry", bare.clone().layer(Retry::new())),
        ("timeout", bare.clone().layer(Timeout::after(Duration::from_secs(5)))),
        ("trace", bare.clone().layer(Trace::new())),
        ("batch (a read)", bare.clone().layer(Batch::group_commit())),
    ];
    runtime.block_on(async {
        bare.put("k", "v").await.unwrap();
        bare.put("tenant/k", "v").await.unwrap();
    });
    let mut all = true;
    println!("\none layer over a get from memory, CPU");
    let mut samples = vec![Vec::new(); layered.len() + 1];
    for round in 0..8 {
        for (index, samples) in samples.iter_mut().enumerate() {
            let store = if index == 0 { &bare } else { &layered[index - 1].1 };
            let took = leasehold_benches::cpu(|| get(runtime, store, &key, OPERATIONS));
            if round > 0 {
                samples.push(took.as_secs_f64() * 1e9 / OPERATIONS as f64);
            }
        }
    }
    let medians: Vec<f64> = samples.iter_mut().map(|samples| median(samples)).collect();
    println!("  {:<16} {:>6.0} ns", "memory alone", medians[0]);
    for ((name, _), median) in layered.iter().zip(&medians[1..]) {
        let own = median - medians[0];
        let verdict = if own < 150.0 { "holds" } else { "MISSED" };
        all &= own < 150.0;
        println!("  {name:<16} {own:>6.0} ns   {verdict}: under 150");
    }
    all
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The same value again and again.
fn hit(runtime: &Runtime) -> bool {
    let key = Key::new("k").unwrap();
    let value = Bytes::from(vec![7; 1_024]);
    let below = Store::new(Memory::new());
    let stale = below.clone().layer(Cache::bounded_staleness(64 << 20, Duration::from_secs(3600)));
    let asking = below.clone().layer(Cache::revalidate(64 << 20));
    let moka = Operator::new(services::Moka::default().max_capacity(64 << 20)).unwrap();
    let foyer = runtime.block_on(async {
        let cache = foyer::HybridCacheBuilder::new()
            .memory(64 << 20)
            .with_weighter(|_: &opendal::layers::FoyerKey, value: &opendal::layers::FoyerValue| value.0.len())
            .storage()
            .build()
            .await
            .unwrap();
        Operator::new(services::Memory::default()).unwrap().layer(FoyerLayer::new(cache))
    });
    runtime.block_on(async {
        stale.put("k", value.clone()).await.unwrap();
        moka.write("k", value.clone()).await.unwrap();
        foyer.write("k", value.clone()).await.unwrap();
        foyer.read("k").await.unwrap();
    });
    let read = |operator: &Operator, operations: usize| {
        runtime.block_on(async {
            for _ in 0..operations {
                assert_eq!(operator.read("k").await.unwrap().len(), 1_024);
            }
        });
    };
    let held = Contest::new("a hit of 1 KiB", 200_000, 1)
        .enter("leasehold, bounded staleness", |operations, _| get(runtime, &stale, &key, operations))
        .enter("leasehold, revalidate over memory", |operations, _| get(runtime, &asking, &key, operations))
        .enter("opendal, Moka service", |operations, _| read(&moka, operations))
        .enter("opendal, Foyer layer", |operations, _| read(&foyer, operations))
        .floor("opendal, Moka service", Measure::Cpu, 0.25)
        .floor("opendal, Foyer layer", Measure::Cpu, 0.25)
        .run();
    println!("  and at most 0.40 µs");
    held
}

/// Hit ratios on a zipf distribution, with room for a tenth of the keys.
fn ratio(runtime: &Runtime) -> bool {
    const KEYS: usize = 100_000;
    const ROOM: usize = KEYS / 10;
    const VALUE: usize = 1_024;
    const READS: usize = 1_000_000;
    let keys: Arc<[Key]> = (0..KEYS).map(|n| Key::new(format!("key-{n}")).unwrap()).collect();
    let draws = Zipf::new(KEYS, 0.99).draws(READS);

    let below = Store::new(Memory::new());
    runtime.block_on(async {
        for key in &*keys {
            below.put(key, vec![7; VALUE]).await.unwrap();
        }
    });
    // As many entries fit, with what each takes besides its value.
    let cache = Cache::bounded_staleness((ROOM * (VALUE + 256 + 10)) as u64, Duration::from_secs(3600));
    let store = below.layer(cache.clone());
    runtime.block_on(async {
        for draw in &draws {
            store.get(&keys[*draw]).await.unwrap();
        }
    });
    let stats = cache.stats();
    let ours = stats.hits as f64 / READS as f64;

    let through = |found: &mut dyn FnMut(usize) -> bool| {
        draws.iter().filter(|draw| found(**draw)).count() as f64 / READS as f64
    };
    let moka = moka::sync::Cache::new(ROOM as u64);
    let moka = through(&mut |key| {
        let hit = moka.get(&key).is_some();
        if !hit {
            moka.insert(key, ());
        }
        hit
    });
    let quick = quick_cache::sync::Cache::new(ROOM);
    let quick = through(&mut |key| {
        let hit = quick.get(&key).is_some();
        if !hit {
            quick.insert(key, ());
        }
        hit
    });
    let foyer: foyer::Cache<usize, ()> =
        foyer::CacheBuilder::new(ROOM).with_eviction_config(foyer::LfuConfig::default()).build();
    let foyer = through(&mut |key| {
        let hit = foyer.get(&key).is_some();
        if !hit {
            foyer.insert(key, ());
        }
        hit
    });
    println!("\nhits of {READS} reads of {KEYS} keys, zipf 0.99, with room for a tenth");
    for (name, hits) in [("leasehold", ours), ("moka", moka), ("quick_cache", quick), ("foyer, lfu", foyer)] {
        println!("  {name:<16} {:.1} %", hits * 100.0);
    }
    let behind = moka.max(quick).max(foyer) - ours;
    let verdict = if behind <= 0.01 { "holds" } else { "MISSED" };
    println!("  {verdict}: {:.1} points behind the best, at most 1", behind * 100.0);
    behind <= 0.01
}

/// Draws ranks so that the k-th is drawn with a weight of 1 / k^s.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(keys: usize, exponent: f64) -> Self {
        let weights = (1..=keys).map(|rank| (rank as f64).powf(-exponent));
        let mut sum = 0.0;
        Self(
            weights
                .map(|weight| {
                    sum += weight;
                    sum
                })
                .collect(),
        )
    }

    fn draws(&self, count: usize) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(7);
        let total = self.0[self.0.len() - 1];
        (0..count)
            .map(|_| {
                let drawn = random.f64() * total;
                self.0.partition_point(|sum| *sum < drawn).min(self.0.len() - 1)
            })
            .collect()
    }
}

/// Durable puts into a directory by 64 tasks, each waiting for its own: of values that exist, and of new keys.
fn batch(runtime: &Runtime) -> bool {
    const KEYS: usize = 1_024;
    let mut all = true;
    for (name, keys) in [("over values", KEYS), ("new keys", usize::MAX)] {
        let places = [(); 5].map(|()| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        let open = |place: usize, reuse| {
            let fs = Fs::open(places[place].path()).reuse_files(reuse);
            Store::new(runtime.block_on(fs.into_future()).unwrap())
        };
        let (plain, reusing) = (open(0, false), open(1, true));
        let batched = open(2, true).layer(Batch::group_commit());
        let batched_plain = open(3, false).layer(Batch::group_commit());
        let written = AtomicUsize::new(0);
        let put = |store: &Store, operations: usize, tasks: usize| {
            let first = written.fetch_add(operations, Relaxed);
            runtime.block_on(async {
                let mut running = tokio::task::JoinSet::new();
                for task in 0..tasks {
                    let store = store.clone();
                    running.spawn(async move {
                        for n in (first + task..first + operations).step_by(tasks) {
                            store.put(format!("k{}", n % keys), vec![7; 128]).await.unwrap();
                        }
                    });
                }
                running.join_all().await;
            });
        };
        all &= Contest::new(format!("put 128 B, durable, directory, {name}"), 4_096, 64)
            .enter("through Batch, files reused", |operations, tasks| put(&batched, operations, tasks))
            .enter("through Batch", |operations, tasks| put(&batched_plain, operations, tasks))
            .enter("one by one, files reused", |operations, tasks| put(&reusing, operations, tasks))
            .enter("one by one", |operations, tasks| put(&plain, operations, tasks))
            .enter("raw sync + rename + sync, threads", |operations, tasks| {
                let first = written.fetch_add(operations, Relaxed);
                let name = |n| format!("k{}", (first + n) % keys);
                write_raw(places[4].path(), operations, tasks, name, &[7; 128]).unwrap();
            })
            .floor("one by one", Measure::Rate, if keys == KEYS { 5.0 } else { 1.0 })
            .run();
    }
    all
}
