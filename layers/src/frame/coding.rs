//! What a layer does to the chunks of a value.

use std::fmt;

use leasehold_core::{Error, Key, Result};

use super::format::{Header, Kind, Own, Seal};

/// Where a chunk stands in its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: u32,
    pub(crate) last: bool,
}

/// What stands around a chunk, so that a coding can make room for all of it at once.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    /// To be appended ahead of the chunk: the header, ahead of the first one.
    pub(crate) ahead: &'a [u8],
    /// How many bytes will follow it: those of index and footer, behind the last one.
    pub(crate) behind: usize,
}

impl Around<'_> {
    /// Makes room for a chunk of `bytes` and what is around it, and appends what is ahead of it.
    pub(crate) fn make_room(self, bytes: usize, out: &mut Vec<u8>) {
        let needed = self.ahead.len() + bytes + self.behind;
        if self.behind > 0 {
            out.reserve_exact(needed)
        } else {
            out.reserve(needed)
        };
        out.extend_from_slice(self.ahead);
    }
}

/// What a layer makes of values. Pure: it knows bytes and no store.
pub(crate) trait Coding: Clone + fmt::Debug + Send + Sync + 'static {
    /// What its frames are recognised by.
    const KIND: Kind;

    /// What codes the chunks of one value.
    type Session: Session;

    /// How large the chunks are that it writes, as a power of two.
    fn chunk_log2(&self) -> u8;

    /// When a value may be stored as it is, as all counters are then; `None` when every value gets a frame.
    fn worth(&self) -> Option<Worth>;

    /// Whether chunks are as long as what went into them.
    fn keeps_length(&self) -> bool;

    /// What to do about a value without a frame.
    fn bare(&self) -> Bare;

    /// The codec and own bytes of a new frame. `coded` is false when nothing but a frame is wanted.
    fn begin(&self, coded: bool) -> Result<(u8, Own)>;

    /// What codes the chunks of a frame with this header.
    fn session(&self, key: &Key, header: &Header) -> Result<Self::Session>;
}

/// When a frame is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worth {
    /// Values up to here are stored as they are.
    pub(crate) above: usize,
    /// How many percent shorter than the value its frame must be.
    pub(crate) percent: u8,
}

impl Worth {
    pub(crate) fn wins(self, raw: usize, framed: usize) -> bool {
        framed as u64 * 100 <= raw as u64 * u64::from(100 - self.percent.min(100)) && framed < raw
    }
}

/// What a value without a frame is.
pub(crate) enum Bare {
    /// A value like any other.
    Value,
    /// An error.
    Refused(Error),
}

/// Codes the chunks of one value, in any order, and seals its frame. Cheap to clone.
pub(crate) trait Session: Clone + Send + Sync + 'static {
    /// Appends a whole chunk: word, data, seal. The data is never longer than `raw`.
    fn encode(&self, place: Place, raw: &[u8], around: Around<'_>, out: &mut Vec<u8>) -> Result<()>;

    /// Checks a whole chunk whose word says that its data is raw.
    fn check(&self, place: Place, chunk: &[u8]) -> Result<()>;

    /// Checks a whole chunk whose word says that it is coded, and appends what went into it: `raw_bytes`, or an error.
    fn decode(&self, place: Place, chunk: &[u8], raw_bytes: usize, out: &mut Vec<u8>) -> Result<()>;

    /// The seal of the footer.
    fn seal(&self, covered: &[u8]) -> Seal;

    /// Checks the seal of the footer.
    fn unseal(&self, covered: &[u8], seal: &[u8]) -> Result<()>;
}
