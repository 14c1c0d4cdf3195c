//! Waiting for a record to change: woken by the store where it can tell, by the clock everywhere.

use std::time::Duration;

use futures_util::StreamExt;
use leasehold_core::{Changes, Key, Prefix, Result, Scope, Store};

use crate::{Wait, call::read_within};

/// How long the store may take to say whether it tells of changes.
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// A wait for changes of one key or of many, with an end.
pub(crate) struct Wake {
    store: Store,
    scope: Scope,
    /// On the monotonic clock.
    deadline: Option<Duration>,
    watch: Watch,
}

enum Watch {
    NotAsked,
    /// The store cannot tell, or not any more.
    None,
    Some(Changes),
}

impl Wake {
    /// A wait that begins now and lasts as long as `wait` says. Asks the store for nothing yet.
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
        Self { store: store.clone(), scope, deadline, watch: Watch::NotAsked }
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| self.now() >= deadline)
    }

    /// Whether the store tells of changes, so that there is no need to look often.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.watch, Watch::Some(_))
    }

    /// Waits for a change, for `poll` less some jitter, or for the end of the wait: it is time to read again, or `false`
    /// when the time was up before.
    ///
    /// The first call only begins to watch: what was read before that may be out of date already.
    ///
    /// # Cancel safety
    /// Can be dropped and called again; a change that was told of is told of again.
    pub(crate) async fn pause(&mut self, poll: Duration) -> bool {
        if self.is_over() {
            return false;
        }
        if matches!(self.watch, Watch::NotAsked) {
            // Without a watch, for whatever reason, there is the clock.
            let clock = &*self.store.environment().clock;
            let asked = read_within(clock, ASK_WITHIN, self.store.adapter().changes(&self.scope));
            let watch = asked.await.ok().flatten();
            let is_told = watch.is_some();
            self.watch = watch.map_or(Watch::None, Watch::Some);
            if is_told {
                return true;
            }
        }
        let environment = self.store.environment();
        let mut pause = environment.jitter(poll);
        if let Some(deadline) = self.deadline {
            pause = pause.min(deadline.saturating_sub(self.now()));
        }
        let sleep = environment.clock.sleep(pause);
        if let Watch::Some(changes) = &mut self.watch {
            let told = tokio::select! {
                biased;
                told = changes.next() => told,
                () = sleep => Some(()),
            };
            if told.is_none() {
                self.watch = Watch::None;
            }
        } else {
            sleep.await;
        }
        true
    }

    fn now(&self) -> Duration {
        self.store.environment().clock.monotonic()
    }
}
