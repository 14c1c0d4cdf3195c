//! The chunks of one compressed value.

use std::sync::Arc;

use leasehold_core::Result;

use super::{Codec, pool::Pools};
use crate::frame::{Around, Place, Seal, Session, Word, crc, damaged};

#[derive(Clone)]
pub(crate) struct Chunks {
    /// None where chunks are stored as they are.
    pub(super) codec: Option<Codec>,
    pub(super) level: i32,
    pub(super) pools: Arc<Pools>,
    /// The checksum of the header, which the seal of the footer covers.
    pub(super) header: u64,
}

impl Session for Chunks {
    fn encode(&self, place: Place, raw: &[u8], around: Around<'_>, out: &mut Vec<u8>) -> Result<()> {
        let mut append = |data: &[u8], coded| {
            around.make_room(size_of::<Word>() + data.len() + crc::SEAL_BYTES, out);
            crc::append(place.number, Word::new(data.len(), coded, place.last), data, out);
        };
        let Some(codec) = self.codec else {
            append(raw, false);
            return Ok(());
        };
        self.pools.pack(codec, self.level, |packer| match packer.pack(raw) {
            Some(packed) => append(packed, true),
            None => append(raw, false),
        })
    }

    fn check(&self, place: Place, chunk: &[u8]) -> Result<()> {
        crc::open(place.number, chunk).map(drop)
    }

    fn decode(&self, place: Place, chunk: &[u8], raw_bytes: usize, out: &mut Vec<u8>) -> Result<()> {
        let packed = crc::open(place.number, chunk)?;
        let codec =
            self.codec.ok_or_else(|| damaged("a chunk is compressed where its header says that none is"))?;
        self.pools.unpack(|unpacker| unpacker.unpack(codec, packed, raw_bytes, out))
    }

    fn seal(&self, covered: &[u8]) -> Seal {
        crc::of_footer(self.header, covered)
    }

    fn unseal(&self, covered: &[u8], seal: &[u8]) -> Result<()> {
        crc::check_footer(self.header, covered, seal)
    }
}
