//! Values that are written between the two requests of a read.

use leasehold_core::{Bytes, ErrorKind};

use super::{Place, codings, noise, place::streamed};

/// Frames of values of different sizes, each of one byte over and over.
async fn frames(
    wrap: &dyn Fn(leasehold_core::Store) -> leasehold_core::Store,
    count: u8,
    announced: bool,
) -> Vec<Bytes> {
    let place = Place::new(None, wrap);
    let mut frames = Vec::new();
    for number in 0..count {
        // Noise around it, so that no coding makes it small enough for one request.
        let value =
            [&noise(20_000, 1)[..], &vec![number; 20_000 + 1000 * usize::from(number)], &noise(10_000, 2)]
                .concat();
        place.store.put("k", streamed(&value.into(), 5000, announced)).await.unwrap();
        frames.push(place.stored("k").await);
    }
    frames
}

#[tokio::test]
async fn a_part_comes_from_one_value_though_it_is_written_meanwhile() {
    for (name, wrap) in codings(12) {
        let frames = frames(&*wrap, 12, true).await;
        for piece in [None, Some(999)] {
            // Once; and always, so that nothing is left but to read all of it.
            for writes in [1, 11] {
                let place = Place::new(piece, &*wrap);
                place.below.put("k", frames[0].clone()).await.unwrap();
                place.odd.meddle(frames[1..=writes].iter().cloned());
                let found = place.store.get("k").range(21_000..39_000).await.unwrap().unwrap();
                let size = found.metadata.size;
                let bytes = found.bytes().await.unwrap();
                assert_eq!(bytes.len(), 18_000, "{name}");
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{name}: a mixture");
                assert_eq!(size, 50_000 + 1000 * u64::from(bytes[0]), "{name}: the size of another value");
                assert!(bytes[0] > 0, "{name}: nothing was written between");
                assert!(writes > 1 || place.odd.left() == 0);
            }
        }
    }
}

#[tokio::test]
async fn a_value_that_is_deleted_between_the_requests_is_absent() {
    for (name, wrap) in codings(12) {
        let frames = frames(&*wrap, 1, true).await;
        let place = Place::new(None, &*wrap);
        place.below.put("k", frames[0].clone()).await.unwrap();
        // Shorter than what the second request asks for.
        place.odd.meddle([Bytes::from_static(b"now it is short")]);
        let found = place.store.get("k").range(25_000..25_001).await;
        match name {
            "encrypt" => assert_eq!(found.unwrap_err().kind(), ErrorKind::Corrupt, "{name}"),
            _ => assert_eq!(found.unwrap_err().kind(), ErrorKind::Invalid, "{name}"),
        }
    }
}

#[tokio::test]
async fn a_stream_of_unknown_length_asks_for_its_end_and_begins_again_when_that_is_another() {
    let (_, wrap) = codings(12).swap_remove(1);
    let frames = frames(&*wrap, 12, false).await;
    for (writes, wanted) in [(0, Some(0)), (1, Some(1)), (11, None)] {
        let place = Place::new(Some(700), &*wrap);
        place.below.put("k", frames[0].clone()).await.unwrap();
        place.odd.meddle(frames[1..=writes].iter().cloned());
        let Some(wanted) = wanted else {
            let error = place.value("k").await.unwrap_err();
            assert!(error.is_retryable(), "{error}");
            continue;
        };
        let bytes = place.value("k").await.unwrap();
        assert_eq!((bytes.len(), bytes[30_000]), (50_000 + 1000 * wanted, wanted as u8));
    }
}
