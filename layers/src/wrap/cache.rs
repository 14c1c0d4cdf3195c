//! The `Cache` layer: values kept in memory, under one of two promises.

mod adapter;
mod gets;
mod shelf;
#[cfg(test)]
mod tests;
mod traffic;

use std::{fmt, sync::Arc, time::Duration};

use leasehold_core::{Environment, Layer, StorageAdapter};

use shelf::{Counters, Shelf};

/// Keeps values that were read in memory, up to a number of bytes.
///
/// There are two modes. **[Revalidate](Cache::revalidate)** asks the store about every read, with the version it has, and saves
/// the body: every promise holds. **[Bounded staleness](Cache::bounded_staleness)** does not ask for a while: a read may be as
/// old as the bound says when *others* write, so [`Linearizable`](leasehold_core::Capability::Linearizable) is not claimed and
/// coordinators refuse the store; nor is [`Changes`](leasehold_core::Capability::Changes), because whoever is woken reads what is kept.
///
/// In both:
///
/// - Writes through this handle are seen by the reads that begin after them, whatever runs at the same time: a write takes the
///   key out before it is sent, and what was read before it ended is not kept. Written values are not kept either; the next read
///   fetches them. Conditions are always decided by the store, and a lost race takes the key out.
/// - Reads of one key at the same time share one request: with bounded staleness all that come while it runs, with revalidation
///   all that came before it began, for the others a next one follows. A caller that goes away stops nobody else.
/// - A range of a value that is here is cut out of it; a range of one that is not is read from the store, and not kept.
///   Lists always come from the store.
///
/// Values of more than [a thirty-second of the room](Cache::value_bytes_max), or streamed without a size, are passed on and not kept.
///
/// Costs a hit, with bounded staleness, two allocations of the call itself and no copy of the value, about 0.2 µs; with
/// revalidation one small request. The handle is cheap to clone; keep one for [`stats`](Cache::stats), which
/// all stores that it is on share; each has a room of its own. A request that hangs holds up later reads of its key: place a
/// [`Timeout`](crate::Timeout) below. Place
/// it outermost: outside of [`Retry`](crate::Retry), so that a hit costs nothing else, and outside of what decodes values.
///
/// ```
/// # use std::time::Duration;
/// # use leasehold_core::Store;
/// # use leasehold_layers::Cache;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let cache = Cache::bounded_staleness(64 << 20, Duration::from_secs(5));
/// let store = Store::new(leasehold_memory::Memory::new()).layer(cache.clone());
/// store.put("k", "v").await?;
/// for _ in 0..3 {
///     assert_eq!(store.get("k").await?.unwrap().text().await?, "v");
/// }
/// assert_eq!((cache.stats().loads, cache.stats().hits), (1, 2));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Cache {
    mode: Mode,
    room: u64,
    value_bytes_max: u64,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    absent_for: Option<Duration>,
    environment: Environment,
    counters: Arc<Counters>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Revalidate,
    BoundedStaleness,
}

/// What a cache has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads whose answer was here, and, where that was asked, still right.
    pub hits: u64,
    /// Reads whose answer was not.
    pub misses: u64,
    /// Requests that were sent to the store to read or to revalidate one value; reads that shared one count it once.
    pub loads: u64,
    /// Values that made room for others.
    pub evictions: u64,
}

impl Cache {
    /// Values in up to `bytes` of memory, used only after the store said that they are still the ones. Keeps every promise.
    pub fn revalidate(bytes: u64) -> Self {
        Self::new(Mode::Revalidate, bytes, None)
    }

    /// Values, and the knowledge that there is none, in up to `bytes` of memory, used unasked for at most `age` after the read
    /// that brought them began. Weakens C1 to that: a read shows what was stored at some moment in the last `age`.
    pub fn bounded_staleness(bytes: u64, age: Duration) -> Self {
        Self::new(Mode::BoundedStaleness, bytes, Some(age))
    }

    fn new(mode: Mode, room: u64, age: Option<Duration>) -> Self {
        Self {
            mode,
            room,
            value_bytes_max: room / 32,
            time_to_live: age,
            time_to_idle: None,
            absent_for: age,
            environment: Environment::default(),
            counters: Arc::default(),
        }
    }

    /// The largest value that is kept; a thirty-second of the room by default, and never more than half of it.
    #[must_use]
    pub fn value_bytes_max(mut self, bytes: u64) -> Self {
        self.value_bytes_max = bytes.min(self.room / 2);
        self
    }

    /// What is older is asked for again. With bounded staleness that is the bound, and this can only lower it.
    #[must_use]
    pub fn time_to_live(mut self, age: Duration) -> Self {
        self.time_to_live = Some(self.time_to_live.map_or(age, |bound| bound.min(age)));
        self.absent_for = self.absent_for.map(|bound| bound.min(age));
        self
    }

    /// What nobody has read for so long is fetched again. Its memory is given back when others need it.
    #[must_use]
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.time_to_idle = Some(idle);
        self
    }

    /// For how long it is remembered that a key is absent; as long as values by default, and at most. Revalidation does not
    /// remember it.
    #[must_use]
    pub fn absent_for(mut self, age: Duration) -> Self {
        self.absent_for = self.absent_for.map(|bound| bound.min(age));
        self
    }

    /// The same with another clock, for tests and simulations.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// What was done so far, by all stores that this handle is on.
    pub fn stats(&self) -> CacheStats {
        self.counters.stats()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({:?}, {} bytes, {:?})", self.mode, self.room, self.stats())
    }
}

impl Layer for Cache {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        let shelf = Shelf::new(&self);
        Arc::new(adapter::Cached::new(self, shelf, inner))
    }
}
