//! What is under way on each key: the writes, the reads that hope to be kept, and the request that reads share.
//!
//! A key's *epoch* moves whenever a write of it begins or ends. What was read is kept only if the epoch is still that of the
//! read's beginning and no write is under way, so an old value never takes the place of a newer write. Keys on which nothing is
//! under way take no memory.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use leasehold_core::{Error, ErrorKind, Key};
use parking_lot::{Mutex, MutexGuard};

use super::shelf::Shelf;
use crate::known::Known;

const PARTS: usize = 64;

/// A request that several reads wait for. Whoever waits drives it; it goes away with the last of them.
pub(super) type Flight<T> = Shared<BoxFuture<'static, Result<T, Error>>>;

/// What is under way, by key. `T` is what shared requests come to.
pub(super) struct Traffic<T: Clone> {
    parts: Box<[Mutex<Part<T>>]>,
    hasher: RandomState,
    pub(super) shelf: Shelf,
}

type Part<T> = HashMap<Key, OnKey<T>>;

struct OnKey<T: Clone> {
    epoch: u64,
    writes: usize,
    reads: usize,
    shares: u64,
    shared: Option<SharedRead<T>>,
}

/// Held weakly: a request that nobody waits for any more is dropped.
struct SharedRead<T: Clone> {
    number: u64,
    epoch: u64,
    since: Duration,
    begun: bool,
    flight: WeakShared<BoxFuture<'static, Result<T, Error>>>,
}

impl<T: Clone> Default for OnKey<T> {
    fn default() -> Self {
        Self { epoch: 0, writes: 0, reads: 0, shares: 0, shared: None }
    }
}

/// Which shared requests a read may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// One that has begun, too, if no longer ago than this: what it finds is new enough.
    Within(Duration),
    /// Only one that has not begun: what it finds must be at least as new as the read that joins.
    NotBegun,
}

impl<T: Clone + Send + Sync + 'static> Traffic<T> {
    pub(super) fn new(shelf: Shelf) -> Arc<Self> {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Arc::new(Self { parts, hasher: RandomState::new(), shelf })
    }

    fn part(&self, key: &Key) -> MutexGuard<'_, Part<T>> {
        self.parts[self.hasher.hash_one(key) as usize % PARTS].lock()
    }

    /// Takes the key off the shelf, and keeps it off until the write is over, however it ends.
    pub(super) fn write(self: &Arc<Self>, key: &Key) -> Write<T> {
        let mut part = self.part(key);
        let on_key = part.entry(key.clone()).or_default();
        on_key.writes += 1;
        on_key.epoch += 1;
        self.shelf.remove(key);
        Write { traffic: self.clone(), key: key.clone() }
    }

    /// A read whose answer can be kept if no write comes in between.
    pub(super) fn read(self: &Arc<Self>, key: &Key) -> Read<T> {
        let mut part = self.part(key);
        self.read_in(part.entry(key.clone()).or_default(), key)
    }

    fn read_in(self: &Arc<Self>, on_key: &mut OnKey<T>, key: &Key) -> Read<T> {
        on_key.reads += 1;
        Read { traffic: self.clone(), key: key.clone(), epoch: on_key.epoch, since: self.shelf.now() }
    }

    /// Joins the shared request for `key`, or begins one: `load` performs it with the read that it counts as.
    pub(super) fn share<F>(
        self: &Arc<Self>,
        key: &Key,
        join: Join,
        load: impl FnOnce(Read<T>) -> F + Send + 'static,
    ) -> Flight<T>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut part = self.part(key);
        let on_key = part.entry(key.clone()).or_default();
        let before = on_key.shared.as_ref().filter(|shared| shared.epoch == on_key.epoch);
        let mut running = None;
        if let Some(shared) = before
            && let Some(flight) = shared.flight.upgrade()
        {
            let young = |age| self.shelf.now().saturating_sub(shared.since) < age;
            if !shared.begun || matches!(join, Join::Within(age) if young(age)) {
                return flight;
            }
            running = Some(flight);
        }
        on_key.shares += 1;
        let (number, epoch) = (on_key.shares, on_key.epoch);
        let read = self.read_in(on_key, key);
        let since = read.since;
        let (traffic, owned) = (self.clone(), key.clone());
        let flight = async move {
            if let Some(running) = running {
                let _ = running.await;
            }
            traffic.on_shared(&owned, number, |shared| shared.as_mut().expect("it is this one").begun = true);
            // Others wait for this one: they must be told of a panic, too.
            let loaded = AssertUnwindSafe(load(read)).catch_unwind().await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unexpected, "the store below panicked; this is a bug"))
            });
            traffic.on_shared(&owned, number, |shared| *shared = None);
            loaded
        };
        let flight = flight.boxed().shared();
        let weak = flight.downgrade().expect("it has not been polled");
        on_key.shared = Some(SharedRead { number, epoch, since, begun: false, flight: weak });
        flight
    }

    /// Looks at the shared request of a key, if it is still the one with this number.
    fn on_shared(&self, key: &Key, number: u64, then: impl FnOnce(&mut Option<SharedRead<T>>)) {
        if let Some(on_key) = self.part(key).get_mut(key)
            && on_key.shared.as_ref().is_some_and(|shared| shared.number == number)
        {
            then(&mut on_key.shared);
        }
    }

    /// Notes that something is over.
    fn end(&self, key: &Key, over: impl FnOnce(&mut OnKey<T>)) {
        let mut part = self.part(key);
        let Some(on_key) = part.get_mut(key) else { return };
        over(on_key);
        if on_key.writes == 0 && on_key.reads == 0 {
            part.remove(key);
        }
    }

    /// How many keys something is under way on.
    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }
}

/// A write that is under way. Over when dropped.
pub(super) struct Write<T: Clone + Send + Sync + 'static> {
    traffic: Arc<Traffic<T>>,
    key: Key,
}

impl<T: Clone + Send + Sync + 'static> Drop for Write<T> {
    fn drop(&mut self) {
        // What was read while it ran may be from before it.
        self.traffic.end(&self.key, |on_key| {
            on_key.writes -= 1;
            on_key.epoch += 1;
        });
    }
}

/// A read that is under way. Over when dropped.
pub(super) struct Read<T: Clone + Send + Sync + 'static> {
    traffic: Arc<Traffic<T>>,
    key: Key,
    epoch: u64,
    since: Duration,
}

impl<T: Clone + Send + Sync + 'static> Read<T> {
    /// Keeps what was found, unless a write came in between.
    pub(super) fn keep(&self, known: Known) {
        let part = self.traffic.part(&self.key);
        if part.get(&self.key).is_some_and(|on_key| on_key.writes == 0 && on_key.epoch == self.epoch) {
            self.traffic.shelf.keep(&self.key, known, self.since);
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for Read<T> {
    fn drop(&mut self) {
        self.traffic.end(&self.key, |on_key| on_key.reads -= 1);
    }
}

impl<T: Clone> fmt::Debug for Traffic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shelf, f)
    }
}
