//! Leases from the outside, on a store whose failures and time are in the test's hand.
#![expect(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod certification;
mod contention;
mod elections;
mod fencing;
mod hints;
mod lifecycle;
mod locks;
mod meetings;
mod members;
mod renewal;
mod shards;
mod support;
mod waiting;
mod watching;
