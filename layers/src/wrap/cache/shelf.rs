//! What is kept: values and absences, weighed in bytes, each with its age.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use leasehold_core::{Clock, Key};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync};

use super::{Cache, CacheStats};
use crate::known::Known;

/// What an entry takes beyond key, value and attributes: the cache's own table, and the parts of [`Kept`].
const OVERHEAD_BYTES: u64 = 256;

/// A known answer and when it was asked for.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) known: Known,
    since: Duration,
    /// When it was last read, in nanoseconds; kept only where somebody wants to know.
    used: AtomicU64,
}

/// Counts what all stores under one handle do.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) loads: AtomicU64,
    evictions: AtomicU64,
}

impl Counters {
    pub(super) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            loads: self.loads.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
        }
    }
}

/// Values and absences within their room.
pub(super) struct Shelf {
    kept: sync::Cache<Key, Arc<Kept>, Weight, DefaultHashBuilder, Evictions>,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    absent_for: Option<Duration>,
    clock: Arc<dyn Clock>,
}

impl Shelf {
    pub(super) fn new(cache: &Cache) -> Self {
        // How many entries there may be decides how finely the room is divided, not how many fit.
        let entries = (cache.room / 2_048).clamp(128, 1 << 20) as usize;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(cache.room)
            // A value has to fit into the part of the room that its key falls to.
            .shards(shards(cache.room, cache.value_bytes_max))
            .build()
            .expect("capacities are given");
        let evictions = Evictions(cache.counters.clone());
        Self {
            kept: sync::Cache::with_options(options, Weight, DefaultHashBuilder::default(), evictions),
            time_to_live: cache.time_to_live,
            time_to_idle: cache.time_to_idle,
            absent_for: cache.absent_for,
            clock: cache.environment.clock.clone(),
        }
    }

    /// The time that ages are measured in; goes on while the machine sleeps, as the world does.
    pub(super) fn now(&self) -> Duration {
        self.clock.boottime()
    }

    /// How old an answer may be.
    pub(super) fn bound(&self) -> Duration {
        self.time_to_live.unwrap_or(Duration::MAX)
    }

    /// What is kept for `key`, however old.
    pub(super) fn any(&self, key: &Key) -> Option<Arc<Kept>> {
        self.kept.get(key)
    }

    /// Whether `kept` may still be used, and notes that it is.
    pub(super) fn fresh(&self, kept: &Kept) -> bool {
        let limit = match kept.known {
            Known::Absent => self.absent_for,
            Known::Value(..) => self.time_to_live,
        };
        if limit.is_none() && self.time_to_idle.is_none() {
            return true;
        }
        let now = self.now();
        if limit.is_some_and(|limit| now.saturating_sub(kept.since) >= limit) {
            return false;
        }
        if let Some(idle) = self.time_to_idle {
            let used = Duration::from_nanos(kept.used.load(Relaxed));
            if now.saturating_sub(used) >= idle {
                return false;
            }
            kept.used.store(now.as_nanos() as u64, Relaxed);
        }
        true
    }

    /// Keeps an answer that was asked for at `since`. An absence only where it is remembered.
    pub(super) fn keep(&self, key: &Key, known: Known, since: Duration) {
        // Of two reads at the same time the one that began later may have come first.
        if self.kept.peek(key).is_some_and(|kept| kept.since > since) {
            return;
        }
        if matches!(known, Known::Absent) && self.absent_for.is_none_or(|age| age.is_zero()) {
            self.kept.remove(key);
            return;
        }
        let used = AtomicU64::new(since.as_nanos() as u64);
        self.kept.insert(key.clone(), Arc::new(Kept { known, since, used }));
    }

    pub(super) fn remove(&self, key: &Key) {
        self.kept.remove(key);
    }
}

/// As many parts as still hold several of the largest values each.
fn shards(room: u64, value_bytes_max: u64) -> usize {
    let parts = room / (value_bytes_max.max(1) * 4);
    parts.clamp(1, 16) as usize
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Shelf({} entries, {} of {} bytes)",
            self.kept.len(),
            self.kept.weight(),
            self.kept.capacity()
        )
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Key, Arc<Kept>> for Weight {
    fn weight(&self, key: &Key, kept: &Arc<Kept>) -> u64 {
        let value = match &kept.known {
            Known::Absent => 0,
            Known::Value(metadata, bytes) => bytes.len() + metadata.attributes.bytes(),
        };
        OVERHEAD_BYTES + (key.len() + value) as u64
    }
}

#[derive(Clone, Debug)]
struct Evictions(Arc<Counters>);

impl Lifecycle<Key, Arc<Kept>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, _: Arc<Kept>) {
        self.0.evictions.fetch_add(1, Relaxed);
    }
}
