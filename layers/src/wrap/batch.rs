//! The `Batch` layer: many writes in one call.

mod behind;
mod courier;
mod grouped;
mod pattern;
mod queue;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use leasehold_core::{Environment, Error, Key, Layer, Result, StorageAdapter};
use parking_lot::Mutex;

use behind::Behind;
use courier::Courier;
use pattern::Pattern;
use queue::Limits;

/// How many batches may be on their way at once.
const FLIGHTS_MAX: usize = 4;

/// Collects writes that come at the same time and sends them as one batch.
///
/// **[Group commit](Batch::group_commit)**: each caller is told how its own write went, once it is stored; every promise holds.
/// *When a batch goes:* at once, if none is on its way, so that a lone writer waits for nobody. While one is on its way writes are
/// collected, until it is back, or until 1,000 entries, 8 MiB or 100 ms are reached. When it comes back with several writes, the
/// next one goes as soon as its callers, who were just told, have stopped adding to it; no timer is involved.
///
/// **[Write-behind](Batch::write_behind)**: the caller is told at once, and the write is sent later. Reads through this handle see
/// what is pending; others do not, and a crash loses it: [`Linearizable`](leasehold_core::Capability::Linearizable) and
/// [`Durable`](leasehold_core::Capability::Durable) are not claimed. Past 10,000 entries or 64 MiB that wait, callers wait too.
/// Failures, also what only the store below can know, such as a key that it does not take, go to [`on_error`](Batch::on_error) and come back from the next [`flush`](Batch::flush); there is nobody else to tell,
/// so place a [`Retry`](crate::Retry) below. Writes with a condition, increments, streams and explicit batches wait until what
/// was written to their keys before is stored, and are then sent and answered themselves. The version that a caller is given
/// names its write until the key is written again, for the 10,000 keys that were used last.
///
/// In both, writes of one key that are collected are stored in the order they came, one in a batch; with group commit conditional
/// ones are among them. What is sent by itself (an explicit batch, an increment, a stream, and a condition with write-behind) comes
/// after what was written to its keys before; what is written to them meanwhile may overtake it. A caller that goes away leaves its
/// write in the batch. A batch that fails in part fails those whose entry failed; when the store below panics, or the runtime ends,
/// those it carried are unknown.
///
/// Costs a caller one allocation and a change of task. Needs a Tokio runtime that goes on running: batches are sent by tasks.
/// Place it inside of a [`Cache`](crate::Cache) and outside of [`Retry`](crate::Retry), above a store whose
/// [`batch`](StorageAdapter::batch) is cheaper than its puts.
///
/// The handle is cheap to clone; keep one for [`flush`](Batch::flush) and [`close`](Batch::close).
///
/// ```
/// # use std::time::Duration;
/// # use leasehold_core::Store;
/// # use leasehold_layers::Batch;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let batch = Batch::write_behind()
///     .interval("balances/**", Duration::ZERO)? // written through
///     .interval("typing/**", Duration::from_millis(500))? // sent twice a second
///     .coalesce(true);
/// let store = Store::new(leasehold_memory::Memory::new()).layer(batch.clone());
/// store.put("typing/ada", "yes").await?; // returns at once
/// assert_eq!(store.get("typing/ada").await?.unwrap().text().await?, "yes");
/// batch.close().await?; // stored by now, or an error says what was not
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Batch {
    behind: bool,
    limits: Limits,
    intervals: Intervals,
    coalesce: bool,
    pending: Pending,
    on_error: Option<OnError>,
    environment: Environment,
    layers: Arc<Mutex<Vec<Laid>>>,
}

/// How much may wait behind its callers.
#[derive(Clone, Copy, Debug)]
struct Pending {
    entries: usize,
    bytes: u64,
}

type OnError = Arc<dyn Fn(&Key, &Error) + Send + Sync>;

/// One store that the handle is on.
#[derive(Clone)]
struct Laid {
    courier: Arc<Courier>,
    behind: Option<Arc<Behind>>,
}

impl Laid {
    fn is_used(&self) -> bool {
        match &self.behind {
            Some(behind) => Arc::strong_count(behind) > 1 || !self.courier.is_idle(),
            None => Arc::strong_count(&self.courier) > 1,
        }
    }
}

/// How long writes are held, by pattern.
#[derive(Clone, Debug, Default)]
struct Intervals {
    patterns: Vec<(Pattern, Duration)>,
}

impl Intervals {
    /// The interval of the first pattern that matches.
    fn of(&self, key: &Key) -> Option<Duration> {
        self.patterns.iter().find(|(pattern, _)| pattern.matches(key)).map(|(_, interval)| *interval)
    }
}

