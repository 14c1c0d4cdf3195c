//! The edges of a namespace.

use leasehold_core::{KEY_BYTES_MAX, Store};
use leasehold_memory::Memory;

#[tokio::test]
async fn a_list_takes_what_would_be_too_long_with_the_namespace() {
    let store = Store::new(Memory::new()).namespace("tenant").unwrap();
    let longest = "k".repeat(KEY_BYTES_MAX);
    for key in ["a", "k", "kk", "l"] {
        store.put(key, "v").await.unwrap();
    }
    let after = store.list("").after(longest.as_str()).await.unwrap();
    assert_eq!(after.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["l"]);
    assert!(store.list(&longest).await.unwrap().is_empty());
}
