//! Numbers that are given out once: `counter` adds exactly, `ids` gives out ranges; `pool` and `range` are its pure parts.

mod counter;
mod ids;
mod pool;
mod range;

pub use counter::Counter;
pub use ids::Ids;
pub use range::IdRange;

/// Where sequences are kept in a store.
const PREFIX: &str = "_cluster";
