//! The chunks of one value with checksums.

use std::sync::Arc;

use leasehold_core::Result;

use crate::frame::{Place, Session, Word, crc, damaged};

#[derive(Clone)]
pub(crate) struct Chunks {
    /// What the seal of the footer covers too.
    pub(super) header: Arc<[u8]>,
}

impl Session for Chunks {
    fn encode(&self, place: Place, raw: &[u8], room: usize, out: &mut Vec<u8>) -> Result<()> {
        out.reserve_exact(size_of::<Word>() + raw.len() + crc::SEAL_BYTES + room);
        crc::append(place.number, Word::new(raw.len(), false, place.last), raw, out);
        Ok(())
    }

    fn check(&self, place: Place, chunk: &[u8]) -> Result<()> {
        crc::open(place.number, chunk).map(drop)
    }

    fn decode(&self, _: Place, _: &[u8], _: usize, _: &mut Vec<u8>) -> Result<()> {
        Err(damaged("a chunk claims to be coded where none is"))
    }

    fn seal(&self, covered: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&crc::of_footer(&self.header, covered));
    }

    fn unseal(&self, covered: &[u8], seal: &[u8]) -> Result<()> {
        match crc::of_footer(&self.header, covered) == *seal {
            true => Ok(()),
            false => Err(damaged("its index and footer do not have their checksum")),
        }
    }
}
