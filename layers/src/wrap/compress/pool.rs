//! Contexts of the codecs, kept for the next value: making one costs more than compressing a kilobyte.

use flate2::{Compression, Decompress, FlushCompress, FlushDecompress, Status};
use leasehold_core::{Error, ErrorKind, Result};
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use parking_lot::Mutex;
use zstd_safe::{CCtx, CParameter, DCtx};

use super::Codec;
use crate::frame::damaged;

/// How many contexts of a kind wait at most.
const IDLE_MAX: usize = 32;
/// lz4 has a smaller and faster table for inputs below this.
const LZ4_SMALL_BYTES: usize = u16::MAX as usize;

/// Contexts that nobody uses at the moment.
#[derive(Default)]
pub(super) struct Pools {
    packers: Mutex<Vec<Packer>>,
    unpackers: Mutex<Vec<Unpacker>>,
}

impl Pools {
    /// Does `work` with a packer, a new one where none waits.
    pub(super) fn pack<T>(&self, codec: Codec, level: i32, work: impl FnOnce(&mut Packer) -> T) -> Result<T> {
        let waiting = self.packers.lock().pop();
        let mut packer = match waiting {
            Some(packer) => packer,
            None => Packer::new(codec, level)?,
        };
        let done = work(&mut packer);
        give_back(&self.packers, packer);
        Ok(done)
    }

    /// Does `work` with an unpacker.
    pub(super) fn unpack<T>(&self, work: impl FnOnce(&mut Unpacker) -> T) -> T {
        let waiting = self.unpackers.lock().pop();
        let mut unpacker = waiting.unwrap_or_default();
        let done = work(&mut unpacker);
        give_back(&self.unpackers, unpacker);
        done
    }
}

fn give_back<T>(pool: &Mutex<Vec<T>>, context: T) {
    let mut waiting = pool.lock();
    if waiting.len() < IDLE_MAX {
        waiting.push(context);
    }
}

/// Compresses, with one codec at one level, into a buffer of its own.
pub(super) struct Packer {
    engine: Engine,
    /// Written over and over, so that it is neither cleared nor allocated for each chunk.
    buffer: Vec<u8>,
}

enum Engine {
    Gzip(flate2::Compress),
    Zstd(CCtx<'static>),
    Lz4 { small: CompressTable, large: Option<CompressTable> },
}

impl Packer {
    fn new(codec: Codec, level: i32) -> Result<Self> {
        let no_context = |_| {
            Error::new(
                ErrorKind::Unavailable,
                "zstd has no room for a context; nothing was written, try again",
            )
        };
        let engine = match codec {
            // Frames have checksums of their own.
            Codec::Gzip => Engine::Gzip(flate2::Compress::new(Compression::new(level as u32), false)),
            Codec::Zstd => {
                let mut context = CCtx::try_create().ok_or(0).map_err(no_context)?;
                context.set_parameter(CParameter::CompressionLevel(level)).map_err(no_context)?;
                Engine::Zstd(context)
            }
            Codec::Lz4 => Engine::Lz4 { small: CompressTable::small(), large: None },
        };
        Ok(Self { engine, buffer: Vec::new() })
    }

    /// The compressed bytes, where they are fewer than before.
    pub(super) fn pack(&mut self, raw: &[u8]) -> Option<&[u8]> {
        let room = match &self.engine {
            Engine::Gzip(_) => raw.len(),
            Engine::Zstd(_) => zstd_safe::compress_bound(raw.len()),
            Engine::Lz4 { .. } => get_maximum_output_size(raw.len()),
        };
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        let out = &mut self.buffer[..room];
        let packed = match &mut self.engine {
            Engine::Gzip(context) => {
                context.reset();
                match context.compress(raw, out, FlushCompress::Finish) {
                    Ok(Status::StreamEnd) => Some(context.total_out() as usize),
                    _ => None,
                }
            }
            Engine::Zstd(context) => context.compress2(out, raw).ok(),
            Engine::Lz4 { small, .. } if raw.len() < LZ4_SMALL_BYTES => {
                compress_into_with_table(raw, out, small).ok()
            }
            Engine::Lz4 { large, .. } => {
                compress_into_with_table(raw, out, large.get_or_insert_with(CompressTable::large)).ok()
            }
        };
        packed.filter(|packed| *packed < raw.len()).map(|packed| &self.buffer[..packed])
    }
}

/// Decompresses, with any codec.
#[derive(Default)]
pub(super) struct Unpacker {
    gzip: Option<Decompress>,
    zstd: Option<DCtx<'static>>,
}

impl Unpacker {
    /// Appends what `packed` holds: `raw_bytes`, or it is an error. Takes no more room than that.
    pub(super) fn unpack(
        &mut self,
        codec: Codec,
        packed: &[u8],
        raw_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let start = out.len();
        out.reserve_exact(raw_bytes);
        let sound = match codec {
            Codec::Gzip => {
                let context = self.gzip.get_or_insert_with(|| Decompress::new(false));
                context.reset(false);
                let done = context.decompress_vec(packed, out, FlushDecompress::Finish);
                matches!(done, Ok(Status::StreamEnd)) && context.total_in() as usize == packed.len()
            }
            Codec::Zstd => {
                let context = match &mut self.zstd {
                    Some(context) => context,
                    none => none.insert(DCtx::try_create().ok_or_else(|| {
                        Error::new(ErrorKind::Unavailable, "zstd has no room for a context; try again")
                    })?),
                };
                let mut cursor = std::io::Cursor::new(std::mem::take(out));
                cursor.set_position(start as u64);
                let done = context.decompress(&mut cursor, packed);
                *out = cursor.into_inner();
                done.is_ok()
            }
            Codec::Lz4 => {
                out.resize(start + raw_bytes, 0);
                matches!(decompress_into(packed, &mut out[start..]), Ok(filled) if filled == raw_bytes)
            }
        };
        match sound && out.len() - start == raw_bytes {
            true => Ok(()),
            false => Err(damaged("a chunk is not what its codec makes of so many bytes")),
        }
    }
}
