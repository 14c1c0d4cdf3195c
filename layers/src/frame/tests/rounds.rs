//! What goes in comes out: whole, streamed and in parts, through every coding.

use std::sync::Arc;

use leasehold_core::{
    Attributes, BatchOptions, ByteRange, Bytes, ErrorKind, GetOptions, Key, Lookup, Operation, Outcome,
    PutOptions, Store,
};
use proptest::prelude::*;

use super::{Place, codings, is_corrupt, kinds, noise, place::streamed, text};
use crate::{Compress, Encrypt, Keys, Verb, Verify};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// All three, in the order that is recommended, with chunks of this size.
fn stacked(log2: u8) -> Arc<dyn Fn(Store) -> Store> {
    Arc::new(move |store| {
        let keys = Keys::new("test", [7; 32]).unwrap();
        store
            .layer(Verify::new().strict().tiny_chunks(log2))
            .layer(Encrypt::new(keys).tiny_chunks(log2))
            .layer(Compress::default().tiny_chunks(log2).above(64))
    })
}

/// Compress in Compress: what is a frame to one is a value to the other.
fn nested(log2: u8) -> Arc<dyn Fn(Store) -> Store> {
    Arc::new(move |store| {
        let compress = || Compress::default().tiny_chunks(log2).above(64).saving(0);
        store.layer(compress()).layer(compress()).layer(Verify::new().tiny_chunks(log2))
    })
}

fn value() -> impl Strategy<Value = Bytes> {
    let sizes = prop_oneof![0..200_usize, 0..20_000_usize];
    (sizes, any::<u64>(), 0..5_u8).prop_map(|(size, seed, sort)| {
        let kind = &kinds()[seed as usize % 3];
        match sort {
            0 => text(size, seed),
            1 => noise(size, seed),
            2 => vec![0; size].into(),
            3 => [&kind.magic[..], &text(size, seed)].concat().into(),
            _ => [&noise(size, seed)[..], &kind.magic].concat().into(),
        }
    })
}

fn ranges(size: u64) -> impl Strategy<Value = ByteRange> {
    prop_oneof![
        (0..=size, 0..=size + 9).prop_map(|(start, length)| ByteRange::Bounded(start, start + length)),
        (0..=size).prop_map(ByteRange::From),
        (0..=size + 9).prop_map(ByteRange::Last),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 3000 }))]

    #[test]
    fn every_value_comes_back_whole_and_in_parts(
        (value, ranges) in value().prop_flat_map(|value| {
            let size = value.len() as u64;
            (Just(value), proptest::collection::vec(ranges(size), 1..6))
        }),
        coding in 0..7_usize,
        log2 in 4..14_u8,
        (put_piece, announced) in (prop_oneof![Just(None), (1..5000_usize).prop_map(Some)], any::<bool>()),
        get_piece in prop_oneof![Just(None), (1..9000_usize).prop_map(Some)],
    ) {
        let (name, wrap) = match coding {
            5 => ("all three", stacked(log2)),
            6 => ("nested", nested(log2)),
            single => {
                let (name, wrap) = codings(log2).swap_remove(single);
                (name, Arc::new(move |store| wrap(store)) as _)
            }
        };
        block_on(async {
            let place = Place::new(get_piece, &*wrap);
            let version = match put_piece {
                None => place.store.put("k", value.clone()).await.unwrap(),
                Some(piece) => place.store.put("k", streamed(&value, piece, announced)).await.unwrap(),
            };
            let head = place.store.head("k").await.unwrap().unwrap();
            assert_eq!((head.size, &head.version), (value.len() as u64, &version), "{name}");
            let found = place.store.get("k").await.unwrap().unwrap();
            assert_eq!(found.body.size(), Some(value.len() as u64), "{name}");
            assert_eq!(found.bytes().await.unwrap(), value, "{name}");
            let operations =
                ranges.iter().map(|range| Operation::Get(Key::new("k").unwrap(), GetOptions::default().range(*range)));
            let batch = place.store.batch(operations.collect(), BatchOptions::default()).await;
            for (range, entry) in ranges.into_iter().zip(batch) {
                let wanted = range.resolve(value.len() as u64).unwrap();
                let part = value.slice(wanted.start as usize..wanted.end as usize);
                let found = place.store.get("k").range(range).await.unwrap().unwrap();
                assert_eq!((&found.range, found.metadata.size), (&wanted, value.len() as u64), "{name}");
                assert_eq!(found.bytes().await.unwrap(), part, "{name}: {range:?}");
                let Ok(Outcome::Got(Lookup::Found(found))) = entry else { panic!("{name}: {entry:?}") };
                assert_eq!((&found.range, found.metadata.size), (&wanted, value.len() as u64), "{name}");
                assert_eq!(found.bytes().await.unwrap(), part, "{name}: {range:?} in a batch");
            }
        });
    }
}

