//! The `Retry` layer: another try for what may be tried again.

mod adapter;
mod budget;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use leasehold_core::{Environment, Error, Layer, StorageAdapter};

use budget::Budget;

/// Sends calls again that failed and [may be sent again](Error::is_retryable), with growing, jittered waits, as long as there
/// is a budget for it.
///
/// What is never sent again: a conditional write, or an increment, whose outcome is unknown, because it would conflict with
/// itself or count twice; a put of a stream, which can be read once; an entry of a batch that shares its key with another, since
/// their order counts; an atomic batch. An error that comes after one whose outcome was unknown says so too. A list goes on
/// after the last key that came. Weakens no promise.
///
/// The **budget** is shared by all calls: a retry takes one of 100 tokens, a success gives a tenth back. When most calls fail,
/// retries stop and errors come through at once, so that a store in trouble is not asked more than before.
///
/// Costs nothing when nothing fails, but a copy of a reference to the body. Place it inside of a cache and outside of a
/// [`Timeout`](crate::Timeout) that is to hold for each try.
///
/// ```
/// # use leasehold_core::Store;
/// # use leasehold_layers::Retry;
/// let store = Store::new(leasehold_memory::Memory::new()).layer(Retry::new().attempts_max(5));
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    attempts_max: u32,
    first: Duration,
    longest: Duration,
    budget: Arc<Budget>,
    environment: Environment,
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// Up to 4 tries, 50 ms and then twice as long each time apart, at most 5 s.
    pub fn new() -> Self {
        Self {
            attempts_max: 4,
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
            budget: Arc::default(),
            environment: Environment::default(),
        }
    }

    /// How often a call is tried at most; at least once.
    #[must_use]
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts.max(1);
        self
    }

    /// The first wait, and the longest. Each wait is drawn from its upper half.
    #[must_use]
    pub fn waits(mut self, first: Duration, longest: Duration) -> Self {
        (self.first, self.longest) = (first, longest);
        self
    }

    /// The same with another clock and generator, for tests and simulations.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Waits for the next try after the failed `attempt`, counted from 1; `false` when there is to be none.
    async fn again(&self, attempt: u32, error: &Error, may: May) -> bool {
        if attempt >= self.attempts_max || !may.repeat(error) || !self.budget.take() {
            return false;
        }
        let wait = self.first.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest);
        self.environment.clock.sleep(self.environment.jitter(wait)).await;
        true
    }
}

/// What a call may have done already when it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    /// Sent again whatever became of it, where the error allows it.
    Anything,
    /// Only when it certainly did nothing.
    Nothing,
    /// Never.
    Never,
}

impl May {
    fn repeat(self, error: &Error) -> bool {
        match self {
            Self::Anything => error.is_retryable(),
            Self::Nothing => error.is_retryable() && !error.is_indeterminate(),
            Self::Never => false,
        }
    }
}

impl Layer for Retry {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        Arc::new(adapter::Retried { retry: self, inner })
    }
}
