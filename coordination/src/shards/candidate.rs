//! Who may own shards.

use crate::NodeName;

/// A live node, as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub(super) name: NodeName,
    pub(super) weight: u32,
    pub(super) draining: bool,
    pub(super) avoid: bool,
}

impl Candidate {
    /// A node of weight 1 that takes shards.
    pub fn new(name: NodeName) -> Self {
        Self { name, weight: 1, draining: false, avoid: false }
    }

    /// How much it can carry, compared with the others: a node of weight 2 owns twice as many shards as one of
    /// weight 1. With 0 it owns none, as if it were draining. Default 1.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// Whether it shall be emptied: it gets no shards, and those it has move away. Default no.
    #[must_use]
    pub fn draining(self, draining: bool) -> Self {
        Self { draining, ..self }
    }

    /// Whether to give it no shards that it does not have while others have [room](crate::shards::PlanOptions::room_percent), because
    /// it is not to be relied upon at the moment. It keeps what it has, up to its share. Default no.
    #[must_use]
    pub fn avoid(self, avoid: bool) -> Self {
        Self { avoid, ..self }
    }

    /// Its weight; 0 for one that drains.
    pub(super) fn effective_weight(&self) -> u32 {
        if self.draining { 0 } else { self.weight }
    }

    /// The name of the node.
    pub fn name(&self) -> &NodeName {
        &self.name
    }
}
