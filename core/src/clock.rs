//! Time and randomness, handed in so that tests decide what they are.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::BoxFuture;

/// Where time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Time since a fixed, arbitrary moment; never steps back. May stand still while the machine sleeps.
    fn monotonic(&self) -> Duration;

    /// Time since a fixed, arbitrary moment, counting the time the machine was suspended (`CLOCK_BOOTTIME`).
    /// What a lease holder measures its validity by.
    fn boottime(&self) -> Duration;

    /// The time of day: for people, and as a seed for version numbers. Nothing ever expires by it.
    fn wall(&self) -> SystemTime;

    /// Resolves once `duration` has passed on [`monotonic`](Clock::monotonic).
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Where randomness comes from: identifiers and jitter.
pub trait Random: fmt::Debug + Send + Sync + 'static {
    /// 64 bits that nobody can predict from those before.
    fn bits(&self) -> u64;
}

/// The clocks of this machine. Needs no runtime: its timer has a thread of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is where ambient time comes in")]
impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn boottime(&self) -> Duration {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        // Apple's CLOCK_MONOTONIC counts suspend, as Linux's CLOCK_BOOTTIME does.
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(clock);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(futures_timer::Delay::new(duration))
    }
}

/// Each thread's own generator, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn bits(&self) -> u64 {
        // An identifier must not repeat across processes: ask the system, and fall back to the
        // per-thread generator (itself seeded from address and time) only where it has no answer.
        getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
    }
}

/// What the world supplies: a clock and randomness. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The generator.
    pub random: Arc<dyn Random>,
}

impl Environment {
    /// A duration drawn evenly from half of `duration` up to all of it.
    pub fn jitter(&self, duration: Duration) -> Duration {
        let fraction = (self.random.bits() >> 11) as f64 / (1u64 << 53) as f64;
        duration.mul_f64(0.5 + fraction / 2.0)
    }

    /// 128 random bits in hexadecimal: an identifier that is never given out twice.
    pub fn identifier(&self) -> String {
        format!("{:016x}{:016x}", self.random.bits(), self.random.bits())
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_never_step_back() {
        let clock = SystemClock;
        let (monotonic, boottime) = (clock.monotonic(), clock.boottime());
        assert!(clock.monotonic() >= monotonic);
        assert!(clock.boottime() >= boottime);
    }

    #[test]
    fn jitter_stays_within_half_and_whole() {
        let environment = Environment::default();
        for _ in 0..100 {
            let drawn = environment.jitter(Duration::from_millis(100));
            assert!((50..=100).contains(&drawn.as_millis()), "{drawn:?}");
        }
    }
}
