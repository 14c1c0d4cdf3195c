//! Layers: adapters around one adapter. Each keeps every promise that it does not name as weakened.
//!
//! - [`Batch`] collects writes: group commit, or write-behind.
//! - [`Cache`] keeps values in memory, revalidated or up to a stated age.
//! - [`Compress`] stores values shorter, [`Encrypt`] so that nobody reads or changes them, [`Verify`] so that damage shows.
//! - [`Faults`] fails, delays and loses calls on purpose, for tests.
//! - [`Limit`] holds back what would be too many calls at once, or in a second.
//! - [`Meter`] counts requests, errors and bytes.
//! - [`Namespace`] puts all keys under a name.
//! - [`ReadOnly`] lets reads through and nothing else.
//! - [`Retry`] sends again what may be sent again, within a budget.
//! - [`Timeout`] ends calls that take too long; a write that was cut off is unknown, not failed.
//! - [`Trace`] puts a span around every call.

mod around;
mod frame;
mod known;
mod verb;
mod wrap;

pub use leasehold_core::Namespace;
pub use verb::Verb;
pub use wrap::{
    batch::Batch,
    cache::{Cache, CacheStats},
    compress::{Codec, Compress},
    encrypt::{Encrypt, Keys},
    faults::{Fault, Faults, Gate, Injected},
    limit::Limit,
    meter::{Counts, Meter},
    read_only::ReadOnly,
    retry::Retry,
    timeout::Timeout,
    trace::Trace,
    verify::Verify,
};
