//! From a frame that comes piece by piece to its value.

use leasehold_core::{Bytes, Result};

use super::{
    Coding, Place, Session,
    format::{ENTRY_BYTES, Footer, Header, WORD_BYTES, Word, chunk_bytes, chunks, damaged, data, entry},
    input::Input,
};

/// One chunk, not yet opened.
pub(super) struct Sealed {
    pub(super) place: Place,
    pub(super) bytes: Bytes,
    pub(super) raw_bytes: usize,
}

impl Sealed {
    /// What went into the chunk. Copies nothing where it is stored as it was.
    pub(super) fn open<C: Coding>(&self, session: &C::Session) -> Result<Bytes> {
        if !Word::parse(&self.bytes).coded() {
            session.check(self.place, &self.bytes)?;
            return Ok(data(&self.bytes, &C::KIND));
        }
        let mut raw = Vec::with_capacity(self.raw_bytes);
        self.append::<C>(session, &mut raw)?;
        Ok(raw.into())
    }

    /// Appends what went into the chunk.
    pub(super) fn append<C: Coding>(&self, session: &C::Session, out: &mut Vec<u8>) -> Result<()> {
        if Word::parse(&self.bytes).coded() {
            let before = out.len();
            session.decode(self.place, &self.bytes, self.raw_bytes, out)?;
            return match out.len() - before == self.raw_bytes {
                true => Ok(()),
                false => Err(damaged("a chunk holds more or less than it says")),
            };
        }
        session.check(self.place, &self.bytes)?;
        out.extend_from_slice(&data(&self.bytes, &C::KIND));
        Ok(())
    }
}

/// Takes a frame apart that is read from its start. Holds one chunk and the index.
pub(super) struct Decoder<C: Coding> {
    pub(super) session: C::Session,
    header: Header,
    raw: u64,
    index: Vec<u8>,
    input: Input,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Chunks,
    Footer,
    Over,
}

/// What a [`Decoder`] has next.
pub(super) enum Next {
    /// More bytes are needed.
    More,
    /// A chunk.
    Chunk(Sealed),
    /// The frame is over, and all of it fits together; nothing may follow.
    Over,
}

impl<C: Coding> Decoder<C> {
    /// A decoder of a frame whose header has been read; `raw` is the length of its value.
    pub(super) fn new(session: C::Session, header: Header, raw: u64) -> Self {
        Self { session, header, raw, index: Vec::new(), input: Input::default(), state: State::Chunks }
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.input.push(piece);
    }

    pub(super) fn next(&mut self) -> Result<Next> {
        if self.state == State::Chunks {
            return self.chunk();
        }
        if self.state == State::Footer && !self.footer()? {
            return Ok(Next::More);
        }
        match self.input.len() {
            0 => Ok(Next::Over),
            _ => Err(damaged("something follows its end")),
        }
    }

    /// Whether the input may end here.
    pub(super) fn end(&self) -> Result<()> {
        if self.state == State::Over { Ok(()) } else { Err(damaged("it was cut short")) }
    }

    fn chunk(&mut self) -> Result<Next> {
        if self.input.len() < WORD_BYTES {
            return Ok(Next::More);
        }
        let number = (self.index.len() / ENTRY_BYTES) as u64;
        let chunk = self.header.chunk();
        let last = number + 1 == chunks(self.raw, chunk);
        let raw_bytes = chunk_bytes(number, self.raw, chunk);
        let length = Word::parse(self.input.peek(WORD_BYTES)).chunk_len(raw_bytes, last, &C::KIND)?;
        let Some(bytes) = self.input.take(length) else { return Ok(Next::More) };
        self.index.extend_from_slice(&entry(&bytes, &C::KIND));
        if last {
            self.state = State::Footer;
        }
        let place = Place { number: number as u32, last };
        Ok(Next::Chunk(Sealed { place, bytes, raw_bytes: raw_bytes as usize }))
    }

    /// Checks index and footer, once they are there.
    fn footer(&mut self) -> Result<bool> {
        let Some(end) = self.input.take(self.index.len() + C::KIND.footer_bytes()) else { return Ok(false) };
        let (index, tail) = end.split_at(self.index.len());
        if index != self.index {
            return Err(damaged("its index does not fit its chunks"));
        }
        // The length that the footer is checked against is the one that was read.
        let stored: usize =
            self.index.chunks(ENTRY_BYTES).map(|entry| chunk_len::<C>(entry) + ENTRY_BYTES).sum();
        let stored = stored + C::KIND.header_bytes() + C::KIND.footer_bytes();
        let footer = Footer::parse(&C::KIND, tail, stored as u64)?;
        let same = footer.header == self.header && footer.raw == self.raw;
        if !same {
            return Err(damaged("its footer does not fit its header"));
        }
        let covered = &end[..index.len() + Footer::NUMBERS_BYTES];
        self.session.unseal(covered, &footer.seal[..C::KIND.seal_bytes])?;
        self.state = State::Over;
        Ok(true)
    }
}

/// How long the chunk of an entry of the index is.
pub(super) fn chunk_len<C: Coding>(entry: &[u8]) -> usize {
    WORD_BYTES + Word::parse(entry).stored() + C::KIND.seal_bytes
}
