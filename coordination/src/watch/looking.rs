//! The loop behind every watch: wait, look, and tell when something is different.

use std::{
    future::Future,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use leasehold_core::{Error, Result, Scope, Store};

use super::wake::Wake;
use crate::call::is_transient;

/// How many intervals lie between two looks where the store tells of changes.
const STRETCH: u32 = 10;

/// The pause after a first failure, and the longest.
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(10);

/// What is looked at.
pub(super) trait Look: Send + 'static {
    /// A state.
    type Seen: Send + 'static;

    /// Where it changes.
    fn scope(&self) -> Scope;

    /// The present state; `None` where it is what was returned last.
    fn look(&mut self, store: &Store) -> impl Future<Output = Result<Option<Self::Seen>>> + Send;

    /// Adds to an error what was looked at.
    fn told(&self, error: Error) -> Error;
}

/// How to watch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), patience: Duration::from_secs(30) }
    }
}

/// What comes before the next look.
#[derive(Debug)]
enum Before {
    /// The first one: nothing but to listen.
    Nothing,
    /// A change, or the interval.
    Change,
    /// A pause after a failure.
    Rest(Duration),
}

#[derive(Debug)]
struct Watching<L> {
    store: Store,
    look: L,
    wake: Wake,
    before: Before,
    failures: u32,
    failing_since: Option<Duration>,
}

impl<L: Look> Watching<L> {
    /// The next state.
    async fn next(&mut self, pace: Pace) -> Result<L::Seen> {
        loop {
            match self.before {
                Before::Nothing => self.wake.listen().await,
                Before::Change => {
                    let stretch = if self.wake.is_told() { STRETCH } else { 1 };
                    let interval = self.store.environment().jitter(pace.interval.saturating_mul(stretch));
                    self.wake.pause(interval).await;
                }
                Before::Rest(rest) => self.store.environment().clock.sleep(rest).await,
            }
            self.before = Before::Change;
            match self.look.look(&self.store).await {
                Ok(seen) => {
                    (self.failures, self.failing_since) = (0, None);
                    if let Some(seen) = seen {
                        return Ok(seen);
                    }
                }
                Err(error) => {
                    self.before = Before::Rest(self.rest());
                    if !is_transient(&error) || self.is_impatient(pace.patience) {
                        return Err(self.look.told(error));
                    }
                }
            }
        }
    }

    fn rest(&mut self) -> Duration {
        let rest = REST_MIN * (1 << self.failures.min(10));
        self.failures += 1;
        self.store.environment().jitter(rest.min(REST_MAX))
    }

    /// Whether failures have lasted so long that they are to be told; then it is counted anew.
    fn is_impatient(&mut self, patience: Duration) -> bool {
        let now = self.store.environment().clock.monotonic();
        let since = *self.failing_since.get_or_insert(now);
        let impatient = now.saturating_sub(since) >= patience;
        if impatient {
            self.failing_since = Some(now);
        }
        impatient
    }
}

/// A watch that can be polled. Whoever stops waiting for a state and comes back misses nothing.
pub(super) struct Looking<L: Look> {
    pub(super) pace: Pace,
    idle: Option<Box<Watching<L>>>,
    running: Option<Running<L>>,
}

type Running<L> = BoxFuture<'static, (Box<Watching<L>>, Result<<L as Look>::Seen>)>;

impl<L: Look> Looking<L> {
    pub(super) fn new(store: Store, look: L) -> Self {
        let wake = Wake::new(store.clone(), look.scope());
        let idle = Watching { store, look, wake, before: Before::Nothing, failures: 0, failing_since: None };
        Self { pace: Pace::default(), idle: Some(Box::new(idle)), running: None }
    }

    /// What is looked at, while nothing is under way.
    pub(super) fn look_mut(&mut self) -> Option<&mut L> {
        self.idle.as_mut().map(|idle| &mut idle.look)
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<L::Seen>> {
        if let Some(mut watching) = self.idle.take() {
            let pace = self.pace;
            self.running = Some(Box::pin(async move {
                let next = watching.next(pace).await;
                (watching, next)
            }));
        }
        let Some(running) = &mut self.running else { return Poll::Pending };
        let (watching, next) = ready!(running.as_mut().poll(context));
        (self.idle, self.running) = (Some(watching), None);
        Poll::Ready(next)
    }
}
