//! From a value to its frame.

use leasehold_core::{Error, Key, Result};

use super::{
    Around, Coding, Place, Session,
    format::{CHUNKS_MAX, ENTRY_BYTES, Footer, Header, chunk_bytes, chunks, entry},
};

/// Makes one frame, chunk by chunk.
pub(super) struct Encoder<C: Coding> {
    header: Header,
    session: C::Session,
    index: Vec<u8>,
    raw: u64,
}

impl<C: Coding> Encoder<C> {
    /// Begins a frame for the value of `key`, whose length is `raw` where it is known. Without `coded` chunks stay as they are.
    pub(super) fn begin(coding: &C, key: &Key, raw: Option<u64>, coded: bool) -> Result<Self> {
        let (codec, own) = coding.begin(coded)?;
        let header = Header { codec, chunk_log2: coding.chunk_log2(), raw, own };
        let session = coding.session(key, &header)?;
        Ok(Self { header, session, index: Vec::new(), raw: 0 })
    }

    pub(super) fn chunk_bytes(&self) -> usize {
        self.header.chunk() as usize
    }

    /// Appends the next chunk: full unless it is the last. With the first one comes the header, with the last one the rest.
    pub(super) fn push(&mut self, raw: &[u8], last: bool, out: &mut Vec<u8>) -> Result<()> {
        let number = (self.index.len() / ENTRY_BYTES) as u32;
        if u64::from(number) >= CHUNKS_MAX {
            return Err(Error::invalid(format!(
                "a value has at most {CHUNKS_MAX} chunks; make them larger, or divide the value"
            )));
        }
        let header = self.header.to_bytes(&C::KIND);
        let ahead: &[u8] = if number == 0 { &header } else { &[] };
        let behind = if last { self.index.len() + ENTRY_BYTES + C::KIND.footer_bytes() } else { 0 };
        let start = out.len() + ahead.len();
        self.session.encode(Place { number, last }, raw, Around { ahead, behind }, out)?;
        self.index.extend_from_slice(&entry(&out[start..], &C::KIND));
        self.raw += raw.len() as u64;
        if last {
            let seal = |covered: &[u8]| self.session.seal(covered);
            Footer::write(&C::KIND, &self.header, &self.index, self.raw, out, seal);
        }
        Ok(())
    }
}

/// The frame of a value that is at hand.
pub(crate) fn encode<C: Coding>(coding: &C, key: &Key, raw: &[u8], coded: bool) -> Result<Vec<u8>> {
    let length = raw.len() as u64;
    let mut encoder = Encoder::begin(coding, key, Some(length), coded)?;
    let chunk = encoder.chunk_bytes() as u64;
    let capacity =
        if coding.keeps_length() || !coded { C::KIND.framed_bytes(length, chunk) as usize } else { 0 };
    let mut out = Vec::with_capacity(capacity);
    let count = chunks(length, chunk);
    let mut rest = raw;
    for number in 0..count {
        let (now, later) = rest.split_at(chunk_bytes(number, length, chunk) as usize);
        encoder.push(now, number + 1 == count, &mut out)?;
        rest = later;
    }
    Ok(out)
}
