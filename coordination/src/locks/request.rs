//! Asking for a lock, or for several: the options. The wait is a `campaign`.

mod campaign;

use std::{future::IntoFuture, sync::Arc};

use futures_util::future::BoxFuture;
use leasehold_core::{Error, Result};

use super::{
    handle::{Inner, Locks},
    held::Lock,
    owner::Owner,
    state::CLAIMS_MAX,
};
use crate::Wait;
use campaign::Campaign;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) shared: bool,
    /// 0 for a lock.
    pub(super) permits: u32,
}

/// A request for a lock, made by [`Locks`]. Awaits to the lock, `None` when it was not to be had in the time there was.
///
/// A lock that is free is taken at once. Otherwise its record is watched, and the sessions of those who hold it: a
/// holder whose session was not renewed for its whole time to live, plus what clocks may differ by, is put out, by this
/// process's own clock.
///
/// # Cost
/// One conditional put when this process saw the lock free last; otherwise one read more. While waiting, every tenth
/// of the session's time to live (at most every 10 ms, at least every second): one read without content of the lock and
/// one for each holder. Waiting in line costs one put to get into it, and none to be let in.
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for an unsound name, for a semaphore of another number, for the name of
/// a lease, or a record of a newer format; [`Corrupt`](leasehold_core::ErrorKind::Corrupt) for a record that is none.
/// [`Conflict`](leasehold_core::ErrorKind::Conflict) with a [`Deadlock`](crate::Deadlock) for an owner that was chosen to give
/// way. [`Unavailable`](leasehold_core::ErrorKind::Unavailable) when 1,000 are in line. What the store fails with when that
/// lasts: transient failures are ridden out for 10 s.
///
/// # Cancel safety
/// A request that is dropped leaves the line, and gives the lock up if it turns out to have got it, in the
/// background.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct LockRequest {
    inner: Arc<Inner>,
    name: String,
    wanted: Wanted,
    counted: bool,
    owner: Arc<Owner>,
    wait: Wait,
    fair: bool,
}

impl LockRequest {
    pub(super) fn new(inner: Arc<Inner>, name: &str, wanted: Wanted, owner: Arc<Owner>) -> Self {
        let name = name.to_owned();
        Self { inner, name, wanted, counted: false, owner, wait: Wait::default(), fair: false }
    }

    pub(super) fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// How long to wait for it; for ever by default.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Waits in line: first come, first served. Those in line go before those who are not.
    ///
    /// Not the default because standing in line is written down, which many waiting processes feel on a store that takes
    /// one write a second of a key.
    pub fn fair(mut self) -> Self {
        self.fair = true;
        self
    }
}

impl IntoFuture for LockRequest {
    type Output = Result<Option<Lock>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if self.counted && !(1..=CLAIMS_MAX as u32).contains(&self.wanted.permits) {
                let message =
                    format!("a semaphore has 1 to {CLAIMS_MAX} permits, not {}", self.wanted.permits);
                return Err(Error::invalid(message));
            }
            let mut campaign = Campaign::begin(self).await?;
            let outcome = campaign.run().await;
            campaign.conclude(outcome).await
        })
    }
}

/// A request for several locks at once, made by [`Locks::all`]. Awaits to the locks in the order they were named, `None`
/// when not all were to be had in the time there was; none is held then.
///
/// Costs and errors are those of each [`LockRequest`]; naming one twice asks for it once.
///
/// # Cancel safety
/// As for one: what was taken already is given up.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct AllRequest {
    locks: Locks,
    names: Vec<String>,
    wait: Wait,
    fair: bool,
}

impl AllRequest {
    pub(super) fn new(locks: Locks, names: Vec<String>) -> Self {
        Self { locks, names, wait: Wait::default(), fair: false }
    }

    /// How long to wait for all of them together; for ever by default.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Waits in line for each; see [`LockRequest::fair`].
    pub fn fair(mut self) -> Self {
        self.fair = true;
        self
    }
}

impl IntoFuture for AllRequest {
    type Output = Result<Option<Vec<Lock>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let clock = self.locks.store().environment().clock.clone();
            let began = clock.monotonic();
            let mut sorted = self.names.clone();
            sorted.sort();
            sorted.dedup();
            for name in &sorted {
                // Before any is taken.
                self.locks.inner.register(name)?;
            }
            let mut held = Vec::new();
            for name in &sorted {
                let wait = match self.wait {
                    Wait::For(whole) => {
                        Wait::For(whole.saturating_sub(clock.monotonic().saturating_sub(began)))
                    }
                    wait => wait,
                };
                let mut request = self.locks.exclusive(name).wait(wait);
                request.fair = self.fair;
                match request.await {
                    Ok(Some(lock)) => held.push(lock),
                    Ok(None) => {
                        release_all(held).await?;
                        return Ok(None);
                    }
                    Err(error) => {
                        // What cannot be released now is free with the session; the first error tells more.
                        let _ = release_all(held).await;
                        return Err(error);
                    }
                }
            }
            let position = |lock: &Lock| self.names.iter().position(|name| name == lock.name());
            held.sort_by_key(position);
            Ok(Some(held))
        })
    }
}

async fn release_all(held: Vec<Lock>) -> Result<()> {
    let mut released = Ok(());
    for lock in held.into_iter().rev() {
        released = released.and(lock.release().await);
    }
    released
}
