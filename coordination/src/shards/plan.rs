//! What should change in a map: the options, the changes, and the rules by which they are found.

use super::{Candidate, ShardId, ShardMap, planner::Planner};
use crate::NodeName;

/// What a planner goes by.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    moves_max: Option<usize>,
    hysteresis_percent: u32,
    pub(super) room_percent: u32,
}

impl PlanOptions {
    /// At most so many shards are on their way at once; 0 starts no moves. What has no live owner is placed at once
    /// and does not count.
    ///
    /// Default: a tenth of the shards, at least 1 and at most 16. A shard cannot be written to from when it is sealed
    /// until its new owner has read what it needs, so this bounds what is unavailable at once; and 16 moves already
    /// keep a store busy that takes one write of the map a second.
    #[must_use]
    pub fn moves_max(self, moves_max: usize) -> Self {
        Self { moves_max: Some(moves_max), ..self }
    }

    /// Begin to even out only when a node holds more or less than its share by more than so many percent; once moves
    /// are under way, go on to the exact share. From 100 on a node that has too few is no reason.
    ///
    /// Default 0: even out exactly. Shares change only with the nodes, their weights and the shards, and nothing moves
    /// while those stay as they are. Raise it where weights are measured and waver. It does not hold up what drains.
    #[must_use]
    pub fn hysteresis_percent(self, percent: u32) -> Self {
        Self { hysteresis_percent: percent, ..self }
    }

    /// So many percent more than their share the other nodes hold together before one to
    /// [avoid](Candidate::avoid) gets a shard that it does not have.
    ///
    /// Default 25: of five nodes one may be avoided without carrying anything new.
    #[must_use]
    pub fn room_percent(self, percent: u32) -> Self {
        Self { room_percent: percent, ..self }
    }

    /// The bound for a map of so many shards.
    pub(super) fn moves_max_of(&self, shards: usize) -> usize {
        self.moves_max.unwrap_or_else(|| (shards / 10).clamp(1, 16))
    }

    /// Whether `count` shards are so far from `quota` that it is time to even out.
    pub(super) fn is_off(&self, count: usize, quota: usize) -> bool {
        count.abs_diff(quota).saturating_mul(100) > quota.saturating_mul(self.hysteresis_percent as usize)
    }
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { moves_max: None, hysteresis_percent: 0, room_percent: 25 }
    }
}

/// One change of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A shard without a live owner gets one, with the next epoch.
    Assign {
        /// The shard.
        shard: ShardId,
        /// Its owner from now on.
        to: NodeName,
    },
    /// A shard is sent on its way, or to another node than so far. Its owner stays until it has sealed it.
    Move {
        /// The shard.
        shard: ShardId,
        /// Its owner.
        from: NodeName,
        /// The owner to be.
        to: NodeName,
    },
    /// A move is called off: the owner stays, with the next epoch, because it may have sealed the one it had.
    Stay {
        /// The shard.
        shard: ShardId,
    },
}

impl Change {
    /// The shard that it is about.
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Assign { shard, .. } | Self::Move { shard, .. } | Self::Stay { shard } => *shard,
        }
    }
}

/// What should change in one version of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    version: u64,
    changes: Vec<Change>,
    waiting: usize,
}

impl Plan {
    /// The version of the map that it is for.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The changes, by shard, at most one for each.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether nothing is to be done now.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many more moves will be due when some that are under way have ended.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

/// Plans the next changes of a map.
///
/// `candidates` are *all* nodes that are alive, in any order: a shard whose owner is not among them is given away. Two
/// with one name count as one, by the lower weight, draining or avoided if either is.
///
/// - A shard stays with its live owner, or goes on to the live node that it moves to, unless that node holds more than
///   its quota: its share of all shards by weight, rounded up or down so that the fewest have to move.
/// - A shard without a live owner goes to the node with the highest rendezvous score of those below their quota; to
///   where it was moving, if that has room.
/// - From a node above its quota those with the lowest scores there move, first those that are on their way to it
///   anyhow. Draining nodes come first, then the fullest.
/// - A move to a node that is not alive is turned to another, or called off if the owner has room.
/// - If no node can take shards, nothing changes, except that moves to dead nodes are called off.
///
/// A node that is avoided or let go of in here loses no lease and needs no consent: safety is in the epochs.
///
/// Pure: the same map, the same set of candidates and the same options make the same plan. Cost: one look-up a shard,
/// a score for each shard of a node above its quota, and one for each node and each shard that is placed or moved.
pub fn plan(map: &ShardMap, candidates: &[Candidate], options: &PlanOptions) -> Plan {
    let (changes, waiting) = Planner::new(map, candidates, options).run();
    Plan { version: map.version(), changes, waiting }
}
