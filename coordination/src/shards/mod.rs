//! Shards: who owns which, and who shall.
//!
//! A [`ShardMap`] is what a leader keeps in the store and everybody reads; [`plan`] says what should change in it when
//! nodes come, go or drain. All of it is pure: maps and candidates go in, changes and maps come out.
//!
//! # What holds
//!
//! | | |
//! |---|---|
//! | M1 | A shard has at most one owner in any version of the map, and at most one for each of its epochs, ever. |
//! | M2 | Data is safe by the *epoch* of a shard, which its owner seals with, never by what a reader of the map believes: maps may be as stale as they like. |
//! | M3 | The moves of a plan are the fewest that even out: none but those away from nodes that hold more than their share. |
//! | M4 | Planning again from the outcome of a plan changes nothing, while its moves are under way and when they are done. |
//!
//! # A move
//!
//! 1. [`plan`] wants shard 7 on node B; the leader [applies](ShardMap::apply) that: `Moving`, still owned by A.
//! 2. A reads the map, stops serving shard 7, seals it under its epoch and tells the leader.
//! 3. The leader records it with [`sealed`](ShardMap::sealed): B is the owner, with the next epoch, and seals with it
//!    before it serves.
//!
//! If A dies instead, B or another node becomes the owner at once, with the next epoch: what A may still write under
//! the old one is refused where it is written, once the new owner has sealed.

mod candidate;
mod coordinator;
mod leased;
mod led;
mod map;
mod moves;
mod plan;
mod planner;
mod quota;
mod record;
mod rendezvous;
mod shard;

pub use candidate::Candidate;
pub use coordinator::{Move, Owners, ShardCoordinator, ShardGuard, ShardOwner};
pub use leased::{JoinLeased, LeasedShards};
pub use led::{Answer, Ask, JoinLed, LedShards, Topology};
pub use map::ShardMap;
pub use plan::{Change, Plan, PlanOptions, plan};
pub use shard::{Shard, ShardId, ShardState};

/// Who owns which shards in `store`, whichever coordinator divides them: what the map says where there is one, and what the
/// leases say elsewhere. For people and command lines: it takes no part, and may be out of date. Costs one read, or a list
/// and a read for each shard.
///
/// # Errors
/// [`Corrupt`](leasehold_core::ErrorKind::Corrupt) for records that are none; what the store fails with.
pub async fn owners(store: &leasehold_core::Store) -> leasehold_core::Result<Owners> {
    match LedShards::map(store).await? {
        Some(map) => Ok(LedShards::owners_in(&map)),
        None => leased::owners(store).await,
    }
}

#[cfg(test)]
mod tests;
