//! Where the chunks of a value are: what is known once footer and index have been read.

use std::ops::Range;

use leasehold_core::{Bytes, Key, Result};

use super::{
    Coding, Place, Session,
    decode::{Sealed, chunk_len},
    format::{ENTRY_BYTES, Footer, Header, WORD_BYTES, Word, chunk_bytes, damaged, entry},
    input::Input,
};

/// The checked end of a frame.
#[derive(Clone)]
pub(super) struct Layout<C: Coding> {
    pub(super) session: C::Session,
    pub(super) raw: u64,
    chunk: u64,
    index: Bytes,
}

/// The chunks that hold a part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Their numbers.
    pub(super) chunks: Range<u64>,
    /// Where they are stored.
    pub(super) stored: Range<u64>,
    /// What to take of them, once opened and joined.
    pub(super) wanted: Range<u64>,
}

impl<C: Coding> Layout<C> {
    /// Checks footer and index of a frame of `stored` bytes. `covered` is the index with what stands behind it.
    pub(super) fn new(coding: &C, key: &Key, footer: &Footer, covered: Bytes, stored: u64) -> Result<Self> {
        let chunk = footer.header.chunk();
        let session = coding.session(key, &footer.header)?;
        session.unseal(&covered, &footer.seal[..C::KIND.seal_bytes])?;
        let index = covered.slice(..footer.index_bytes());
        let layout = Self { session, raw: footer.raw, chunk, index };
        let mut end = C::KIND.header_bytes() as u64;
        for number in 0..footer.chunks() {
            let last = number + 1 == footer.chunks();
            end += layout.word(number).chunk_len(layout.chunk_bytes(number), last, &C::KIND)? as u64;
        }
        if end + (layout.index.len() + C::KIND.footer_bytes()) as u64 != stored {
            return Err(damaged("its index does not fit its length"));
        }
        Ok(layout)
    }

    /// The same for a frame that is at hand.
    pub(super) fn of_frame(coding: &C, key: &Key, frame: &Bytes) -> Result<Self> {
        let header = Header::parse(&C::KIND, frame)?;
        let footer = Footer::parse(&C::KIND, frame, frame.len() as u64)?;
        if footer.header != header {
            return Err(damaged("its footer does not fit its header"));
        }
        let end = frame.len() - C::KIND.footer_bytes();
        // The footer fits the length, so the index does.
        let covered = frame.slice(end - footer.index_bytes()..end + Footer::NUMBERS_BYTES);
        Self::new(coding, key, &footer, covered, frame.len() as u64)
    }

    fn entry(&self, number: u64) -> &[u8] {
        &self.index[number as usize * ENTRY_BYTES..][..ENTRY_BYTES]
    }

    fn word(&self, number: u64) -> Word {
        Word::parse(&self.entry(number)[..WORD_BYTES])
    }

    fn chunk_bytes(&self, number: u64) -> u64 {
        chunk_bytes(number, self.raw, self.chunk)
    }

    /// The chunks that hold `range` of the value, which is not past its end.
    pub(super) fn part(&self, range: &Range<u64>) -> Part {
        let count = (self.index.len() / ENTRY_BYTES) as u64;
        let first = (range.start / self.chunk).min(count - 1);
        let end = range.end.div_ceil(self.chunk).clamp(first + 1, count);
        let length =
            |chunks: Range<u64>| chunks.map(|number| chunk_len::<C>(self.entry(number)) as u64).sum();
        let start: u64 = C::KIND.header_bytes() as u64
            + Iterator::sum::<u64>((0..first).map(|number| chunk_len::<C>(self.entry(number)) as u64));
        let stored: u64 = length(first..end);
        let skipped = first * self.chunk;
        Part {
            chunks: first..end,
            stored: start..start + stored,
            wanted: range.start - skipped..range.end - skipped,
        }
    }

    /// Chunk `number` from what begins with it, once all of it is there.
    pub(super) fn take(&self, number: u64, input: &mut Input) -> Result<Option<Sealed>> {
        let wanted = self.entry(number);
        let Some(bytes) = input.take(chunk_len::<C>(wanted)) else { return Ok(None) };
        if entry(&bytes, &C::KIND) != wanted {
            return Err(damaged("a chunk is not the one that its index names"));
        }
        let last = self.word(number).last();
        let place = Place { number: number as u32, last };
        Ok(Some(Sealed { place, bytes, raw_bytes: self.chunk_bytes(number) as usize }))
    }

    /// Where [`open`](Layout::open) puts what it opens. Made where it will be dropped: memory that wanders from thread to thread is
    /// never warm.
    pub(super) fn room(&self, part: &Part) -> Vec<u8> {
        if part.chunks.clone().all(|number| !self.word(number).coded())
            && part.chunks.end - part.chunks.start == 1
        {
            return Vec::new();
        }
        Vec::with_capacity(part.chunks.clone().map(|number| self.chunk_bytes(number) as usize).sum())
    }

    /// The wanted bytes of a part that is at hand as it is stored, in one piece.
    pub(super) fn open(&self, part: &Part, stored: Bytes, mut room: Vec<u8>) -> Result<Bytes> {
        let mut input = Input::default();
        input.push(stored);
        let mut next = |number| {
            self.take(number, &mut input)?.ok_or_else(|| damaged("less of it came than was asked for"))
        };
        let wanted = part.wanted.start as usize..part.wanted.end as usize;
        if room.capacity() == 0 {
            return Ok(next(part.chunks.start)?.open::<C>(&self.session)?.slice(wanted));
        }
        for number in part.chunks.clone() {
            next(number)?.append::<C>(&self.session, &mut room)?;
        }
        // A slice would have to count its users.
        let whole = wanted == (0..room.len());
        let opened = Bytes::from(room);
        Ok(if whole { opened } else { opened.slice(wanted) })
    }
}
