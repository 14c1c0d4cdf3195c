//! Wrapping one adapter in another.

use std::sync::Arc;

use crate::StorageAdapter;

/// Wraps an adapter; the result is an adapter again, so whatever holds for a store holds for a stack.
///
/// ```
/// # use leasehold_core::{Layer, Namespace, Store};
/// # use leasehold_memory::Memory;
/// let store = Store::new(Memory::new()).layer(Namespace::new("tenant-7")?);
/// # Ok::<(), leasehold_core::Error>(())
/// ```
pub trait Layer {
    /// The adapter around `inner`.
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter>;
}

impl<F: FnOnce(Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter>> Layer for F {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        self(inner)
    }
}
