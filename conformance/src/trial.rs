//! What a case is given, and how it says what it found.

use std::{fmt, result, sync::Arc};

use leasehold_core::{Bytes, Capability, Error, ErrorKind, Result, Store};
use parking_lot::Mutex;

use crate::{Effort, Fixture};

/// One case on one fresh store. Cloning is cheap and shares it.
#[derive(Clone, Debug)]
pub struct Trial(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    fixture: Fixture,
    seed: u64,
    effort: Effort,
    random: Mutex<fastrand::Rng>,
}

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The promise does not hold; the text says what was seen.
    Failed(String),
    /// It could not be tried; the text says why.
    Skipped(String),
}

/// The result of a case, or of a step in one.
pub type Check<T = ()> = result::Result<T, Stop>;

impl Stop {
    /// A promise that does not hold.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// What was seen, or why nothing was tried.
    pub fn why(&self) -> &str {
        match self {
            Self::Failed(why) | Self::Skipped(why) => why,
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("{}: {error}", error.kind()))
    }
}

impl Trial {
    pub(crate) async fn new(fixture: Fixture, seed: u64, effort: Effort) -> Result<Self> {
        let store = fixture.open().await?;
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        Ok(Self(Arc::new(Shared { store, fixture, seed, effort, random })))
    }

    /// The first handle on the store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// A further handle on the same store, as independent of the first as the subject has them.
    ///
    /// # Errors
    /// A failure when it cannot be opened.
    pub async fn another(&self) -> Check<Store> {
        Ok(self.0.fixture.open().await?)
    }

    /// `count` handles on the same store, the first one among them.
    ///
    /// # Errors
    /// A failure when one cannot be opened.
    pub async fn handles(&self, count: usize) -> Check<Vec<Store>> {
        let mut handles = vec![self.store().clone()];
        while handles.len() < count {
            handles.push(self.another().await?);
        }
        Ok(handles)
    }

    /// A handle that refuses larger values.
    ///
    /// # Errors
    /// Skipped where the subject has none.
    pub async fn limited(&self, value_bytes_max: u64) -> Check<Store> {
        let none = || Stop::Skipped("the subject has no handle with a small limit".into());
        self.0.fixture.open_limited(value_bytes_max).await?.ok_or_else(none)
    }

    /// The longest key that fits.
    pub fn key_bytes_max(&self) -> usize {
        self.store().capabilities().limits().key_bytes_max.saturating_sub(self.0.fixture.taken())
    }

    /// Whether the store claims `capability`.
    pub fn claims(&self, capability: Capability) -> bool {
        self.store().capabilities().supports(capability)
    }

    /// How many of `full` rounds, steps or keys to go through, by the [`Effort`] of the run: never more, and not none of some.
    pub fn rounds(&self, full: usize) -> usize {
        self.0.effort.rounds(full)
    }

    /// What decides the random choices of this case.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// A generator that depends on the seed and on how often this was called.
    pub fn random(&self) -> fastrand::Rng {
        self.0.random.lock().fork()
    }
}

/// Fails the case with a message, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Stop::Failed(format!($($message)+)));
        }
    };
}

/// Fails the case, unless both sides are equal.
macro_rules! ensure_eq {
    ($seen:expr, $wanted:expr, $($message:tt)+) => {
        match (&$seen, &$wanted) {
            (seen, wanted) => {
                if seen != wanted {
                    let what = format!($($message)+);
                    return Err($crate::trial::differs(&what, wanted, seen));
                }
            }
        }
    };
}

pub(crate) use {ensure, ensure_eq};

/// The failure of `ensure_eq!`: both sides from shortly before the place where they differ.
pub(crate) fn differs(
    what: &str,
    wanted: &(impl fmt::Debug + ?Sized),
    seen: &(impl fmt::Debug + ?Sized),
) -> Stop {
    let (wanted, seen) = (format!("{wanted:?}"), format!("{seen:?}"));
    let common = wanted.chars().zip(seen.chars()).take_while(|(one, other)| one == other).count();
    let cut = |text: &str| {
        let start = if common > 100 { common - 60 } else { 0 };
        let part: String = text.chars().skip(start).take(240).collect();
        let (before, after) =
            (if start > 0 { "…" } else { "" }, if text.len() > part.len() { "…" } else { "" });
        format!("{before}{part}{after}")
    };
    Stop::Failed(format!("{what}: expected {}, got {}", cut(&wanted), cut(&seen)))
}

/// Checks that a call failed with `kind` and surely changed nothing.
pub(crate) fn refused<T: fmt::Debug>(result: Result<T>, kind: ErrorKind, what: &str) -> Check {
    match result {
        Ok(value) => Err(Stop::Failed(format!("{what}: expected an error ({kind}), got {value:?}"))),
        Err(error) if error.kind() != kind => {
            Err(Stop::Failed(format!("{what}: expected {kind}, got {}: {error}", error.kind())))
        }
        Err(error) if error.is_indeterminate() => {
            Err(Stop::Failed(format!("{what}: the refusal claims an unknown outcome: {error}")))
        }
        Err(_) => Ok(()),
    }
}

/// The value of a key, `None` where there is none.
pub(crate) async fn value(store: &Store, key: &str) -> Check<Option<Bytes>> {
    Ok(match store.get(key).await? {
        Some(object) => Some(object.bytes().await?),
        None => None,
    })
}

/// Checks that `key` holds the number `wanted`, with or without white space behind it.
pub(crate) async fn counts(store: &Store, key: &str, wanted: i64) -> Check {
    let seen = value(store, key).await?.unwrap_or_default();
    let text = String::from_utf8_lossy(&seen);
    ensure!(text.trim_ascii_end() == wanted.to_string(), "{key:?} holds {text:?} instead of {wanted}");
    holds(store, key, Some(&seen)).await
}

/// Checks that get, head and list all show `wanted` for `key`.
pub(crate) async fn holds(store: &Store, key: &str, wanted: Option<&[u8]>) -> Check {
    let seen = value(store, key).await?;
    let differs = || {
        let shown = |bytes: Option<&[u8]>| match bytes {
            None => "nothing".into(),
            Some(bytes) if bytes.len() > 40 => format!("{} bytes", bytes.len()),
            Some(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        };
        format!("get {key:?} shows {} instead of {}", shown(seen.as_deref()), shown(wanted))
    };
    ensure!(seen.as_deref() == wanted, "{}", differs());
    let size = wanted.map(|bytes| bytes.len() as u64);
    let head = store.head(key).await?;
    ensure_eq!(head.as_ref().map(|metadata| metadata.size), size, "the size that head shows for {key:?}");
    let entries = store.list(key).await?;
    let listed = entries.into_iter().find(|entry| entry.key.as_str() == key).map(|entry| entry.metadata);
    if store.capabilities().supports(Capability::ListedSizes) {
        let listed = listed.as_ref().map(|metadata| metadata.size);
        ensure_eq!(listed, size, "the size that list shows for {key:?}");
    }
    let versions = (listed.map(|metadata| metadata.version), head.map(|metadata| metadata.version));
    ensure_eq!(versions.0, versions.1, "the version that list shows for {key:?}, compared with head");
    Ok(())
}
