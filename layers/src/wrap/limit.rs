//! The `Limit` layer: so many calls at once, so many in a second.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use futures_util::{
    future::{Either, select},
    stream::{self, StreamExt},
};
use leasehold_core::{BoxStream, Entry, Environment, Error, ErrorKind, Layer, Result, StorageAdapter};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::around::{Around, Call, Hook, Reply};

/// Holds calls back that would be too many at once, or in a second. They wait in the order they came, at most
/// [30 s](Limit::wait_max); who waited in vain is told [`Throttled`](ErrorKind::Throttled), nothing of it was sent, and it may be
/// tried again.
///
/// A batch is one call at once, and as many in a second as it has entries: it goes when the first of them may, and the next call
/// when they would all have gone. A list takes a place while it waits for an entry, and counts once. A body that is read later takes
/// no place; one that is written takes one while it comes, so it must not need another of the same limit. Weakens no promise; a caller that goes away while it waits has sent
/// nothing.
///
/// Costs a few atomic operations while nobody has to wait. The handle is cheap to clone; all stores that it is on share the limit.
/// Place it innermost, inside of [`Retry`](crate::Retry), so that every try counts. Where a [`Timeout`](crate::Timeout) is outside
/// of it, let [`wait_max`](Limit::wait_max) be shorter: a write that is cut off while it waits here is told to be unknown.
///
/// ```
/// # use leasehold_core::Store;
/// # use leasehold_layers::Limit;
/// let store = Store::new(leasehold_memory::Memory::new()).layer(Limit::new().at_once(64).per_second(1_000, 100));
/// ```
#[derive(Clone)]
pub struct Limit(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    places: Option<Arc<Semaphore>>,
    at_once: usize,
    pace: Option<Arc<Pace>>,
    wait_max: Duration,
    environment: Environment,
}

/// Calls at an even pace: each has its moment, and those that come late may make up for a burst.
#[derive(Debug)]
struct Pace {
    /// From one call to the next.
    interval: Duration,
    /// How far the moments given out may be behind the clock.
    burst: Duration,
    /// The moment of the next call.
    next: Mutex<Duration>,
    /// Held by the one who waits for that moment; the others wait for this. Who goes away has taken nothing.
    turn: tokio::sync::Mutex<()>,
}

impl Pace {
    /// The moment at which the next call may go.
    fn next(&self, now: Duration) -> Duration {
        (*self.next.lock()).max(now.saturating_sub(self.burst))
    }

    /// So many calls go at this moment.
    fn go(&self, moment: Duration, calls: usize) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        *self.next.lock() = moment.saturating_add(self.interval.saturating_mul(calls));
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self::new()
    }
}

impl Limit {
    /// No limit yet.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            places: None,
            at_once: 0,
            pace: None,
            wait_max: Duration::from_secs(30),
            environment: Environment::default(),
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// At most `calls` at the same time, at least one.
    #[must_use]
    pub fn at_once(self, calls: usize) -> Self {
        let calls = calls.clamp(1, Semaphore::MAX_PERMITS);
        self.with(|shared| (shared.at_once, shared.places) = (calls, Some(Arc::new(Semaphore::new(calls)))))
    }

    /// At most `calls` in a second, after a pause up to `burst` more at once; at least one of each.
    #[must_use]
    pub fn per_second(self, calls: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / calls.max(1);
        let burst = interval * (burst.max(1) - 1);
        self.with(|shared| {
            shared.pace = Some(Arc::new(Pace {
                interval,
                burst,
                next: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
            }))
        })
    }

    /// How long a call waits at most. 30 s by default.
    #[must_use]
    pub fn wait_max(self, wait: Duration) -> Self {
        self.with(|shared| shared.wait_max = wait)
    }

    /// The same with another clock, for tests and simulations.
    #[must_use]
    pub fn with_environment(self, environment: Environment) -> Self {
        self.with(|shared| shared.environment = environment)
    }

    /// Waits for a moment, unless nothing is to be counted, and for a place.
    async fn enter(&self, calls: usize) -> Result<Option<OwnedSemaphorePermit>> {
        let Shared { places, pace, wait_max, environment, .. } = &*self.0;
        let clock = &environment.clock;
        let latest = clock.monotonic().saturating_add(*wait_max);
        if let Some(pace) = pace.as_ref().filter(|_| calls > 0) {
            let _turn = match pace.turn.try_lock() {
                Ok(turn) => turn,
                Err(_) => self.until(latest, pace.turn.lock()).await?,
            };
            let now = clock.monotonic();
            let moment = pace.next(now);
            if moment > now {
                if moment > latest {
                    return Err(self.refusal());
                }
                clock.sleep(moment - now).await;
            }
            pace.go(moment, calls);
        }
        let Some(places) = places else { return Ok(None) };
        if let Ok(place) = places.clone().try_acquire_owned() {
            return Ok(Some(place));
        }
        let place = self.until(latest, places.clone().acquire_owned()).await?;
        Ok(Some(place.expect("the semaphore is never closed")))
    }

