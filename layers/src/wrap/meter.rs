//! The `Meter` layer: how many requests, errors and bytes went through.

mod adapter;
mod counts;
mod published;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use leasehold_core::{Environment, Error, ErrorKind, Layer, StorageAdapter};

pub use counts::Counts;
use published::{Published, Running};

use crate::Verb;

pub(super) const ERROR_KINDS: usize = 12;

/// Counts what passes: requests by verb, errors by kind, bytes both ways. Changes nothing.
///
/// The handle is cheap to clone; keep one, and give another to [`Store::layer`](leasehold_core::Store::layer). Costs
/// a few uncontended atomic additions a call; published, two looks at the clock and the recorder's own work more.
///
/// Place it outermost to see what callers see, or inside of [`Retry`](crate::Retry) and [`Cache`](crate::Cache) to see what
/// reaches the store.
///
/// # Published
///
/// [`Meter::published`] also tells the recorder that the program has [installed](metrics::set_global_recorder), which must be
/// there by then:
///
/// | name | labels besides `store` | |
/// |---|---|---|
/// | `leasehold_calls_total` | `operation`, `outcome`: `ok`, `conflict` …, `unknown`, or `cancelled` by its caller | calls that ended |
/// | `leasehold_call_duration_seconds` | `operation` | a histogram; reading a body later is not in it |
/// | `leasehold_calls_in_flight` | `operation` | a gauge |
/// | `leasehold_bytes_total` | `direction`: `in`, `out` | bytes of bodies |
/// | `leasehold_batch_entries_total` | | entries of batches |
///
/// A batch has the outcome of its first entry that failed. A list ends with its last entry.
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
pub struct Meter {
    counters: Arc<Counters>,
    published: Option<Arc<Published>>,
}

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

    /// A meter at zero that also tells the installed recorder, under the name of a `store`.
    pub fn published(store: &str) -> Self {
        Self { published: Some(Arc::new(Published::new(store, &Environment::default()))), ..Self::default() }
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        let Counters { requests, errors, indeterminate, batch_entries, bytes_in, bytes_out } =
            &*self.counters;
        Counts {
            requests: requests.each_ref().map(|count| count.load(Relaxed)),
            errors: errors.each_ref().map(|count| count.load(Relaxed)),
            indeterminate: indeterminate.load(Relaxed),
            batch_entries: batch_entries.load(Relaxed),
            bytes_in: bytes_in.load(Relaxed),
            bytes_out: bytes_out.load(Relaxed),
        }
    }

    /// A call begins; what is returned ends with it.
    fn request(&self, verb: Verb) -> Option<Running> {
        self.counters.requests[verb as usize].fetch_add(1, Relaxed);
        self.published.as_ref().map(|published| published.begin(verb))
    }

    fn entries(&self, count: usize) {
        if let Some(published) = &self.published {
            published.batch_entries.increment(count as u64);
        }
        self.counters.batch_entries.fetch_add(count as u64, Relaxed);
    }

    fn bytes_in(&self, count: u64) {
        if let Some(published) = &self.published {
            published.bytes_in.increment(count);
        }
        self.counters.bytes_in.fetch_add(count, Relaxed);
    }

    fn bytes_out(&self, count: u64) {
        if let Some(published) = &self.published {
            published.bytes_out.increment(count);
        }
        self.counters.bytes_out.fetch_add(count, Relaxed);
    }

    fn error(&self, error: &Error) {
        self.counters.errors[position(error.kind())].fetch_add(1, Relaxed);
        if error.is_indeterminate() {
            self.counters.indeterminate.fetch_add(1, Relaxed);
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
