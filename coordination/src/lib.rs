//! Leases on any store that can compare and swap: no trusted clocks, fencing by the data path.
//!
//! - [`Leases`] are kept in a store, which is certified first.
//! - [`Acquire`] asks for one; [`Lease`] is held, and renewed on a thread of its own.
//! - [`Guarded`] is the store to write through under a lease: a stale holder's writes are refused there.
//! - [`Watch`] yields the states of a key or a prefix, one after the other.
//!
//! # What holds
//!
//! | | |
//! |---|---|
//! | L1 | A [`Token`] strictly grows with every change of holder and never starts again. |
//! | L2 | A token belongs to one incarnation of one node. |
//! | L3 | A record changes only by a conditional write over the version that was read. |
//! | L4 | If clock *rates* differ from true time by at most 1 %, no two holders are valid at once. What time the clocks show does not matter. |
//! | L5 | Whatever clocks do: no guarded write of an older token is applied after a newer holder has touched the key. |
//!
//! L4 is for comfort, L5 is what to rely on.

mod call;
mod certify;
mod guarded;
mod lease;
mod node;
mod token;
mod ttl;
mod watch;

pub use guarded::{Guarded, GuardedRecord};
pub use lease::{Acquire, Lease, LeaseState, LeaseView, Leases, Lost, Wait};
pub use node::Node;
pub use token::Token;
pub use ttl::Ttl;
pub use watch::{Difference, KeyWatch, PrefixWatch, Watch};
