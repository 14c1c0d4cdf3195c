//! What the tests share: a clock that is moved by hand, and an adapter that counts, fails and stalls on command.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use leasehold_coordination::{Lease, Leases, Node, Ttl, Wait};
use leasehold_core::{
    BatchOptions, Body, BoxFuture, BoxStream, Capabilities, Capability, Changes, Clock, DeleteOptions, Entry,
    Environment, Error, ErrorKind, GetOptions, Key, ListOptions, Lookup, Metadata, Operation, Outcome,
    Precondition, PutOptions, Result, Scope, StorageAdapter, Store, SystemRandom, Version, async_trait,
};
use leasehold_memory::Memory;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A clock that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct ManualClock(Arc<Moving>);

#[derive(Debug, Default)]
struct Moving {
    now_nanos: AtomicU64,
    /// When those who sleep wake up.
    sleepers: Mutex<HashMap<u64, Duration>>,
    changed: Notify,
}

impl ManualClock {
    pub(crate) fn now(&self) -> Duration {
        self.monotonic()
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.0.now_nanos.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }

    /// Moves the time in small steps; after each one waits until `count` tasks sleep again, all of them into the future.
    pub(crate) async fn advance_settled(&self, duration: Duration, count: usize) {
        let end = self.monotonic() + duration;
        while self.monotonic() < end {
            self.settled(count).await;
            self.advance(Duration::from_millis(50).min(end - self.monotonic()));
        }
        self.settled(count).await;
    }

    pub(crate) async fn settled(&self, count: usize) {
        self.until(|sleepers, now| sleepers.len() == count && sleepers.values().all(|end| *end > now)).await;
    }

    /// Moves the time in small steps until `task` has ended; before each one waits until whoever was to wake up has
    /// acted, and at least `count` sleep.
    ///
    /// Whoever runs on a thread of its own may be between two sleeps when the time moves on: nothing that a test
    /// asserts may hang on its being in time.
    pub(crate) async fn advance_until<T>(&self, task: tokio::task::JoinHandle<T>, count: usize) -> T {
        loop {
            tokio::select! {
                biased;
                // It may be the one that would sleep.
                () = async { while !task.is_finished() { tokio::task::yield_now().await } } => break,
                () = self.until(|sleepers, now| sleepers.len() >= count && sleepers.values().all(|end| *end > now)) => {}
            }
            self.advance(Duration::from_millis(50));
        }
        task.await.unwrap()
    }

    async fn until(&self, condition: impl Fn(&HashMap<u64, Duration>, Duration) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if condition(&self.0.sleepers.lock(), self.monotonic()) {
                return;
            }
            changed.await;
        }
    }
}

/// One that sleeps, for as long as its future lives.
struct Sleeper(ManualClock, u64);

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.0.sleepers.lock().remove(&self.1);
        self.0.0.changed.notify_waiters();
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_secs(1000) + Duration::from_nanos(self.0.now_nanos.load(Ordering::SeqCst))
    }

    fn boottime(&self) -> Duration {
        self.monotonic()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::SeqCst);
        let (clock, end) = (self.clone(), self.monotonic() + duration);
        let sleeper = Sleeper(self.clone(), number);
        self.0.sleepers.lock().insert(number, end);
        self.0.changed.notify_waiters();
        Box::pin(async move {
            let _sleeper = sleeper;
            clock.until(|_, now| now >= end).await;
        })
    }
}

/// What happens to one put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused as unavailable, and not applied.
    Refused,
    /// Somebody was faster.
    Outrun,
    /// It is applied, and the answer is lost.
    ReplyLost,
    /// It is not applied yet, the answer is lost, and it arrives when [`Probe::deliver`] is called.
    Late,
    /// It never answers.
    Hangs,
}

/// Counts requests, and lets faults happen to puts of keys that contain a text.
#[derive(Clone)]
pub(crate) struct Probe(Arc<Inside>);

struct Inside {
    inner: Memory,
    counts: Mutex<Counts>,
    changed: Notify,
    faults: Mutex<VecDeque<Fault>>,
    always: Mutex<Option<Fault>>,
    late: Mutex<Vec<(Key, Vec<u8>, Precondition)>>,
    capabilities: Capabilities,
    ignores_conditions: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) gets: usize,
    pub(crate) puts: usize,
    pub(crate) unconditional: usize,
    pub(crate) other: usize,
}

impl Probe {
    /// One that does not tell of changes, so that whoever waits polls.
    pub(crate) fn new() -> Self {
        Self::without(Capability::Changes)
    }

    fn with(inner: Memory, capabilities: Capabilities, ignores_conditions: bool) -> Self {
        Self(Arc::new(Inside {
            inner,
            counts: Mutex::default(),
            changed: Notify::new(),
            faults: Mutex::default(),
            always: Mutex::default(),
            late: Mutex::default(),
            capabilities,
            ignores_conditions,
        }))
    }

