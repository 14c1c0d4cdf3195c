//! Cloudflare R2 as a store: its addresses, limits and dialect of S3, and reads through an edge cache.
//!
//! [`R2::bucket`] opens a bucket. The Worker that reads are cached by lies in this crate's folder, `worker/`.
//!
//! Untested on R2 itself so far: what is known of it comes from its documentation and from the simulator that its makers
//! publish.

mod edge;
mod open;
mod store;

pub use open::{Jurisdiction, Open};
pub use store::R2;
