use leasehold_core::{Bytes, ErrorKind, Store};
use leasehold_memory::Memory;

use super::*;
use crate::frame::tests::{Place, noise, streamed, text};

fn place(compress: Compress) -> Place {
    Place::new(None, move |store| store.layer(compress.clone()))
}

#[tokio::test]
async fn only_what_is_large_enough_and_gets_shorter_is_compressed() {
    for codec in Codec::ALL {
        let place = place(Compress::new(codec));
        for (value, framed) in [
            (text(1024, 1), false),
            (text(1500, 1), true),
            (noise(5000, 1), false),
            (noise(100_000, 1), false),
            (text(100_000, 1), true),
            (noise(9 << 20, 1), false),
            (text(9 << 20, 1), true),
        ] {
            place.store.put("k", value.clone()).await.unwrap();
            let stored = place.stored("k").await;
            assert_eq!(stored != value, framed, "{codec}: {} bytes", value.len());
            assert!(stored.len() * 100 <= value.len() * 95 || !framed, "{codec}: {}", stored.len());
            assert!(place.value("k").await.unwrap() == value, "{codec}: {} bytes", value.len());
        }
    }
}

#[tokio::test]
async fn the_threshold_and_the_saving_can_be_set() {
    let value = Bytes::from(text(50, 1).repeat(4));
    let stored = |compress| async {
        let place = place(compress);
        place.store.put("k", value.clone()).await.unwrap();
        place.stored("k").await.len()
    };
    assert_eq!(stored(Compress::default()).await, 200);
    assert!(stored(Compress::default().above(199)).await < 200);
    assert_eq!(stored(Compress::default().above(200)).await, 200);
    assert_eq!(stored(Compress::default().above(64).saving(60)).await, 200);
}

#[tokio::test]
async fn counters_are_counted_below_and_stay_plain() {
    let place = place(Compress::default().above(0));
    place.store.put("n", format!("{:064}", 41)).await.unwrap();
    let counts = place.counts(async { assert_eq!(place.store.increment("n", 1).await.unwrap(), 42) }).await;
    assert_eq!((counts.total(), counts.requests(crate::Verb::Increment)), (1, 1));
    assert_eq!(place.stored("n").await, "42");
    place.store.put("text", text(3000, 1)).await.unwrap();
    assert_eq!(place.store.increment("text", 1).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn every_codec_reads_what_any_of_them_wrote() {
    for writer in Codec::ALL {
        let written = place(Compress::new(writer));
        let value = text(300_000, 2);
        written.store.put("k", streamed(&value, 7000, false)).await.unwrap();
        for reader in Codec::ALL {
            let store = written.below.clone().layer(Compress::new(reader).chunk_bytes(4096));
            let read = store.get("k").await.unwrap().unwrap().bytes().await.unwrap();
            assert!(read == value, "{reader} reads {writer}");
        }
    }
}

#[test]
fn codecs_and_levels_are_found_by_name() {
    assert_eq!(format!("{:?}", "zstd".parse::<Compress>().unwrap()), "Compress(zstd:1)");
    assert_eq!(format!("{:?}", "gzip:9".parse::<Compress>().unwrap()), "Compress(gzip:9)");
    assert_eq!(format!("{:?}", "lz4".parse::<Compress>().unwrap()), "Compress(lz4:1)");
    for unsound in ["", "brotli", "zstd:", "zstd:0", "zstd:23", "gzip:10", "lz4:2", "zstd:fast", "ZSTD"] {
        let error = unsound.parse::<Compress>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{unsound:?}");
    }
}

#[tokio::test]
async fn higher_levels_make_shorter_values() {
    let value = text(100_000, 1);
    for codec in ["gzip:1 gzip:9", "zstd:1 zstd:19"] {
        let mut lengths = Vec::new();
        for name in codec.split(' ') {
            let place = place(name.parse().unwrap());
            place.store.put("k", value.clone()).await.unwrap();
            lengths.push(place.stored("k").await.len());
        }
        assert!(lengths[1] < lengths[0], "{codec}: {lengths:?}");
    }
}

#[test]
fn values_are_coded_where_there_is_no_runtime_too() {
    use futures_util::FutureExt;
    let place = place(Compress::default());
    let value = text(3 << 20, 1);
    place.store.put("k", value.clone()).into_future().now_or_never().expect("nothing waits").unwrap();
    let read = place.value("k").now_or_never().expect("nothing waits").unwrap();
    assert!(read == value);
}

#[tokio::test]
async fn a_plain_value_that_breaks_off_is_not_taken_for_the_whole() {
    let faults = crate::Faults::new();
    let store = Store::new(Memory::new()).layer(faults.clone()).layer(Compress::default());
    for value in ["abc", &"0123456789".repeat(20)] {
        store.put("k", value).await.unwrap();
        faults.next(crate::Verb::Get, crate::Fault::Truncate);
        let read = async { store.get("k").await?.unwrap().bytes().await };
        assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_list_tells_the_sizes_of_values_when_it_is_asked_to() {
    let store = Store::new(Memory::new()).layer(Compress::default());
    store.put_many((0..40).map(|n| (format!("k{n:02}"), "x".repeat(2_000 + n)))).await;
    assert!(store.list("").await.unwrap().iter().all(|entry| entry.metadata.size < 2_000));
    let sized = store.list("").after("k00").with_sizes().await.unwrap();
    let sizes: Vec<u64> = sized.iter().map(|entry| entry.metadata.size).collect();
    assert_eq!(sizes, (2_001..2_040).collect::<Vec<_>>());
}
