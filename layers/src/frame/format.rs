//! The bytes of a frame: header, chunks, index, footer.
//!
//! ```text
//! header   magic 8 · version 1 · codec 1 · log₂ of the chunk size 1 · flags 1 · raw length 8 · own · check 4
//! chunk    word 4 (stored length, coded?, last?) · data · seal              at least one, all but the last are full
//! index    for each chunk: word 4 · the first 8 bytes of its seal
//! footer   raw length 8 · chunks 4 · version, codec, log₂, flags · own · seal · magic 8
//! ```
//!
//! Numbers are little-endian. `own` and the length of a seal belong to the [`Kind`]. The footer says all that the header says,
//! so that a part can be read from the end alone; its seal covers header, index and both numbers.

use leasehold_core::{Bytes, Error, ErrorKind, Result};

use super::crc;

/// The version of the format that is written; there is no other yet.
const VERSION: u8 = 1;
const MAGIC_BYTES: usize = 8;
/// Version, codec, log₂ of the chunk size, flags.
const SHAPE_BYTES: usize = 4;
const HEADER_CHECK_BYTES: usize = 4;
/// The most that any kind keeps of its own.
pub(crate) const OWN_BYTES_MAX: usize = 36;
/// The longest seal.
pub(crate) const SEAL_BYTES_MAX: usize = 16;
pub(super) const WORD_BYTES: usize = 4;
/// What the index keeps of a seal.
const ENTRY_SEAL_BYTES: usize = 8;
pub(super) const ENTRY_BYTES: usize = WORD_BYTES + ENTRY_SEAL_BYTES;
/// The raw length in a header that was written before the end of the value was known.
const UNKNOWN: u64 = u64::MAX;

/// The smallest and the largest chunk that a frame may have, as powers of two: nothing that a frame claims makes its reader
/// take more room than the largest for a chunk.
pub(super) const CHUNK_LOG2: std::ops::RangeInclusive<u8> = 4..=24;
/// The most chunks of one value; their index takes 12 MiB.
pub(super) const CHUNKS_MAX: u64 = 1 << 20;

/// What is damaged, and what to do.
pub(crate) fn damaged(why: &str) -> Error {
    let message = format!("the stored frame is damaged: {why}; restore the value from a copy, or delete it");
    Error::new(ErrorKind::Corrupt, message)
}

/// What tells the frames of one layer from those of the others.
#[derive(Debug)]
pub(crate) struct Kind {
    /// How its frames begin and end. No text has these bytes, and no two kinds have one in the same place.
    pub(crate) magic: [u8; MAGIC_BYTES],
    /// How many bytes of its own a header has.
    pub(crate) own_bytes: usize,
    /// How long its seals are.
    pub(crate) seal_bytes: usize,
}

impl Kind {
    /// Whether at least half of the magic stands here. A frame of which a byte or two of the magic are damaged must not pass for
    /// a value that was never framed.
    fn magic_like(&self, bytes: &[u8]) -> bool {
        let same = self.magic.iter().zip(bytes).filter(|(magic, byte)| magic == byte).count();
        2 * same >= MAGIC_BYTES
    }

    pub(super) fn begins_like(&self, start: &[u8]) -> bool {
        self.magic_like(start)
    }

    pub(super) fn ends_like(&self, end: &[u8]) -> bool {
        end.len() >= MAGIC_BYTES && self.magic_like(&end[end.len() - MAGIC_BYTES..])
    }

    /// Whether a value looks like one of these frames, from either end: it is stored inside of one, and what is read so is one.
    pub(super) fn like(&self, value: &[u8]) -> bool {
        self.begins_like(value) || self.ends_like(value)
    }

    pub(super) const fn header_bytes(&self) -> usize {
        MAGIC_BYTES + SHAPE_BYTES + 8 + self.own_bytes + HEADER_CHECK_BYTES
    }

    pub(super) const fn footer_bytes(&self) -> usize {
        8 + 4 + SHAPE_BYTES + self.own_bytes + self.seal_bytes + MAGIC_BYTES
    }

    /// What a chunk takes beside its data, here and in the index.
    const fn chunk_overhead(&self) -> u64 {
        (WORD_BYTES + self.seal_bytes + ENTRY_BYTES) as u64
    }

    const fn fixed_bytes(&self) -> u64 {
        (self.header_bytes() + self.footer_bytes()) as u64
    }

    /// How long the frame of a value is whose chunks are as long as they were.
    pub(super) fn framed_bytes(&self, raw: u64, chunk: u64) -> u64 {
        self.fixed_bytes() + chunks(raw, chunk) * self.chunk_overhead() + raw
    }

    /// How long the value is whose frame has `stored` bytes, where chunks are as long as they were.
    pub(super) fn raw_bytes(&self, stored: u64, chunk: u64) -> Option<u64> {
        let all = stored.checked_sub(self.fixed_bytes())?;
        let count = all.div_ceil(chunk + self.chunk_overhead()).max(1);
        let raw = all.checked_sub(count * self.chunk_overhead())?;
        (self.framed_bytes(raw, chunk) == stored).then_some(raw)
    }

