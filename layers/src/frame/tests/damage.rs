//! Whatever happens to stored bytes: the value, or an error, and never a frame's own bytes.

use leasehold_core::{ByteRange, Bytes};

use super::{Place, codings, is_corrupt, place::streamed, text};

/// The value in a frame of three chunks or of one, and what is stored for it.
async fn framed(
    wrap: &dyn Fn(leasehold_core::Store) -> leasehold_core::Store,
    size: usize,
) -> (Bytes, Bytes) {
    let (place, value) = (Place::new(None, wrap), Bytes::from(text(size / 4, 1).repeat(4)));
    place.store.put("k", value.clone()).await.unwrap();
    let stored = place.stored("k").await;
    assert_ne!(stored, value, "it has a frame");
    (value, stored)
}

/// Reads in every way. A whole read must be an error; a part or a size may be right, since they look at less.
async fn damaged(place: &Place, value: &Bytes, what: &str) {
    let whole = place.value("k").await;
    assert!(is_corrupt(&whole), "{what}: {whole:?}");
    let size = value.len();
    for range in [0..size, 0..1, size / 2..size / 2 + 1, size - 1..size, size..size] {
        match place.part("k", range.clone()).await {
            Ok(bytes) => assert_eq!(bytes, value[range.clone()], "{what}: {range:?}"),
            error => assert!(is_corrupt(&error), "{what}: {range:?}: {error:?}"),
        }
    }
    match place.store.get("k").range(ByteRange::Last(3)).await {
        Ok(found) => assert_eq!(found.unwrap().bytes().await.unwrap(), value[size - 3..], "{what}"),
        error => assert!(is_corrupt(&error), "{what}: {error:?}"),
    }
    match place.store.head("k").await {
        Ok(head) => assert_eq!(head.unwrap().size, size as u64, "{what}"),
        error => assert!(is_corrupt(&error), "{what}: {error:?}"),
    }
}

