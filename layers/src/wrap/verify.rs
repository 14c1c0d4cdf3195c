//! The `Verify` layer: what was put is what is read, or it is an error.

mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use leasehold_core::{Environment, Error, ErrorKind, Key, Layer, Result, StorageAdapter};

use crate::frame::{
    Bare, CHUNK_LOG2_DEFAULT, Coding, Framed, Header, Kind, OWN_NONE, Own, Worth, chunk_log2, crc,
};
use session::Chunks;

/// Stores every value with checksums and checks them at every read: changed bytes are [`Corrupt`](ErrorKind::Corrupt).
///
/// What it finds is accidents: rotten disks, cut files, broken caches and proxies, anything between the put and the get.
/// Each chunk (1 MiB) has a CRC-64, its place counts, and another one holds all of them together, so a whole read notices *any* change of
/// what is stored, a stream at the latest at its end, and a part every change of the chunks it touches. Whoever means harm can make a checksum as well:
/// against them there is [`Encrypt`](crate::Encrypt).
///
/// A value without a frame, which was there before this layer, is read as it is, unless it looks like a frame; with
/// [`strict`](Verify::strict) it is refused as [`Corrupt`](ErrorKind::Corrupt). Versions, preconditions, attributes and batches
/// are those below. `increment` is a loop of conditional puts, and needs them; keys and attributes have no checksum.
///
/// **Costs.** 80 bytes a value, and 24 more for each chunk after the first. A put and a get are one request, as before; a head or
/// a part of a value is a read of the last 8 KiB, and then, for a part, of exactly the chunks that hold it. An increment is a get and
/// a conditional put. CPU time: the checksum, and one copy on the way in; none on the way out. Memory as
/// for [`Compress`](crate::Compress).
///
/// **Weakens.** Lists tell what is stored, so [`ListedSizes`](leasehold_core::Capability::ListedSizes) is not claimed. The
/// largest value is smaller by its frame. Other programs cannot read such values. In an atomic batch, a part is read only from
/// the start, and a get that finds a damaged value does not undo the rest. A value that lost both its ends, or was cut to less
/// than half of its magic, four bytes, looks as if it had been there before this layer: be `strict` where nothing was.
///
/// **Order.** The innermost of the three, next to what it distrusts:
/// `store.layer(Verify::new()).layer(Encrypt::new(keys)).layer(Compress::default())`. `Encrypt` finds every change
/// too; `Verify` below it tells damage from a wrong key.
///
/// ```
/// # use leasehold_core::{ErrorKind, Store};
/// # use leasehold_layers::Verify;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let below = Store::new(leasehold_memory::Memory::new());
/// let store = below.clone().layer(Verify::new());
/// store.put("k", "value").await?;
///
/// let mut stored = below.get("k").await?.unwrap().bytes().await?.to_vec();
/// stored[30] ^= 1; // a bit rots
/// below.put("k", stored).await?;
/// assert_eq!(store.get("k").await.unwrap_err().kind(), ErrorKind::Corrupt);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Verify {
    strict: bool,
    chunk_log2: u8,
    environment: Environment,
}

impl Default for Verify {
    fn default() -> Self {
        Self::new()
    }
}

impl Verify {
    /// Checks every value that was written through this layer, and reads others as they are.
    pub fn new() -> Self {
        Self { strict: false, chunk_log2: CHUNK_LOG2_DEFAULT, environment: Environment::default() }
    }

    /// Refuses values without a frame as [`Corrupt`](ErrorKind::Corrupt).
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Divides values into chunks of about `bytes`: the power of two at or above it, from 4 KiB to 16 MiB.
    #[must_use]
    pub fn chunk_bytes(mut self, bytes: usize) -> Self {
        self.chunk_log2 = chunk_log2(bytes);
        self
    }

    /// The same with another clock and generator for the waits of increments, for tests and simulations.
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

impl Layer for Verify {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        let environment = self.environment.clone();
        Arc::new(Framed::new(self, environment, inner))
    }
}

impl Coding for Verify {
    const KIND: Kind = Kind {
        magic: [0xfa, 0x16, 0xc0, 0x0f, 0xf6, 0x1d, 0xfc, 0x05],
        own_bytes: 0,
        seal_bytes: crc::SEAL_BYTES,
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
        if !self.strict {
            return Bare::Value;
        }
        let message = "the value has no frame, so nothing says whether it is whole; check it and write it again, \
                       or read it without strict";
        Bare::Refused(Error::new(ErrorKind::Corrupt, message))
    }

    fn begin(&self, _: bool) -> Result<(u8, Own)> {
        Ok((0, OWN_NONE))
    }

    fn session(&self, _: &Key, header: &Header) -> Result<Chunks> {
        Ok(Chunks { header: header.to_bytes(&Self::KIND).checksum })
    }
}
