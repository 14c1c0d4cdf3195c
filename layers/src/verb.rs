//! The verbs of an adapter, as values.

use std::fmt;

use leasehold_core::Operation;

/// One of the things an adapter can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Ask what is known of a value.
    Head,
    /// Read.
    Get,
    /// Write.
    Put,
    /// Delete.
    Delete,
    /// List keys.
    List,
    /// Add to a number.
    Increment,
    /// Many operations in one call.
    Batch,
}

impl Verb {
    /// Every verb, in a stable order.
    pub const ALL: [Self; 7] =
        [Self::Head, Self::Get, Self::Put, Self::Delete, Self::List, Self::Increment, Self::Batch];

    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Increment => "increment",
            Self::Batch => "batch",
        }
    }

    /// Whether it changes what is stored. A batch counts as a write.
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Put | Self::Delete | Self::Increment | Self::Batch)
    }

    /// The verb of one entry of a batch.
    pub(crate) const fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Put(..) => Self::Put,
            Operation::Delete(..) => Self::Delete,
            _ => Self::Get,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
