//! Leases on any store that can compare and swap: no trusted clocks, fencing by the data path.
//!
//! - [`Leases`] are kept in a store, which is certified first.
//! - [`Acquire`] asks for one; [`Lease`] is held, and renewed on a thread of its own.
//! - [`ShardMap`] says which node owns which shard, and [`plan`] how it should change; pure, for a leader to keep.
//! - [`Reliability`] says which nodes to avoid.
//! - [`Guarded`] is the store to write through under a lease: a stale holder's writes are refused there.
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
mod members;
mod name;
mod node;
mod shards;
mod token;
mod ttl;

pub use guarded::{Guarded, GuardedRecord};
pub use lease::{Acquire, Lease, LeaseState, LeaseView, Leases, Lost, Wait};
pub use members::Reliability;
pub use name::NodeName;
pub use node::Node;
pub use shards::{Candidate, Change, Plan, PlanOptions, Shard, ShardId, ShardMap, ShardState, plan};
pub use token::Token;
pub use ttl::Ttl;
