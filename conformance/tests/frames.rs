//! The suite through layers that frame values, with all its effort.

use leasehold_conformance::{Subject, conformance_tests};
use leasehold_core::Store;
use leasehold_layers::{Codec, Compress, Encrypt, Keys, Verify};

fn compressed(store: Store) -> Store {
    store.layer(Compress::default())
}

/// As many values as possible, in small chunks.
fn compressed_all(store: Store) -> Store {
    store.layer(Compress::new(Codec::Lz4).above(0).saving(0).chunk_bytes(4096))
}

fn verified(store: Store) -> Store {
    store.layer(Verify::new().strict())
}

fn encrypted(store: Store) -> Store {
    let keys = Keys::new("b", [2; 32]).and_then(|keys| keys.and("a", [1; 32])).expect("the ids are sound");
    store.layer(Encrypt::new(keys).chunk_bytes(4096))
}

fn all_three(store: Store) -> Store {
    compressed(encrypted(verified(store)))
}

fn through(name: &str, wrap: fn(Store) -> Store) -> Subject {
    Subject::memory().layered(name, move |store| Ok(wrap(store)))
}

conformance_tests!(compress_over_memory, through("compress", compressed));
conformance_tests!(compress_all_over_memory, through("compress all", compressed_all));
conformance_tests!(verify_over_memory, through("verify", verified));
conformance_tests!(encrypt_over_memory, through("encrypt", encrypted));
conformance_tests!(all_three_over_memory, through("all three", all_three));
