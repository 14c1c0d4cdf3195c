//! Guarded records as an auditor sees them.

use leasehold_core::{Bytes, IntoKey, Result, Store, Version};

use super::frame::Header;
use crate::{
    Token,
    call::{CALL_WITHIN, read_within},
};

/// A record that was written through a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardedRecord {
    /// The lease that guards it.
    pub lease: String,
    /// The token of the holder that wrote it, or sealed it.
    pub token: Token,
    /// How often it was written, seals included.
    pub sequence: u64,
    /// The value; `None` after a delete, and where an absent key was sealed.
    pub value: Option<Bytes>,
    /// The version of the record in its store.
    pub version: Version,
}

impl GuardedRecord {
    /// Reads a record from a plain store; see [`Guarded::read_unfenced`](crate::Guarded::read_unfenced).
    pub(super) async fn read(store: &Store, key: impl IntoKey + Send) -> Result<Option<Self>> {
        let key = key.into_key()?;
        let read = read_within(&*store.environment().clock, CALL_WITHIN, async {
            let Some(object) = store.get(&key).await? else { return Ok(None) };
            let version = object.version().clone();
            Ok(Some((version, object.bytes().await?)))
        });
        let Some((version, bytes)) = read.await? else { return Ok(None) };
        let (header, value) = Header::decode(&bytes).map_err(|error| error.on("get", &key).at(store))?;
        let Header { lease, token, history } = header;
        Ok(Some(Self { lease, token, sequence: history.sequence, value, version }))
    }
}
