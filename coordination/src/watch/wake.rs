//! How to wait for a change: until the store tells of one, or for a while.

use std::time::Duration;

use futures_util::{
    future::{Either, select},
    stream::StreamExt,
};
use leasehold_core::{Capability, Changes, Clock, Scope, Store};

use crate::call::{CALL_WITHIN, read_within};

/// How many pauses may end early in a [`WINDOW`]; the next one ends with it. A neighbour who writes without pause must not make
/// everybody who waits read without pause.
const EARLY_MAX: u32 = 8;
/// The same for those who wait for their turn: a look that is late keeps everybody behind them waiting.
const EARLY_MAX_EAGER: u32 = 250;
const WINDOW: Duration = Duration::from_millis(100);

/// Waits between two looks at a scope: *look, pause, look, pause*.
///
/// No change is ever slept through for longer than a pause, and none at all where the store tells of changes and none of
/// that is lost. A watch is always begun before a look, never between a look and a sleep: where a pause begins one, it returns
/// for another look.
#[derive(Debug)]
pub(crate) struct Wake {
    store: Store,
    scope: Scope,
    changes: Option<Changes>,
    /// Whether the store was asked for a watch.
    asked: bool,
    /// Whether a wake-up was taken out and nobody has looked since.
    woken: bool,
    /// Since when pauses that ended early are counted, and how many there were.
    early: (Duration, u32),
    early_max: u32,
}

impl Wake {
    /// Sends nothing yet.
    pub(crate) fn new(store: Store, scope: Scope) -> Self {
        Self {
            store,
            scope,
            changes: None,
            asked: false,
            woken: false,
            early: (Duration::ZERO, 0),
            early_max: EARLY_MAX,
        }
    }

    /// The same for one that waits for its turn.
    pub(crate) fn eager(mut self) -> Self {
        self.early_max = EARLY_MAX_EAGER;
        self
    }

    /// Whether changes are told at present, so that pauses may be long.
    pub(crate) fn is_told(&self) -> bool {
        self.changes.is_some()
    }

    /// Begins to listen, where the store can tell. Call it before the first look; a pause does so, too, and costs a look more.
    pub(crate) async fn listen(&mut self) {
        self.asked = true;
        if self.changes.is_some() || !self.store.capabilities().supports(Capability::Changes) {
            return;
        }
        let asking = self.store.adapter().changes(&self.scope);
        // Why there is no watch does not matter: then one polls, and asks again.
        self.changes = read_within(self.clock(), CALL_WITHIN, asking).await.ok().flatten();
    }

    /// Returns when it is time to look again: after `longest`, or at once when something changed since the last look.
    ///
    /// # Cancel safety
    /// A wake-up is kept until a pause has returned for it.
    pub(crate) async fn pause(&mut self, longest: Duration) {
        if self.changes.is_none() {
            let begins = !std::mem::replace(&mut self.asked, true);
            if begins {
                self.listen().await;
            }
            if !self.is_told() {
                self.clock().sleep(longest).await;
                if !begins {
                    self.listen().await;
                }
            }
            return;
        }
        if !self.woken && !self.is_woken_within(longest).await {
            return;
        }
        self.woken = true;
        let rest = self.too_early();
        if !rest.is_zero() {
            self.clock().sleep(rest.min(longest)).await;
        }
        self.woken = false;
    }

    async fn is_woken_within(&mut self, longest: Duration) -> bool {
        let slept = self.store.environment().clock.sleep(longest);
        let Some(changes) = &mut self.changes else { return false };
        let told = match select(changes.next(), slept).await {
            Either::Left((told, _)) => told,
            Either::Right(_) => return false,
        };
        if told.is_none() {
            // What happened since is unknown: look, and listen again after the next pause.
            self.changes = None;
        }
        true
    }

    /// How long to hold back a pause that would end early; zero where there were few.
    fn too_early(&mut self) -> Duration {
        let now = self.clock().monotonic();
        let (mut since, mut count) = self.early;
        if now.saturating_sub(since) >= WINDOW {
            (since, count) = (now, 0);
        }
        self.early = (since, count + 1);
        if count < self.early_max { Duration::ZERO } else { (since + WINDOW).saturating_sub(now) }
    }

    fn clock(&self) -> &dyn Clock {
        &*self.store.environment().clock
    }
}
