//! A snapshot of a meter.

use std::array;

use leasehold_core::ErrorKind;

use super::{ERROR_KINDS, position};
use crate::Verb;

/// What a [`Meter`](crate::Meter) had counted at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    pub(super) requests: [u64; Verb::ALL.len()],
    pub(super) errors: [u64; ERROR_KINDS],
    /// Errors after which nobody knows whether a write was applied.
    pub indeterminate: u64,
    /// Entries of all batches together.
    pub batch_entries: u64,
    /// Bytes of bodies that were written, as far as they were read from the caller.
    pub bytes_in: u64,
    /// Bytes of bodies that were read, as far as the caller took them.
    pub bytes_out: u64,
}

impl Counts {
    /// Calls of `verb`.
    pub fn requests(&self, verb: Verb) -> u64 {
        self.requests[verb as usize]
    }

    /// Calls of all verbs; a batch counts once.
    pub fn total(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Errors of `kind`; all unsupported capabilities count together. Entries of batches count one by one.
    pub fn errors(&self, kind: ErrorKind) -> u64 {
        self.errors[position(kind)]
    }

    /// What came since an earlier snapshot of the same meter.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: array::from_fn(|verb| self.requests[verb] - earlier.requests[verb]),
            errors: array::from_fn(|kind| self.errors[kind] - earlier.errors[kind]),
            indeterminate: self.indeterminate - earlier.indeterminate,
            batch_entries: self.batch_entries - earlier.batch_entries,
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
        }
    }
}
