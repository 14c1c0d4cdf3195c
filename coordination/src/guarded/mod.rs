//! The guarded store: the only way to write under a lease, because the data path is what excludes.

mod commit;
pub(crate) mod frame;
mod record;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use frame::Header;
use leasehold_core::{Bytes, Capability, Error, ErrorKind, IntoBody, IntoKey, Key, Result, Store, Version};
use parking_lot::Mutex;
pub use record::GuardedRecord;

use crate::{Token, call::read_within, lease::validity::Validity};

/// How often a write starts over when other tasks of the same holder write the same key.
const ATTEMPTS_MAX: u32 = 100;

/// How long one call to the store may take; one that hangs is sent again as it was.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// How many keys are remembered; past it, all are forgotten, which costs one read each.
const KEYS_MAX: usize = 65_536;

/// A store in which every write carries the fencing token of a lease and a precondition. Cloning shares it.
///
/// # What it promises
/// Once a holder with a newer token has read or written a key through its guard, no write through the guard of an
/// older one changes that key: not one that was delayed in the network, not one of a process that was paused for a
/// day. No clock takes part in that. The local clock only spares requests that would be refused.
///
/// It works because the first touch of a key under a new token, also a read, and also of a key that is absent, *seals*
/// it: writes the token into the record before the value is served. From then on what an older holder's write was based
/// on is gone.
///
/// # What it cannot do
/// - Fence keys that the new holder never touched. Bind what belongs together in one record, or touch it.
/// - Fence what does not come through a guard: plain puts into the same keys, multipart uploads, deletes, lifecycle
///   rules, anything blind that is in flight already.
/// - Fence other stores, databases, machines and mail. Hand them the [`Token`], and let them compare it.
/// - Hide old values: a paused holder may still serve what it read before. A read through the guard after the seal is
///   [`Fenced`](ErrorKind::Fenced).
/// - Tell apart two leases of the same name kept in two stores. Guard one set of keys by one lease.
///
/// # How records look
/// A line of text with lease, token and operation, then the value as it is: `cat` and `tail -n +2` read it. A delete
/// writes a tombstone and never removes the key, because a key that is gone could not refuse anybody. Listing through
/// the plain store shows keys, those of tombstones too, and sizes that include the line.
///
/// # Cost in requests
/// Reads: one; the first touch of a key under a lease one put more. Writes: one conditional put; the first of a key one
/// read more.
#[derive(Clone)]
pub struct Guarded {
    store: Store,
    lease: Arc<str>,
    token: Token,
    /// `None` when only the store is to be trusted.
    validity: Option<Arc<Validity>>,
    /// The last record of each key that carries our token.
    touched: Arc<Mutex<HashMap<Key, Touched>>>,
}

#[derive(Clone, Debug)]
struct Touched {
    header: Header,
    version: Version,
}

/// A record as it was read, or its absence.
struct Seen {
    base: Option<Touched>,
    value: Option<Bytes>,
}

impl Guarded {
    pub(crate) fn new(store: Store, lease: &str, token: Token, validity: Arc<Validity>) -> Self {
        Self { store, lease: lease.into(), token, validity: Some(validity), touched: Arc::default() }
    }

    /// The token that every write carries.
    pub fn token(&self) -> Token {
        self.token
    }

    /// The same guard without the look at the local clock: every call goes to the store, and the store alone refuses.
    ///
    /// For tests and demonstrations of exactly that. It is as safe, and slower to notice.
    #[must_use]
    pub fn trusting_only_the_store(&self) -> Self {
        Self { validity: None, ..self.clone() }
    }

