//! Measurements for whoever collects them, through the `metrics` facade.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use leasehold_core::{Clock, Environment, Error};
use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};

use super::{ERROR_KINDS, position};
use crate::Verb;

/// How a call can end: well, with an error of some kind, unknown, or never, because its caller went away.
const OUTCOMES: usize = ERROR_KINDS + 3;
const OK: usize = ERROR_KINDS;
const UNKNOWN: usize = ERROR_KINDS + 1;
const CANCELLED: usize = ERROR_KINDS + 2;

/// The instruments of one store, under its name.
pub(super) struct Published {
    store: SharedString,
    clock: Arc<dyn Clock>,
    verbs: [Instruments; Verb::ALL.len()],
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    pub(super) batch_entries: Counter,
}

struct Instruments {
    duration: Histogram,
    in_flight: Gauge,
    /// Registered when they are first needed: most ways to end never happen.
    outcomes: [OnceLock<Counter>; OUTCOMES],
}

impl Published {
    pub(super) fn new(store: &str, environment: &Environment) -> Self {
        let store = SharedString::from(store.to_owned());
        let bytes = |direction: &'static str| counter!("leasehold_bytes_total", "store" => store.clone(), "direction" => direction);
        let instruments = |verb: Verb| Instruments {
            duration: histogram!(
                "leasehold_call_duration_seconds", "store" => store.clone(), "operation" => verb.name()
            ),
            in_flight: gauge!("leasehold_calls_in_flight", "store" => store.clone(), "operation" => verb.name()),
            outcomes: [const { OnceLock::new() }; OUTCOMES],
        };
        Self {
            clock: environment.clock.clone(),
            verbs: Verb::ALL.map(instruments),
            bytes_in: bytes("in"),
            bytes_out: bytes("out"),
            batch_entries: counter!("leasehold_batch_entries_total", "store" => store.clone()),
            store,
        }
    }

    /// A call begins.
    pub(super) fn begin(self: &Arc<Self>, verb: Verb) -> Running {
        self.verbs[verb as usize].in_flight.increment(1);
        Running {
            published: self.clone(),
            verb,
            started: self.clock.monotonic(),
            outcome: CANCELLED,
            name: "cancelled",
        }
    }
}

/// A call on its way. Ends when it is dropped.
pub(super) struct Running {
    published: Arc<Published>,
    verb: Verb,
    started: Duration,
    outcome: usize,
    name: &'static str,
}

impl Running {
    pub(super) fn end(mut self, error: Option<&Error>) {
        (self.outcome, self.name) = match error {
            None => (OK, "ok"),
            Some(error) if error.is_indeterminate() => (UNKNOWN, "unknown"),
            Some(error) => (position(error.kind()), error.kind().name()),
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Self { published, verb, started, outcome, name } = self;
        let Instruments { duration, in_flight, outcomes } = &published.verbs[*verb as usize];
        in_flight.decrement(1);
        duration.record(published.clock.monotonic().saturating_sub(*started).as_secs_f64());
        let register = || {
            counter!(
                "leasehold_calls_total",
                "store" => published.store.clone(), "operation" => verb.name(), "outcome" => *name
            )
        };
        outcomes[*outcome].get_or_init(register).increment(1);
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Published({})", self.store)
    }
}
