//! One record in a store that loses replies, and the conditional writes on their way to it; what became of one is decided by
//! the real [`Fate`] and [`History`].

use std::{collections::BTreeSet, fmt::Debug};

use leasehold_core::Version;

use crate::{history::History, settle::Fate};

/// What stands in a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stored<S> {
    pub(super) state: S,
    pub(super) history: History,
}

/// A write that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent<S> {
    /// The number of the record that it replaces.
    base: Option<u64>,
    pub(super) new: Stored<S>,
}

impl<S> Sent<S> {
    /// A write over a record that is remembered.
    pub(super) fn after(read: &Stored<S>, state: S, operation: String) -> Self {
        let history = read.history.successor(operation);
        Self { base: Some(read.history.sequence), new: Stored { state, history } }
    }
}

/// A record, and the writes that may arrive at it whenever they like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Object<S> {
    pub(super) stored: Option<Stored<S>>,
    late: Vec<Sent<S>>,
}

impl<S> Default for Object<S> {
    fn default() -> Self {
        Self { stored: None, late: Vec::new() }
    }
}

impl<S: Clone + Default + PartialEq> Object<S> {
    /// What is in it; the default where there is no record.
    pub(super) fn state(&self) -> S {
        self.stored.as_ref().map(|stored| stored.state.clone()).unwrap_or_default()
    }

    /// A write of `state` over what stands there, by somebody who waits for one write at a time.
    pub(super) fn over(&self, state: S, operation: String) -> Sent<S> {
        let history = match &self.stored {
            Some(read) => read.history.successor(operation),
            None => History::first(operation),
        };
        Sent { base: self.number(), new: Stored { state, history } }
    }

    /// Each write has the next number, so no version returns.
    fn number(&self) -> Option<u64> {
        self.stored.as_ref().map(|stored| stored.history.sequence)
    }

    pub(super) fn late(&self) -> usize {
        self.late.len()
    }

    /// One of those that are late, for it to arrive now.
    pub(super) fn arriving(&self, late: usize) -> Option<Sent<S>> {
        self.late.get(late).filter(|sent| self.would_apply(sent)).cloned()
    }

    /// From now on it may arrive at any time, and more than once.
    pub(super) fn haunt(&mut self, sent: Sent<S>) {
        if self.would_apply(&sent) && !self.late.contains(&sent) {
            self.late.push(sent);
            // The order in which they were sent tells nothing.
            self.late.sort_by(|one, other| one.new.history.operation.cmp(&other.new.history.operation));
        }
    }

    pub(super) fn would_apply(&self, sent: &Sent<S>) -> bool {
        sent.base == self.number()
    }

    pub(super) fn put(&mut self, sent: &Sent<S>) {
        self.stored = Some(sent.new.clone());
        // What was based on something else is refused for ever.
        let number = self.number();
        self.late.retain(|sent| sent.base == number);
    }

    fn fate(&self, sent: &Sent<S>) -> Fate {
        let version = |number: u64| Version::new(number.to_string());
        let found =
            self.stored.as_ref().map(|stored| (stored.history.clone(), version(stored.history.sequence)));
        Fate::of(sent.base.map(version).as_ref(), &sent.new.history, found)
    }

    /// Takes the names from operations that nobody looks for any more: worlds that differ in nothing else are one.
    pub(super) fn forget<'a>(&mut self, writes: impl Iterator<Item = &'a mut Option<Write<S>>>)
    where
        S: 'a,
    {
        self.forget_also(writes, std::iter::empty());
    }

    /// The same where somebody remembers records.
    pub(super) fn forget_also<'a>(
        &mut self,
        writes: impl Iterator<Item = &'a mut Option<Write<S>>>,
        remembered: impl Iterator<Item = &'a mut History>,
    ) where
        S: 'a,
    {
        let mut writes: Vec<_> = writes.flatten().collect();
        let named: BTreeSet<String> =
            writes.iter().map(|write| write.sent.new.history.operation.clone()).collect();
        let forget = |history: &mut History| {
            let operations = std::iter::once(&mut history.operation).chain(&mut history.recent);
            operations.filter(|operation| !named.contains(*operation)).for_each(String::clear);
        };
        self.stored.iter_mut().for_each(|stored| forget(&mut stored.history));
        self.late.iter_mut().for_each(|sent| forget(&mut sent.new.history));
        writes.iter_mut().for_each(|write| forget(&mut write.sent.new.history));
        remembered.for_each(forget);
    }
}

/// A write that somebody waits for, sent again until it is known what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Write<S> {
    pub(super) sent: Sent<S>,
    /// Whether a sending may have been applied unseen.
    pub(super) unknown: bool,
    /// It was refused, and the record is read to see by whom.
    looking: bool,
}

/// What the next answer says.
pub(super) enum Answer {
    /// It is applied now.
    Applies,
    /// It was applied earlier.
    Applied,
    /// It never was, and never will be.
    Refused,
    /// Nobody can say.
    Untold,
    /// Nothing yet.
    Open,
}

impl<S: Clone + Default + PartialEq> Write<S> {
    pub(super) fn new(sent: Sent<S>) -> Self {
        Self { sent, unknown: false, looking: false }
    }

    /// The next thing that the store says.
    pub(super) fn answer(&mut self, object: &Object<S>) -> Answer {
        if !self.looking {
            if object.would_apply(&self.sent) {
                return Answer::Applies;
            }
            if !self.unknown {
                return Answer::Refused;
            }
            self.looking = true;
            return Answer::Open;
        }
        self.looking = false;
        match object.fate(&self.sent) {
            Fate::Applied(_) => Answer::Applied,
            Fate::Refused => Answer::Refused,
            Fate::Untold => Answer::Untold,
            Fate::Pending => Answer::Open,
        }
    }
}
