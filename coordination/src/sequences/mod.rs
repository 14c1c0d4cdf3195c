//! Numbers that are given out once: `counter` adds exactly, `ids` gives out ranges; `pool` and `range` are its pure parts.

mod counter;
pub(crate) mod ids;
pub(crate) mod pool;
pub(crate) mod range;

pub use counter::Counter;
pub use ids::Ids;
pub use range::IdRange;

/// Where sequences are kept in a store.
const PREFIX: &str = "_cluster";
