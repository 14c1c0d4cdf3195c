//! Which call goes wrong, and how.

use std::time::Duration;

use leasehold_core::{BoxFuture, Environment, Key};

use super::{Fault, Gate};
use crate::Verb;

/// How many faults there have been, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injected {
    /// Calls that never reached the store.
    pub before: u64,
    /// Calls that were done and whose reply was lost.
    pub after: u64,
    /// Calls that timed out and may be applied later.
    pub ghosts: u64,
    /// Bodies that were cut short.
    pub truncated: u64,
    /// Lists that came out of order.
    pub disordered: u64,
    /// Calls that were held up.
    pub delayed: u64,
}

pub(super) struct Rates {
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) ghost: f64,
    pub(super) truncate: f64,
    pub(super) disorder: f64,
    pub(super) delay: (f64, Duration),
}

const NEVER: Rates =
    Rates { before: 0.0, after: 0.0, ghost: 0.0, truncate: 0.0, disorder: 0.0, delay: (0.0, Duration::ZERO) };

pub(super) enum Step {
    Fault(Fault),
    Hold(Gate),
    HoldReply(Gate),
}

struct Scripted {
    verb: Verb,
    key: Option<Key>,
    step: Step,
}

/// What becomes of one call.
pub(super) enum Decision {
    Pass,
    Fault(Fault),
    Delay(BoxFuture<'static, ()>),
    Hold(Gate),
    HoldReply(Gate),
}

pub(super) struct Plan {
    random: fastrand::Rng,
    pub(super) rates: Rates,
    pub(super) random_verbs: Vec<Verb>,
    script: Vec<Scripted>,
    pub(super) cut: bool,
    pub(super) injected: Injected,
    pub(super) environment: Environment,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            rates: NEVER,
            random_verbs: Verb::ALL.into(),
            script: Vec::new(),
            cut: false,
            injected: Injected::default(),
            environment: Environment::default(),
        }
    }

    pub(super) fn add(&mut self, verb: Verb, key: Option<Key>, step: Step) {
        self.script.push(Scripted { verb, key, step });
    }

    pub(super) fn calm(&mut self) {
        self.rates = NEVER;
        self.script.clear();
        self.cut = false;
    }

    pub(super) fn decide(&mut self, verb: Verb, key: Option<&Key>) -> Decision {
        let decision = if self.cut {
            Decision::Fault(Fault::Before)
        } else {
            self.scripted(verb, key).unwrap_or_else(|| self.rolled(verb))
        };
        match &decision {
            Decision::Fault(Fault::Before) => self.injected.before += 1,
            Decision::Fault(Fault::After) => self.injected.after += 1,
            Decision::Fault(Fault::Ghost) => self.injected.ghosts += 1,
            Decision::Fault(Fault::Truncate) => self.injected.truncated += 1,
            Decision::Fault(Fault::Disorder) => self.injected.disordered += 1,
            Decision::Delay(_) => self.injected.delayed += 1,
            Decision::Pass | Decision::Hold(_) | Decision::HoldReply(_) => {}
        }
        decision
    }

    fn scripted(&mut self, verb: Verb, key: Option<&Key>) -> Option<Decision> {
        let fits =
            |entry: &Scripted| entry.verb == verb && (entry.key.is_none() || entry.key.as_ref() == key);
        let position = self.script.iter().position(fits)?;
        Some(match self.script.remove(position).step {
            Step::Fault(fault) => Decision::Fault(fault),
            Step::Hold(gate) => Decision::Hold(gate),
            Step::HoldReply(gate) => Decision::HoldReply(gate),
        })
    }

    fn rolled(&mut self, verb: Verb) -> Decision {
        if !self.random_verbs.contains(&verb) {
            return Decision::Pass;
        }
        let Rates { before, after, ghost, truncate, disorder, delay: (delay, longest) } = self.rates;
        let drawn = self.random.f64();
        let shares = [
            (before, Some(Fault::Before)),
            (after, Some(Fault::After)),
            (ghost, Some(Fault::Ghost)),
            (if verb == Verb::Get { truncate } else { 0.0 }, Some(Fault::Truncate)),
            (if verb == Verb::List { disorder } else { 0.0 }, Some(Fault::Disorder)),
            (delay, None),
        ];
        let mut bound = 0.0;
        for (share, fault) in shares {
            bound += share;
            if drawn < bound {
                return fault.map_or_else(|| self.delay(longest), Decision::Fault);
            }
        }
        Decision::Pass
    }

    fn delay(&mut self, longest: Duration) -> Decision {
        let wait = longest.mul_f64(self.random.f64());
        Decision::Delay(self.environment.clock.sleep(wait))
    }
}
