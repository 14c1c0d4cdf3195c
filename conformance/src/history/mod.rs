//! What concurrent clients did and saw, and whether it could have happened one operation at a time.
//!
//! A [`Recorder`] notes when each call began and ended. [`check`] then looks, key by key, for an order that agrees
//! with real time and in which every reply is the right one: the search of Wing and Gong with Lowe's cache of
//! visited states ("Testing for linearizability", 2017). A call whose outcome nobody knows is left open: it may take
//! effect at any time after it began, or never.

mod checker;
mod facts;
mod ids;
mod list;
mod lock;
mod model;
mod opens;
mod record;
mod register;
mod search;
#[cfg(test)]
mod tests;
mod visited;

pub use checker::{Verdict, check, check_with};
pub use ids::{IdsAction, IdsReply, check_ids};
pub use lock::{Lock, LockAction, LockReply, Mode};
pub use model::Model;
pub use record::{Pending, Record, Recorder};
pub use register::{Action, Register, Reply};
