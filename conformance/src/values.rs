//! Values that say who wrote them, so that a torn or mixed one is noticed.

use leasehold_core::{Body, Bytes, Result};

use futures_util::stream::{self, StreamExt};

const HEADER: usize = 16;
const BLOCK: usize = 4096;

/// The smallest pattern.
pub const PATTERN_BYTES_MIN: usize = HEADER;

/// `size` bytes (at least 16) that carry `id` and their own length throughout.
pub fn pattern(id: u64, size: usize) -> Bytes {
    let size = size.max(HEADER);
    let mut bytes = Vec::with_capacity(size + BLOCK);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&(size as u64).to_le_bytes());
    let block = block(id);
    while bytes.len() < size {
        bytes.extend_from_slice(&block);
    }
    bytes.truncate(size);
    bytes.into()
}

/// The id of a whole pattern.
///
/// # Errors
/// What is wrong with one that is not whole.
pub fn check_pattern(bytes: &[u8]) -> Result<u64, String> {
    let word =
        |at: usize| bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
    let (Some(id), Some(size)) = (word(0), word(8)) else {
        return Err(format!("a value of {} bytes is too short to be one that was written", bytes.len()));
    };
    if size != bytes.len() as u64 {
        return Err(format!("value {id:#x} was written with {size} bytes and has {}", bytes.len()));
    }
    let block = block(id);
    for (number, chunk) in bytes[HEADER..].chunks(BLOCK).enumerate() {
        if *chunk != block[..chunk.len()] {
            return Err(format!("value {id:#x} of {size} bytes has foreign bytes in block {number}"));
        }
    }
    Ok(id)
}

fn block(id: u64) -> Vec<u8> {
    let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    [id.to_le_bytes(), mixed].concat().repeat(BLOCK / HEADER)
}

/// The bytes as a stream of chunks of `chunk_bytes`; `announced` is the size it claims to have.
pub fn streamed(bytes: Bytes, chunk_bytes: usize, announced: Option<u64>) -> Body {
    let count = bytes.len().div_ceil(chunk_bytes.max(1));
    let chunks = (0..count).map(move |number| {
        let start = number * chunk_bytes;
        Ok(bytes.slice(start..bytes.len().min(start + chunk_bytes)))
    });
    Body::from_stream(stream::iter(chunks).boxed(), announced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_recognized_at_every_size() {
        for size in [16, 17, 100, 4095, 4112, 4113, 100_000] {
            let bytes = pattern(7, size);
            assert_eq!((bytes.len(), check_pattern(&bytes)), (size, Ok(7)));
        }
    }

    #[test]
    fn torn_mixed_and_empty_patterns_are_noticed() {
        let (one, two) = (pattern(1, 20_000), pattern(2, 20_000));
        assert!(check_pattern(b"").is_err());
        assert!(check_pattern(&one[..19_999]).is_err());
        assert!(check_pattern(&[&one[..10_000], &two[10_000..]].concat()).is_err());
        assert!(check_pattern(&[&one[..], &one[..16]].concat()).is_err());
    }
}
