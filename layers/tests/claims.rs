//! Frames that lie, written by hand from the description of the format: each is an error, and none takes much memory.
//!
//! One test in a process of its own, because it looks at how much the process ever asked for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::FutureExt;
use leasehold_core::{Bytes, ErrorKind, Result, Store};
use leasehold_layers::{Compress, Verify};
use leasehold_memory::Memory;

const COMPRESS: [u8; 8] = [0xf8, 0x1c, 0xc1, 0x0e, 0xf9, 0x17, 0xfb, 0x06];
const VERIFY: [u8; 8] = [0xfa, 0x16, 0xc0, 0x0f, 0xf6, 0x1d, 0xfc, 0x05];
const CODED: u32 = 1 << 31;
const LAST: u32 = 1 << 30;

/// A frame as the description of the format has it, with sound checksums whatever it claims.
#[derive(Clone)]
struct Frame {
    magic: [u8; 8],
    codec: u8,
    chunk_log2: u8,
    raw: u64,
    count: Option<u32>,
    chunks: Vec<(u32, Vec<u8>)>,
    index: Option<Vec<u8>>,
}

fn crc(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

impl Frame {
    fn new(magic: [u8; 8], codec: u8, chunk_log2: u8, raw: u64, chunks: Vec<(u32, Vec<u8>)>) -> Self {
        Self { magic, codec, chunk_log2, raw, count: None, chunks, index: None }
    }

    fn bytes(&self) -> Bytes {
        let shape = [1, self.codec, self.chunk_log2, 0];
        let mut frame = [&self.magic[..], &shape, &self.raw.to_le_bytes()].concat();
        let header = crc(&frame);
        frame.extend_from_slice(&(header as u32).to_le_bytes());
        let mut index = Vec::new();
        for (number, (word, data)) in self.chunks.iter().enumerate() {
            let chunk = [&word.to_le_bytes()[..], data].concat();
            let place = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let seal = (crc(&chunk) ^ place).to_le_bytes();
            frame.extend_from_slice(&chunk);
            frame.extend_from_slice(&seal);
            index.extend_from_slice(&word.to_le_bytes());
            index.extend_from_slice(&seal);
        }
        let mut covered = self.index.clone().unwrap_or(index);
        let count = self.count.unwrap_or(self.chunks.len() as u32);
        covered.extend_from_slice(&self.raw.to_le_bytes());
        covered.extend_from_slice(&count.to_le_bytes());
        let seal = (crc(&covered) ^ header.rotate_left(1)).to_le_bytes();
        [&frame[..], &covered, &shape, &seal, &self.magic].concat().into()
    }
}

fn word(data: &[u8], flags: u32) -> u32 {
    data.len() as u32 | flags
}

/// What `size` zeros compress to, made without ever having so many.
fn zeros(codec: u8, size: usize) -> Vec<u8> {
    let piece = vec![0; size.min(1 << 20)];
    let pieces = size / piece.len();
    let mut out = Vec::with_capacity(pieces * 4096 + 1000);
    match codec {
        1 => {
            let mut context = flate2::Compress::new(flate2::Compression::new(9), false);
            for _ in 0..pieces {
                context.compress_vec(&piece, &mut out, flate2::FlushCompress::None).unwrap();
            }
            context.compress_vec(&[], &mut out, flate2::FlushCompress::Finish).unwrap();
        }
        2 => {
            // One after the other, they are still what one call decompresses.
            let mut one = Vec::with_capacity(4096);
            zstd_safe::compress(&mut one, &piece, 9).unwrap();
            out = one.repeat(pieces);
        }
        _ => {
            // A literal, a match with the byte before it that goes on and on, five literals.
            let match_rest = size - 1 - 5 - 4 - 15;
            out.extend_from_slice(&[0x1f, 0, 1, 0]);
            out.extend(std::iter::repeat_n(255, match_rest / 255));
            out.extend_from_slice(&[(match_rest % 255) as u8, 0x50, 0, 0, 0, 0, 0]);
        }
    }
    out
}

/// Reads in every way, whole from a store that has it at hand; there is no runtime, so all is done here.
fn read(store: &Store) -> [Result<Bytes>; 3] {
    let bytes = |found: Result<Option<leasehold_core::Object>>| match found {
        Ok(found) => found.unwrap().bytes().now_or_never().unwrap(),
        Err(error) => Err(error),
    };
    let get = || store.get("k");
    [
        bytes(get().into_future().now_or_never().unwrap()),
        bytes(get().range(0..10).into_future().now_or_never().unwrap()),
        bytes(get().range(1..).into_future().now_or_never().unwrap()),
    ]
}

/// A line of what the system tells about this process, in KiB.
fn told_kib(what: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(what))?.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn no_claim_of_a_frame_is_believed_or_paid_for() {
    let below = Store::new(Memory::new());
    let put = |frame: Bytes| below.put("k", frame).into_future().now_or_never().unwrap().unwrap();
    let (compress, verify) = (below.clone().layer(Compress::default()), below.clone().layer(Verify::new()));

    // The description is what the layers read.
    put(Frame::new(COMPRESS, 0, 4, 3, vec![(word(b"abc", LAST), b"abc".to_vec())]).bytes());
    assert_eq!(read(&compress)[0].as_ref().unwrap(), "abc");
    put(Frame::new(VERIFY, 0, 20, 3, vec![(word(b"abc", LAST), b"abc".to_vec())]).bytes());
    assert_eq!(read(&verify)[0].as_ref().unwrap(), "abc");
    for codec in 1..=3 {
        let data = zeros(codec, 1000);
        put(Frame::new(COMPRESS, codec, 20, 1000, vec![(word(&data, CODED | LAST), data)]).bytes());
        assert_eq!(read(&compress)[0].as_ref().unwrap(), &vec![0; 1000], "codec {codec}");
    }

    let mut bombs = Vec::new();
    for codec in 1..=3 {
        let huge = zeros(codec, 300 << 20);
        let data = zeros(codec, 1000);
        let one = |raw, log2, data: &Vec<u8>| {
            Frame::new(COMPRESS, codec, log2, raw, vec![(word(data, CODED | LAST), data.clone())])
        };
        bombs.push(("a chunk that inflates past its claim", one(1 << 20, 20, &huge)));
        bombs.push(("a chunk that inflates past the largest", one(16 << 20, 24, &huge)));
        bombs.push(("a chunk that inflates to more", one(999, 20, &data)));
        bombs.push(("a chunk that inflates to less", one(1001, 20, &data)));
        bombs.push(("a chunk that inflates to much less", one(16 << 20, 24, &data)));
        bombs.push(("a huge length", one(1 << 60, 20, &data)));
        bombs.push(("the largest length", one(u64::MAX - 1, 24, &data)));
        bombs.push(("a chunk size that there is not", one(1000, 25, &data)));
        bombs.push(("a chunk size past all numbers", one(1000, 255, &data)));
        bombs.push(("many chunks and one there", Frame { count: Some(1 << 20), ..one(1 << 40, 20, &data) }));
        bombs.push((
            "more chunks than there may be",
            Frame { count: Some(u32::MAX), ..one(u64::MAX / 2, 24, &data) },
        ));
        bombs.push(("an index of nothing", Frame { index: Some(Vec::new()), ..one(1000, 20, &data) }));
        let lie = [&word(&data[1..], CODED | LAST).to_le_bytes()[..], &[7; 8]].concat();
        bombs.push(("an index that lies", Frame { index: Some(lie), ..one(1000, 20, &data) }));
        let long = vec![(u32::MAX, data.clone())];
        bombs.push(("a word that claims a gigabyte", Frame::new(COMPRESS, codec, 20, 1000, long)));
        let early = vec![(word(&data, CODED), data.clone())];
        bombs.push(("no last chunk", Frame::new(COMPRESS, codec, 20, 1000, early)));
    }
    let data = zeros(2, 1000);
    let other = vec![(word(&data, CODED | LAST), data.clone())];
    bombs.push(("another codec than its own", Frame::new(COMPRESS, 3, 20, 1000, other.clone())));
    bombs.push(("a codec that there is not", Frame::new(COMPRESS, 9, 20, 1000, other.clone())));
    bombs.push(("a compressed chunk in a stored value", Frame::new(COMPRESS, 0, 20, 1000, other.clone())));
    bombs.push(("a compressed chunk in a checked value", Frame::new(VERIFY, 0, 20, 1000, other)));
    bombs.push(("no chunk", Frame::new(VERIFY, 0, 20, 0, Vec::new())));

    // What is asked for counts, touched or not.
    let before = told_kib("VmSize:");
    for (what, bomb) in bombs {
        let store = if bomb.magic == VERIFY { &verify } else { &compress };
        put(bomb.bytes());
        for (way, result) in read(store).into_iter().enumerate() {
            let error = result.expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}, way {way}: {error}");
        }
    }
    // A chunk of 16 MiB, an index of 12 MiB, and the 64 MiB of addresses that the allocator sets aside at a time.
    if let (Some(before), Some(after)) = (before, told_kib("VmPeak:")) {
        assert!(after - before < 112 << 10, "frames that lie took {} MiB more", (after - before) >> 10);
    }
}
