//! How plan, progress and findings are written in records.

use leasehold::{Bytes, Error, ErrorKind, Result};
use serde::{Serialize, de::DeserializeOwned};

/// A value as it is stored.
pub(crate) fn encode(value: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|source| Error::invalid("the value cannot be written as JSON").because(source))
}

/// The value that was stored.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| {
        Error::new(ErrorKind::Corrupt, "a record of this run is not what a node wrote").because(source)
    })
}
