//! Self-describing, chunked frames: what `Compress`, `Verify` and `Encrypt` have in common.
//!
//! - `format` is the bytes, `encode` and `decode` turn values into frames and back without knowing a store;
//!   `layout` finds the chunks of a part.
//! - A [`Coding`] says what becomes of one chunk and how frames are sealed.
//! - `adapter` drives all of it over the adapter below: `write`, `read`, `part`, `batch`.

mod adapter;
mod batch;
mod coding;
pub(crate) mod crc;
mod decode;
mod encode;
mod format;
mod input;
mod layout;
mod offload;
mod part;
mod read;
#[cfg(test)]
pub(crate) mod tests;
mod write;

pub(crate) use adapter::Framed;
pub(crate) use coding::{Around, Bare, Coding, Place, Session, Worth};
pub(crate) use format::{Header, Kind, OWN_BYTES_MAX, Own, Seal, Word, damaged};

use leasehold_core::Result;

/// What a reader asks for first when it wants to know a size or a part: all of a small value, or the footer and the index of
/// one of up to 670 chunks.
pub(crate) const TAIL_BYTES: u64 = 8 << 10;

/// Up to here a value at hand is coded and decoded as a whole, in one buffer; past it chunk by chunk, as it is asked for.
pub(crate) const WHOLE_BYTES_MAX: u64 = 8 << 20;

/// A size of chunks: the power of two at or above `bytes`, from 4 KiB to 16 MiB.
pub(crate) fn chunk_log2(bytes: usize) -> u8 {
    bytes.clamp(4 << 10, 1 << *format::CHUNK_LOG2.end()).next_power_of_two().trailing_zeros() as u8
}

/// The own bytes of a kind that has none.
pub(crate) const OWN_NONE: Own = [0; OWN_BYTES_MAX];

/// 1 MiB.
pub(crate) const CHUNK_LOG2_DEFAULT: u8 = 20;

/// Randomness from the operating system, or nothing.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| {
        let message = "the operating system gave no randomness, so nothing was written; try again";
        leasehold_core::Error::new(leasehold_core::ErrorKind::Unavailable, message).because(source)
    })?;
    Ok(bytes)
}
