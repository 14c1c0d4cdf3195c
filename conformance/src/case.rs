//! One row of the table.

use std::fmt;

use leasehold_core::{BoxFuture, Capability};

use crate::{Check, Trial};

/// A promise of the contract; see `StorageAdapter` for their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    /// Per-key linearizability.
    C1,
    /// Atomic values.
    C2,
    /// Exact conditions.
    C3,
    /// Absence is a value, conflict is an error.
    C4,
    /// Three outcomes.
    C5,
    /// Durable when acknowledged.
    C6,
    /// Opaque versions.
    C7,
    /// Keys.
    C8,
    /// Ordered lists.
    C9,
    /// Positional batches.
    C10,
    /// Refused, never ignored.
    C11,
    /// Bounded.
    C12,
    /// Cancellation-safe.
    C13,
    /// Changes are told.
    C14,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One thing to try on a store, with a name that says what must hold.
#[derive(Clone, Copy)]
pub struct Case {
    /// A sentence, in the form of a function's name. Unique in the table.
    pub name: &'static str,
    /// The promise it is about.
    pub promise: Promise,
    /// What the store must claim; otherwise the case is skipped.
    pub requires: &'static [Capability],
    /// Tries it.
    pub run: fn(Trial) -> BoxFuture<'static, Check>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.promise, self.name)
    }
}

/// A row: `case!(C3, name_of_the_function, [ConditionalPut])`.
macro_rules! case {
    ($promise:ident, $name:ident $(, [$($capability:ident),+])?) => {
        $crate::Case {
            name: stringify!($name),
            promise: $crate::Promise::$promise,
            requires: &[$($(leasehold_core::Capability::$capability),+)?],
            run: |trial| Box::pin($name(trial)),
        }
    };
}

pub(crate) use case;
