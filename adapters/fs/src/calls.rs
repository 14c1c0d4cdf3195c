//! How calls reach the directory: on the caller's thread where nothing can wait, otherwise on a thread that may, and
//! never more of them at once than the machine can stand.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use leasehold_core::{Error, ErrorKind, Key, Result};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::{
    hop::run_blocking,
    locks::Patience,
    store::{Fs, Inner},
};

/// How many reads, and how many writes, wait for the device at once; the others queue.
const CALLS_MAX: usize = 64;
/// How many of the writes may wait for one lock.
const STRIPE_CALLS_MAX: usize = 8;

/// How many slices of batches are under way at once: each holds hundreds of files open.
const SLICES_MAX: usize = 2;

/// The queues in front of the device.
#[derive(Debug)]
pub(crate) struct Calls {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    slices: Arc<Semaphore>,
    stripes: Box<[Arc<Semaphore>]>,
    lock_timeout: Duration,
}

impl Calls {
    pub(crate) fn new(stripes: u32, lock_timeout: Duration) -> Self {
        let queue = |length| Arc::new(Semaphore::new(length));
        let stripes = (0..stripes).map(|_| queue(STRIPE_CALLS_MAX)).collect();
        let (reads, writes, slices) = (queue(CALLS_MAX), queue(CALLS_MAX), queue(SLICES_MAX));
        Self { reads, writes, slices, stripes, lock_timeout }
    }
}

impl Inner {
    /// Waits until few enough others wait for the lock of `key`, at most as long as for the lock itself: one that is
    /// never let go may stop its own stripe, but must not use up the calls that all others need.
    async fn queue(&self, key: &Key) -> Result<OwnedSemaphorePermit> {
        let number = self.locks.number(key);
        let queue = &self.calls.stripes[number];
        if let Ok(turn) = queue.clone().try_acquire_owned() {
            return Ok(turn);
        }
        let waited = self.environment.clock.sleep(self.calls.lock_timeout);
        match select(pin!(queue.clone().acquire_owned()), waited).await {
            Either::Left((turn, _)) => turn.map_err(closed),
            Either::Right(_) => Err(self.locks.timed_out(number)),
        }
    }
}

impl Fs {
    /// Runs a read where it may wait for the device.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.call(&self.0.calls.reads, None, work).await
    }

    /// Runs a write that takes no lock, where it may wait for the device.
    pub(crate) async fn write_unlocked<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.call(&self.0.calls.writes, None, work).await
    }

    /// Runs a slice of a batch.
    pub(crate) async fn write_slice<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.0.calls.slices.clone().acquire_owned().await.map_err(closed)?;
        self.call(&self.0.calls.writes, Some(turn), work).await
    }

    /// Runs a write of `key` where it may wait for the device, and for the lock.
    pub(crate) async fn write_locked<T: Send + 'static>(
        &self,
        key: &Key,
        work: impl FnOnce(&Inner) -> Result<Option<T>> + Send + 'static,
    ) -> Result<T> {
        let turn = self.0.queue(key).await?;
        self.call(&self.0.calls.writes, Some(turn), work).await.and_then(done)
    }

    /// Runs a small write: where values live in memory on the caller's thread, unless somebody holds the lock;
    /// otherwise, and then, where it may wait.
    pub(crate) async fn write_small<T: Send + 'static>(
        &self,
        key: &Key,
        work: impl Fn(&Inner, Patience) -> Result<Option<T>> + Send + 'static,
    ) -> Result<T> {
        if self.0.root.in_memory
            && let Some(done) = work(&self.0, Patience::Never)?
        {
            return Ok(done);
        }
        self.write_locked(key, move |inner| work(inner, Patience::Bounded)).await
    }

    async fn call<T: Send + 'static>(
        &self,
        permits: &Arc<Semaphore>,
        turn: Option<OwnedSemaphorePermit>,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // Goes along with the work, which goes on when the caller does not wait for it any more.
        let permits = (permits.clone().acquire_owned().await.map_err(closed)?, turn);
        let inner = self.0.clone();
        run_blocking(move || {
            let _permits = permits;
            work(&inner)
        })
        .await
    }
}

/// What a write that waits, or takes no lock, comes to: it does not give up for want of patience.
pub(crate) fn done<T>(outcome: Option<T>) -> Result<T> {
    outcome.ok_or_else(|| Error::new(ErrorKind::Unexpected, "a patient write gave up; this is a bug"))
}

fn closed(_: AcquireError) -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed")
}
