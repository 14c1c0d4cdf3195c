//! Elections: `elections` is what users hold, `leadership` is what the one who won gets. The algorithm is the lease's.

mod elections;
mod leadership;

pub use elections::{Campaign, Elections, LeaderView};
pub use leadership::Leadership;

/// Where elections are kept in a store.
const PREFIX: &str = "_cluster/elections";

/// Beside the lease of an election: what its leader proclaims.
const PROCLAMATION: &str = "proclamation";

/// What the lease of an election is called.
const LEADER: &str = "leader";
