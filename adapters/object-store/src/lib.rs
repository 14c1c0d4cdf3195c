//! A bridge to `object_store`, in both directions.

mod attributes;
mod backend;
mod failure;
mod from;
mod into;
mod tag;

pub use backend::{Backend, Versions};
pub use from::FromObjectStore;
pub use into::AsObjectStore;
