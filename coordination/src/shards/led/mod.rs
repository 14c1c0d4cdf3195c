//! Shards under a leader: `handle` is what users hold; `agent` follows the map on every node, `leader` keeps it on one;
//! `mailbox` is how the others ask the leader.

mod agent;
mod handle;
mod leader;
mod mailbox;

pub use handle::{JoinLed, LedShards, Topology};
pub use mailbox::{Answer, Ask};

/// Where the map is kept, guarded by the leader's term.
const MAP: &str = "_cluster/shard-map";

/// Where the leader tells who takes part, guarded by its term.
const TOPOLOGY: &str = "_cluster/topology";

/// What the election of the leader is called.
const ELECTION: &str = "shards";

/// The label by which a member tells its session.
const SESSION: &str = "shard-session";
