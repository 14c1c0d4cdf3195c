//! The chunks of one encrypted value.

use std::sync::Arc;

use chacha20poly1305::{AeadInOut, Tag, XNonce};
use leasehold_core::{Error, ErrorKind, Result};

use super::{NONCE_PREFIX_BYTES, keys::Cipher};
use crate::frame::{Around, Place, Seal, Session, Word, damaged};

/// The length of an authentication tag.
pub(super) const TAG_BYTES: usize = 16;
/// The role of the seal of a footer; of a chunk it is whether it is the last.
const FOOTER: u8 = 2;

#[derive(Clone)]
pub(crate) struct Chunks {
    cipher: Cipher,
    prefix: [u8; NONCE_PREFIX_BYTES],
    /// The header and the key of the value: authenticated with everything.
    covered: Arc<[u8]>,
}

impl Chunks {
    pub(super) fn new(cipher: Cipher, prefix: [u8; NONCE_PREFIX_BYTES], covered: Vec<u8>) -> Self {
        Self { cipher, prefix, covered: covered.into() }
    }

    /// No two messages of a value have the same, and values have random ones.
    fn nonce(&self, number: u32, role: u8) -> XNonce {
        let mut nonce = XNonce::default();
        nonce[..NONCE_PREFIX_BYTES].copy_from_slice(&self.prefix);
        nonce[NONCE_PREFIX_BYTES..][..4].copy_from_slice(&number.to_be_bytes());
        nonce[NONCE_PREFIX_BYTES + 4] = role;
        nonce
    }

    fn refused(&self) -> Error {
        let message = format!(
            "what is stored does not open with key {:?}: it was changed, or moved from another key of the store, or \
             this is not the key it was written with; check the key, then restore the value from a copy",
            self.cipher.id()
        );
        Error::new(ErrorKind::Corrupt, message)
    }

    /// The seal of what is not encrypted.
    fn footer_tag(&self, covered: &[u8]) -> Tag {
        let covered = [&self.covered, covered].concat();
        let sealed =
            self.cipher.get().encrypt_inout_detached(&self.nonce(0, FOOTER), &covered, (&mut [][..]).into());
        sealed.expect("nothing but the length of a message can be refused, and it is empty")
    }
}

impl Session for Chunks {
    fn encode(&self, place: Place, raw: &[u8], around: Around<'_>, out: &mut Vec<u8>) -> Result<()> {
        around.make_room(size_of::<Word>() + raw.len() + TAG_BYTES, out);
        out.extend_from_slice(&Word::new(raw.len(), true, place.last).to_bytes());
        let start = out.len();
        out.extend_from_slice(raw);
        let nonce = self.nonce(place.number, u8::from(place.last));
        let tag = self
            .cipher
            .get()
            .encrypt_inout_detached(&nonce, &self.covered, (&mut out[start..]).into())
            .map_err(|_| Error::new(ErrorKind::Unexpected, "the cipher refused a chunk for its length"))?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    fn check(&self, _: Place, _: &[u8]) -> Result<()> {
        Err(damaged("a chunk claims not to be encrypted"))
    }

    fn decode(&self, place: Place, chunk: &[u8], _: usize, out: &mut Vec<u8>) -> Result<()> {
        let (data, tag) = chunk[size_of::<Word>()..].split_at(chunk.len() - size_of::<Word>() - TAG_BYTES);
        let start = out.len();
        out.extend_from_slice(data);
        let tag = Tag::try_from(tag).expect("it was split off at this length");
        let nonce = self.nonce(place.number, u8::from(place.last));
        let opened =
            self.cipher.get().decrypt_inout_detached(&nonce, &self.covered, (&mut out[start..]).into(), &tag);
        opened.map_err(|_| {
            out.truncate(start);
            self.refused()
        })
    }

    fn seal(&self, covered: &[u8]) -> Seal {
        self.footer_tag(covered).into()
    }

    fn unseal(&self, covered: &[u8], seal: &[u8]) -> Result<()> {
        let tag = Tag::try_from(seal).expect("seals of this kind have this length");
        let covered = [&self.covered, covered].concat();
        let nonce = self.nonce(0, FOOTER);
        let opened = self.cipher.get().decrypt_inout_detached(&nonce, &covered, (&mut [][..]).into(), &tag);
        opened.map_err(|_| self.refused())
    }
}
