//! L5 under chaos: several tokens write one set of keys, replies are lost, writes arrive when they like, futures are
//! dropped half-way, and no clock takes part. Every run is determined by its seed.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use leasehold_core::{
    BatchOptions, Body, BoxFuture, BoxStream, Capabilities, Changes, Clock, DeleteOptions, Entry,
    Environment, GetOptions, ListOptions, Lookup, Metadata, Operation, Outcome, Precondition, PutOptions,
    Random, Scope, StorageAdapter, async_trait,
};
use leasehold_memory::Memory;

use super::*;

#[derive(Clone, Debug)]
struct Chaos(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    memory: Memory,
    random: Seeded,
    ghosts: Mutex<Vec<(Key, Bytes, Precondition)>>,
    /// The highest token in each record, by what was applied.
    tokens: Mutex<HashMap<Key, Token>>,
    applied_late: Mutex<usize>,
}

#[derive(Debug)]
struct Seeded(Mutex<u64>);

impl Random for Seeded {
    fn bits(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Sleeping is over at once, or never: then the future is dropped half-way.
#[derive(Debug)]
struct NoTime(Seeded);

impl Clock for NoTime {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    fn boottime(&self) -> Duration {
        Duration::ZERO
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        match self.0.bits() % 4 {
            0 => Box::pin(std::future::pending()),
            _ => Box::pin(std::future::ready(())),
        }
    }
}

impl Chaos {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Inside {
            memory: Memory::new(),
            random: Seeded(Mutex::new(seed)),
            ghosts: Mutex::default(),
            tokens: Mutex::default(),
            applied_late: Mutex::default(),
        }))
    }

    fn below(&self, end: u64) -> u64 {
        self.0.random.bits() % end
    }

    async fn apply(&self, key: &Key, bytes: Bytes, precondition: Precondition) -> Result<Version> {
        let version = self.0.memory.put(key, Body::from(bytes.clone()), precondition.into()).await?;
        let (header, _) = Header::decode(&bytes).unwrap();
        let before = self.0.tokens.lock().insert(key.clone(), header.token);
        assert!(before.is_none_or(|before| before <= header.token), "L5: an older token wrote {key}");
        Ok(version)
    }

    async fn haunt(&self) {
        loop {
            let (key, bytes, precondition) = {
                let mut ghosts = self.0.ghosts.lock();
                if ghosts.is_empty() || self.below(3) == 0 {
                    return;
                }
                let chosen = self.below(ghosts.len() as u64) as usize;
                ghosts.swap_remove(chosen)
            };
            if self.apply(&key, bytes, precondition).await.is_ok() {
                *self.0.applied_late.lock() += 1;
            }
        }
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("chaos:")
    }
}

#[async_trait]
impl StorageAdapter for Chaos {
    fn capabilities(&self) -> Capabilities {
        self.0.memory.capabilities()
    }
    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.0.memory.head(key).await
    }
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        if self.below(4) == 0 {
            self.haunt().await;
        }
        self.0.memory.get(key, options).await
    }
    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        let bytes = body.bytes().await?;
        let lost = || Error::new(ErrorKind::Timeout, "lost").indeterminate();
        if self.below(4) == 0 {
            self.haunt().await;
        }
        match self.below(10) {
            0 => {
                self.apply(key, bytes, options.precondition).await?;
                self.haunt().await;
                Err(lost())
            }
            1 => {
                self.0.ghosts.lock().push((key.clone(), bytes, options.precondition));
                Err(lost())
            }
            2 => {
                self.0.ghosts.lock().push((key.clone(), bytes, options.precondition));
                std::future::pending().await
            }
            3 => Err(Error::new(ErrorKind::Unavailable, "away")),
            _ => self.apply(key, bytes, options.precondition).await,
        }
    }
    async fn delete(&self, _: &Key, _: DeleteOptions) -> Result<()> {
        panic!("a guard never deletes");
    }
    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.0.memory.list(options)
    }
    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.0.memory.increment(key, delta).await
    }
    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        self.0.memory.batch(operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        self.0.memory.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.0.memory.changes(scope).await
    }
}

