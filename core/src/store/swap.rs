//! Read, decide, write back only if nothing changed: by value, and as a loop.

use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Body, DeleteOptions, Environment, Error, ErrorKind, GetOptions, IntoKey, Key, Precondition, Result,
    Store, Version,
};

/// An expected or a new value; absence is one of them.
///
/// Made from text, bytes, or `None` for "must not exist" and "delete".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(Option<Bytes>);

impl Value {
    /// From bytes that may be absent.
    pub fn new(bytes: Option<Bytes>) -> Self {
        Self(bytes)
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self(text.map(|text| Bytes::copy_from_slice(text.as_bytes())))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Some(text).into()
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(Some(Bytes::copy_from_slice(bytes)))
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self(Some(bytes))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Some(bytes.into()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(Some(text.into()))
    }
}

/// How often a compare-and-swap loop tries, and how long it waits in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How often at most.
    pub attempts_max: u32,
    /// The first wait; it doubles from one attempt to the next.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for Backoff {
    /// 100 attempts, 1 ms doubling up to 100 ms, each drawn between half and whole.
    fn default() -> Self {
        Self { attempts_max: 100, first: Duration::from_millis(1), longest: Duration::from_millis(100) }
    }
}

impl Backoff {
    /// Waits after the failed `attempt`, counted from 0.
    pub async fn wait(&self, attempt: u32, environment: &Environment) {
        let doubled = self.first.saturating_mul(1 << attempt.min(20));
        environment.clock.sleep(environment.jitter(doubled.min(self.longest))).await;
    }

    fn exhausted(&self, key: &Key) -> Error {
        let message = format!(
            "still contended after {} attempts; nothing was written, try again later",
            self.attempts_max
        );
        Error::conflict(message).on("update", key)
    }
}

impl Store {
    /// Replaces `expected` by `new`, both by value; `None` stands for absence: "must not exist", "delete".
    ///
    /// Returns whether it was done. `false` means that the stored value was another at some moment during the call.
    ///
    /// # Errors
    /// As for reads and conditional writes; [`Conflict`](ErrorKind::Conflict) when the key changed under every
    /// one of the attempts of a default [`Backoff`]. An error with
    /// [`is_indeterminate`](Error::is_indeterminate) may have been applied.
    pub async fn compare_and_swap(
        &self,
        key: impl IntoKey + Send,
        expected: impl Into<Value> + Send,
        new: impl Into<Value> + Send,
    ) -> Result<bool> {
        let (key, Value(expected), Value(new)) = (key.into_key()?, expected.into(), new.into());
        let backoff = Backoff::default();
        for attempt in 0..backoff.attempts_max {
            let (current, version) = self.read(&key).await?;
            if current != expected {
                return Ok(false);
            }
            match self.replace(&key, version, new.clone()).await {
                Ok(_) => return Ok(true),
                Err(error) if error.is_conflict() && !error.is_indeterminate() => {}
                Err(error) => return Err(error),
            }
            backoff.wait(attempt, self.environment()).await;
        }
        Err(backoff.exhausted(&key))
    }

    /// Reads, lets `change` decide, writes back if nothing changed meanwhile, and otherwise does it again.
    ///
    /// `change` gets the value, `None` where there is none, and returns the new one, `None` to delete; it may be
    /// called many times. Returns what was stored.
    ///
    /// ```
    /// # use leasehold_core::{Bytes, Store};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
    /// # let store = Store::new(leasehold_memory::Memory::new());
    /// store.update("log", |current| {
    ///     let mut text = current.map(Vec::from).unwrap_or_default();
    ///     text.extend_from_slice(b"one more line\n");
    ///     Ok(Some(text.into()))
    /// }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What `change` returns, at once; what reading and writing fail with; [`Conflict`](ErrorKind::Conflict) when a
    /// default [`Backoff`] is exhausted. An error with [`is_indeterminate`](Error::is_indeterminate) is returned as it
    /// is and never tried again: the change may have been applied.
    pub async fn update(
        &self,
        key: impl IntoKey + Send,
        change: impl FnMut(Option<Bytes>) -> Result<Option<Bytes>> + Send,
    ) -> Result<Option<Bytes>> {
        self.update_with(key, Backoff::default(), change).await
    }

    /// [`update`](Store::update) with a patience of the caller's choice.
    ///
    /// # Errors
    /// As [`update`](Store::update).
    pub async fn update_with(
        &self,
        key: impl IntoKey + Send,
        backoff: Backoff,
        mut change: impl FnMut(Option<Bytes>) -> Result<Option<Bytes>> + Send,
    ) -> Result<Option<Bytes>> {
        let key = key.into_key()?;
        for attempt in 0..backoff.attempts_max {
            let (current, version) = self.read(&key).await?;
            let new = change(current)?;
            match self.replace(&key, version, new.clone()).await {
                Ok(_) => return Ok(new),
                Err(error) if error.is_conflict() && !error.is_indeterminate() => {}
                Err(error) => return Err(error),
            }
            backoff.wait(attempt, self.environment()).await;
        }
        Err(backoff.exhausted(&key))
    }

    /// [`update`](Store::update) for a value that is JSON.
    ///
    /// # Errors
    /// As [`update`](Store::update); [`Corrupt`](ErrorKind::Corrupt) when what is stored is not JSON of this shape.
    pub async fn update_json<T: Serialize + DeserializeOwned>(
        &self,
        key: impl IntoKey + Send,
        mut change: impl FnMut(Option<T>) -> Result<Option<T>> + Send,
    ) -> Result<Option<T>> {
        let key = key.into_key()?;
        let corrupt = |source| {
            Error::new(ErrorKind::Corrupt, "the value is not JSON of the expected shape")
                .because(source)
                .on("update", &key)
        };
        let stored = self
            .update(&key, |bytes| {
                let current =
                    bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(corrupt)?;
                let new = change(current)?.map(|new| serde_json::to_vec(&new)).transpose();
                new.map(|bytes| bytes.map(Bytes::from)).map_err(|source| {
                    Error::invalid("the value cannot be written as JSON").because(source).on("update", &key)
                })
            })
            .await?;
        stored.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(corrupt)
    }

    async fn read(&self, key: &Key) -> Result<(Option<Bytes>, Option<Version>)> {
        match self.adapter().get(key, GetOptions::default()).await?.found() {
            None => Ok((None, None)),
            Some(object) => {
                let version = object.version().clone();
                Ok((Some(object.bytes().await?), Some(version)))
            }
        }
    }

    async fn replace(&self, key: &Key, version: Option<Version>, new: Option<Bytes>) -> Result<()> {
        match (version, new) {
            (None, None) => Ok(()),
            (Some(version), None) => self.adapter().delete(key, DeleteOptions::matching(version)).await,
            (version, Some(bytes)) => {
                let precondition = version.map_or(Precondition::Absent, Precondition::Matches);
                self.adapter().put(key, Body::from(bytes), precondition.into()).await.map(drop)
            }
        }
    }
}
