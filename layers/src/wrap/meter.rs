//! The `Meter` layer: how many requests, errors and bytes went through.

mod adapter;
mod counts;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use leasehold_core::{Error, ErrorKind, Layer, StorageAdapter};

pub use counts::Counts;

use crate::Verb;

pub(super) const ERROR_KINDS: usize = 12;

/// Counts what passes: requests by verb, errors by kind, bytes both ways. Changes nothing.
///
/// The handle is cheap to clone; keep one, and give another to [`Store::layer`](leasehold_core::Store::layer). Costs
/// a few uncontended atomic additions a call.
///
/// ```
/// # use leasehold_core::Store;
/// # use leasehold_layers::{Meter, Verb};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let meter = Meter::new();
/// let store = Store::new(leasehold_memory::Memory::new()).layer(meter.clone());
/// store.put("k", "four").await?;
/// assert_eq!(meter.counts().requests(Verb::Put), 1);
/// assert_eq!(meter.counts().bytes_in, 4);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counters>);

#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: [AtomicU64; Verb::ALL.len()],
    errors: [AtomicU64; ERROR_KINDS],
    indeterminate: AtomicU64,
    batch_entries: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Meter {
    /// A meter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        let Counters { requests, errors, indeterminate, batch_entries, bytes_in, bytes_out } = &*self.0;
        Counts {
            requests: requests.each_ref().map(|count| count.load(Relaxed)),
            errors: errors.each_ref().map(|count| count.load(Relaxed)),
            indeterminate: indeterminate.load(Relaxed),
            batch_entries: batch_entries.load(Relaxed),
            bytes_in: bytes_in.load(Relaxed),
            bytes_out: bytes_out.load(Relaxed),
        }
    }

    fn request(&self, verb: Verb) {
        self.0.requests[verb as usize].fetch_add(1, Relaxed);
    }

    fn entries(&self, count: usize) {
        self.0.batch_entries.fetch_add(count as u64, Relaxed);
    }

    fn bytes_in(&self, count: u64) {
        self.0.bytes_in.fetch_add(count, Relaxed);
    }

    fn bytes_out(&self, count: u64) {
        self.0.bytes_out.fetch_add(count, Relaxed);
    }

    fn error(&self, error: &Error) {
        self.0.errors[position(error.kind())].fetch_add(1, Relaxed);
        if error.is_indeterminate() {
            self.0.indeterminate.fetch_add(1, Relaxed);
        }
    }
}

/// Where errors of this kind are counted.
fn position(kind: ErrorKind) -> usize {
    match kind {
        ErrorKind::Conflict => 0,
        ErrorKind::Corrupt => 1,
        ErrorKind::Denied => 2,
        ErrorKind::Fenced => 3,
        ErrorKind::Full => 4,
        ErrorKind::Invalid => 5,
        ErrorKind::Throttled => 6,
        ErrorKind::Timeout => 7,
        ErrorKind::Unavailable => 8,
        ErrorKind::Unsupported(_) => 9,
        ErrorKind::Unexpected => 10,
        _ => 11,
    }
}

impl Layer for Meter {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        Arc::new(adapter::Metered { meter: self, inner })
    }
}
