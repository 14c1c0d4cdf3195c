//! A state machine kept in one record: read, decided, replaced whole by a conditional write, exact through lost replies.
//!
//! Every coordinator that is not a lease is such a machine: a pure type with pure transitions, and this driver.

use leasehold_core::{Backoff, Bytes, Error, ErrorKind, GetOptions, Key, Lookup, Result, Store, Version};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    call::{CALL_WITHIN, patiently, read_within},
    history::History,
    settle::Write,
};

/// The newest format of records that this version knows.
const FORMAT: u64 = 1;

/// The largest record that is read, in bytes; what is larger was not written by us.
const RECORD_BYTES_MAX: u64 = 4 << 20;

/// What a record holds.
pub(crate) trait State: Clone + Default + Send + Serialize + DeserializeOwned + 'static {
    /// What it is, in the record and in messages, such as `lock`.
    const KIND: &'static str;

    /// Refuses what no transition leads to, in a word or two.
    fn check(&self) -> Result<(), &'static str>;
}

/// What a transition came to.
pub(crate) enum Next<R> {
    /// The state is as it was.
    Keep(R),
    /// It changed, and is to be written.
    Write(R),
}

#[derive(Clone)]
struct Known<S> {
    state: S,
    history: History,
    version: Version,
}

/// One record and what was seen of it last.
pub(crate) struct Register<S> {
    store: Store,
    key: Key,
    /// Never needed for safety: what is stale is refused by the store.
    known: Mutex<Option<Known<S>>>,
}

#[derive(Serialize)]
struct Stored<'a, S> {
    format: u64,
    kind: &'a str,
    sequence: u64,
    op_id: &'a str,
    recent: &'a [String],
    state: &'a S,
}

#[derive(Deserialize)]
struct Envelope {
    sequence: u64,
    op_id: String,
    recent: Vec<String>,
    state: Value,
}

