//! One conditional write, carried through lost replies until it is known what became of it.

use std::time::Duration;

use leasehold_core::{Bytes, Error, Precondition, Version};

use super::{Command, Tick};
use crate::lease::record::Record;

/// A write on its way.
///
/// It is only ever sent again with the same bytes and the same precondition. So either a lost earlier sending lands
/// first, and the repetition is refused and finds the operation in the record; or the repetition lands first, and the
/// lost one is refused for ever, because its precondition never comes back.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) record: Record,
    bytes: Bytes,
    base: Precondition,
    /// Boot time before the first sending, and before the last.
    pub(crate) first_sent: Duration,
    pub(crate) last_sent: Duration,
    /// Whether a sending may have been applied unseen, or may still be.
    pub(crate) unknown: bool,
}

/// What a read says about an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// The record is the one that was written.
    Applied,
    /// What the write was based on still stands: send it again.
    Pending,
    /// Somebody else's write stands; ours never landed, or has been replaced already.
    Superseded,
}

impl Attempt {
    pub(crate) fn new(record: Record, base: Precondition, tick: &Tick) -> Self {
        let (bytes, sent) = (record.encode(), tick.boottime);
        Self { record, bytes, base, first_sent: sent, last_sent: sent, unknown: false }
    }

    /// The command that sends it, now.
    pub(crate) fn send<T>(&mut self, tick: &Tick, within: Duration) -> Command<T> {
        self.last_sent = tick.boottime;
        Command::Write { bytes: self.bytes.clone(), precondition: self.base.clone(), within }
    }

    /// Takes note of a failure. Returns whether it settles that this write was refused.
    pub(crate) fn failed(&mut self, error: &Error) -> bool {
        self.unknown |= error.is_indeterminate();
        error.is_conflict() && !self.unknown
    }

    /// What a read says about it.
    pub(crate) fn resolve(&self, found: Option<(&Record, &Version)>) -> Resolution {
        match (found, &self.base) {
            (Some((record, _)), _) if record.operation == self.record.operation => Resolution::Applied,
            (None, Precondition::Absent) => Resolution::Pending,
            (Some((_, version)), Precondition::Matches(base)) if version == base => Resolution::Pending,
            _ => Resolution::Superseded,
        }
    }

    /// Adds to an error that this write may have been applied.
    pub(crate) fn qualify(&self, error: Error) -> Error {
        if self.unknown { error.indeterminate() } else { error }
    }
}
