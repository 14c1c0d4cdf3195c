//! S3, and what speaks its protocol, as a store with exact compare-and-swap.
//!
//! [`S3::bucket`] opens one. How a write comes to its outcome is decided in `outcome.rs`, a machine without input and output;
//! `wire.rs` sends one signed request at a time and never decides anything about a condition.

mod bucket;
mod counter;
mod credentials;
mod delete;
mod headers;
mod http;
mod list;
mod multipart;
mod open;
mod outcome;
mod pace;
mod read;
mod refusal;
mod sign;
mod store;
mod target;
mod time;
mod wire;
mod write;
mod xml;

pub use open::Open;
pub use store::S3;
