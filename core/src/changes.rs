//! Wake-ups for those who wait for a change: what is watched, and the handle that becomes ready.

use std::{
    any::Any,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{stream::Stream, task::AtomicWaker};

use crate::{Key, Prefix};

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One key, whether it exists or not.
    Key(Key),
    /// All keys with a prefix; the empty one stands for the whole store.
    Prefix(Prefix),
}

impl Scope {
    /// Whether a change of `key` is within it.
    pub fn covers(&self, key: &Key) -> bool {
        match self {
            Self::Key(watched) => watched == key,
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => fmt::Display::fmt(key, f),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

const PENDING: u8 = 1;
const ENDED: u8 = 2;

#[derive(Debug, Default)]
struct Flag {
    state: AtomicU8,
    waker: AtomicWaker,
}

impl Flag {
    fn raise(&self, bit: u8) {
        // Who is woken sees all that was done before.
        if self.state.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.waker.wake();
        }
    }

    /// Takes a wake-up down, and tells what stood there.
    fn take(&self, context: &Context<'_>) -> u8 {
        // First the waker, then the look: what is raised in between wakes.
        self.waker.register(context.waker());
        self.state.fetch_and(!PENDING, Ordering::AcqRel)
    }
}

/// The side of a watch that tells: kept by the adapter, and used for every change in the scope. Dropping it ends the watch.
#[derive(Debug)]
pub struct Notifier(Arc<Flag>);

impl Notifier {
    /// Makes the watch ready. Several before it is looked at are one. Costs one atomic operation, and the wake-up.
    pub fn notify(&self) {
        self.0.raise(PENDING);
    }

    /// A second handle on the same watch, which does not keep it from ending.
    pub(crate) fn weak(&self) -> Wakeup {
        Wakeup(self.0.clone())
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.0.raise(ENDED);
    }
}

/// One wake-up that is to be sent.
pub(crate) struct Wakeup(Arc<Flag>);

impl Wakeup {
    pub(crate) fn send(self) {
        self.0.raise(PENDING);
    }
}

/// A watch, made by [`StorageAdapter::changes`](crate::StorageAdapter::changes): a stream that is ready when something in its
/// scope may have changed.
///
/// It is a hint and nothing more. It does not say what changed, it may be ready without a change, and any number of changes
/// make it ready once: what there is to know is learnt by reading, after it was ready. Its end says that the watch was lost,
/// and that from now on one polls, or asks for another one. It holds one flag, however much happens.
///
/// # Cancel safety
/// A wake-up stays until it was taken out by a poll that was ready. Dropping it frees the watch.
#[must_use = "a watch that is dropped is over"]
pub struct Changes {
    flags: Vec<Arc<Flag>>,
    guards: Vec<Box<dyn Any + Send + Sync>>,
}

impl Changes {
    /// A watch, and what makes it ready: for adapters.
    pub fn channel() -> (Notifier, Self) {
        let flag = Arc::new(Flag::default());
        (Notifier(flag.clone()), Self { flags: vec![flag], guards: Vec::new() })
    }

    /// The same with something that is dropped with it.
    pub fn guarded_by(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    /// Ready when either is, over when either is: for layers and composites with more than one source of changes.
    pub fn or(mut self, mut other: Self) -> Self {
        self.flags.append(&mut other.flags);
        self.guards.append(&mut other.guards);
        self
    }
}

impl Stream for Changes {
    type Item = ();

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<()>> {
        // All are asked: each must know whom to wake, and what is taken out together is one wake-up.
        match self.flags.iter().fold(0, |seen, flag| seen | flag.take(context)) {
            seen if seen & PENDING != 0 => Poll::Ready(Some(())),
            seen if seen & ENDED != 0 => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changes")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn ready(changes: &mut Changes) -> Option<Option<()>> {
        changes.next().now_or_never()
    }

    #[test]
    fn wake_ups_that_nobody_took_are_one() {
        let (notifier, mut changes) = Changes::channel();
        assert_eq!(ready(&mut changes), None);
        notifier.notify();
        notifier.notify();
        assert_eq!(ready(&mut changes), Some(Some(())));
        assert_eq!(ready(&mut changes), None);
    }

    #[test]
    fn a_watch_that_is_lost_says_what_it_still_knows_and_ends() {
        let (notifier, mut changes) = Changes::channel();
        notifier.notify();
        drop(notifier);
        assert_eq!(ready(&mut changes), Some(Some(())));
        assert_eq!(ready(&mut changes), Some(None));
        assert_eq!(ready(&mut changes), Some(None));
    }

    #[tokio::test]
    async fn one_who_waits_is_woken_by_a_change_and_by_the_end() {
        let (notifier, mut changes) = Changes::channel();
        let waiting = tokio::spawn(async move { (changes.next().await, changes.next().await) });
        tokio::task::yield_now().await;
        notifier.notify();
        tokio::task::yield_now().await;
        drop(notifier);
        assert_eq!(waiting.await.unwrap(), (Some(()), None));
    }

    #[test]
    fn two_in_one_are_ready_with_either_and_over_with_either() {
        let ((left, one), (right, other)) = (Changes::channel(), Changes::channel());
        let mut both = one.or(other);
        for notifier in [&left, &right] {
            notifier.notify();
            assert_eq!(ready(&mut both), Some(Some(())));
            assert_eq!(ready(&mut both), None);
        }
        left.notify();
        right.notify();
        assert_eq!(ready(&mut both), Some(Some(())));
        assert_eq!(ready(&mut both), None);
        drop(right);
        assert_eq!(ready(&mut both), Some(None));
        left.notify();
    }

    #[test]
    fn a_guard_goes_with_its_watch() {
        let (guard, changes) = (Arc::new(()), Changes::channel().1);
        let changes = changes.guarded_by(guard.clone());
        assert_eq!(Arc::strong_count(&guard), 2);
        drop(changes);
        assert_eq!(Arc::strong_count(&guard), 1);
    }

    #[test]
    fn a_prefix_covers_what_starts_so_and_a_key_only_itself() {
        let key = |text: &str| Key::new(text).unwrap();
        let under = Scope::Prefix(Prefix::new("a/b").unwrap());
        assert!(under.covers(&key("a/b")) && under.covers(&key("a/bc/d")) && !under.covers(&key("a/c")));
        assert!(Scope::Prefix(Prefix::default()).covers(&key("anything")));
        let one = Scope::Key(key("a"));
        assert!(one.covers(&key("a")) && !one.covers(&key("a/b")) && !one.covers(&key("ab")));
    }
}
