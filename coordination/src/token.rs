//! The fencing token: which tenure of a lease a write belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fencing token: it grows with every change of holder and never returns to a value it had.
///
/// Hand it to everything that a holder touches; what remembers the highest token it saw can refuse a holder whose
/// time is over ([Kleppmann 2016](https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(u64);

impl Token {
    /// A token that was noted down.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The token of the next holder. Records with the last possible token are refused when they are read.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
