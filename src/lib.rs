//! A directory or a bucket as a store with exact compare-and-swap, and leases that fence, on one contract.
//!
//! - [`open`] names a store by URL, or a [`Stack`] by its file; [`Store`] is the handle to hold.
//! - [`memory`], [`mod@fs`], [`s3`], [`r2`], and with the feature `object-store` the bridge to `object_store`: the adapters.
//! - [`layers`]: what wraps them.
//! - [`coordination`]: leases and guarded stores on any of them.
//!
//! ```
//! # use leasehold::{Result, Store};
//! # #[tokio::main] async fn main() -> Result<()> {
//! let store = leasehold::open("mem:").await?; // or "fs:/var/lib/app", "s3://bucket", a path
//! let version = store.put("greeting", "hello").if_absent().await?;
//! store.put("greeting", "hello, world").if_match(version).await?;
//! assert_eq!(store.get("greeting").await?.unwrap().text().await?, "hello, world");
//! # Ok(()) }
//! ```

mod stack;
pub mod units;
mod url;

pub use leasehold_core::*;
pub use stack::{Level, OpenStack, Stack};
pub use url::{open, open_existing};

/// A directory as a store, for one or many processes.
pub use leasehold_fs as fs;
/// A store in memory.
pub use leasehold_memory as memory;
/// Anything that `object_store` reaches as a store, and any store as an `object_store`.
#[cfg(feature = "object-store")]
pub use leasehold_object_store as object_store;
/// A bucket on Cloudflare R2.
#[cfg(feature = "r2")]
pub use leasehold_r2 as r2;
/// A bucket on S3, and on what speaks its protocol.
#[cfg(feature = "s3")]
pub use leasehold_s3 as s3;

/// Layers: what wraps one adapter and is one again.
pub use leasehold_layers as layers;

/// Leases and guarded stores.
pub use leasehold_coordination as coordination;

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So does that of the page about layers.
#[cfg(doctest)]
#[doc = include_str!("../docs/layers.md")]
struct LayersPage;
