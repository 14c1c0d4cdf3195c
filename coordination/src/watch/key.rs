//! Watching one key.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::Stream;
use leasehold_core::{Error, GetOptions, Key, Lookup, Object, Result, Scope, Store, Version};

use super::looking::{Look, Looking};
use crate::call::{CALL_WITHIN, read_within};

/// A watch of one key, made by [`Watch::key`](crate::Watch::key): its present value, `None` where there is none, and then its
/// value whenever it has another version than the one yielded last, or came, or went.
///
/// Also a [`Stream`], which never ends.
///
/// # Cost
/// A look at a key that did not change is one conditional read, which sends no content; one that finds nothing is one read. A
/// value comes with the read that found it; a large one is read while its body is.
///
/// # Cancel safety
/// [`next`](KeyWatch::next) can be dropped and called again at any time. Dropping the watch ends it.
#[must_use = "a watch looks only when it is asked"]
pub struct KeyWatch {
    key: Key,
    looking: Looking<One>,
}

struct One {
    key: Key,
    last: Last,
}

/// What was yielded last.
enum Last {
    Nothing,
    Absence,
    Value(Version),
}

impl Look for One {
    type Seen = Option<Object>;

    fn scope(&self) -> Scope {
        Scope::Key(self.key.clone())
    }

    async fn look(&mut self, store: &Store) -> Result<Option<Option<Object>>> {
        let mut options = GetOptions::default();
        if let Last::Value(version) = &self.last {
            options = options.if_changed_from(version.clone());
        }
        let reading = store.adapter().get(&self.key, options);
        match read_within(&*store.environment().clock, CALL_WITHIN, reading).await? {
            Lookup::Unchanged => Ok(None),
            Lookup::Absent => {
                let gone = !matches!(self.last, Last::Absence);
                self.last = Last::Absence;
                Ok(gone.then_some(None))
            }
            Lookup::Found(object) => {
                let same = matches!(&self.last, Last::Value(version) if version == object.version());
                self.last = Last::Value(object.version().clone());
                Ok((!same).then_some(Some(object)))
            }
        }
    }

    fn told(&self, error: Error) -> Error {
        error.on("watch", &self.key)
    }
}

impl KeyWatch {
    pub(super) fn new(store: Store, key: Key) -> Self {
        let one = One { key: key.clone(), last: Last::Nothing };
        Self { key, looking: Looking::new(store, one) }
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

    /// Waits for the next state; the first time for the present one, which is there at once. The watch goes on after an error.
    ///
    /// # Errors
    /// What the store fails with, when it lasts or cannot pass.
    pub async fn next(&mut self) -> Result<Option<Object>> {
        poll_fn(|context| self.looking.poll(context)).await
    }
}

impl Stream for KeyWatch {
    type Item = Result<Option<Object>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.looking.poll(context).map(Some)
    }
}

impl fmt::Debug for KeyWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyWatch({:?})", self.key)
    }
}
