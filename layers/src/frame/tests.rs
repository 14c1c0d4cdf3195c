//! Values through every coding, over a store whose bytes can be touched.

mod damage;
mod place;
mod races;
mod rounds;

pub(crate) use place::{Place, codings, streamed};

use leasehold_core::{Bytes, ErrorKind, Result};

use super::{Coding, Kind, format};
use crate::{Compress, Encrypt, Verify};

pub(crate) fn kinds() -> [Kind; 3] {
    [Compress::KIND, Verify::KIND, Encrypt::KIND]
}

/// Text that compresses about as JSON does.
pub(crate) fn text(size: usize, seed: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = Vec::with_capacity(size + 64);
    while text.len() < size {
        let line = format!("{{\"id\":{},\"name\":\"user-{}\"}}\n", random.u32(..), random.u8(..));
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(size);
    text.into()
}

/// Bytes that nothing makes shorter.
pub(crate) fn noise(size: usize, seed: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(size).collect::<Vec<_>>().into()
}

pub(crate) fn is_corrupt<T>(result: &Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::Corrupt && !error.is_indeterminate())
}

#[test]
fn magics_differ_in_every_place_and_no_text_has_a_byte_of_them() {
    let kinds = kinds();
    for (position, kind) in kinds.iter().enumerate() {
        for other in &kinds[position + 1..] {
            let shared = kind.magic.iter().zip(other.magic).filter(|(one, other)| **one == *other).count();
            assert_eq!(shared, 0, "{kind:x?} and {other:x?}");
        }
        for byte in kind.magic {
            let control = byte < 0x20 && !b"\t\n\r\x0c\x1b\0".contains(&byte);
            let never_in_utf8 = matches!(byte, 0xc0 | 0xc1 | 0xf5..=0xff);
            assert!(control || never_in_utf8, "{byte:#x} of {kind:x?}");
        }
    }
}

#[test]
fn half_of_the_magic_is_like_a_frame_and_less_is_not() {
    for kind in kinds() {
        let mut bytes = kind.magic;
        for place in [1, 3, 4, 6] {
            bytes[place] ^= 0x55;
        }
        assert!(kind.like(&bytes) && kind.ends_like(&[b"text", &bytes[..]].concat()));
        bytes[7] ^= 1;
        assert!(!kind.like(&bytes) && !kind.ends_like(&[b"text", &bytes[..]].concat()));
        assert!(kind.like(&kind.magic[..4]) && !kind.like(&kind.magic[..3]) && !kind.like(b""));
    }
}

#[test]
fn lengths_of_frames_are_what_the_documentation_says() {
    let chunk = 1 << 20;
    for (kind, first, further) in [(Verify::KIND, 80, 24), (Encrypt::KIND, 168, 32)] {
        assert_eq!(kind.framed_bytes(0, chunk), first);
        assert_eq!(kind.framed_bytes(5, chunk) - 5, first);
        assert_eq!(kind.framed_bytes(chunk, chunk) - chunk, first);
        assert_eq!(kind.framed_bytes(chunk + 1, chunk) - chunk - 1, first + further);
    }
}

#[test]
fn the_largest_value_is_the_largest_whose_frame_fits() {
    for kind in kinds() {
        for chunk in [16, 64, 4096] {
            for stored in (200..1000).chain([4096, 10_000, 1 << 20]) {
                let largest = kind.largest(stored, chunk);
                assert!(kind.framed_bytes(largest, chunk) <= stored, "{stored} by {chunk}");
                let longer = kind.framed_bytes(largest + 1, chunk);
                assert!(longer > stored, "{} fits into {stored} by {chunk}", largest + 1);
                for raw in [largest, largest.saturating_sub(1), largest / 2] {
                    let framed = kind.framed_bytes(raw, chunk);
                    assert_eq!(kind.raw_bytes(framed, chunk), Some(raw), "{raw} by {chunk}");
                }
            }
        }
        assert_eq!(kind.largest(u64::MAX, 1 << 20), format::CHUNKS_MAX << 20);
        assert_eq!(kind.largest(3, 1 << 20), 0);
    }
}
