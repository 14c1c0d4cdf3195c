//! How often and how fast a call is tried again.

use std::time::Duration;

use leasehold_core::Environment;

/// The most attempts of one call, and the waits between them: doubling, each drawn between half and whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) attempts_max: u32,
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    /// The first wait after the server has asked for a slower pace.
    pub(crate) throttled: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            first: Duration::from_millis(20),
            longest: Duration::from_secs(5),
            throttled: Duration::from_millis(100),
        }
    }
}

impl Pace {
    /// Whether there may be another attempt after `attempt`, counted from 0.
    pub(crate) fn goes_on(&self, attempt: u32) -> bool {
        attempt + 1 < self.attempts_max
    }

    pub(crate) async fn wait(&self, attempt: u32, throttled: bool, environment: &Environment) {
        let first = if throttled { self.throttled } else { self.first };
        let wait = first.saturating_mul(1 << attempt.min(16)).min(self.longest.max(first));
        environment.clock.sleep(environment.jitter(wait)).await;
    }
}
