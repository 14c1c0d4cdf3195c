//! How many retries there may be among how many successes.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// In tenths of a token.
const FULL: u32 = 1_000;
const RETRY: u32 = 10;
const SUCCESS: u32 = 1;

/// Tokens that retries take and successes give back.
#[derive(Debug)]
pub(super) struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(FULL))
    }
}

impl Budget {
    /// Takes a token, if there is one.
    pub(super) fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(RETRY)).is_ok()
    }

    /// Notes a success. A full budget, which is the usual one, is only looked at.
    pub(super) fn give(&self) {
        if self.0.load(Relaxed) < FULL {
            let _ = self.0.fetch_update(Relaxed, Relaxed, |left| Some((left + SUCCESS).min(FULL)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_use_it_up_and_successes_fill_it() {
        let budget = Budget::default();
        let taken = std::iter::repeat_with(|| budget.take()).take(200).filter(|taken| *taken).count();
        assert_eq!(taken, 100);
        for _ in 0..9 {
            budget.give();
            assert!(!budget.take());
        }
        budget.give();
        assert!(budget.take() && !budget.take());
        for _ in 0..5_000 {
            budget.give();
        }
        assert_eq!(budget.0.load(Relaxed), FULL);
    }
}