fn guard(store: &Store, token: u64) -> Guarded {
    Guarded {
        store: store.clone(),
        lease: "l".into(),
        token: Token::new(token),
        validity: None,
        touched: Arc::default(),
    }
}

/// What the newest holder that has touched each key knows of it.
#[derive(Default)]
struct Model {
    newest: HashMap<String, (u64, Option<Bytes>)>,
    /// Writes of the newest holder whose outcome nobody knows.
    unknown: HashMap<String, Vec<Option<Bytes>>>,
    fenced: usize,
    served: usize,
}

impl Model {
    fn touched(&mut self, key: &str, token: u64, value: Option<Bytes>) {
        if self.newest.get(key).is_none_or(|(newest, _)| *newest != token) {
            self.unknown.remove(key);
        }
        self.newest.insert(key.into(), (token, value));
    }
}

fn run(seed: u64) -> (usize, usize, usize) {
    let chaos = Chaos::new(seed);
    let environment = Environment {
        clock: Arc::new(NoTime(Seeded(Mutex::new(seed ^ 0x5555)))),
        random: Arc::new(Seeded(Mutex::new(seed.wrapping_mul(31)))),
    };
    let store = Store::new(chaos.clone()).with_environment(environment);
    let guards: Vec<_> = (1..=4).map(|token| guard(&store, token)).collect();
    let mut model = Model::default();
    for step in 0..300 {
        // Older holders go on writing after newer ones have begun: they were paused.
        let newest = 1 + chaos.below(1 + step / 75).min(3);
        let token = newest;
        let guarded = &guards[token as usize - 1];
        let key = format!("k{}", chaos.below(3));
        let context = format!("seed {seed}, step {step}, token {token}, {key}");
        let stale = model.newest.get(&key).is_some_and(|(newest, _)| *newest > token);
        let value = (chaos.below(4) > 0).then(|| Bytes::from(format!("{step}")));
        if chaos.below(2) == 0 {
            match guarded.get(key.as_str()).now_or_never() {
                Some(Ok(read)) => {
                    assert!(!stale, "L5: served to an older holder, {context}");
                    let known = model.newest.get(&key).filter(|(newest, _)| *newest == token);
                    let maybe = model.unknown.get(&key).is_some_and(|unknown| unknown.contains(&read));
                    assert!(known.is_none_or(|(_, known)| *known == read) || maybe, "{context}");
                    model.served += 1;
                    model.touched(&key, token, read);
                }
                Some(Err(error)) if error.kind() == ErrorKind::Fenced => model.fenced += 1,
                Some(Err(_)) | None => {}
            }
        } else {
            let result = match &value {
                Some(value) => guarded.put(key.as_str(), value.clone()).now_or_never(),
                None => guarded.delete(key.as_str()).now_or_never(),
            };
            match result {
                Some(Ok(())) => {
                    assert!(!stale, "L5: acknowledged to an older holder, {context}");
                    model.touched(&key, token, value);
                }
                Some(Err(error)) if error.kind() == ErrorKind::Fenced => model.fenced += 1,
                Some(Err(error)) if !error.is_indeterminate() => {}
                Some(Err(_)) | None if !stale => {
                    model.unknown.entry(key).or_default().push(value);
                }
                Some(Err(_)) | None => {}
            }
        }
    }
    let late = *chaos.0.applied_late.lock();
    (model.fenced, model.served, late)
}

#[test]
fn no_write_of_an_older_token_is_applied_once_a_newer_holder_has_touched_the_key() {
    let mut all = (0, 0, 0);
    for seed in 0..200 {
        let (fenced, served, late) = run(seed);
        all = (all.0 + fenced, all.1 + served, all.2 + late);
    }
    assert!(all.0 > 1000 && all.1 > 1000 && all.2 > 200, "{all:?}: the chaos did not happen");
}
