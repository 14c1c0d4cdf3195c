//! The chunks of one value with checksums.

use leasehold_core::Result;

use crate::frame::{Around, Place, Seal, Session, Word, crc, damaged};

#[derive(Clone)]
pub(crate) struct Chunks {
    /// The checksum of the header, which the seal of the footer covers.
    pub(super) header: u64,
}

impl Session for Chunks {
    fn encode(&self, place: Place, raw: &[u8], around: Around<'_>, out: &mut Vec<u8>) -> Result<()> {
        around.make_room(size_of::<Word>() + raw.len() + crc::SEAL_BYTES, out);
        crc::append(place.number, Word::new(raw.len(), false, place.last), raw, out);
        Ok(())
    }

    fn check(&self, place: Place, chunk: &[u8]) -> Result<()> {
        crc::open(place.number, chunk).map(drop)
    }

    fn decode(&self, _: Place, _: &[u8], _: usize, _: &mut Vec<u8>) -> Result<()> {
        Err(damaged("a chunk claims to be coded where none is"))
    }

    fn seal(&self, covered: &[u8]) -> Seal {
        crc::of_footer(self.header, covered)
    }

    fn unseal(&self, covered: &[u8], seal: &[u8]) -> Result<()> {
        crc::check_footer(self.header, covered, seal)
    }
}
