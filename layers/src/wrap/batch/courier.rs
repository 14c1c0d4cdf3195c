//! The driver: takes writes in, sends batches when the queue says so, and tells everybody how it went.

use std::{collections::BTreeSet, fmt, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use leasehold_core::{BatchOptions, Environment, Error, ErrorKind, Key, Outcome, Result, StorageAdapter};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};

use super::queue::{Change, Item, Limits, Queue, Size};

/// How often, at most, a batch that has landed lets others run before the next one goes.
const YIELDS_MAX: usize = 64;

/// One who waits for a write.
pub(super) type Waiter = oneshot::Sender<Result<Outcome>>;

/// Sees every write that has landed, before anybody is told.
pub(super) type Witness = Arc<dyn Fn(&Landed<'_>) + Send + Sync>;

/// A write that has landed.
pub(super) struct Landed<'a> {
    pub(super) number: u64,
    pub(super) key: &'a Key,
    pub(super) result: &'a Result<Outcome>,
}

pub(super) struct Courier {
    state: Mutex<State>,
    inner: Arc<dyn StorageAdapter>,
    environment: Environment,
    witness: Option<Witness>,
    /// Rings whenever writes have landed.
    landing: Notify,
}

struct State {
    queue: Queue<Waiter>,
    /// The moments at which somebody will look again.
    alarms: BTreeSet<Duration>,
    /// Where tasks run when nobody who asks is in a runtime: where the last write came from.
    runtime: Option<Handle>,
    closed: bool,
}

impl Courier {
    pub(super) fn new(
        inner: Arc<dyn StorageAdapter>,
        limits: Limits,
        coalesce: bool,
        environment: Environment,
        witness: Option<Witness>,
    ) -> Arc<Self> {
        let entries = limits.entries.min(inner.capabilities().limits().batch_operations_max).max(1);
        let queue = Queue::new(Limits { entries, ..limits }, coalesce);
        Arc::new(Self {
            state: Mutex::new(State { queue, alarms: BTreeSet::new(), runtime: None, closed: false }),
            inner,
            environment,
            witness,
            landing: Notify::new(),
        })
    }

    pub(super) fn inner(&self) -> &Arc<dyn StorageAdapter> {
        &self.inner
    }

    /// Refuses once the layer is closed.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.state.lock().closed { Err(closed()) } else { Ok(()) }
    }

    /// Takes a write in. `note` is told its number, while nothing can have happened to it yet.
    pub(super) fn submit(
        self: &Arc<Self>,
        key: &Key,
        change: Change,
        hold: Duration,
        note: impl FnOnce(u64),
    ) -> Result<oneshot::Receiver<Result<Outcome>>> {
        let runtime = Handle::try_current().map_err(|source| {
            let message = "batching needs a Tokio runtime around it; call it from within one";
            Error::invalid(message).because(source)
        })?;
        let (told, wait) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            return Err(closed());
        }
        let now = self.environment.clock.monotonic();
        note(state.queue.push(key.clone(), change, told, now, hold));
        state.runtime = Some(runtime);
        self.go(state);
        Ok(wait)
    }

    /// Sends what may go, and sees to it that the rest is looked at in time.
    fn go(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let Some(runtime) = Handle::try_current().ok().or_else(|| state.runtime.clone()) else { return };
        let now = self.environment.clock.monotonic();
        let flights: Vec<_> = std::iter::from_fn(|| state.queue.depart(now)).collect();
        let alarm = state.queue.alarm();
        let sooner = alarm.filter(|alarm| state.alarms.first().is_none_or(|set| alarm < set));
        state.alarms.extend(sooner);
        drop(state);
        // A runtime that is over drops its tasks at once, and those need the lock.
        let departed = !flights.is_empty();
        for items in flights {
            runtime.spawn(Flight { courier: self.clone(), items, placed: true }.fly());
        }
        if let Some(moment) = sooner {
            runtime.spawn(Alarm { courier: self.clone(), moment }.ring());
        }
        if departed {
            // There is room again.
            self.landing.notify_waiters();
        }
    }

    /// Tells everybody how the writes of a batch ended, and makes way for those behind them.
    fn land(&self, items: Vec<Item<Waiter>>, results: Vec<Result<Outcome>>) {
        if let Some(witness) = &self.witness {
            for (item, result) in items.iter().zip(&results) {
                let landed = Landed { number: item.number, key: &item.key, result };
                // A hook of the user's may panic; the others must be told all the same.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| witness(&landed)));
            }
        }
        let now = self.environment.clock.monotonic();
        self.state.lock().queue.landed(items.iter().map(|item| (&item.key, item.number)), now);
        for (item, result) in items.into_iter().zip(results) {
            tell(item.waiters, result);
        }
        self.landing.notify_waiters();
    }

    /// Lets those who were told just now write again, so that they share the next batch as they shared this one.
    async fn linger(&self, wanted: usize) {
        let (mut waiting, mut idle) = (0, 0);
        for _ in 0..YIELDS_MAX {
            tokio::task::yield_now().await;
            let now = self.state.lock().queue.size().entries;
            idle = if now > waiting { 0 } else { idle + 1 };
            waiting = now;
            if now >= wanted || idle > 2 {
                return;
            }
        }
    }

    fn unknown(&self, message: &str, item: &Item<Waiter>) -> Result<Outcome> {
        Err(Error::new(ErrorKind::Unexpected, message).on("batch", &item.key).at(&self.inner).indeterminate())
    }

    /// One result for each item, whatever the store below does.
    async fn send(&self, items: &[Item<Waiter>]) -> Vec<Result<Outcome>> {
        let operations = items.iter().map(|item| item.change.operation(&item.key)).collect();
        let sent =
            AssertUnwindSafe(self.inner.batch(operations, BatchOptions::default())).catch_unwind().await;
        let Ok(results) = sent else {
            let panicked = "the store below panicked; this is a bug";
            return items.iter().map(|item| self.unknown(panicked, item)).collect();
        };
        let short = "the store below returned too few results; this is a bug";
        let mut results = results.into_iter();
        items.iter().map(|item| results.next().unwrap_or_else(|| self.unknown(short, item))).collect()
    }

    /// Waits until what was written to these keys before has landed. What comes meanwhile is not waited for.
    pub(super) async fn settle(self: &Arc<Self>, keys: &[Key]) {
        let mut marks: Vec<(&Key, u64)> = {
            let queue = &self.state.lock().queue;
            keys.iter().filter_map(|key| Some((key, queue.last(key)?))).collect()
        };
        self.until(|queue, now| {
            marks.retain(|(key, number)| queue.has(key, *number));
            marks.iter().for_each(|(key, number)| queue.hurry(key, *number, now));
            marks.is_empty()
        })
        .await;
    }

    /// Waits until everything that was written before has landed.
    pub(super) async fn settle_all(self: &Arc<Self>) {
        let issued = self.state.lock().queue.issued();
        self.until(|queue, now| {
            queue.hurry_all(now);
            queue.is_through(issued)
        })
        .await;
    }

    /// Waits until `room` is satisfied with what waits.
    pub(super) async fn until_room(self: &Arc<Self>, room: impl Fn(Size) -> bool) {
        self.until(|queue, now| {
            let satisfied = room(queue.size());
            if !satisfied {
                queue.hurry_all(now);
            }
            satisfied
        })
        .await;
    }

    async fn until(self: &Arc<Self>, mut reached: impl FnMut(&mut Queue<Waiter>, Duration) -> bool) {
        loop {
            let mut landing = pin!(self.landing.notified());
            landing.as_mut().enable();
            for _ in 0..2 {
                let mut state = self.state.lock();
                if reached(&mut state.queue, self.environment.clock.monotonic()) {
                    return;
                }
                // What is sent now may be all that was in the way.
                self.go(state);
            }
            landing.await;
        }
    }

    /// Whether nothing waits and nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.queue.is_through(state.queue.issued())
    }

    /// Takes in nothing more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
    }
}

