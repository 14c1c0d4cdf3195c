//! One shard of a map: its number, its owner, and the epoch that fences the owners before.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::NodeName;

/// The number of a shard. Numbers need not be consecutive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(u32);

impl ShardId {
    /// The shard with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Who owns a shard. There is no state with two owners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShardState {
    /// Nobody.
    Free,
    /// One node, which may serve the shard.
    Owned {
        /// That node.
        owner: NodeName,
    },
    /// One node, which is asked to stop and seal; then the other owns it.
    Moving {
        /// The node that owns the shard until it has sealed it.
        owner: NodeName,
        /// The node that owns it afterwards. It is another one, and must do nothing with the shard yet.
        to: NodeName,
    },
}

/// A shard as a map has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    id: ShardId,
    epoch: u64,
    state: ShardState,
}

impl Shard {
    /// A shard as a record has it.
    pub(super) fn recorded(id: ShardId, epoch: u64, state: ShardState) -> Self {
        Self { id, epoch, state }
    }

    /// Its number.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Counts the tenures: it grows by one whenever the owner changes, to nobody as well, and when a move is called
    /// off, because the owner may have sealed its tenure by then. It never shrinks.
    ///
    /// This is the token that the owner seals and writes with. Starting a move does not change it.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Who owns it, and who will.
    pub fn state(&self) -> &ShardState {
        &self.state
    }

    /// The one node that may serve it; while it moves, the one that it moves away from.
    pub fn owner(&self) -> Option<&NodeName> {
        match &self.state {
            ShardState::Free => None,
            ShardState::Owned { owner } | ShardState::Moving { owner, .. } => Some(owner),
        }
    }

    /// The node that it is on its way to.
    pub fn moving_to(&self) -> Option<&NodeName> {
        match &self.state {
            ShardState::Moving { to, .. } => Some(to),
            ShardState::Free | ShardState::Owned { .. } => None,
        }
    }

    /// Begins a tenure, also one of nobody.
    pub(super) fn begin(&mut self, state: ShardState) {
        // Records with the last possible epoch are refused when they are read.
        self.epoch = self.epoch.saturating_add(1);
        self.state = state;
    }

    /// Sends it on its way, or to another node than so far, within the tenure that it is in.
    pub(super) fn send(&mut self, owner: NodeName, to: NodeName) {
        self.state = ShardState::Moving { owner, to };
    }
}
