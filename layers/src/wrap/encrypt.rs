//! The `Encrypt` layer: what is stored says nothing, and nobody without the key can change it unseen.

mod keys;
mod session;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use leasehold_core::{Environment, Error, ErrorKind, Key, Layer, Result, StorageAdapter};

pub use keys::Keys;

use crate::frame::{
    Bare, CHUNK_LOG2_DEFAULT, Coding, Framed, Header, Kind, OWN_BYTES_MAX, Own, Worth, chunk_log2, random,
};
use session::Chunks;

/// Stores every value encrypted and authenticated, with XChaCha20-Poly1305 and keys that can be rotated.
///
/// Each value has a random nonce, and is cut into chunks (1 MiB) that are sealed one by one with their number and whether they are the
/// last: the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015). The header of the frame and the *key of the value* are
/// authenticated with each, length and index with a seal of their own. So whatever is changed, cut, reordered, or moved to
/// another key is [`Corrupt`](ErrorKind::Corrupt), as are values without a frame. What is yielded, also of a part
/// or a stream, has been checked; a stream that was cut ends with the error.
///
/// **What it does not hide or prevent.** Keys and attributes of values stand there in clear, and attributes are not
/// authenticated. Sizes are visible exactly, as are versions, times and how often something is
/// written. Whoever can write to the store can delete values and bring back an *older* value of the same key; nothing in one value
/// can tell. The key that counts is the one this layer sees: place it outside of a [`Namespace`](leasehold_core::Namespace) or
/// inside of it, and then leave it there.
///
/// **Rotation.** A frame names its key by id. [`Keys`] writes with its first and reads with all; a value whose id
/// it does not have is [`Denied`](ErrorKind::Denied), and the error names the id. To rotate, put the new key first, write
/// old values again, then take the old key out.
///
/// Versions, preconditions and batches are those below. `increment` is a loop of conditional puts, and needs them.
///
/// **Costs.** 168 bytes a value, 32 for each further chunk. A put and a get are one request, as before; a head or a part is
/// a read of the last 8 KiB, and then, for a part, of exactly the chunks that hold it. One call of the system for randomness a put. CPU time: the
/// cipher, and a copy each way. Memory as for [`Compress`](crate::Compress).
///
/// **Weakens.** Lists tell what is stored, so [`ListedSizes`](leasehold_core::Capability::ListedSizes) is not claimed. The
/// largest value is smaller by its frame. Equal values are stored as different bytes. In an atomic batch, a part is
/// read only from the start, and a get that finds a damaged value does not undo the rest.
///
/// **Order.** Inside of [`Compress`](crate::Compress), outside of [`Verify`](crate::Verify):
/// `store.layer(Verify::new()).layer(Encrypt::new(keys)).layer(Compress::default())`. Lengths of compressed values tell about
/// their content: where others can choose part of a value beside a secret, do not compress it.
///
/// ```
/// # use leasehold_core::Store;
/// # use leasehold_layers::{Encrypt, Keys};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let (old, new) = ([1; 32], [2; 32]);
/// let below = Store::new(leasehold_memory::Memory::new());
/// let store = below.clone().layer(Encrypt::new(Keys::new("2025", old)?));
/// store.put("k", "secret").await?;
///
/// // A new key writes, both read.
/// let store = below.layer(Encrypt::new(Keys::new("2026", new)?.and("2025", old)?));
/// assert_eq!(store.get("k").await?.unwrap().text().await?, "secret");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Encrypt {
    keys: Keys,
    chunk_log2: u8,
    environment: Environment,
}

impl Encrypt {
    /// Writes with the first of `keys`, reads with all of them.
    pub fn new(keys: Keys) -> Self {
        Self { keys, chunk_log2: CHUNK_LOG2_DEFAULT, environment: Environment::default() }
    }

    /// Divides values into chunks of about `bytes`: the power of two at or above it, from 4 KiB to 16 MiB.
    #[must_use]
    pub fn chunk_bytes(mut self, bytes: usize) -> Self {
        self.chunk_log2 = chunk_log2(bytes);
        self
    }

    /// The same with another clock and generator for the waits of increments. Nonces never come from it, but from
    /// the operating system: one that repeats would give values away.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Chunks smaller than anybody should have, for tests.
    #[cfg(test)]
    pub(crate) fn tiny_chunks(mut self, log2: u8) -> Self {
        self.chunk_log2 = log2;
        self
    }
}

impl fmt::Debug for Encrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encrypt({:?})", self.keys)
    }
}

impl Layer for Encrypt {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        let environment = self.environment.clone();
        Arc::new(Framed::new(self, environment, inner))
    }
}

/// The random part of the nonces of a value; the rest is a chunk's number and role.
const NONCE_PREFIX_BYTES: usize = 19;

impl Coding for Encrypt {
    const KIND: Kind = Kind {
        magic: [0xfb, 0x1e, 0xf5, 0x10, 0xc1, 0x19, 0xfd, 0x07],
        own_bytes: NONCE_PREFIX_BYTES + 1 + Keys::ID_BYTES_MAX,
        seal_bytes: session::TAG_BYTES,
    };

    type Session = Chunks;

    fn chunk_log2(&self) -> u8 {
        self.chunk_log2
    }

    fn worth(&self) -> Option<Worth> {
        None
    }

    fn keeps_length(&self) -> bool {
        true
    }

    fn bare(&self) -> Bare {
        let message = "the value is not encrypted, so anybody may have written it; if it is sound, write it again \
                       through this layer";
        Bare::Refused(Error::new(ErrorKind::Corrupt, message))
    }

    fn begin(&self, _: bool) -> Result<(u8, Own)> {
        let mut own = [0; OWN_BYTES_MAX];
        let id = self.keys.first_id().as_bytes();
        own[..NONCE_PREFIX_BYTES].copy_from_slice(&random::<NONCE_PREFIX_BYTES>()?);
        own[NONCE_PREFIX_BYTES] = id.len() as u8;
        own[NONCE_PREFIX_BYTES + 1..][..id.len()].copy_from_slice(id);
        Ok((0, own))
    }

    fn session(&self, key: &Key, header: &Header) -> Result<Chunks> {
        let (prefix, id) = header.own.split_at(NONCE_PREFIX_BYTES);
        let cipher = self.keys.cipher(&id[1..], id[0])?;
        let mut covered = header.to_bytes(&Self::KIND).to_vec();
        covered.extend_from_slice(key.as_bytes());
        Ok(Chunks::new(cipher, prefix.try_into().expect("it was split off at this length"), covered))
    }
}