    /// Reads a value; `None` where there is none. Seals the key first when it does not carry this token yet.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) when the lease is over, or a newer holder has touched the key.
    /// [`Corrupt`](ErrorKind::Corrupt) for a value that was not written through a guard, and
    /// [`Invalid`](ErrorKind::Invalid) for one of another lease or a newer format: they are left as they are. What the
    /// store fails with.
    ///
    /// # Cancel safety
    /// The key may have been sealed; its value is unchanged.
    pub async fn get(&self, key: impl IntoKey + Send) -> Result<Option<Bytes>> {
        let key = self.checked(key)?;
        for _ in 0..ATTEMPTS_MAX {
            let Seen { base, value } = self.look(&key).await?;
            if base.as_ref().is_some_and(|base| base.header.token == self.token) {
                return Ok(value);
            }
            match self.commit(&key, base, value.as_ref()).await {
                Ok(()) => return Ok(value),
                Err(error) if lost_race(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.contended(&key))
    }

    /// Writes a value. Of several tasks of this holder the last one wins.
    ///
    /// # Errors
    /// As [`get`](Guarded::get). An error with [`is_indeterminate`](Error::is_indeterminate): nobody could say within
    /// the lease's time whether it was applied, though it was sent again and looked for; it may still be, until
    /// the key is written again, or touched under a newer token. [`Conflict`](ErrorKind::Conflict) when very many tasks of
    /// this holder write the key at once.
    ///
    /// # Cancel safety
    /// The write may or may not have happened, or may still happen until the key is written again, or touched under a
    /// newer token.
    pub async fn put(&self, key: impl IntoKey + Send, value: impl IntoBody + Send) -> Result<()> {
        let key = self.checked(key)?;
        let body = value.into_body().map_err(|error| self.told(error, &key))?;
        let value = body.bytes().await.map_err(|error| self.told(error, &key))?;
        self.write(&key, Some(&value)).await
    }

    /// Removes a value, by writing a tombstone over it. An absent key gets one too.
    ///
    /// # Errors
    /// As [`put`](Guarded::put).
    ///
    /// # Cancel safety
    /// As [`put`](Guarded::put).
    pub async fn delete(&self, key: impl IntoKey + Send) -> Result<()> {
        let key = self.checked(key)?;
        self.write(&key, None).await
    }

    /// Reads, lets `change` decide, writes back if nothing changed meanwhile, and otherwise does it again.
    ///
    /// `change` gets the value, `None` where there is none, and returns the new one, `None` to delete; it may be called
    /// many times. Returns what was stored. Costs one read and one conditional put.
    ///
    /// # Errors
    /// What `change` returns, at once; otherwise as [`put`](Guarded::put).
    ///
    /// # Cancel safety
    /// As [`put`](Guarded::put).
    pub async fn update(
        &self,
        key: impl IntoKey + Send,
        mut change: impl FnMut(Option<Bytes>) -> Result<Option<Bytes>> + Send,
    ) -> Result<Option<Bytes>> {
        let key = self.checked(key)?;
        for _ in 0..ATTEMPTS_MAX {
            let Seen { base, value } = self.look(&key).await?;
            let new = change(value)?;
            match self.commit(&key, base, new.as_ref()).await {
                Ok(()) => return Ok(new),
                Err(error) if lost_race(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.contended(&key))
    }

    /// Reads a guarded record from a plain store, for auditors: no lease, no seal, and no claim that it is the last.
    /// `None` where nothing was ever written. Costs one read.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) for a value that was not written through a guard, [`Invalid`](ErrorKind::Invalid)
    /// for a newer format; what the store fails with.
    pub async fn read_unfenced(store: &Store, key: impl IntoKey + Send) -> Result<Option<GuardedRecord>> {
        GuardedRecord::read(store, key).await
    }

    async fn write(&self, key: &Key, value: Option<&Bytes>) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            let known = self.touched.lock().get(key).cloned();
            let base = match known {
                Some(touched) => Some(touched),
                None => self.look(key).await?.base,
            };
            match self.commit(key, base, value).await {
                Err(error) if lost_race(&error) => {}
                settled => return settled,
            }
        }
        Err(self.contended(key))
    }

    /// Reads the record and refuses what this guard must not touch.
    async fn look(&self, key: &Key) -> Result<Seen> {
        let limit = self.time_left().map_err(|error| self.told(error, key))?;
        let read = read_within(&*self.store.environment().clock, limit, self.read(key)).await;
        let Some((header, value, version)) = read.map_err(|error| self.told(error, key))? else {
            return Ok(Seen { base: None, value: None });
        };
        if *header.lease != *self.lease {
            let message = format!(
                "the record is guarded by the lease {:?} and this is {:?}; guard one set of keys by one lease",
                header.lease, self.lease
            );
            return Err(self.told(Error::invalid(message), key));
        }
        if header.token > self.token {
            return Err(self.told(fenced(self.token, header.token), key));
        }
        let touched = Touched { header, version };
        if touched.header.token == self.token {
            self.remember(key, touched.clone());
        }
        Ok(Seen { base: Some(touched), value })
    }

    async fn read(&self, key: &Key) -> Result<Option<(Header, Option<Bytes>, Version)>> {
        let Some(object) = self.store.get(key).await? else { return Ok(None) };
        let version = object.version().clone();
        let (header, value) = Header::decode(&object.bytes().await?)?;
        Ok(Some((header, value, version)))
    }

    fn remember(&self, key: &Key, now: Touched) {
        let mut touched = self.touched.lock();
        if touched.len() >= KEYS_MAX && !touched.contains_key(key) {
            touched.clear();
        }
        touched.insert(key.clone(), now);
    }

    fn forget(&self, key: &Key) {
        self.touched.lock().remove(key);
    }

    fn checked(&self, key: impl IntoKey) -> Result<Key> {
        let key = key.into_key()?;
        self.time_left().map_err(|error| self.told(error, &key))?;
        let capabilities = self.store.capabilities();
        let lacking = [Capability::Linearizable, Capability::ConditionalPut]
            .into_iter()
            .find(|capability| !capabilities.supports(*capability));
        match lacking {
            Some(capability) => Err(self.told(Error::unsupported(capability), &key)),
            None => Ok(key),
        }
    }

    /// How long a call may take.
    fn time_left(&self) -> Result<Duration> {
        let Some(validity) = &self.validity else { return Ok(CALL_WITHIN) };
        match validity.over() {
            None => Ok(validity.remaining().min(CALL_WITHIN)),
            Some(reason) => Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "the lease {:?} with token {} is over: {reason}; stop working under it",
                    self.lease, self.token
                ),
            )),
        }
    }

    fn contended(&self, key: &Key) -> Error {
        let message =
            "other tasks of this holder kept changing the key; nothing was written, try again later";
        self.told(Error::conflict(message), key)
    }

    fn told(&self, error: Error, key: &Key) -> Error {
        error.on("guarded", key).at(&self.store)
    }
}

fn lost_race(error: &Error) -> bool {
    error.is_conflict() && !error.is_indeterminate()
}

fn fenced(ours: Token, theirs: Token) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!(
            "a holder with token {theirs} has taken over from token {ours}; nothing was written, stop working"
        ),
    )
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guarded({} under {:?}, token {})", self.store, self.lease, self.token)
    }
}

#[cfg(test)]
mod tests;
