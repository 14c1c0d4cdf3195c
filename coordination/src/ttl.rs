//! How long a lease lasts without a renewal, and everything that follows from it.

use std::{fmt, str::FromStr, time::Duration};

use leasehold_core::{Error, Result};

/// How long a lease lasts without a renewal: 100 ms to 24 h, in whole milliseconds.
///
/// Reads and shows itself as `500ms`, `10s`, `1m`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(Duration);

impl Ttl {
    /// The shortest: 100 ms.
    pub const MIN: Self = Self(Duration::from_millis(100));
    /// The longest: 24 h.
    pub const MAX: Self = Self(Duration::from_secs(24 * 60 * 60));

    /// A time to live. Fractions of a millisecond are cut off.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid), with the bounds, outside of them.
    pub fn new(duration: Duration) -> Result<Self> {
        let whole = Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        if (Self::MIN.0..=Self::MAX.0).contains(&whole) && duration <= Self::MAX.0 {
            Ok(Self(whole))
        } else {
            Err(Error::invalid(format!("a time to live is between 100ms and 24h, not {duration:?}")))
        }
    }

    /// The time itself.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// What a holder counts on, from before it sent its write: the time less what its clock may be slow by.
    pub(crate) fn validity(self) -> Duration {
        self.0 - self.0 / RATE_DIVISOR
    }

    /// How long a waiter watches one version, from after its read returned, before it takes over: the time plus
    /// what its clock may be fast by, plus a guard for the lateness of the holder's own timer.
    pub(crate) fn patience(self) -> Duration {
        let guard = (self.0 / 20).clamp(Duration::from_millis(10), Duration::from_secs(1));
        self.0 + self.0 / RATE_DIVISOR + guard
    }

    /// When a holder renews, counted from its last renewal.
    pub(crate) fn renewal(self) -> Duration {
        self.0 / 3
    }

    /// How often a waiter looks.
    pub(crate) fn poll(self) -> Duration {
        (self.0 / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// Clock rates may differ from true time by one part in this many: 1 %, far beyond any working quartz.
pub(crate) const RATE_DIVISOR: u32 = 100;

impl Default for Ttl {
    /// 10 s: a dead holder is replaced after about eleven, and a lease costs 26,000 renewals a day.
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, name) in [(3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
            if millis.is_multiple_of(unit) {
                return write!(f, "{}{name}", millis / unit);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl FromStr for Ttl {
    type Err = Error;

    /// Reads a whole number and a unit: `ms`, `s`, `m` or `h`.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for anything else, and outside the bounds.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid(format!(
                "{text:?} is not a time to live: write a whole number and ms, s, m or h, such as 10s"
            ))
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let (number, unit) = text.split_at(digits);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(refuse()),
        };
        let number: u64 = number.parse().map_err(|_| refuse())?;
        Self::new(Duration::from_millis(number.saturating_mul(millis)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["100ms", "1500ms", "1s", "10s", "90s", "1m", "24h"] {
            assert_eq!(text.parse::<Ttl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn zero_and_absurd_times_are_refused_with_the_bounds() {
        for millis in [0, 99, 24 * 3_600_000 + 1, u64::MAX] {
            let error = Ttl::new(Duration::from_millis(millis)).unwrap_err();
            assert!(error.message().contains("between 100ms and 24h"), "{error}");
        }
        assert!(Ttl::new(Duration::MAX).is_err());
        for text in ["", "10", "s", "-1s", "1.5s", "10 s", "10S", "99999999999999999999s", "99999999999h"] {
            assert!(text.parse::<Ttl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_waiter_with_a_fast_clock_still_outlasts_a_holder_with_a_slow_one() {
        for ttl in [Ttl::MIN, Ttl::default(), Ttl::MAX] {
            let holder_at_most = ttl.validity().as_secs_f64() / 0.99;
            let waiter_at_least = ttl.patience().as_secs_f64() / 1.01;
            assert!(holder_at_most < waiter_at_least, "{ttl}");
        }
    }
}
