//! Which call goes wrong, and how.

use leasehold_core::Key;

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
}

pub(super) struct Rates {
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) ghost: f64,
}

const NEVER: Rates = Rates { before: 0.0, after: 0.0, ghost: 0.0 };

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
#[derive(Clone)]
pub(super) enum Decision {
    Pass,
    Fault(Fault),
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
        if let Decision::Fault(fault) = decision {
            match fault {
                Fault::Before => self.injected.before += 1,
                Fault::After => self.injected.after += 1,
                Fault::Ghost => self.injected.ghosts += 1,
            }
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
        let Rates { before, after, ghost } = self.rates;
        let drawn = self.random.f64();
        if drawn < before {
            Decision::Fault(Fault::Before)
        } else if drawn < before + after {
            Decision::Fault(Fault::After)
        } else if drawn < before + after + ghost {
            Decision::Fault(Fault::Ghost)
        } else {
            Decision::Pass
        }
    }
}
