//! What concurrent clients did and saw, and whether it could have happened one operation at a time.
//!
//! A [`Recorder`] notes when each call began and ended. Then, key by key, it is decided whether there is an order that
//! agrees with real time and in which every reply is the right one:
//!
//! | what was recorded | of | decided by |
//! |---|---|---|
//! | [`Action`], [`Reply`] | registers and counters, with versions and preconditions | [`check`] |
//! | [`LockAction`], [`LockReply`] | locks, read-write locks, semaphores, elections, with tokens | [`check_with`] a [`Lock`] |
//! | [`IdsAction`], [`IdsReply`] | ids that are given out and given back | [`check_ids`] |
//! | what a [`Model`] of yours says | anything else | [`check_with`] that |
//!
//! The search is the one of Wing and Gong with Lowe's cache of visited states ("Testing for linearizability", 2017), which
//! tells a wrong history by its first reply that no order explains. A call whose outcome nobody knows is left open: it
//! may take effect at any time after it began, or never.
//!
//! A right history costs about a placement for each call that changes something, and most wrong ones a few times that.
//! What costs more: many calls that last long, and unknown outcomes in a wrong history, of which all uses are
//! tried; of increments by different amounts not more than some dozens should be unknown on one key.
//!
//! ```
//! use leasehold_conformance::history::{Action, Recorder, Reply, Verdict, check};
//!
//! let recorder = Recorder::new();
//! // Nobody knows whether this was applied.
//! drop(recorder.begin(1, "counter", Action::Increment(5)));
//! recorder.begin(2, "counter", Action::Increment(1)).end(Reply::Sum(6));
//! assert_eq!(check(&recorder.records()), Verdict::Linearizable);
//! // It was, so now it is counted.
//! recorder.begin(3, "counter", Action::Increment(1)).end(Reply::Sum(2));
//! assert!(matches!(check(&recorder.records()), Verdict::Violated { .. }));
//! ```

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