/// A batch on its way. When its task is dropped, because its runtime ends, its writes are unknown and nothing waits for it.
struct Flight {
    courier: Arc<Courier>,
    items: Vec<Item<Waiter>>,
    /// Whether it holds one of the places that batches have.
    placed: bool,
}

impl Flight {
    /// One batch after the other, as long as there is something to send.
    async fn fly(mut self) {
        loop {
            let results = self.courier.send(&self.items).await;
            let items = std::mem::take(&mut self.items);
            let count = items.len();
            self.courier.land(items, results);
            if count > 1 {
                self.courier.linger(count).await;
            }
            self.placed = false;
            let mut state = self.courier.state.lock();
            state.queue.release();
            match state.queue.depart(self.courier.environment.clock.monotonic()) {
                Some(items) => (self.items, self.placed) = (items, true),
                None => return self.courier.go(state),
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let items = std::mem::take(&mut self.items);
        if !items.is_empty() {
            let message = "the runtime of the batch ended before the batch did";
            let results = items.iter().map(|item| self.courier.unknown(message, item)).collect();
            self.courier.land(items, results);
        }
        if self.placed {
            self.courier.state.lock().queue.release();
            self.courier.landing.notify_waiters();
        }
    }
}

/// A look at the queue that is to come.
struct Alarm {
    courier: Arc<Courier>,
    moment: Duration,
}

impl Alarm {
    async fn ring(self) {
        let clock = &self.courier.environment.clock;
        clock.sleep(self.moment.saturating_sub(clock.monotonic())).await;
        let mut state = self.courier.state.lock();
        state.alarms.remove(&self.moment);
        self.courier.go(state);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.courier.state.lock().alarms.remove(&self.moment);
    }
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Courier({:?})", self.inner)
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the batch layer was closed; nothing was written").retryable(false)
}

/// Tells everybody who waits for one write.
fn tell(waiters: Vec<Waiter>, result: Result<Outcome>) {
    let copy = |result: &Result<Outcome>| match result {
        Ok(Outcome::Put(version)) => Ok(Outcome::Put(version.clone())),
        Ok(_) => Ok(Outcome::Deleted),
        Err(error) => Err(error.clone()),
    };
    let mut waiters = waiters.into_iter();
    let last = waiters.next_back();
    for waiter in waiters {
        // One who went away needs no answer.
        let _ = waiter.send(copy(&result));
    }
    if let Some(waiter) = last {
        let _ = waiter.send(result);
    }
}
