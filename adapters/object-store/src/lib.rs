//! A bridge to `object_store`, in both directions.
//!
//! - [`FromObjectStore`] makes an adapter of any [`object_store::ObjectStore`], and [`Backend`] says what that one does.
//!   `Google` (with the feature `gcp`) and `Azure` (with `azure`) open buckets and containers.
//! - [`AsObjectStore`] makes an [`object_store::ObjectStore`] of any [`Store`](leasehold_core::Store).

mod attributes;
#[cfg(feature = "azure")]
mod azure;
mod backend;
mod failure;
mod from;
#[cfg(feature = "gcp")]
mod google;
mod into;
#[cfg(any(feature = "azure", feature = "gcp"))]
mod open;
mod tag;

#[cfg(feature = "azure")]
pub use azure::Azure;
pub use backend::{Backend, Versions};
pub use from::FromObjectStore;
#[cfg(feature = "gcp")]
pub use google::Google;
pub use into::AsObjectStore;