    /// The longest value whose frame surely fits into `stored` bytes.
    pub(super) fn largest(&self, stored: u64, chunk: u64) -> u64 {
        let all = stored.saturating_sub(self.fixed_bytes());
        let each = chunk + self.chunk_overhead();
        let rest = (all % each).saturating_sub(self.chunk_overhead());
        (all / each).saturating_mul(chunk).saturating_add(rest).min(CHUNKS_MAX * chunk)
    }
}

/// How many chunks a value has; an empty one has one.
pub(super) fn chunks(raw: u64, chunk: u64) -> u64 {
    raw.div_ceil(chunk).max(1)
}

/// How long chunk `number` of a value is.
pub(super) fn chunk_bytes(number: u64, raw: u64, chunk: u64) -> u64 {
    raw.saturating_sub(number * chunk).min(chunk)
}

/// The first word of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u32);

impl Word {
    const CODED: u32 = 1 << 31;
    const LAST: u32 = 1 << 30;

    pub(crate) fn new(stored: usize, coded: bool, last: bool) -> Self {
        let flag = |set: bool, flag| if set { flag } else { 0 };
        Self(stored as u32 | flag(coded, Self::CODED) | flag(last, Self::LAST))
    }

    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(u32_at(bytes, 0))
    }

    pub(crate) fn to_bytes(self) -> [u8; WORD_BYTES] {
        self.0.to_le_bytes()
    }

    pub(super) fn stored(self) -> usize {
        (self.0 & !(Self::CODED | Self::LAST)) as usize
    }

    pub(super) fn coded(self) -> bool {
        self.0 & Self::CODED != 0
    }

    pub(super) fn last(self) -> bool {
        self.0 & Self::LAST != 0
    }

    /// How long the whole chunk is, where it may be one of `raw` bytes. No chunk is longer than what went into it.
    pub(super) fn chunk_len(self, raw: u64, last: bool, kind: &Kind) -> Result<usize> {
        if self.last() != last {
            return Err(damaged("its last chunk is not where the length of the value puts it"));
        }
        if self.stored() as u64 > raw || (!self.coded() && (self.stored() as u64) < raw) {
            return Err(damaged("the length of a chunk cannot be"));
        }
        Ok(WORD_BYTES + self.stored() + kind.seal_bytes)
    }
}

/// A seal; zero past what the kind has.
pub(crate) type Seal = [u8; SEAL_BYTES_MAX];

/// Bytes that a kind keeps in header and footer.
pub(crate) type Own = [u8; OWN_BYTES_MAX];

/// The start of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) codec: u8,
    pub(crate) chunk_log2: u8,
    /// The length of the value, where it was known when the frame was begun.
    pub(crate) raw: Option<u64>,
    /// Zero past what the kind has.
    pub(crate) own: Own,
}

impl Header {
    pub(super) fn chunk(&self) -> u64 {
        1 << self.chunk_log2
    }

    fn shape(&self) -> [u8; SHAPE_BYTES] {
        [VERSION, self.codec, self.chunk_log2, u8::from(self.raw.is_none())]
    }

    pub(crate) fn to_bytes(&self, kind: &Kind) -> HeaderBytes {
        let mut bytes = HeaderBytes { bytes: [0; HEADER_BYTES_MAX], length: 0, checksum: 0 };
        bytes.append(&kind.magic);
        bytes.append(&self.shape());
        bytes.append(&self.raw.unwrap_or(UNKNOWN).to_le_bytes());
        bytes.append(&self.own[..kind.own_bytes]);
        bytes.checksum = crc::checksum(&bytes);
        bytes.append(&(bytes.checksum as u32).to_le_bytes());
        bytes
    }

    /// Parses the first bytes of a frame, at least [`header_bytes`](Kind::header_bytes) unless the frame is cut short.
    pub(super) fn parse(kind: &Kind, bytes: &[u8]) -> Result<Self> {
        let Some(bytes) = bytes.get(..kind.header_bytes()) else {
            return Err(damaged("it ends within its header"));
        };
        if bytes[..MAGIC_BYTES] != kind.magic {
            return Err(damaged("its first bytes are not quite those of a frame"));
        }
        let (covered, check) = bytes.split_at(bytes.len() - HEADER_CHECK_BYTES);
        if crc::checksum(covered) as u32 != u32_at(check, 0) {
            return Err(damaged("its header does not have its checksum"));
        }
        let raw = u64_at(covered, MAGIC_BYTES + SHAPE_BYTES);
        let own = &covered[MAGIC_BYTES + SHAPE_BYTES + 8..];
        Self::sound(kind, &covered[MAGIC_BYTES..MAGIC_BYTES + SHAPE_BYTES], raw, own)
    }

