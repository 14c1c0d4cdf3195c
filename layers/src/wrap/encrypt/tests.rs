use leasehold_core::{ErrorKind, Result, Store};
use leasehold_memory::Memory;

use super::*;
use crate::frame::tests::{is_corrupt, text};

const OLD: [u8; 32] = [0xa1; 32];
const NEW: [u8; 32] = [0xb2; 32];

async fn value(store: &Store, key: &str) -> Result<leasehold_core::Bytes> {
    store.get(key).await?.expect("there is a value").bytes().await
}

fn keys(id: &str, key: [u8; 32]) -> Keys {
    Keys::new(id, key).unwrap()
}

#[tokio::test]
async fn nothing_of_a_value_stands_there_in_clear_and_equal_values_differ() {
    let below = Store::new(Memory::new());
    let store = below.clone().layer(Encrypt::new(keys("a", OLD)));
    let mut stored = Vec::new();
    for key in ["1", "2"] {
        store.put(key, "attack at dawn").await.unwrap();
        stored.push(value(&below, key).await.unwrap());
        store.put(key, "attack at dawn").await.unwrap();
        stored.push(value(&below, key).await.unwrap());
    }
    for (position, frame) in stored.iter().enumerate() {
        assert!(!frame.windows(6).any(|part| part == b"attack"));
        assert!(stored[..position].iter().all(|other| other[60..80] != frame[60..80]), "a nonce repeats");
    }
}

#[tokio::test]
async fn a_wrong_key_opens_nothing() {
    let below = Store::new(Memory::new());
    below.clone().layer(Encrypt::new(keys("a", OLD))).put("k", text(9000, 1)).await.unwrap();
    let store = below.layer(Encrypt::new(keys("a", NEW)));
    let error = value(&store, "k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("does not open with key \"a\""), "{error}");
    assert!(is_corrupt(&store.head("k").await));
    assert!(is_corrupt(&store.get("k").range(1..2).await));
}

