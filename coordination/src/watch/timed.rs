//! Waiting for a change, with an end.

use std::time::Duration;

use leasehold_core::{Key, Prefix, Result, Scope, Store};

use super::wake::Wake;
use crate::Wait;

/// A [`Wake`] that ends when the time is up: *look, pause, look, pause*.
#[derive(Debug)]
pub(crate) struct TimedWake {
    store: Store,
    wake: Wake,
    /// On the monotonic clock.
    deadline: Option<Duration>,
}

impl TimedWake {
    /// For one key, from now on for as long as `wait` says. Sends nothing yet.
    pub(crate) fn of_key(store: &Store, key: &Key, wait: Wait) -> Self {
        Self::of(store, Scope::Key(key.clone()), wait)
    }

    /// The same for all keys with a prefix.
    pub(crate) fn of_prefix(store: &Store, prefix: &str, wait: Wait) -> Result<Self> {
        Ok(Self::of(store, Scope::Prefix(Prefix::new(prefix)?), wait))
    }

    fn of(store: &Store, scope: Scope, wait: Wait) -> Self {
        let now = store.environment().clock.monotonic();
        let deadline = match wait {
            Wait::Try => Some(now),
            Wait::For(duration) => now.checked_add(duration),
            Wait::Forever => None,
        };
        Self { store: store.clone(), wake: Wake::new(store.clone(), scope).eager(), deadline }
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| self.now() >= deadline)
    }

    /// Whether changes are told at present, so that pauses may be long.
    pub(crate) fn is_told(&self) -> bool {
        self.wake.is_told()
    }

    /// Waits for a change, for `poll` less some jitter, or for the end: it is time to look again, or `false` when the time was
    /// up before.
    ///
    /// # Cancel safety
    /// As [`Wake::pause`].
    pub(crate) async fn pause(&mut self, poll: Duration) -> bool {
        if self.is_over() {
            return false;
        }
        let pause = self.store.environment().jitter(poll);
        let left = self.deadline.map(|deadline| deadline.saturating_sub(self.now()));
        self.wake.pause(left.map_or(pause, |left| pause.min(left))).await;
        true
    }

    fn now(&self) -> Duration {
        self.store.environment().clock.monotonic()
    }
}
