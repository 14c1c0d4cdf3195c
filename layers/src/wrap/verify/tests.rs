use leasehold_core::{ErrorKind, Store};
use leasehold_memory::Memory;

use super::*;
use crate::frame::tests::{Place, is_corrupt, text};

#[tokio::test]
async fn strict_refuses_what_has_no_frame_and_says_what_to_do() {
    let place = Place::new(None, |store| store.layer(Verify::new().strict()));
    for value in [text(0, 1), text(100, 1), text(20_000, 1)] {
        place.below.put("k", value).await.unwrap();
        let (whole, part) = (place.value("k").await, place.part("k", 0..0).await);
        assert!(is_corrupt(&whole) && is_corrupt(&part) && is_corrupt(&place.store.head("k").await));
        assert!(whole.unwrap_err().to_string().contains("write it again"));
    }
    place.store.put("k", "framed").await.unwrap();
    assert_eq!(place.value("k").await.unwrap(), "framed");
}

#[tokio::test]
async fn counters_have_checksums_too() {
    let below = Store::new(Memory::new());
    let store = below.clone().layer(Verify::new().strict());
    assert_eq!(store.increment("n", 5).await.unwrap(), 5);
    assert_eq!(store.increment("n", -7).await.unwrap(), -2);
    assert_eq!(store.get("n").await.unwrap().unwrap().text().await.unwrap(), "-2");
    below.put("n", "41").await.unwrap();
    assert_eq!(store.increment("n", 1).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(below.layer(Verify::new()).increment("n", 1).await.unwrap(), 42);
}