    /// Another way to the same store, with faults of its own.
    pub(crate) fn beside(&self) -> Self {
        Self::with(self.0.inner.clone(), self.0.capabilities, self.0.ignores_conditions)
    }

    pub(crate) fn without(capability: Capability) -> Self {
        let inner = Memory::new();
        let capabilities = inner.capabilities().without(capability);
        Self::with(inner, capabilities, false)
    }

    pub(crate) fn ignoring_conditions() -> Self {
        let inner = Memory::new();
        let capabilities = inner.capabilities();
        Self::with(inner, capabilities, true)
    }

    /// The counts since the last call.
    pub(crate) fn take(&self) -> Counts {
        std::mem::take(&mut *self.0.counts.lock())
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.0.counts.lock()
    }

    /// The next puts fare like this.
    pub(crate) fn next_puts(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.faults.lock().extend(faults);
    }

    /// All puts fare like this, until told otherwise.
    pub(crate) fn all_puts(&self, fault: Option<Fault>) {
        *self.0.always.lock() = fault;
    }

    /// Delivers the puts that are late.
    pub(crate) async fn deliver(&self) -> Vec<Result<Version>> {
        let late = std::mem::take(&mut *self.0.late.lock());
        let mut results = Vec::new();
        for (key, bytes, precondition) in late {
            results.push(self.0.inner.put(&key, Body::from(bytes), precondition.into()).await);
        }
        results
    }

    /// Waits until `condition` holds of the counts.
    pub(crate) async fn until(&self, condition: impl Fn(Counts) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if condition(self.counts()) {
                return;
            }
            changed.await;
        }
    }

    fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.0.counts.lock());
        self.0.changed.notify_waiters();
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("probe:")
    }
}

#[async_trait]
impl StorageAdapter for Probe {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.count(|counts| counts.other += 1);
        self.0.inner.head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.count(|counts| counts.gets += 1);
        self.0.inner.get(key, options).await
    }

    async fn put(&self, key: &Key, body: Body, mut options: PutOptions) -> Result<Version> {
        let blind = options.precondition == Precondition::None;
        let fault = self.0.always.lock().or_else(|| self.0.faults.lock().pop_front());
        let body = body.bytes().await?;
        if self.0.ignores_conditions {
            options.precondition = Precondition::None;
        }
        let lost = || Error::new(ErrorKind::Timeout, "the reply was lost").indeterminate();
        let put = self.0.inner.put(key, Body::from(body.clone()), options.clone());
        let result = match fault {
            None => put.await,
            Some(Fault::Refused) => Err(Error::new(ErrorKind::Unavailable, "the store is away")),
            Some(Fault::Outrun) => Err(Error::conflict("the value has another version now")),
            Some(Fault::ReplyLost) => match put.await {
                Ok(_) => Err(lost()),
                Err(error) => Err(error),
            },
            Some(Fault::Late) => {
                self.0.late.lock().push((key.clone(), body.to_vec(), options.precondition));
                Err(lost())
            }
            Some(Fault::Hangs) => {
                self.count(|counts| counts.puts += 1);
                std::future::pending().await
            }
        };
        self.count(|counts| {
            counts.puts += 1;
            counts.unconditional += usize::from(blind);
        });
        result
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.count(|counts| counts.other += 1);
        self.0.inner.delete(key, options).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.0.inner.list(options)
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.count(|counts| counts.other += 1);
        self.0.inner.increment(key, delta).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        self.count(|counts| counts.other += 1);
        self.0.inner.batch(operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        self.0.inner.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        if self.0.capabilities.supports(Capability::Changes) {
            return self.0.inner.changes(scope).await;
        }
        Ok(None)
    }
}

pub(crate) const TTL: Duration = Duration::from_secs(10);

/// Longer than any test moves the time.
pub(crate) const LONG: Duration = Duration::from_secs(600);

pub(crate) fn ttl() -> Ttl {
    Ttl::new(TTL).unwrap()
}

/// A store on `probe` whose time is `clock`.
pub(crate) fn store(probe: &Probe, clock: &ManualClock) -> Store {
    let environment = Environment { clock: Arc::new(clock.clone()), random: Arc::new(SystemRandom) };
    Store::new(probe.clone()).with_environment(environment)
}

pub(crate) async fn connect(store: &Store, node: &str) -> Leases {
    Leases::connect(store.clone(), Node::new(node).unwrap()).await.unwrap()
}

/// Acquires what must be free.
pub(crate) async fn take(leases: &Leases, name: &str) -> Lease {
    leases.acquire(name).ttl(ttl()).wait(Wait::Try).await.unwrap().expect("the lease is free")
}

/// A probe, a clock, and leases of one node on them.
pub(crate) async fn world(node: &str) -> (Probe, ManualClock, Store, Leases) {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let store = store(&probe, &clock);
    let leases = connect(&store, node).await;
    probe.take();
    (probe, clock, store, leases)
}
