//! Watching all keys with a prefix.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{Stream, TryStreamExt};
use leasehold_core::{Entry, Error, Key, Prefix, Result, Scope, Store, Version};

use super::looking::{Look, Looking};
use crate::call::listed;

/// How many keys a watch holds, unless told otherwise.
const KEYS_MAX: usize = 100_000;

/// A watch of all keys with a prefix, made by [`Watch::prefix`](crate::Watch::prefix): first all that are there, as
/// [added](Difference::added), possibly none, and then what is different from what was yielded last, whenever something is.
///
/// Also a [`Stream`], which never ends.
///
/// # Cost
/// Each look is one list of the prefix, whatever changed. The watch holds key and version of each entry, up to
/// [100,000](PrefixWatch::keys_max) of them; past that it yields [`Invalid`](leasehold_core::ErrorKind::Invalid): watch a longer
/// prefix.
///
/// # Cancel safety
/// [`next`](PrefixWatch::next) can be dropped and called again at any time. Dropping the watch ends it.
#[must_use = "a watch looks only when it is asked"]
pub struct PrefixWatch {
    prefix: Prefix,
    looking: Looking<Many>,
}

/// What is different from what was seen before. Applied one after the other to an empty set, they make the present state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Keys that were not there, ascending.
    pub added: Vec<Entry>,
    /// Keys that have another version now, ascending.
    pub changed: Vec<Entry>,
    /// Keys that are gone, ascending.
    pub removed: Vec<Key>,
}

impl Difference {
    /// Whether nothing is different. Only ever so of the first one, where no key is there yet.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

struct Many {
    prefix: Prefix,
    keys_max: usize,
    /// What was yielded so far.
    last: Option<BTreeMap<Key, Version>>,
}

impl Look for Many {
    type Seen = Difference;

    fn scope(&self) -> Scope {
        Scope::Prefix(self.prefix.clone())
    }

    async fn look(&mut self, store: &Store) -> Result<Option<Difference>> {
        let mut entries = listed(store, self.prefix.as_str());
        let nothing = BTreeMap::new();
        let last = self.last.as_ref().unwrap_or(&nothing);
        let (mut now, mut difference) = (BTreeMap::new(), Difference::default());
        while let Some(entry) = entries.try_next().await? {
            if now.len() >= self.keys_max {
                return Err(self.too_many());
            }
            now.insert(entry.key.clone(), entry.metadata.version.clone());
            match last.get(&entry.key) {
                None => difference.added.push(entry),
                Some(version) if *version != entry.metadata.version => difference.changed.push(entry),
                Some(_) => {}
            }
        }
        difference.removed = last.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
        let tell = self.last.is_none() || !difference.is_empty();
        self.last = Some(now);
        Ok(tell.then_some(difference))
    }

    fn told(&self, error: Error) -> Error {
        error.during("watch")
    }
}

impl Many {
    fn too_many(&self) -> Error {
        Error::invalid(format!(
            "more than {} keys start with {:?}, which is more than this watch holds; watch a longer prefix",
            self.keys_max, self.prefix
        ))
    }
}

impl PrefixWatch {
    pub(super) fn new(store: Store, prefix: Prefix) -> Self {
        let many = Many { prefix: prefix.clone(), keys_max: KEYS_MAX, last: None };
        Self { prefix, looking: Looking::new(store, many) }
    }

    /// How often to look where the store does not tell of changes, a second by default; a tenth as often where it does. From the
    /// next state on.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.looking.pace.interval = interval;
        self
    }

    /// For how long to ride out failures before they are told; 30 s by default. From the next state on.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.looking.pace.patience = patience;
        self
    }

    /// How many keys there may be; 100,000 by default, about 10 MiB. Call it before the first [`next`](PrefixWatch::next).
    pub fn keys_max(mut self, keys: usize) -> Self {
        if let Some(many) = self.looking.look_mut() {
            many.keys_max = keys;
        }
        self
    }

    /// Waits for the next difference; the first time for the present entries, which are there at once. The watch goes on after
    /// an error.
    ///
    /// # Errors
    /// What the store fails with, when it lasts or cannot pass; [`Invalid`](leasehold_core::ErrorKind::Invalid) for too many keys.
    pub async fn next(&mut self) -> Result<Difference> {
        poll_fn(|context| self.looking.poll(context)).await
    }
}

impl Stream for PrefixWatch {
    type Item = Result<Difference>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.looking.poll(context).map(Some)
    }
}

impl fmt::Debug for PrefixWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrefixWatch({:?})", self.prefix)
    }
}
