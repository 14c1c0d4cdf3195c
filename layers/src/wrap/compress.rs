//! The `Compress` layer: shorter values below, the same values above.

mod codec;
mod pool;
mod session;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr, sync::Arc};

use leasehold_core::{COUNTER_BYTES_MAX, Environment, Error, Key, Layer, Result, StorageAdapter};

pub use codec::Codec;

use crate::frame::{
    Bare, CHUNK_LOG2_DEFAULT, Coding, Framed, Header, Kind, OWN_NONE, Own, Worth, chunk_log2, crc, damaged,
};
use pool::Pools;
use session::Chunks;

/// Stores values compressed, where that makes them shorter.
///
/// Only values above 1,024 bytes, and only when at least 5 % are saved; all others are stored as they are, so counters stay
/// counters and `increment` is the native one below. Whichever codec it writes, it reads all of them, and values that were
/// stored without it. A compressed value is a *frame*: it names its codec and carries its length and checksums, and what does not
/// fit them is [`Corrupt`](leasehold_core::ErrorKind::Corrupt), never some bytes. A value that looks like a frame, from either
/// end, is stored inside of one. Versions, preconditions, attributes and batches are those below.
///
/// **Costs.** A put and a get are one request, as before. A head or a part of a value is a read of the last 8 KiB, which has all of
/// a small value, and then, for a part, of exactly the chunks that hold it; of a large value that is not compressed, its
/// first bytes as well, at the same time. A get costs a second request where the backend streams a value that was put as a stream
/// of unknown size. A part in a batch reads its whole value. CPU time is the codec's and a checksum of what is stored; codecs keep
/// their contexts. Work on more than 64 KiB leaves the thread where there is a tokio runtime. Memory: a value of up to 8 MiB
/// twice, of a longer one a chunk (1 MiB) on each side; a frame that lies about itself costs its reader at most 16 MiB for each of two chunks
/// and 12 MiB for an index.
///
/// **Weakens.** Lists tell what is stored, so [`ListedSizes`](leasehold_core::Capability::ListedSizes) is not claimed. The
/// largest value is smaller by the frame it might need. In an atomic batch, a part is read only from the start, and a get that finds
/// a damaged value does not undo the rest. Other programs cannot read such values; another version of a codec may write other
/// bytes, so an ETag that derives from content differs for the same value. A value from before this layer that looks
/// like a frame by chance (at most 1 in 30 million of random bytes, no text) is taken for a damaged one.
///
/// **Order.** Outside of [`Encrypt`](crate::Encrypt) and [`Verify`](crate::Verify), since nothing can compress what is encrypted:
/// `store.layer(Verify::new()).layer(Encrypt::new(keys)).layer(Compress::default())`. Inside of a cache, so that it holds values
/// ready to use; outside of [`Retry`](crate::Retry), so that nothing is compressed twice.
///
/// ```
/// # use leasehold_core::Store;
/// # use leasehold_layers::{Codec, Compress};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let below = Store::new(leasehold_memory::Memory::new());
/// let store = below.clone().layer(Compress::new(Codec::Lz4)); // or Compress::default(), or "gzip:9".parse()?
///
/// store.put("page", "all work and no play ".repeat(1000)).await?;
/// assert!(below.head("page").await?.unwrap().size < 1000);
/// assert_eq!(store.head("page").await?.unwrap().size, 21_000);
/// assert_eq!(store.get("page").range(4..8).await?.unwrap().text().await?, "work");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Compress {
    codec: Codec,
    level: i32,
    worth: Worth,
    chunk_log2: u8,
    pools: Arc<Pools>,
}

impl Default for Compress {
    /// zstd at level 1.
    fn default() -> Self {
        Self::new(Codec::Zstd)
    }
}

impl Compress {
    /// Writes with `codec` at its default level; reads all codecs.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            level: codec.default_level(),
            worth: Worth { above: 1024, percent: 5 },
            chunk_log2: CHUNK_LOG2_DEFAULT,
            pools: Arc::default(),
        }
    }

    /// The same at another level: 1 to 22 for zstd, 1 to 9 for gzip; lz4 has none but 1.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for a level that the codec does not have.
    pub fn level(self, level: i32) -> Result<Self> {
        self.codec.check_level(level)?;
        Ok(Self { level, pools: Arc::default(), ..self })
    }

    /// Values of up to `bytes` are stored as they are. At least 64 bytes, which may be counters.
    #[must_use]
    pub fn above(mut self, bytes: usize) -> Self {
        self.worth.above = bytes.max(COUNTER_BYTES_MAX);
        self
    }

    /// A value is stored as it is unless at least so many percent of it are saved.
    #[must_use]
    pub fn saving(mut self, percent: u8) -> Self {
        self.worth.percent = percent.min(100);
        self
    }

    /// Divides values into chunks of about `bytes`: the power of two at or above it, from 4 KiB to 16 MiB. Smaller chunks make
    /// small parts cheaper to read, and compress less.
    #[must_use]
    pub fn chunk_bytes(mut self, bytes: usize) -> Self {
        self.chunk_log2 = chunk_log2(bytes);
        self
    }

    /// Chunks smaller than anybody should have, for tests.
    #[cfg(test)]
    pub(crate) fn tiny_chunks(mut self, log2: u8) -> Self {
        self.chunk_log2 = log2;
        self
    }
}

impl FromStr for Compress {
    type Err = Error;

    /// A codec by name, with or without a level: `zstd`, `zstd:3`, `gzip:9`, `lz4`.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None => Ok(Self::new(text.parse()?)),
            Some((codec, level)) => {
                let refuse =
                    || Error::invalid(format!("{level:?} is not a level; write a number, as in zstd:3"));
                Self::new(codec.parse()?).level(level.parse().map_err(|_| refuse())?)
            }
        }
    }
}

impl fmt::Debug for Compress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compress({}:{})", self.codec, self.level)
    }
}

impl Layer for Compress {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        Arc::new(Framed::new(self, Environment::default(), inner))
    }
}

impl Coding for Compress {
    const KIND: Kind = Kind {
        magic: [0xf8, 0x1c, 0xc1, 0x0e, 0xf9, 0x17, 0xfb, 0x06],
        own_bytes: 0,
        seal_bytes: crc::SEAL_BYTES,
    };

    type Session = Chunks;

    fn chunk_log2(&self) -> u8 {
        self.chunk_log2
    }

    fn worth(&self) -> Option<Worth> {
        Some(self.worth)
    }

    fn keeps_length(&self) -> bool {
        false
    }

    fn bare(&self) -> Bare {
        Bare::Value
    }

    fn begin(&self, coded: bool) -> Result<(u8, Own)> {
        Ok((if coded { self.codec.id() } else { Codec::STORED }, OWN_NONE))
    }

    fn session(&self, _: &Key, header: &Header) -> Result<Chunks> {
        let codec = match header.codec {
            Codec::STORED => None,
            id => Some(Codec::of(id).ok_or_else(|| damaged("it names a codec that there is not"))?),
        };
        Ok(Chunks {
            codec,
            level: self.level,
            pools: self.pools.clone(),
            header: header.to_bytes(&Self::KIND).checksum,
        })
    }
}
