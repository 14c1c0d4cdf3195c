//! Random calls by several tasks through random stacks, with faults at the bottom, against what a map would hold.
//!
//! Each task has keys of its own, so that it knows what they hold: one state, or after an unknown outcome several. What is read
//! has to be one of them. A failure tells the seed; `LEASEHOLD_SEED` replays it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use fastrand::Rng;
use leasehold::{
    BatchOptions, ByteRange, DeleteOptions, Error, GetOptions, Key, Operation, Outcome, PutOptions, Result,
    Store, Version,
    layers::{
        Batch, Cache, Codec, Compress, Encrypt, Faults, Keys, Limit, Meter, Namespace, Retry, Timeout, Trace,
        Verify,
    },
    memory::Memory,
};

const SEEDS: u64 = 60;
const TASKS: usize = 6;
const STEPS: usize = 150;

/// A stack, and how it reads from the store up.
struct Built {
    store: Store,
    shape: String,
    faults: Faults,
}

/// A random stack in an order that is meant.
fn build(random: &mut Rng) -> Built {
    let mut shape = String::from("memory");
    // What is written behind is told to nobody when it fails, so then nothing may.
    let behind = random.u8(..5) == 0;
    let share = if behind { 0.0 } else { 0.1 };
    let faults = Faults::seeded(random.u64(..)).before(share / 2.0).after(share).truncate(share);
    let mut store = Store::new(Memory::new()).layer(faults.clone().delay(0.1, Duration::from_micros(50)));
    let mut add = |name: &str, chance: u8, layered: &dyn Fn(Store, &mut Rng) -> Store| {
        if random.u8(..100) < chance {
            write!(shape, " < {name}").unwrap();
            store = layered(store.clone(), random);
        }
    };
    add("limit", 30, &|store, random| store.layer(Limit::new().at_once(random.usize(1..8))));
    add("timeout", 30, &|store, _| store.layer(Timeout::after(Duration::from_secs(30))));
    add("namespace", 30, &|store, _| store.layer(Namespace::new("n/1").unwrap()));
    add("retry", 60, &|store, random| {
        let waits = (Duration::from_micros(1), Duration::from_micros(20));
        store.layer(Retry::new().attempts_max(random.u32(1..6)).waits(waits.0, waits.1))
    });
    add("meter", 30, &|store, _| store.layer(Meter::new()));
    let batch = move |random: &mut Rng| {
        let batch = if behind { Batch::write_behind() } else { Batch::group_commit() };
        let batch =
            batch.wait(Duration::from_micros(500)).entries_max(random.usize(1..20)).coalesce(random.bool());
        batch.interval("*/a/**", Duration::from_micros(random.u64(..300))).unwrap()
    };
    let chance = if behind { 100 } else { 50 };
    add("batch", chance, &|store, random| store.layer(batch(random)));
    add("verify", 20, &|store, random| store.layer(Verify::new().chunk_bytes(1 << random.u32(10..16))));
    add("encrypt", 20, &|store, random| {
        let keys = Keys::new("k", [7; 32]).unwrap();
        store.layer(Encrypt::new(keys).chunk_bytes(1 << random.u32(10..16)))
    });
    add("compress", 40, &|store, random| {
        let codec = [Codec::Gzip, Codec::Lz4, Codec::Zstd][random.usize(..3)];
        store.layer(Compress::new(codec).above(random.usize(64..2_000)).chunk_bytes(1 << random.u32(10..16)))
    });
    add("cache", 60, &|store, random| {
        let room = [2_000, 20_000, 1 << 20][random.usize(..3)];
        let age = Duration::from_millis(random.u64(1..1_000));
        let cache = if random.bool() { Cache::revalidate(room) } else { Cache::bounded_staleness(room, age) };
        store.layer(cache.value_bytes_max(random.u64(10..5_000)))
    });
    add("trace", 20, &|store, _| store.layer(Trace::new()));
    if behind {
        shape.push_str(" (written behind)");
    }
    Built { store, shape, faults }
}