#[tokio::test]
async fn an_unknown_key_is_named_and_denied() {
    let below = Store::new(Memory::new());
    below.clone().layer(Encrypt::new(keys("2025-q3", OLD))).put("k", text(9000, 1)).await.unwrap();
    let store = below.layer(Encrypt::new(keys("2026", OLD)));
    for error in [
        value(&store, "k").await.unwrap_err(),
        store.head("k").await.unwrap_err(),
        store.get("k").range(1..2).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(
            error.to_string().contains("\"2025-q3\"") && error.to_string().contains("Keys::and"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn keys_are_rotated_without_a_gap() {
    let below = Store::new(Memory::new());
    let before = below.clone().layer(Encrypt::new(keys("old", OLD)));
    let during = below.clone().layer(Encrypt::new(keys("new", NEW).and("old", OLD).unwrap()));
    let after = below.clone().layer(Encrypt::new(keys("new", NEW)));
    before.put("k", "value").await.unwrap();
    assert_eq!(value(&during, "k").await.unwrap(), "value");
    let current = value(&during, "k").await.unwrap();
    during.put("k", current).await.unwrap();
    assert_eq!(value(&after, "k").await.unwrap(), "value");
    assert_eq!(value(&before, "k").await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_value_that_was_moved_to_another_key_is_refused() {
    let below = Store::new(Memory::new());
    let store = below.clone().layer(Encrypt::new(keys("a", OLD)));
    for size in [0, 5, 20_000] {
        store.put("mine", text(size, 1)).await.unwrap();
        below.put("yours", value(&below, "mine").await.unwrap()).await.unwrap();
        assert!(is_corrupt(&value(&store, "yours").await), "{size} bytes");
        assert!(is_corrupt(&store.head("yours").await), "{size} bytes");
        assert!(is_corrupt(&store.get("yours").range(0..1).await), "{size} bytes");
        // Back at its place it is itself again.
        below.put("mine", value(&below, "yours").await.unwrap()).await.unwrap();
        assert_eq!(value(&store, "mine").await.unwrap(), text(size, 1));
    }
}

#[tokio::test]
async fn a_header_with_a_sound_checksum_is_still_authenticated() {
    use crate::frame::crc;
    let below = Store::new(Memory::new());
    let ring = keys("a", OLD).and("b", OLD).unwrap();
    let store = below.clone().layer(Encrypt::new(ring));
    store.put("k", "value").await.unwrap();
    let frame = value(&below, "k").await.unwrap().to_vec();
    // The same key under another id, in header and footer, with the checksum that fits it.
    let mut forged = frame.clone();
    let (own, end) = (20, frame.len());
    for id in [own + 20, end - 24 - 36 + 20] {
        assert_eq!(forged[id], b'a');
        forged[id] = b'b';
    }
    let check = (crc::checksum(&forged[..56]) as u32).to_le_bytes();
    forged[56..60].copy_from_slice(&check);
    below.put("k", forged).await.unwrap();
    assert!(is_corrupt(&value(&store, "k").await));
    below.put("k", frame).await.unwrap();
    assert_eq!(value(&store, "k").await.unwrap(), "value");
}

#[tokio::test]
async fn no_text_shows_a_secret() {
    let ring = keys("visible", *b"squeamish ossifrage, 32 bytes ok").and("b", NEW).unwrap();
    let store = Store::new(Memory::new()).layer(Encrypt::new(ring.clone()));
    store.put("k", "value").await.unwrap();
    let other = Store::from_adapter(store.adapter().clone()).layer(Encrypt::new(keys("c", NEW)));
    let shown = [
        format!("{ring:?}"),
        format!("{:?}", Encrypt::new(ring)),
        format!("{store:?} {store}"),
        format!("{other:?} {:#?}", value(&other, "k").await.unwrap_err()),
    ];
    for text in shown {
        assert!(
            !text.contains("squeamish") && !text.contains("115, 113") && !text.contains("178, 178"),
            "{text}"
        );
    }
    assert_eq!(format!("{store:?}"), "Store(Encrypt(Keys([\"visible\", \"b\"])) over Memory)");
}

#[test]
fn ids_are_short_plain_and_unique() {
    for id in ["", "a b", "é", "12345678901234567", "a\"", "a/b"] {
        assert_eq!(Keys::new(id, OLD).unwrap_err().kind(), ErrorKind::Invalid, "{id:?}");
    }
    let ring = keys("1234567890123456", OLD);
    assert_eq!(ring.clone().and("1234567890123456", NEW).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(ring.and("b", NEW).unwrap().ids().collect::<Vec<_>>(), ["1234567890123456", "b"]);
}

#[tokio::test]
async fn counters_are_encrypted_too() {
    let below = Store::new(Memory::new());
    let store = below.clone().layer(Encrypt::new(keys("a", OLD)));
    assert_eq!(store.increment("n", 5).await.unwrap(), 5);
    assert_eq!(store.increment("n", 1).await.unwrap(), 6);
    assert_eq!(value(&store, "n").await.unwrap(), "6");
    assert!(value(&below, "n").await.unwrap().len() > 100);
    below.put("plain", "5").await.unwrap();
    assert!(is_corrupt(&store.increment("plain", 1).await));
}

#[tokio::test]
async fn a_value_that_cannot_be_opened_does_not_hide_the_others_from_a_list() {
    let below = Store::new(Memory::new());
    let (old, new) =
        (below.clone().layer(Encrypt::new(keys("a", OLD))), below.layer(Encrypt::new(keys("b", NEW))));
    old.put("1", "from before").await.unwrap();
    new.put("2", "readable").await.unwrap();
    let listed = new.list("").with_sizes().await.unwrap();
    let sizes: Vec<u64> = listed.iter().map(|entry| entry.metadata.size).collect();
    assert!(sizes.len() == 2 && sizes[0] > 11 && sizes[1] == 8, "{sizes:?}");
}
