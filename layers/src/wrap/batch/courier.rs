//! The driver: takes writes in, sends batches when the queue says so, and tells everybody how it went.

use std::{fmt, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use leasehold_core::{BatchOptions, Environment, Error, ErrorKind, Key, Outcome, Result, StorageAdapter};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};

use super::queue::{Change, Item, Limits, Queue};

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
    alarm: Option<Duration>,
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
            state: Mutex::new(State { queue, alarm: None, closed: false }),
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
        self.go(state, &runtime);
        Ok(wait)
    }

    /// Sends what may go, and sees to it that the rest is looked at in time.
    fn go(self: &Arc<Self>, mut state: MutexGuard<'_, State>, runtime: &Handle) {
        let now = self.environment.clock.monotonic();
        while let Some(items) = state.queue.depart(now) {
            runtime.spawn(self.clone().fly(items));
        }
        if let Some(alarm) = state.queue.alarm()
            && state.alarm.is_none_or(|set| alarm < set)
        {
            state.alarm = Some(alarm);
            drop(state);
            runtime.spawn(self.clone().ring(alarm));
        }
    }

    async fn ring(self: Arc<Self>, alarm: Duration) {
        let now = self.environment.clock.monotonic();
        self.environment.clock.sleep(alarm.saturating_sub(now)).await;
        let mut state = self.state.lock();
        if state.alarm == Some(alarm) {
            state.alarm = None;
        }
        self.go(state, &Handle::current());
    }

    /// One batch after the other, as long as there is something to send.
    async fn fly(self: Arc<Self>, mut items: Vec<Item<Waiter>>) {
        loop {
            let count = items.len();
            let results = self.send(&items).await;
            for (item, result) in items.iter().zip(&results) {
                if let Some(witness) = &self.witness {
                    witness(&Landed { number: item.number, key: &item.key, result });
                }
            }
            self.state.lock().queue.landed(items.iter().map(|item| (&item.key, item.number)));
            for (item, result) in items.into_iter().zip(results) {
                tell(item.waiters, result);
            }
            self.landing.notify_waiters();
            if count > 1 {
                self.linger(count).await;
            }
            let mut state = self.state.lock();
            state.queue.release();
            match state.queue.depart(self.environment.clock.monotonic()) {
                Some(next) => items = next,
                None => return self.go(state, &Handle::current()),
            }
        }
    }

    /// Lets those who were told just now write again, so that they share the next batch as they shared this one.
    async fn linger(&self, wanted: usize) {
        let (mut waiting, mut idle) = (0, 0);
        for _ in 0..YIELDS_MAX {
            tokio::task::yield_now().await;
            let now = self.state.lock().queue.size().0;
            idle = if now > waiting { 0 } else { idle + 1 };
            waiting = now;
            if now >= wanted || idle > 2 {
                return;
            }
        }
    }

    /// One result for each item, whatever the store below does.
    async fn send(&self, items: &[Item<Waiter>]) -> Vec<Result<Outcome>> {
        let operations = items.iter().map(|item| item.change.operation(&item.key)).collect();
        let sent =
            AssertUnwindSafe(self.inner.batch(operations, BatchOptions::default())).catch_unwind().await;
        let unknown = |message: &str, item: &Item<Waiter>| {
            Err(Error::new(ErrorKind::Unexpected, message)
                .on("batch", &item.key)
                .at(&self.inner)
                .indeterminate())
        };
        let Ok(results) = sent else {
            return items
                .iter()
                .map(|item| unknown("the store below panicked; this is a bug", item))
                .collect();
        };
        let short = "the store below returned too few results; this is a bug";
        let mut results = results.into_iter();
        items.iter().map(|item| results.next().unwrap_or_else(|| unknown(short, item))).collect()
    }

    /// Waits until nothing that was written to these keys before is under way.
    pub(super) async fn settle(self: &Arc<Self>, keys: &[Key]) {
        self.until(|queue| {
            let settled = !keys.iter().any(|key| queue.has(key));
            if !settled {
                queue.hurry(keys);
            }
            settled
        })
        .await;
    }

    /// Waits until everything that was written before has landed.
    pub(super) async fn settle_all(self: &Arc<Self>) {
        let issued = self.state.lock().queue.issued();
        self.until(|queue| {
            queue.hurry_all();
            queue.is_through(issued)
        })
        .await;
    }

    /// Waits until `room` is satisfied with how many writes wait, and how many bytes.
    pub(super) async fn until_room(self: &Arc<Self>, room: impl Fn(usize, u64) -> bool) {
        self.until(|queue| {
            let (entries, bytes) = queue.size();
            let satisfied = room(entries, bytes);
            if !satisfied {
                queue.hurry_all();
            }
            satisfied
        })
        .await;
    }

    async fn until(self: &Arc<Self>, mut reached: impl FnMut(&mut Queue<Waiter>) -> bool) {
        loop {
            let mut landing = pin!(self.landing.notified());
            landing.as_mut().enable();
            for _ in 0..2 {
                let mut state = self.state.lock();
                if reached(&mut state.queue) {
                    return;
                }
                // What is sent now may be all that was in the way.
                if let Ok(runtime) = Handle::try_current() {
                    self.go(state, &runtime);
                }
            }
            landing.await;
        }
    }

    /// Takes in nothing more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
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
