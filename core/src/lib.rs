//! The contract of Leasehold: what a store promises, whatever it is made of.
//!
//! - Implement [`StorageAdapter`] to bring a new backend, or wrap one as a [`Layer`].
//! - Hold a [`Store`] to use one.
//!
//! The crate needs no async runtime.

mod adapter;
mod attributes;
mod body;
mod capability;
mod changes;
mod clock;
mod counter;
mod error;
mod key;
mod layer;
mod namespace;
mod object;
mod range;
mod store;
mod text;
mod watchers;

pub use adapter::{
    BatchOptions, DeleteOptions, GetOptions, ListOptions, Operation, Outcome, Precondition, PutOptions,
    StorageAdapter, batch_by_key, list_with_sizes, refuse_batch,
};
pub use attributes::Attributes;
pub use body::{Body, IntoBody, Json, check_received, check_size};
pub use capability::{Capabilities, Capability, Limits};
pub use changes::{Changes, Notifier, Scope};
pub use clock::{Clock, Environment, Random, SystemClock, SystemRandom};
pub use counter::{COUNTER_BYTES_MAX, add_to, increment_by_swap, unique_sum};
pub use error::{Error, ErrorKind, Result};
pub use key::{IntoKey, KEY_BYTES_MAX, Key, Prefix};
pub use layer::Layer;
pub use namespace::Namespace;
pub use object::{Entry, Lookup, Metadata, Object, Version};
pub use range::ByteRange;
pub use store::{Backoff, Delete, Get, GetIfChanged, List, Put, Store, Value};
pub use watchers::Watchers;

pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use futures_util::{future::BoxFuture, stream::BoxStream};