fn shown(state: Option<&[u8]>) -> String {
    match state {
        None => "nothing".into(),
        Some(bytes) if bytes.len() > 40 => format!("{} bytes", bytes.len()),
        Some(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
    }
}

/// What a counter with this value counts.
fn number(state: Option<&[u8]>) -> Option<i64> {
    match state {
        None => Some(0),
        Some(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
    }
}

/// What a key may hold, as far as its only writer knows. At least one state.
#[derive(Clone, Debug)]
struct Belief {
    states: Vec<Option<Vec<u8>>>,
    /// The version of the one state, where it is known.
    version: Option<Version>,
}

impl Belief {
    fn sure(state: Option<Vec<u8>>) -> Self {
        Self { states: vec![state], version: None }
    }

    /// A write of `state` ended like this. Returns whether its outcome may be so.
    fn wrote<T>(&mut self, state: Option<Vec<u8>>, result: &Result<T>) {
        match result {
            Ok(_) => *self = Self::sure(state),
            Err(error) if error.is_indeterminate() => {
                self.states.push(state);
                self.version = None;
            }
            Err(_) => {}
        }
    }

    fn saw(&mut self, seen: Option<&[u8]>) {
        // Behind a number there may be white space, where versions derive from content.
        let seen = seen.map(<[u8]>::trim_ascii_end);
        let known = self.states.iter().any(|state| state.as_deref() == seen);
        let states: Vec<_> = self.states.iter().map(|state| shown(state.as_deref())).collect();
        assert!(known, "read {}, and it could be {states:?}", shown(seen));
        if self.states.len() > 1 {
            *self = Self::sure(seen.map(<[u8]>::to_vec));
        }
    }
}

/// One task's keys and what it believes of them.
struct Writer {
    store: Store,
    random: Rng,
    beliefs: BTreeMap<String, Belief>,
}

impl Writer {
    fn new(store: Store, random: Rng, task: usize) -> Self {
        let keys = ["a/1", "a/2", "b", "c/1/2"].map(|name| (format!("t{task}/{name}"), Belief::sure(None)));
        Self { store, random, beliefs: keys.into() }
    }

    fn key(&mut self) -> String {
        let position = self.random.usize(..self.beliefs.len());
        self.beliefs.keys().nth(position).unwrap().clone()
    }

    fn value(&mut self) -> Vec<u8> {
        let size = [0, 3, 100, 3_000][self.random.usize(..4)];
        (0..size).map(|_| self.random.u8(b'a'..=b'e')).collect()
    }

    async fn run(mut self, prefix: String) {
        for _ in 0..STEPS {
            self.step(&prefix).await;
        }
        self.store.flush().await.unwrap();
        for key in self.beliefs.keys().cloned().collect::<Vec<_>>() {
            self.read(&key).await;
        }
    }

    async fn step(&mut self, prefix: &str) {
        let key = self.key();
        match self.random.u8(..12) {
            0..3 => {
                let value = self.value();
                let result = self.store.put(key.as_str(), value.clone()).await;
                let belief = self.beliefs.get_mut(&key).unwrap();
                belief.wrote(Some(value), &result);
                if let Ok(version) = result {
                    belief.version = Some(version);
                }
            }
            3 => {
                let result = self.store.delete(key.as_str()).await;
                self.beliefs.get_mut(&key).unwrap().wrote(None, &result);
            }
            4 => self.condition(&key).await,
            5 => self.increment(&key).await,
            6 => self.part(&key).await,
            7 => self.many().await,
            8 => self.list(prefix).await,
            9 => self.batch(&key).await,
            _ => self.read(&key).await,
        }
    }

    async fn read(&mut self, key: &str) {
        let Ok(found) = self.store.get(key).await else { return };
        let belief = self.beliefs.get_mut(key).unwrap();
        match found {
            None => belief.saw(None),
            Some(object) => {
                let version = object.version().clone();
                // A body can break off on its way.
                let Ok(bytes) = object.bytes().await else { return };
                belief.saw(Some(&bytes));
                if let Some(wrote) = &belief.version {
                    assert_eq!(*wrote, version, "the version of {key}");
                }
                belief.version = Some(version);
            }
        }
    }

    /// A write under a condition that holds, or under one that does not.
    async fn condition(&mut self, key: &str) {
        let value = self.value();
        let belief = self.beliefs[key].clone();
        let [state] = &belief.states[..] else { return self.read(key).await };
        let (result, holds) = match (&belief.version, self.random.bool()) {
            (Some(version), true) => {
                (self.store.put(key, value.clone()).if_match(version.clone()).await, state.is_some())
            }
            (_, true) => (self.store.put(key, value.clone()).if_absent().await, state.is_none()),
            _ => {
                let nobodys = Version::new("0-0");
                (self.store.put(key, value.clone()).if_match(nobodys).await, false)
            }
        };
        let belief = self.beliefs.get_mut(key).unwrap();
        match result {
            Ok(version) => {
                assert!(holds, "a condition on {key} that does not hold was taken");
                *belief = Belief { states: vec![Some(value)], version: Some(version) };
            }
            Err(error) if error.is_indeterminate() => belief.wrote::<()>(Some(value), &Err(error)),
            Err(error) => {
                assert!(!(error.is_conflict() && holds), "a condition on {key} that holds was refused")
            }
        }
    }

    async fn increment(&mut self, key: &str) {
        let delta = self.random.i64(-5..5);
        let belief = self.beliefs[key].clone();
        let [state] = &belief.states[..] else { return self.read(key).await };
        let number = number(state.as_deref());
        let result = self.store.increment(key, delta).await;
        let belief = self.beliefs.get_mut(key).unwrap();
        match (number, &result) {
            (Some(number), Ok(sum)) => {
                assert_eq!(*sum, number + delta, "the sum of {key}");
                belief.wrote(Some(sum.to_string().into_bytes()), &result);
            }
            (Some(number), Err(_)) => belief.wrote(Some((number + delta).to_string().into_bytes()), &result),
            (None, Ok(_)) => panic!("{key} is no number and was added to"),
            (None, Err(_)) => {}
        }
    }

    async fn part(&mut self, key: &str) {
        let belief = self.beliefs[key].clone();
        let [Some(state)] = &belief.states[..] else { return self.read(key).await };
        if number(Some(state)).is_some() {
            return self.read(key).await;
        }
        let (one, other) = (self.random.usize(..=state.len()), self.random.usize(..=state.len()));
        let (from, to) = (one.min(other), one.max(other));
        let range = ByteRange::Bounded(from as u64, to as u64);
        let Ok(found) = self.store.get(key).range(range).await else { return };
        let object = found.expect("it is there");
        assert_eq!(object.metadata.size, state.len() as u64, "the size of {key}");
        if let Ok(bytes) = object.bytes().await {
            assert_eq!(bytes, state[from..to], "{from}..{to} of {key}");
        }
    }

    async fn many(&mut self) {
        let keys: Vec<String> = self.beliefs.keys().cloned().collect();
        for (key, found) in keys.iter().zip(self.store.get_many(&keys).await) {
            let Ok(found) = found else { continue };
            let belief = self.beliefs.get_mut(key).unwrap();
            match found {
                None => belief.saw(None),
                Some(object) => {
                    if let Ok(bytes) = object.bytes().await {
                        belief.saw(Some(&bytes));
                    }
                }
            }
        }
    }

    async fn list(&mut self, prefix: &str) {
        let Ok(entries) = self.store.list(prefix).await else { return };
        let listed: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        assert!(listed.is_sorted());
        for (key, belief) in &self.beliefs {
            let may = |there: bool| belief.states.iter().any(|state| state.is_some() == there);
            assert!(
                may(listed.contains(&key.as_str())),
                "{key} in the list {listed:?}, and it could be {belief:?}"
            );
        }
    }

    /// Several operations on one key and one on another, in one batch.
    async fn batch(&mut self, key: &str) {
        let other = self.key();
        let (first, second) = (self.value(), self.value());
        let sound = |key: &str| Key::new(key).unwrap();
        let mut operations = vec![
            Operation::Put(sound(key), first.clone().into(), PutOptions::default()),
            Operation::Get(sound(key), GetOptions::default()),
            Operation::Put(sound(key), second.clone().into(), PutOptions::default()),
        ];
        if other != key {
            operations.push(Operation::Delete(sound(&other), DeleteOptions::default()));
        }
        let mut results = self.store.batch(operations, BatchOptions::default()).await;
        if other != key {
            let deleted = results.pop().unwrap();
            self.beliefs.get_mut(&other).unwrap().wrote(None, &deleted);
        }
        let [one, got, two] = <[Result<Outcome>; 3]>::try_from(results).unwrap();
        let belief = self.beliefs.get_mut(key).unwrap();
        belief.wrote(Some(first), &one);
        if let Ok(Outcome::Got(lookup)) = got {
            match lookup.found() {
                None => belief.saw(None),
                Some(object) => {
                    if let Ok(bytes) = object.bytes().await {
                        belief.saw(Some(&bytes));
                    }
                }
            }
        }
        belief.wrote(Some(second), &two);
    }
}

/// Everything that the tasks of one seed do.
async fn play(seed: u64) -> (String, u64) {
    let mut random = Rng::with_seed(seed);
    let Built { store, shape, faults } = build(&mut random);
    let tasks = (0..TASKS).map(|task| {
        let writer = Writer::new(store.clone(), Rng::with_seed(random.u64(..)), task);
        tokio::spawn(writer.run(format!("t{task}/")))
    });
    for task in tasks.collect::<Vec<_>>() {
        if let Err(panic) = task.await {
            std::panic::panic_any(format!("seed {seed}, {shape}: {panic}"));
        }
    }
    let injected = faults.injected();
    (shape, injected.before + injected.after + injected.truncated)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_stack_loses_or_invents_anything() {
    let given = std::env::var("LEASEHOLD_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match given {
        Some(seed) => seed..seed + 1,
        None => {
            let first = fastrand::u64(..u64::MAX - SEEDS);
            first..first + SEEDS
        }
    };
    let mut faults = 0;
    for seed in seeds {
        let played = tokio::spawn(play(seed)).await;
        match played {
            Ok((_, injected)) => faults += injected,
            Err(error) => panic!("LEASEHOLD_SEED={seed} replays this: {error}"),
        }
    }
    assert!(faults > 0 || given.is_some(), "no fault was injected");
}

/// The belief would not be worth much if it took anything.
#[test]
#[should_panic(expected = "and it could be")]
fn a_value_that_nobody_wrote_is_noticed() {
    let mut belief = Belief::sure(None);
    belief.wrote::<()>(Some(b"new".to_vec()), &Err(Error::invalid("no")));
    belief.saw(Some(b"new"));
}

/// A counter only grows, so a read that shows less than what was told before it is an old one.
async fn count_through(cache: Cache, foreign_writes_count: bool) {
    let below = Store::new(Memory::new());
    let slow = below.clone().layer(Faults::seeded(fastrand::u64(..)).delay(0.5, Duration::from_micros(40)));
    let cached = slow.clone().layer(cache);
    let mut tasks = tokio::task::JoinSet::new();
    for (writer, told) in
        [(cached.clone(), true), (cached.clone(), true), (slow.clone(), foreign_writes_count)]
    {
        let cached = cached.clone();
        tasks.spawn(async move {
            for _ in 0..400 {
                let sum = writer.increment("n", 1).await.unwrap();
                let read: i64 =
                    cached.get("n").await.unwrap().unwrap().text().await.unwrap().parse().unwrap();
                assert!(!told || read >= sum, "read {read} after {sum} was told");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(below.increment("n", 0).await.unwrap(), 1_200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cache_that_revalidates_never_shows_less_than_anybody_was_told() {
    count_through(Cache::revalidate(1 << 20), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cache_of_bounded_staleness_never_shows_less_than_its_own_writers_were_told() {
    count_through(Cache::bounded_staleness(1 << 20, Duration::from_secs(3600)), false).await;
}
