//! Until when a holder may act: written by the keeper, read by everything that acts under the lease.

use std::{fmt, sync::Arc, time::Duration};

use leasehold_core::Clock;
use tokio::sync::watch;

use crate::Token;

/// Why a lease is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// No renewal was acknowledged in time. Another node may take over from now on.
    Expired,
    /// Another token is in the record.
    Superseded {
        /// That token.
        by: Token,
    },
    /// The record was removed from the store; tokens may start again.
    Removed,
    /// It was released, or dropped.
    Released,
    /// It was handed over.
    HandedOver {
        /// The name of the node it is kept for.
        to: String,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("it could not be renewed in time"),
            Self::Superseded { by } => write!(f, "token {by} holds it now"),
            Self::Removed => f.write_str("its record was removed from the store"),
            Self::Released => f.write_str("it was released"),
            Self::HandedOver { to } => write!(f, "it was handed over to {to}"),
        }
    }
}

/// The validity of one tenure. Once it is over it stays over.
#[derive(Debug)]
pub(crate) struct Validity {
    clock: Arc<dyn Clock>,
    state: watch::Sender<State>,
    /// What it depends on: over with this one, for the same reason.
    parent: Option<Arc<Self>>,
}

#[derive(Debug)]
struct State {
    /// On the boot-time clock.
    until: Duration,
    over: Option<Lost>,
}

impl Validity {
    pub(crate) fn new(clock: Arc<dyn Clock>, until: Duration) -> Self {
        Self { clock, state: watch::Sender::new(State { until, over: None }), parent: None }
    }

    /// One that has no deadline of its own, and lasts until it is ended or `parent` is over.
    pub(crate) fn within(parent: Arc<Self>) -> Self {
        Self { parent: Some(parent.clone()), ..Self::new(parent.clock.clone(), Duration::MAX) }
    }

    /// How long the holder may still act; zero when it is over.
    pub(crate) fn remaining(&self) -> Duration {
        let state = self.state.borrow();
        match (&state.over, &self.parent) {
            (Some(_), _) => Duration::ZERO,
            (None, Some(parent)) => parent.remaining(),
            (None, None) => state.until.saturating_sub(self.clock.boottime()),
        }
    }

    /// Moves the deadline. Returns `false`, and changes nothing, when it is over already.
    pub(crate) fn extend(&self, until: Duration) -> bool {
        if self.over().is_some() {
            return false;
        }
        let mut extended = false;
        self.state.send_if_modified(|state| {
            extended = state.over.is_none();
            let moved = extended && until != state.until;
            if moved {
                state.until = until;
            }
            moved
        });
        extended
    }

    /// Ends it for `reason`, unless it is over already.
    pub(crate) fn end(&self, reason: Lost) {
        self.state.send_if_modified(|state| {
            let ends = state.over.is_none();
            if ends {
                state.over = Some(reason);
            }
            ends
        });
    }

    /// Why it is over, if it is. Looks at the clock itself, and whoever sees the deadline pass first ends it for all.
    pub(crate) fn over(&self) -> Option<Lost> {
        if let Some(reason) = self.parent.as_ref().and_then(|parent| parent.over()) {
            self.end(reason);
        }
        let now = self.clock.boottime();
        {
            let state = self.state.borrow();
            if state.over.is_some() || now < state.until {
                return state.over.clone();
            }
        }
        self.state.send_if_modified(|state| {
            let ends = state.over.is_none() && now >= state.until;
            if ends {
                state.over = Some(Lost::Expired);
            }
            ends
        });
        self.state.borrow().over.clone()
    }

    /// Resolves when it is over, by the clock alone if need be.
    pub(crate) async fn lost(self: Arc<Self>, slice: Duration) -> Lost {
        let mut changes = self.state.subscribe();
        let mut above = self.parent.as_ref().map(|parent| parent.state.subscribe());
        loop {
            changes.mark_unchanged();
            if let Some(above) = &mut above {
                above.mark_unchanged();
            }
            if let Some(reason) = self.over() {
                return reason;
            }
            // In slices: a sleep does not count the time that the machine is suspended, the deadline does.
            let pause = self.remaining().min(slice);
            tokio::select! {
                biased;
                _ = changes.changed() => {}
                () = changed(&mut above) => {}
                () = self.clock.sleep(pause) => {}
            }
        }
    }
}

/// Resolves at the next change of what is watched, never without one.
async fn changed(watched: &mut Option<watch::Receiver<State>>) {
    if let Some(watched) = watched
        && watched.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
