//! One guarded write: the record with our token in place of the one that was read.

use leasehold_core::{Body, Bytes, Error, Key, Result};

use super::{
    Guarded, Touched,
    frame::{HEADER_BYTES_MAX, Header},
};
use crate::{history::History, settle::Write};

impl Guarded {
    /// Refuses a value that would not leave room for the longest line before it: a later holder could not seal it.
    fn check_size(&self, key: &Key, value: Option<&Bytes>) -> Result<()> {
        let limit = Body::COLLECT_BYTES_MAX.min(self.store.capabilities().limits().value_bytes_max);
        let room = limit.saturating_sub(HEADER_BYTES_MAX as u64);
        match value {
            Some(value) if value.len() as u64 > room => Err(self.told(
                Error::invalid(format!(
                    "a guarded value of {} bytes is over the limit of {room} bytes",
                    value.len()
                )),
                key,
            )),
            _ => Ok(()),
        }
    }

    /// Replaces the record that was read by one with our token.
    ///
    /// # Errors
    /// A `Conflict` that is not indeterminate when the record has changed: look again.
    pub(super) async fn commit(&self, key: &Key, base: Option<Touched>, value: Option<&Bytes>) -> Result<()> {
        self.check_size(key, value)?;
        let operation = self.store.environment().identifier();
        let (history, version) = match base {
            Some(Touched { header, version }) => (header.history.successor(operation), Some(version)),
            None => (History::first(operation), None),
        };
        let header = Header { lease: (*self.lease).into(), token: self.token, history };
        let bytes = header.encode(value);
        let write = Write {
            store: &self.store,
            key,
            bytes: &bytes,
            base: version.as_ref(),
            history: &header.history,
        };
        let history_of = |record: &Bytes| Header::decode(record).map(|(header, _)| header.history);
        match write.settle(|| self.time_left(), history_of).await {
            Ok(Some(version)) => self.remember(key, Touched { header, version }),
            Ok(None) => self.forget(key),
            Err(error) => {
                self.forget(key);
                return Err(self.told(error, key));
            }
        }
        Ok(())
    }
}
