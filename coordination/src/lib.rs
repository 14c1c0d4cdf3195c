//! Coordination on any store that can compare and swap: no trusted clocks, fencing by the data path.
//!
//! | to | there is |
//! |---|---|
//! | hold something for a while, alone | [`Leases`]: one record, one holder that renews it |
//! | lock, share, count, wait in line, hold several | [`Locks`], which hang on one session a process |
//! | find one leader | [`Elections`] |
//! | know who is there | [`members`] |
//! | divide work among nodes | [`shards`] |
//! | number things | [`Counter`], [`Ids`] |
//! | wait for each other | [`Latch`], [`Locks::barrier`] |
//! | see what becomes of a key or a prefix | [`Watch`] |
//! | write so that a stale holder is refused | [`Guarded`], from any of the holders above |
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
pub mod election;
mod guarded;
mod history;
mod latch;
mod lease;
pub mod locks;
pub mod members;
#[cfg(test)]
mod models;
mod name;
mod node;
mod register;
mod sequences;
mod settle;
pub mod shards;
#[cfg(test)]
mod simulation;
mod token;
mod ttl;
mod watch;

pub use election::{Elections, Leadership};
pub use guarded::{Guarded, GuardedRecord};
pub use latch::Latch;
pub use lease::{Acquire, Lease, LeaseState, LeaseView, Leases, Lost, Wait};
pub use locks::{Deadlock, Lock, Locks};
pub use name::NodeName;
pub use node::Node;
pub use sequences::{Counter, IdRange, Ids};
pub use token::Token;
pub use ttl::Ttl;
pub use watch::{Difference, KeyWatch, PrefixWatch, Watch};
