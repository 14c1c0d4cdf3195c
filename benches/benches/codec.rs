//! The layers that frame values, beside the bare codecs with contexts that are kept, over a store in memory.
//!
//! `cargo bench -p leasehold-benches --bench codec [gzip|zstd|lz4|verify|encrypt]`. What is bare does what the layer must do at
//! least: the codec, into a buffer of its own, and the same call of the store. With large values it leaves the runtime's threads for
//! it, as the layer has to. A value of 1 KiB is stored as it is unless the layer is told otherwise, so there are two contests of it.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::{Compression, Decompress, FlushCompress, FlushDecompress};
use leasehold::{
    Store,
    layers::{Codec, Compress, Encrypt, Keys, Verify},
    memory::Memory,
};
use leasehold_benches::{Contest, Measure};
use tokio::runtime::Runtime;

const SIZES: [(&str, usize, usize); 3] =
    [("1 KiB", 1 << 10, 20_000), ("16 KiB", 16 << 10, 4_000), ("1 MiB", 1 << 20, 60)];

/// Past so many bytes a codec holds up a runtime.
const INLINE_BYTES_MAX: usize = 64 << 10;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut all = true;
    for codec in Codec::ALL.into_iter().filter(|codec| runs(&codec.to_string())) {
        for (name, size, operations) in SIZES {
            let operations = if codec == Codec::Gzip { operations / 4 } else { operations };
            let layer = Compress::new(codec);
            all &= compress(&runtime, codec, layer.clone(), name, &json(size), operations);
            if size <= 1024 {
                let name = format!("{name}, compressed,");
                all &= compress(&runtime, codec, layer.above(1000), &name, &json(size), operations);
            }
        }
    }
    for (name, size, operations) in SIZES {
        if runs("verify") {
            others(&runtime, "verify", |store| store.layer(Verify::new()), name, &json(size), operations);
        }
        if runs("encrypt") {
            let keys = Keys::new("a", [1; 32]).unwrap();
            let wrap = |store: Store| store.layer(Encrypt::new(keys.clone()));
            others(&runtime, "encrypt", wrap, name, &json(size), operations);
        }
    }
    println!("\n{}", if all { "every floor holds" } else { "a floor was MISSED" });
}

/// Lines of JSON of which about a quarter is new.
fn json(size: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = Vec::new();
    while text.len() < size {
        let (id, visits, name) = (random.u32(..), random.u16(..), random.u8(..));
        text.extend_from_slice(
            format!(
                "{{\"id\":{id},\"name\":\"user-{name}\",\"active\":{},\"visits\":{visits}}}\n",
                name % 2 == 0
            )
            .as_bytes(),
        );
    }
    text.truncate(size);
    text.into()
}

/// A codec with contexts that are kept, as a program would call it.
enum Bare {
    Gzip(flate2::Compress, Box<Decompress>),
    Zstd(zstd_safe::CCtx<'static>, zstd_safe::DCtx<'static>),
    Lz4(lz4_flex::block::CompressTable),
}

impl Bare {
    fn new(codec: Codec, size: usize) -> Self {
        match codec {
            Codec::Gzip => Self::Gzip(
                flate2::Compress::new(Compression::new(6), false),
                Box::new(Decompress::new(false)),
            ),
            Codec::Zstd => {
                let mut context = zstd_safe::CCtx::create();
                context.set_parameter(zstd_safe::CParameter::CompressionLevel(1)).unwrap();
                Self::Zstd(context, zstd_safe::DCtx::create())
            }
            _ if size < 65_535 => Self::Lz4(lz4_flex::block::CompressTable::small()),
            _ => Self::Lz4(lz4_flex::block::CompressTable::large()),
        }
    }