impl<S: State> Register<S> {
    pub(crate) fn new(store: Store, key: Key) -> Self {
        Self { store, key, known: Mutex::new(None) }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The state as it is now; the default one where there is no record. Costs one read, without content when it has not
    /// changed. Transient failures are ridden out for 10 s.
    pub(crate) async fn read(&self) -> Result<S> {
        let known = patiently(self.store.environment(), || self.fetch()).await?;
        Ok(known.map(|known| known.state).unwrap_or_default())
    }

    /// Lets `transition` decide on the state until what it decided stands.
    ///
    /// It may be called many times, and first with a state that is remembered and may be stale: what it keeps on that
    /// account is decided again on a fresh one. Costs one conditional put when the remembered state still stands and
    /// changes, one read and one put otherwise.
    ///
    /// # Errors
    /// What `transition` returns, at once. Transient failures are ridden out for 10 s. An error with
    /// [`is_indeterminate`](Error::is_indeterminate): nobody could say whether the last change was applied.
    pub(crate) async fn change<R>(&self, mut transition: impl FnMut(&mut S) -> Result<Next<R>>) -> Result<R> {
        let remembered = self.known.lock().clone();
        if let Some(known) = remembered
            && let Some(result) = self.attempt(Some(known), &mut transition, true).await?
        {
            return Ok(result);
        }
        let backoff = Backoff::default();
        for attempt in 0..backoff.attempts_max {
            let known = patiently(self.store.environment(), || self.fetch()).await?;
            if let Some(result) = self.attempt(known, &mut transition, false).await? {
                return Ok(result);
            }
            if attempt > 0 {
                backoff.wait(attempt, self.store.environment()).await;
            }
        }
        let message = "others kept changing the record; nothing was written, try again later";
        Err(self.told(Error::conflict(message)))
    }

    /// One decision and the write it asks for; `None`: look again.
    async fn attempt<R>(
        &self,
        known: Option<Known<S>>,
        transition: &mut impl FnMut(&mut S) -> Result<Next<R>>,
        may_be_stale: bool,
    ) -> Result<Option<R>> {
        let mut state = known.as_ref().map(|known| known.state.clone()).unwrap_or_default();
        let result = match transition(&mut state) {
            Ok(Next::Keep(_)) | Err(_) if may_be_stale => return Ok(None),
            Ok(Next::Keep(result)) => return Ok(Some(result)),
            Ok(Next::Write(result)) => result,
            Err(error) => return Err(error),
        };
        let operation = self.store.environment().identifier();
        let history = match &known {
            Some(known) => known.history.successor(operation),
            None => History::first(operation),
        };
        let bytes = self.encode(&state, &history)?;
        let write = Write {
            store: &self.store,
            key: &self.key,
            bytes: &bytes,
            base: known.as_ref().map(|known| &known.version),
            history: &history,
        };
        let history_of = |bytes: &Bytes| decode::<S>(bytes).map(|(_, history)| history);
        match write.settle(|| Ok(CALL_WITHIN), history_of).await {
            Ok(Some(version)) => *self.known.lock() = Some(Known { state, history, version }),
            Ok(None) => *self.known.lock() = None,
            Err(error) => {
                *self.known.lock() = None;
                if error.is_conflict() && !error.is_indeterminate() {
                    return Ok(None);
                }
                return Err(self.told(error));
            }
        }
        Ok(Some(result))
    }

    /// Reads the record, and remembers it.
    async fn fetch(&self) -> Result<Option<Known<S>>> {
        let remembered = self.known.lock().clone();
        let mut options = GetOptions::default();
        options.if_changed_from = remembered.as_ref().map(|known| known.version.clone());
        let clock = &*self.store.environment().clock;
        let fresh = read_within(clock, CALL_WITHIN, async {
            match self.store.adapter().get(&self.key, options).await? {
                Lookup::Absent => Ok(None),
                Lookup::Unchanged => Ok(remembered),
                Lookup::Found(object) => {
                    let version = object.version().clone();
                    let (state, history) = decode(&object.body.collect(RECORD_BYTES_MAX).await?)?;
                    Ok(Some(Known { state, history, version }))
                }
            }
        });
        let fresh = fresh.await.map_err(|error| self.told(error))?;
        self.known.lock().clone_from(&fresh);
        Ok(fresh)
    }

    fn encode(&self, state: &S, history: &History) -> Result<Bytes> {
        let stored = Stored {
            format: FORMAT,
            kind: S::KIND,
            sequence: history.sequence,
            op_id: &history.operation,
            recent: &history.recent,
            state,
        };
        let bytes = serde_json::to_vec(&stored).map_err(|source| {
            self.told(
                Error::new(ErrorKind::Unexpected, "the record cannot be written as JSON").because(source),
            )
        })?;
        if bytes.len() as u64 > RECORD_BYTES_MAX {
            let message = format!("the record of this {} would be over {RECORD_BYTES_MAX} bytes", S::KIND);
            return Err(self.told(Error::invalid(message)));
        }
        Ok(bytes.into())
    }

    pub(crate) fn told(&self, error: Error) -> Error {
        error.on(S::KIND, &self.key).at(&self.store)
    }
}

/// Reads a record.
///
/// # Errors
/// `Corrupt` for what is no record, `Invalid` for one of another kind or a newer format. None is ever overwritten.
fn decode<S: State>(bytes: &[u8]) -> Result<(S, History)> {
    let value: Value = serde_json::from_slice(bytes).map_err(|source| corrupt::<S>().because(source))?;
    match value.get("format").and_then(Value::as_u64) {
        Some(FORMAT) => {}
        Some(newer) if newer > FORMAT => {
            return Err(Error::invalid(format!(
                "the record of this {} has format {newer} and this program knows formats up to {FORMAT}, so it was left \
                 as it is; upgrade this program",
                S::KIND
            )));
        }
        _ => return Err(corrupt::<S>()),
    }
    // Leases are older than kinds.
    let is_lease = || value.get("holder").and(value.get("ttl_ms")).is_some();
    let kind = value.get("kind").and_then(Value::as_str).or_else(|| is_lease().then_some("lease"));
    if let Some(other) = kind.filter(|kind| *kind != S::KIND) {
        return Err(Error::invalid(format!(
            "this is the name of a {other:?} and not of a {}, so it was left as it is; use another name",
            S::KIND
        )));
    }
    let envelope: Envelope =
        serde_json::from_value(value).map_err(|source| corrupt::<S>().because(source))?;
    let state: S = serde_json::from_value(envelope.state).map_err(|source| corrupt::<S>().because(source))?;
    state.check().map_err(|what| corrupt::<S>().because(what))?;
    if envelope.sequence == 0 {
        return Err(corrupt::<S>());
    }
    let history = History { sequence: envelope.sequence, operation: envelope.op_id, recent: envelope.recent };
    Ok((state, history))
}

fn corrupt<S: State>() -> Error {
    let message = format!(
        "what is stored here is not the record of a {}, so it was left as it is; find out who wrote it, and move it \
         away only when nobody can be using it",
        S::KIND
    );
    Error::new(ErrorKind::Corrupt, message)
}