    async fn until<T>(&self, latest: Duration, wanted: impl Future<Output = T>) -> Result<T> {
        let clock = &self.0.environment.clock;
        let left = latest.saturating_sub(clock.monotonic());
        match select(pin!(wanted), clock.sleep(left)).await {
            Either::Left((got, _)) => Ok(got),
            Either::Right(_) => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> Error {
        let message = format!(
            "too many calls for this limit: none of {:?} could be had; nothing was sent, try again later",
            self.0.wait_max
        );
        Error::new(ErrorKind::Throttled, message)
    }
}

impl Hook for Limit {
    async fn around<R: Reply>(&self, call: Call<'_>, run: impl Future<Output = R> + Send) -> R {
        match self.enter(call.entries.max(1)).await {
            Ok(_place) => run.await,
            Err(error) => {
                let error = call.key.map_or_else(
                    || error.clone().during(call.verb.name()),
                    |key| error.clone().on(call.verb.name(), key),
                );
                R::refused(error, call.entries)
            }
        }
    }

    fn along(&self, entries: BoxStream<'static, Result<Entry>>) -> BoxStream<'static, Result<Entry>> {
        let begun = (entries, self.clone(), 1);
        stream::try_unfold(begun, |(mut entries, limit, calls)| async move {
            let place = limit.enter(calls).await.map_err(|error| error.during("list"))?;
            let entry = entries.next().await.transpose()?;
            drop(place);
            Ok(entry.map(|entry| (entry, (entries, limit, 0))))
        })
        .boxed()
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { at_once, pace, wait_max, .. } = &*self.0;
        write!(f, "Limit(at once: {at_once}, pace: {pace:?}, wait_max: {wait_max:?})")
    }
}

impl Layer for Limit {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        Arc::new(Around { hook: self, inner })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{join, join_all};
    use leasehold_core::Store;
    use leasehold_memory::Memory;

    use super::*;
    use crate::{Faults, Verb};

    #[test]
    fn moments_are_given_out_evenly_after_a_burst() {
        let second = Duration::from_secs(1);
        let turn = tokio::sync::Mutex::default();
        let pace = Pace { interval: second / 10, burst: second / 5, next: Mutex::default(), turn };
        let now = second * 100;
        let mut book = |calls| {
            let moment = pace.next(now);
            pace.go(moment, calls);
            moment.as_millis() as i64 - 100_000
        };
        // Three may go at once, the next wait their turn; a batch of ten takes a second.
        assert_eq!([1, 1, 1, 1, 10, 1].map(&mut book), [-200, -100, 0, 100, 200, 1_200]);
    }

    #[tokio::test]
    async fn who_goes_away_while_it_waits_for_its_moment_has_taken_none() {
        let store = Store::new(Memory::new()).layer(Limit::new().per_second(20, 1));
        store.put("k", "v").await.unwrap();
        for _ in 0..100 {
            assert!(futures_util::FutureExt::now_or_never(store.put("k", "v").into_future()).is_none());
        }
        // Had they taken theirs, this one would wait for five seconds and be refused.
        store.put("k", "v").await.unwrap();
    }

    #[tokio::test]
    async fn a_list_counts_once_whatever_its_length() {
        let below = Store::new(Memory::new());
        below.put_many((0..1_000).map(|n| (format!("{n}"), ""))).await;
        let limit = Limit::new().per_second(1, 1).wait_max(Duration::ZERO);
        assert_eq!(below.layer(limit).list("").await.unwrap().len(), 1_000);
    }

    #[tokio::test]
    async fn no_more_calls_than_allowed_are_under_way() {
        let faults = Faults::new();
        let gates: Vec<_> = (0..3).map(|_| faults.hold(Verb::Put)).collect();
        let store = Store::new(Memory::new()).layer(faults).layer(Limit::new().at_once(2));
        let puts = join_all((0..3).map(|n| store.put(format!("k{n}"), "v").into_future()));
        let looks = async {
            gates[0].reached().await;
            gates[1].reached().await;
            tokio::task::yield_now().await;
            assert!(!gates[2].is_reached());
            gates.iter().for_each(|gate| gate.release());
        };
        let (written, ()) = join(puts, looks).await;
        written.into_iter().for_each(|version| drop(version.unwrap()));
        assert!(gates[2].is_reached());
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told_so_and_sent_nothing() {
        let faults = Faults::new();
        let gate = faults.hold(Verb::Put);
        let limit = Limit::new().at_once(1).wait_max(Duration::from_millis(1));
        let store = Store::new(Memory::new()).layer(faults).layer(limit);
        let first = store.put("k", "v").into_future();
        let second = async {
            gate.reached().await;
            let error = store.put("l", "v").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Throttled);
            assert!(error.is_retryable() && !error.is_indeterminate() && error.key() == Some("l"), "{error}");
            let results = store.put_many([("m", "v"), ("n", "v")]).await;
            assert!(results.len() == 2 && results.iter().all(Result::is_err));
            assert!(store.list("").await.is_err());
            gate.release();
        };
        join(first, second).await.0.unwrap();
        assert_eq!(store.list("").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_place_comes_free_when_its_caller_goes_away() {
        let faults = Faults::new();
        let _gate = faults.hold(Verb::Put);
        let store = Store::new(Memory::new()).layer(faults).layer(Limit::new().at_once(1));
        assert!(futures_util::FutureExt::now_or_never(store.put("k", "v").into_future()).is_none());
        store.put("k", "v").await.unwrap();
    }
}