    fn pack(&mut self, raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Gzip(context, _) => {
                context.reset();
                out.reserve_exact(raw.len());
                context.compress_vec(raw, &mut out, FlushCompress::Finish).unwrap();
            }
            Self::Zstd(context, _) => {
                out.reserve_exact(zstd_safe::compress_bound(raw.len()));
                context.compress2(&mut out, raw).unwrap();
            }
            Self::Lz4(table) => {
                out.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
                let length = lz4_flex::block::compress_into_with_table(raw, &mut out, table).unwrap();
                out.truncate(length);
            }
        }
        out.shrink_to_fit();
        out
    }

    fn unpack(&mut self, packed: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Gzip(_, context) => {
                context.reset(false);
                out.reserve_exact(size);
                context.decompress_vec(packed, &mut out, FlushDecompress::Finish).unwrap();
            }
            Self::Zstd(_, context) => {
                out.reserve_exact(size);
                context.decompress(&mut out, packed).unwrap();
            }
            Self::Lz4(_) => out = lz4_flex::block::decompress(packed, size).unwrap(),
        }
        out
    }
}

/// Does `work` where it may take its time.
async fn placed<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    match bytes > INLINE_BYTES_MAX {
        true => tokio::task::spawn_blocking(work).await.unwrap(),
        false => work(),
    }
}

fn compress(
    runtime: &Runtime,
    codec: Codec,
    layer: Compress,
    name: &str,
    value: &Bytes,
    operations: usize,
) -> bool {
    let key = leasehold::Key::new("k").unwrap();
    let (below, plain) = (Store::new(Memory::new()), Store::new(Memory::new()));
    let store = below.clone().layer(layer);
    let bare = Arc::new(Mutex::new(Bare::new(codec, value.len())));
    let put = Contest::new(format!("{codec}: put {name} of JSON"), operations, 1)
        .enter("layer", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    drop(store.put(&key, value.clone()).await.unwrap());
                }
            });
        })
        .enter("codec", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    let (bare, raw) = (bare.clone(), value.clone());
                    let packed = placed(value.len(), move || bare.lock().unwrap().pack(&raw)).await;
                    drop(plain.put(&key, packed).await.unwrap());
                }
            });
        })
        .floor("codec", Measure::Cpu, 1.05)
        .run();
    let sizes = runtime.block_on(async {
        let size = |metadata: Option<leasehold::Metadata>| metadata.unwrap().size;
        (size(below.head(&key).await.unwrap()), size(plain.head(&key).await.unwrap()))
    });
    println!("  {} bytes are {} through the layer, {} from the codec", value.len(), sizes.0, sizes.1);
    let get = Contest::new(format!("{codec}: get {name} of JSON"), operations * 2, 1)
        .enter("layer", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    let read = store.get(&key).await.unwrap().unwrap().bytes().await.unwrap();
                    assert_eq!(read.len(), value.len());
                }
            });
        })
        .enter("codec", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    let packed = plain.get(&key).await.unwrap().unwrap().bytes().await.unwrap();
                    let (bare, size) = (bare.clone(), value.len());
                    let unpack = move || Bytes::from(bare.lock().unwrap().unpack(&packed, size));
                    assert_eq!(placed(size, unpack).await.len(), value.len());
                }
            });
        })
        .floor("codec", Measure::Cpu, 1.05)
        .run();
    put && get
}

/// What is a copy at least, beside that copy.
fn others(
    runtime: &Runtime,
    layer: &str,
    wrap: impl Fn(Store) -> Store,
    name: &str,
    value: &Bytes,
    operations: usize,
) {
    let key = leasehold::Key::new("k").unwrap();
    let plain = Store::new(Memory::new());
    let store = wrap(Store::new(Memory::new()));
    Contest::new(format!("{layer}: put {name}"), operations, 1)
        .enter("layer", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    drop(store.put(&key, value.clone()).await.unwrap());
                }
            });
        })
        .enter("a copy", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    drop(plain.put(&key, Bytes::copy_from_slice(value)).await.unwrap());
                }
            });
        })
        .run();
    Contest::new(format!("{layer}: get {name}"), operations * 2, 1)
        .enter("layer", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    let read = store.get(&key).await.unwrap().unwrap().bytes().await.unwrap();
                    assert_eq!(read.len(), value.len());
                }
            });
        })
        .enter("a copy", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    let read = plain.get(&key).await.unwrap().unwrap().bytes().await.unwrap();
                    assert_eq!(Bytes::copy_from_slice(&read).len(), value.len());
                }
            });
        })
        .run();
}