#[tokio::test]
async fn a_value_that_looks_like_a_frame_is_stored_in_one() {
    for (name, wrap) in codings(8) {
        for kind in kinds() {
            let half = [&kind.magic[..4], b"1234 and more"].concat();
            let values = [
                kind.magic.to_vec(),
                kind.magic[..5].to_vec(),
                half,
                [b"some text, then ", &kind.magic[..]].concat(),
                [&kind.magic[..], &noise(5000, 1), &kind.magic[..]].concat(),
            ];
            for value in values {
                for put_piece in [None, Some(7)] {
                    let place = Place::new(put_piece, &*wrap);
                    let value = Bytes::from(value.clone());
                    match put_piece {
                        None => place.store.put("k", value.clone()).await.unwrap(),
                        Some(piece) => place.store.put("k", streamed(&value, piece, true)).await.unwrap(),
                    };
                    assert_eq!(place.value("k").await.unwrap(), value, "{name} of {kind:x?}");
                    assert_eq!(place.store.head("k").await.unwrap().unwrap().size, value.len() as u64);
                    // And so again: the frame itself is a value.
                    let frame = place.stored("k").await;
                    place.store.put("k", frame.clone()).await.unwrap();
                    assert_eq!(place.value("k").await.unwrap(), frame, "{name} of {kind:x?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_value_past_eight_mebibytes_goes_and_comes_in_chunks() {
    let value = [text(5 << 20, 1), noise(4 << 20, 2)].concat();
    let value = Bytes::from(value);
    for (name, wrap) in codings(20) {
        for piece in [None, Some(300_000)] {
            let place = Place::new(piece, &*wrap);
            for put_piece in [None, Some(1_000_000)] {
                match put_piece {
                    None => place.store.put("k", value.clone()).await.unwrap(),
                    Some(size) => place.store.put("k", streamed(&value, size, false)).await.unwrap(),
                };
                let found = place.store.get("k").await.unwrap().unwrap();
                assert_eq!(found.metadata.size, value.len() as u64, "{name}");
                assert!(found.bytes().await.unwrap() == value, "{name}: another value");
                let range = 3_000_000..8_000_000;
                assert!(place.part("k", range.clone()).await.unwrap() == value[range], "{name}: a part");
                assert!(place.part("k", 1..value.len()).await.unwrap() == value[1..], "{name}: nearly all");
            }
        }
    }
}

#[tokio::test]
async fn a_part_of_a_large_value_takes_two_requests_and_only_its_chunks() {
    let value = noise(3_000_000, 3);
    for (name, wrap) in codings(16) {
        let place = Place::new(None, &*wrap);
        // Compress stores noise as it is, but not a stream of it.
        place.store.put("k", streamed(&value, 100_000, true)).await.unwrap();
        let counts = place
            .counts(async {
                assert_eq!(place.part("k", 1_000_000..1_000_100).await.unwrap(), value[1_000_000..1_000_100])
            })
            .await;
        assert_eq!((counts.total(), counts.requests(Verb::Get)), (2, 2), "{name}");
        assert!(counts.bytes_out < 8192 + (2 << 16), "{name} read {} bytes", counts.bytes_out);
        let counts = place.counts(place.store.head("k")).await;
        assert_eq!((counts.total(), counts.bytes_out), (1, 8192), "{name}: head");
        let counts = place.counts(place.value("k")).await;
        assert_eq!(counts.total(), 1, "{name}: whole");
    }
}

#[tokio::test]
async fn what_fits_the_last_bytes_takes_one_request() {
    for (name, wrap) in codings(20) {
        let place = Place::new(None, &*wrap);
        place.store.put("k", text(5000, 1)).await.unwrap();
        for range in [0..10, 4000..5000, 5000..5000] {
            let counts = place.counts(place.part("k", range)).await;
            assert_eq!(counts.total(), 1, "{name}");
        }
        assert_eq!(place.counts(place.store.head("k")).await.total(), 1, "{name}");
    }
}

#[tokio::test]
async fn an_index_that_is_longer_than_the_last_bytes_is_read_too() {
    let value = noise(60_000, 4);
    for (name, wrap) in codings(4) {
        for piece in [None, Some(1000)] {
            let place = Place::new(piece, &*wrap);
            place.store.put("k", streamed(&value, 10_000, false)).await.unwrap();
            assert_eq!(place.store.head("k").await.unwrap().unwrap().size, 60_000, "{name}");
            assert_eq!(place.part("k", 30_000..30_100).await.unwrap(), value[30_000..30_100], "{name}");
            assert_eq!(place.value("k").await.unwrap(), value, "{name}");
        }
    }
}

#[tokio::test]
async fn a_stream_is_never_read_far_ahead() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream::{self, StreamExt};
    use leasehold_core::StorageAdapter;

    let (piece, chunk) = (10_000, 1 << 16);
    for (name, coded) in [("verify", false), ("encrypt", true)] {
        let pulled = Arc::new(AtomicUsize::new(0));
        let counted = pulled.clone();
        let source = stream::repeat_with(move || {
            counted.fetch_add(piece, Ordering::Relaxed);
            Ok(Bytes::from(vec![7; piece]))
        });
        let body = leasehold_core::Body::from_stream(source.take(1000).boxed(), None);
        let inner: Arc<dyn StorageAdapter> = Arc::new(leasehold_memory::Memory::new());
        let key = Key::new("k").unwrap();
        let options = PutOptions::default();
        let framed = if coded {
            let encrypt = Encrypt::new(Keys::new("a", [1; 32]).unwrap()).chunk_bytes(chunk);
            super::super::Framed::new(encrypt, Default::default(), inner).framed(&key, body, &options).await
        } else {
            let verify = Verify::new().chunk_bytes(chunk);
            super::super::Framed::new(verify, Default::default(), inner).framed(&key, body, &options).await
        };
        let (mut frame, mut taken) = (framed.unwrap().into_stream(), 0);
        while let Some(bytes) = frame.next().await {
            taken += bytes.unwrap().len();
            let ahead = pulled.load(Ordering::Relaxed).saturating_sub(taken);
            assert!(ahead <= chunk + 2 * piece, "{name} read {ahead} bytes ahead");
        }
        assert!(taken > 1000 * piece);
    }
}

#[tokio::test]
async fn attributes_conditions_and_unchanged_values_pass() {
    for (name, wrap) in codings(8) {
        let place = Place::new(None, &*wrap);
        let (store, value) = (&place.store, text(700, 1));
        let attributes = Attributes::new().with("content-type", "text/plain").unwrap();
        let first = store.put("k", value.clone()).attributes(attributes.clone()).if_absent().await.unwrap();
        assert!(store.put("k", "x").if_absent().await.unwrap_err().is_conflict(), "{name}");
        assert_eq!(store.head("k").await.unwrap().unwrap().attributes, attributes, "{name}");
        let part = store.get("k").range(1..2).await.unwrap().unwrap();
        assert_eq!((part.metadata.attributes, part.metadata.version), (attributes, first.clone()), "{name}");
        for range in [ByteRange::Full, ByteRange::From(300)] {
            let lookup = store.get("k").range(range).if_changed_from(first.clone()).await.unwrap();
            assert!(matches!(lookup, Lookup::Unchanged), "{name}: {lookup:?}");
        }
        let second = store.put("k", text(700, 2)).if_match(first.clone()).await.unwrap();
        let counts = place.counts(store.get("k").if_changed_from(second).into_future()).await;
        assert_eq!(counts.bytes_out, 0, "{name}");
        assert!(store.delete("k").if_match(first).await.unwrap_err().is_conflict(), "{name}");
    }
}

#[tokio::test]
async fn an_atomic_batch_refuses_a_part_that_might_be_past_the_end() {
    for (name, wrap) in codings(8) {
        let place = Place::new(None, &*wrap);
        place.store.put("k", text(700, 1)).await.unwrap();
        let key = |name| Key::new(name).unwrap();
        let operations = |range: ByteRange| {
            vec![
                Operation::Put(key("new"), "v".into(), PutOptions::default()),
                Operation::Get(key("k"), GetOptions::default().range(range)),
            ]
        };
        let refused = place.store.batch(operations((9..10).into()), BatchOptions::atomic()).await;
        assert_eq!(refused[0].as_ref().unwrap_err().kind(), ErrorKind::Conflict, "{name}");
        assert_eq!(refused[1].as_ref().unwrap_err().kind(), ErrorKind::Invalid, "{name}");
        assert!(place.store.get("new").await.unwrap().is_none(), "{name}");
        let done = place.store.batch(operations(ByteRange::Last(9)), BatchOptions::atomic()).await;
        assert!(done.iter().all(Result::is_ok), "{name}: {done:?}");
    }
}

#[test]
fn what_the_store_below_does_not_offer_is_refused_before_a_body_is_read() {
    use futures_util::{
        FutureExt,
        stream::{self, StreamExt},
    };
    use leasehold_core::{Body, Capability, Result};
    for (name, wrap) in codings(8) {
        let store = wrap(Store::new(leasehold_memory::Memory::new()).layer(crate::ReadOnly));
        let never = || Body::from_stream(stream::pending::<Result<Bytes>>().boxed(), None);
        let attributes = Attributes::new().with("a", "b").unwrap();
        for (put, missing) in [
            (store.put("k", never()).attributes(attributes), Capability::Attributes),
            (store.put("k", never()).if_absent(), Capability::ConditionalPut),
        ] {
            let error = put.into_future().now_or_never().expect("nobody waits for the body").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported(missing), "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_and_one_at_it_fits() {
    use leasehold_core::Limits;
    use leasehold_memory::Memory;
    for (name, wrap) in codings(8) {
        let memory = Memory::new().limits(Limits { value_bytes_max: 3000, ..Limits::default() });
        let store = wrap(Store::new(memory));
        let limit = store.capabilities().limits().value_bytes_max as usize;
        assert!((2000..3000).contains(&limit), "{name}: {limit}");
        let (fits, over) = (noise(limit, 1), noise(limit + 1, 1));
        let framed = [&kinds()[0].magic[..], &noise(limit - 8, 1)].concat();
        for value in [fits, framed.into()] {
            store.put("k", value.clone()).await.unwrap();
            store.put("k", streamed(&value, 100, false)).await.unwrap();
            assert_eq!(store.get("k").await.unwrap().unwrap().bytes().await.unwrap(), value, "{name}");
        }
        for body in [over.clone().into(), streamed(&over, 100, false), streamed(&over, 100, true)] {
            let error = store.put("k", body).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn what_was_there_before_is_read_unless_it_must_have_a_frame() {
    for (name, wrap) in codings(8) {
        for (piece, value) in [(None, text(300, 1)), (Some(70), text(300, 1)), (Some(999), text(30_000, 1))] {
            let place = Place::new(piece, &*wrap);
            place.below.put("k", value.clone()).await.unwrap();
            let (whole, part, head) =
                (place.value("k").await, place.part("k", 100..200).await, place.store.head("k").await);
            if name == "encrypt" {
                assert!(is_corrupt(&whole) && is_corrupt(&part) && is_corrupt(&head));
                assert!(whole.unwrap_err().to_string().contains("is not encrypted"));
                continue;
            }
            assert_eq!(whole.unwrap(), value, "{name}");
            assert_eq!(part.unwrap(), value[100..200], "{name}");
            assert_eq!(head.unwrap().unwrap().size, value.len() as u64, "{name}");
        }
    }
}
