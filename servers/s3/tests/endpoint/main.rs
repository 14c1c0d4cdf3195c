//! The endpoint, seen by AWS's own client and by raw connections.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod batches;
mod bodies;
mod buckets;
mod conditions;
mod copies;
mod failures;
mod lists;
mod metadata;
mod objects;
mod parts;
mod races;
mod server;
mod signatures;
mod stalls;
mod support;
mod wire;