#[tokio::test]
async fn any_flipped_byte_is_an_error() {
    for (name, wrap) in codings(8) {
        for size in [200, 700] {
            let (value, stored) = framed(&*wrap, size).await;
            for piece in [None, Some(61)] {
                let place = Place::new(piece, &*wrap);
                for (position, mask) in
                    (0..stored.len()).flat_map(|at| [1, 0x80, 0xff].map(|mask| (at, mask)))
                {
                    let mut touched = stored.to_vec();
                    touched[position] ^= mask;
                    place.below.put("k", touched).await.unwrap();
                    damaged(&place, &value, &format!("{name}, {size} bytes, byte {position} ^ {mask:#x}"))
                        .await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_frame_that_was_cut_at_any_length_is_an_error() {
    for (name, wrap) in codings(8) {
        let (value, stored) = framed(&*wrap, 700).await;
        for piece in [None, Some(61)] {
            let place = Place::new(piece, &*wrap);
            for length in 0..stored.len() {
                place.below.put("k", stored.slice(..length)).await.unwrap();
                if name != "encrypt" && length < 4 {
                    // Less than half of the magic, and nothing of the value.
                    assert_eq!(place.value("k").await.unwrap(), stored[..length]);
                    continue;
                }
                damaged(&place, &value, &format!("{name}, the first {length} bytes")).await;
            }
            for more in [&b"\0"[..], b"more", &stored] {
                place.below.put("k", [&stored, more].concat()).await.unwrap();
                damaged(&place, &value, &format!("{name}, {} bytes more", more.len())).await;
            }
        }
    }
}

#[tokio::test]
async fn a_large_frame_that_lost_its_start_or_its_end_is_an_error_to_parts_too() {
    for (name, wrap) in codings(12) {
        let (value, stored) = framed(&*wrap, 200_000).await;
        for piece in [None, Some(7000)] {
            let place = Place::new(piece, &*wrap);
            place.below.put("k", stored.slice(..stored.len() - 8)).await.unwrap();
            assert!(is_corrupt(&place.value("k").await), "{name}: no end, whole");
            assert!(is_corrupt(&place.part("k", 5000..6000).await), "{name}: no end, a part");
            assert!(is_corrupt(&place.store.head("k").await), "{name}: no end, the size");
            let mut no_start = stored.to_vec();
            no_start[..4096].fill(0);
            place.below.put("k", no_start).await.unwrap();
            assert!(is_corrupt(&place.value("k").await), "{name}: no start, whole");
            assert_eq!(place.part("k", 150_000..160_000).await.unwrap(), value[150_000..160_000]);
        }
    }
}

#[tokio::test]
async fn chunks_that_change_places_or_frames_are_an_error() {
    for (name, wrap) in codings(8) {
        if !["verify", "encrypt"].contains(&name) {
            continue;
        }
        let place = Place::new(None, &*wrap);
        let mut frames = Vec::new();
        for seed in [1, 2] {
            place.store.put("k", text(1000, seed)).await.unwrap();
            frames.push(place.stored("k").await.to_vec());
        }
        let (header, overhead) = if name == "verify" { (24, 12) } else { (60, 20) };
        let chunk =
            |number: usize| header + number * (256 + overhead)..header + (number + 1) * (256 + overhead);
        let mut swapped = frames[0].clone();
        let (first, second) = (frames[0][chunk(0)].to_vec(), frames[0][chunk(1)].to_vec());
        swapped[chunk(0)].copy_from_slice(&second);
        swapped[chunk(1)].copy_from_slice(&first);
        let mut spliced = frames[0].clone();
        spliced[chunk(1)].copy_from_slice(&frames[1][chunk(1)]);
        let mut dropped = frames[0].clone();
        dropped.drain(chunk(1));
        let mut other_end = frames[0].clone();
        let end = chunk(3).start..;
        other_end.splice(end.clone(), frames[1][end].to_vec());
        for (what, frame) in
            [("swapped", swapped), ("spliced", spliced), ("dropped", dropped), ("other end", other_end)]
        {
            for piece in [None, Some(100)] {
                let place = Place::new(piece, &*wrap);
                place.below.put("k", frame.clone()).await.unwrap();
                assert!(is_corrupt(&place.value("k").await), "{name}: {what}");
                if what != "other end" {
                    assert!(is_corrupt(&place.part("k", 300..301).await), "{name}: {what}, a part");
                }
            }
        }
    }
}

/// What a whole read yields before it fails.
async fn before_the_error(place: &Place) -> Vec<u8> {
    use futures_util::StreamExt;
    let mut yielded = Vec::new();
    let Ok(found) = place.store.get("k").await else { return yielded };
    let mut pieces = found.unwrap().body.into_stream();
    loop {
        match pieces.next().await {
            Some(Ok(piece)) => yielded.extend_from_slice(&piece),
            Some(Err(_)) => return yielded,
            None => panic!("it ended without an error"),
        }
    }
}

#[tokio::test]
async fn a_stream_yields_no_chunk_out_of_its_place() {
    for (name, header, overhead) in [("verify", 24, 12), ("encrypt", 60, 20)] {
        let wrap = codings(8).into_iter().find(|(other, _)| *other == name).unwrap().1;
        let place = Place::new(Some(100), &*wrap);
        let value = text(1000, 1);
        place.store.put("k", value.clone()).await.unwrap();
        let frame = place.stored("k").await;
        let chunk = |number: usize| {
            frame.slice(header + number * (256 + overhead)..header + (number + 1) * (256 + overhead))
        };
        let start = frame.slice(..header);
        for order in [[1, 0, 2], [0, 2, 1], [0, 0, 2], [2, 1, 0]] {
            let chunks = order.map(chunk).concat();
            let rest = &frame[header + 3 * (256 + overhead)..];
            place.below.put("k", [&start, &chunks[..], rest].concat()).await.unwrap();
            let yielded = before_the_error(&place).await;
            assert!(value.starts_with(&yielded) && yielded.len() <= 256, "{name}, chunks {order:?}");
        }
        // Cut where a chunk ends: all that came is right, and it is not all.
        place.below.put("k", frame.slice(..header + 2 * (256 + overhead))).await.unwrap();
        assert!(value.starts_with(&before_the_error(&place).await), "{name}");
    }
}

#[tokio::test]
async fn errors_of_reading_name_the_key_and_the_store() {
    for (name, wrap) in codings(8) {
        for piece in [None, Some(50)] {
            let place = Place::new(piece, &*wrap);
            place.store.put("k", streamed(&text(700, 1), 90, false)).await.unwrap();
            let mut stored = place.stored("k").await.to_vec();
            stored[200] ^= 1;
            place.below.put("k", stored).await.unwrap();
            let error = place.value("k").await.unwrap_err();
            assert!(error.to_string().starts_with("get \"k\" in mem:: "), "{name}: {error}");
        }
    }
}