impl Batch {
    /// Every caller waits until its own write is stored.
    pub fn group_commit() -> Self {
        Self::new(false)
    }

    /// Callers do not wait; what they wrote is collected for up to 100 ms first. Weakens durability and linearizability.
    pub fn write_behind() -> Self {
        Self::new(true)
    }

    fn new(behind: bool) -> Self {
        let limits =
            Limits { wait: Duration::from_millis(100), entries: 1_000, bytes: 8 << 20, flights: FLIGHTS_MAX };
        Self {
            behind,
            limits,
            intervals: Intervals::default(),
            coalesce: false,
            pending: Pending { entries: 10_000, bytes: 64 << 20 },
            on_error: None,
            environment: Environment::default(),
            layers: Arc::default(),
        }
    }

    /// How long a write waits for others at most. 100 ms by default.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.limits.wait = wait;
        self
    }

    /// How many entries a batch has at most; 1,000 by default, and never more than the store below takes.
    #[must_use]
    pub fn entries_max(mut self, entries: usize) -> Self {
        self.limits.entries = entries.max(1);
        self
    }

    /// How many bytes a batch has at most; 8 MiB by default. A single larger value goes alone.
    #[must_use]
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.limits.bytes = bytes.max(1);
        self
    }

    /// How many entries and bytes may wait behind their callers before these wait too; 10,000 and 64 MiB by default.
    #[must_use]
    pub fn pending_max(mut self, entries: usize, bytes: u64) -> Self {
        self.pending = Pending { entries: entries.max(1), bytes: bytes.max(1) };
        self
    }

    /// Holds writes of keys with this pattern for `interval` before they are sent, so that many become one batch, and, with
    /// [`coalesce`](Batch::coalesce), one write. Zero: they are written through at once, by themselves. The first pattern that
    /// matches counts. In a pattern `*` stands for one segment of a key and `**` for any number of them.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) when `pattern` is none.
    pub fn interval(mut self, pattern: &str, interval: Duration) -> Result<Self> {
        self.intervals.patterns.push((Pattern::parse(pattern)?, interval));
        Ok(self)
    }

    /// Whether an unconditional put may take the place of another one of its key that waits right before it, which is then never
    /// sent: both are stored by the last one, or fail with it. Off by default. With group commit both callers get the version of
    /// the last, so [`UniqueVersions`](leasehold_core::Capability::UniqueVersions) is not claimed.
    #[must_use]
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.coalesce = coalesce;
        self
    }

    /// Called for every write that failed after its caller was told that it would be done.
    #[must_use]
    pub fn on_error(mut self, hook: impl Fn(&Key, &Error) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Arc::new(hook));
        self
    }

    /// The same with another clock and generator, for tests and simulations.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Sends everything that waits and returns when all that was written before this call is stored.
    ///
    /// # Errors
    /// Write-behind: the first failure since the last flush, whose message says how many there were; those writes are lost,
    /// or unknown. Group commit has told each caller its own.
    pub async fn flush(&self) -> Result<()> {
        let layers = self.layers.lock().clone();
        let mut first = Ok(());
        for Laid { courier, behind } in layers {
            courier.settle_all().await;
            let below = courier.inner().flush().await;
            // What is not told now is told by the next flush.
            first = first.and(below).and_then(|()| behind.map_or(Ok(()), |behind| behind.take_failure()));
        }
        first
    }

    /// Takes no more writes, and flushes. Later writes are refused.
    ///
    /// # Errors
    /// As [`flush`](Batch::flush).
    pub async fn close(&self) -> Result<()> {
        for laid in &*self.layers.lock() {
            laid.courier.close();
        }
        self.flush().await
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.behind { "write-behind" } else { "group commit" };
        write!(f, "Batch({mode}, {:?})", self.limits)
    }
}

impl Layer for Batch {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        let Self { limits, coalesce, environment, .. } = self.clone();
        // Stores that are no more need no flush.
        self.layers.lock().retain(Laid::is_used);
        if self.behind {
            let layers = self.layers.clone();
            let behind = Behind::new(self, inner);
            layers.lock().push(Laid { courier: behind.courier.clone(), behind: Some(behind.clone()) });
            return behind;
        }
        let courier = Courier::new(inner, limits, coalesce, environment, None);
        self.layers.lock().push(Laid { courier: courier.clone(), behind: None });
        Arc::new(grouped::Grouped { courier, intervals: self.intervals, coalesce })
    }
}
