//! Seals that find accidents: CRC-64/NVME.

use leasehold_core::Result;

use super::format::{SEAL_BYTES_MAX, Seal, WORD_BYTES, Word, damaged};

/// The length of such a seal.
pub(crate) const SEAL_BYTES: usize = 8;

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

/// The seal of a chunk: of its word and data, and of its place.
fn of_chunk(number: u32, word_and_data: &[u8]) -> [u8; SEAL_BYTES] {
    // An odd factor: every number changes the seal in another way.
    let place = (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (checksum(word_and_data) ^ place).to_le_bytes()
}

/// Appends a chunk.
pub(crate) fn append(number: u32, word: Word, data: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&word.to_bytes());
    out.extend_from_slice(data);
    let seal = of_chunk(number, &out[start..]);
    out.extend_from_slice(&seal);
}

/// The data of a chunk that has its seal.
pub(crate) fn open(number: u32, chunk: &[u8]) -> Result<&[u8]> {
    let (covered, seal) = chunk.split_at(chunk.len() - SEAL_BYTES);
    if of_chunk(number, covered) != *seal {
        return Err(damaged("a chunk does not have its checksum"));
    }
    Ok(&covered[WORD_BYTES..])
}

/// The seal of a footer: of the header, by its checksum, and of index and numbers.
pub(crate) fn of_footer(header: u64, covered: &[u8]) -> Seal {
    let mut seal = [0; SEAL_BYTES_MAX];
    seal[..SEAL_BYTES].copy_from_slice(&(checksum(covered) ^ header.rotate_left(1)).to_le_bytes());
    seal
}

/// Checks the seal of a footer.
pub(crate) fn check_footer(header: u64, covered: &[u8], seal: &[u8]) -> Result<()> {
    match of_footer(header, covered)[..SEAL_BYTES] == *seal {
        true => Ok(()),
        false => Err(damaged("its index and footer do not have their checksum")),
    }
}