    fn sound(kind: &Kind, shape: &[u8], raw: u64, own: &[u8]) -> Result<Self> {
        if shape[0] != VERSION {
            let message = format!(
                "the stored frame has version {} of the format and this program reads {VERSION}; read it with a newer one",
                shape[0]
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let (codec, chunk_log2, flags) = (shape[1], shape[2], shape[3]);
        if !CHUNK_LOG2.contains(&chunk_log2) || flags > 1 || (flags == 1) != (raw == UNKNOWN) {
            return Err(damaged("its header says what no header says"));
        }
        let mut all = [0; OWN_BYTES_MAX];
        all[..kind.own_bytes].copy_from_slice(own);
        let header = Self { codec, chunk_log2, raw: (flags == 0).then_some(raw), own: all };
        match header.raw {
            Some(raw) if chunks(raw, header.chunk()) > CHUNKS_MAX => {
                Err(damaged("it claims too many chunks"))
            }
            _ => Ok(header),
        }
    }
}

const HEADER_BYTES_MAX: usize = MAGIC_BYTES + SHAPE_BYTES + 8 + OWN_BYTES_MAX + HEADER_CHECK_BYTES;

/// A header as it is stored.
pub(crate) struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
    /// Of all but the check.
    pub(crate) checksum: u64,
}

impl HeaderBytes {
    fn append(&mut self, part: &[u8]) {
        self.bytes[self.length..][..part.len()].copy_from_slice(part);
        self.length += part.len();
    }
}

impl std::ops::Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The end of a frame, checked for sense but not yet against its seal.
#[derive(Clone, Debug)]
pub(super) struct Footer {
    pub(super) header: Header,
    pub(super) raw: u64,
    pub(super) seal: Seal,
}

impl Footer {
    pub(super) fn chunks(&self) -> u64 {
        chunks(self.raw, self.header.chunk())
    }

    pub(super) fn index_bytes(&self) -> usize {
        self.chunks() as usize * ENTRY_BYTES
    }

    /// What stands between index and seal, and is sealed with the index.
    fn numbers(raw: u64, chunk: u64) -> [u8; Self::NUMBERS_BYTES] {
        let mut numbers = [0; Self::NUMBERS_BYTES];
        numbers[..8].copy_from_slice(&raw.to_le_bytes());
        numbers[8..].copy_from_slice(&(chunks(raw, chunk) as u32).to_le_bytes());
        numbers
    }

    /// What the seal covers beside the header: the index and what stands behind it.
    pub(super) const NUMBERS_BYTES: usize = 12;

    pub(super) fn covered(&self, index: &[u8]) -> Vec<u8> {
        [index, &Self::numbers(self.raw, self.header.chunk())].concat()
    }

    /// Appends index and footer; `seal` makes the seal of the index and the numbers behind it.
    pub(super) fn write(
        kind: &Kind,
        header: &Header,
        index: &[u8],
        raw: u64,
        out: &mut Vec<u8>,
        seal: impl FnOnce(&[u8]) -> Seal,
    ) {
        let start = out.len();
        out.extend_from_slice(index);
        out.extend_from_slice(&Self::numbers(raw, header.chunk()));
        let seal = seal(&out[start..]);
        out.extend_from_slice(&header.shape());
        out.extend_from_slice(&header.own[..kind.own_bytes]);
        out.extend_from_slice(&seal[..kind.seal_bytes]);
        out.extend_from_slice(&kind.magic);
    }

    /// Parses the last bytes of a frame of `stored` bytes.
    pub(super) fn parse(kind: &Kind, tail: &[u8], stored: u64) -> Result<Self> {
        let cut_short = || damaged("it ends before its footer");
        let at = tail.len().checked_sub(kind.footer_bytes()).ok_or_else(cut_short)?;
        let (numbers, rest) = tail[at..].split_at(Self::NUMBERS_BYTES);
        let (shape, rest) = rest.split_at(SHAPE_BYTES);
        let (own, rest) = rest.split_at(kind.own_bytes);
        let (seal, magic) = rest.split_at(kind.seal_bytes);
        if *magic != kind.magic {
            return Err(damaged("its last bytes are not quite those of a frame, or it was cut short"));
        }
        let raw = u64_at(numbers, 0);
        let header = Header::sound(kind, shape, if shape[3] == 0 { raw } else { UNKNOWN }, own)?;
        let chunk = header.chunk();
        if chunks(raw, chunk) > CHUNKS_MAX || chunks(raw, chunk) != u64::from(u32_at(numbers, 8)) {
            return Err(damaged("its footer contradicts itself"));
        }
        let least = kind.fixed_bytes() + chunks(raw, chunk) * kind.chunk_overhead();
        if stored < least || stored > kind.framed_bytes(raw, chunk) {
            return Err(damaged("its footer does not fit its length"));
        }
        let mut sealed = [0; SEAL_BYTES_MAX];
        sealed[..kind.seal_bytes].copy_from_slice(seal);
        Ok(Self { header, raw, seal: sealed })
    }
}

/// The entry of one chunk in the index.
pub(super) fn entry(chunk: &[u8], kind: &Kind) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..WORD_BYTES].copy_from_slice(&chunk[..WORD_BYTES]);
    let seal = &chunk[chunk.len() - kind.seal_bytes..];
    entry[WORD_BYTES..].copy_from_slice(&seal[..ENTRY_SEAL_BYTES]);
    entry
}

/// The data of a chunk, without word and seal.
pub(super) fn data(chunk: &Bytes, kind: &Kind) -> Bytes {
    chunk.slice(WORD_BYTES..chunk.len() - kind.seal_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
}
