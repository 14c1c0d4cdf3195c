//! What the parent and the nodes say to each other, as lines of JSON on the nodes' stdin and stdout.
//!
//! The pipe's end is part of it: a node whose stdin closes ends at once, because its parent is gone.

use serde::{Deserialize, Serialize};

/// From the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Acquire these shards; nobody else will ask for them at first.
    Claim(Vec<usize>),
    /// From now on, take over any shard whose holder is gone.
    Watch,
    /// All faults have been injected: the last file of every shard may be written.
    Finish,
    /// A shard is done; nobody needs to wait for it.
    Completed(usize),
}

/// From a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// Connected to the store, waiting for orders.
    Ready,
    /// The first guarded writes of a new holder were applied: from here on every older one is refused.
    Sealed { shard: usize, token: u64, step: usize },
    /// A file's result was acknowledged.
    Stored { shard: usize, token: u64, step: usize },
    /// So was its entry in the shard's record.
    Logged { shard: usize, token: u64, step: usize },
    /// Only the last file is left, and it is kept back until [`Order::Finish`].
    Holding { shard: usize, token: u64 },
    /// Everything of a shard is applied.
    Completed { shard: usize, token: u64 },
    /// The lease is gone while there was work to do under it.
    Lost { shard: usize, token: u64 },
    /// The write that was pending when the lease was lost was sent to the store all the same.
    Stale { shard: usize, token: u64, step: usize, refused: bool },
    /// The node cannot go on.
    Failed { message: String },
}
