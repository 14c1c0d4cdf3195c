//! How unreliable a node is: a score from what was seen of it, for choosing between nodes.

use std::{collections::VecDeque, f64::consts::LN_10, time::Duration};

/// How many intervals between heartbeats are remembered.
const WINDOW: usize = 64;

/// The period that a node should keep counts as so many intervals that were seen.
const PRIOR: f64 = 4.0;

/// An interval counts as at most so many periods, or one long silence would excuse the next.
const INTERVAL_PERIODS_MAX: f64 = 10.0;

/// The suspicion that counts as certain: eight, a chance of one in 10^8, as Cassandra and Akka have it.
const PHI_MAX: f64 = 8.0;

/// More failures than these are not held against a node, so that it can redeem itself within a bounded time.
const FAILURES_MAX: f64 = 16.0;

/// What one success leaves of the failures before it.
const FORGIVEN: f64 = 0.75;

/// Failures fade to a half in so many periods, given that the node is heard of.
const HALF_LIFE_PERIODS: f64 = 60.0;

/// How unreliable one node is, from its heartbeats and from how calls to it end.
///
/// It serves to *avoid choosing* a node, for a new shard or a request that others can answer. It must never break a
/// lease or declare a node dead: it compares intervals on one clock with guesses, and proves nothing.
///
/// Pure: every event comes with the time at which it was seen, on any clock that starts anywhere and does not go back;
/// a time before the last one counts as the last one. About 600 bytes, however long it runs.
///
/// # The score
///
/// `score = 1 - (1 - silence) * (1 - trouble)`, from 0 (nothing speaks against it) to 1.
///
/// - `silence = min(1, φ / 8)` grows with the time since the last heartbeat. `φ = -log10 P(later)` is the phi accrual
///   of Hayashibara, Défago, Yared and Katayama, *The φ Accrual Failure Detector* (SRDS 2004), where `P(later)` is the
///   chance that a heartbeat comes even later than now, if intervals are normally distributed as the last 64 were. The
///   mean is never taken as less than the period that the node should keep, and the deviation never as less than half
///   the mean. For the tail of the distribution stands `1 / (1 + exp(1.5976 y + 0.07056 y³))` with
///   `y = (t - mean) / deviation` (Bowling et al., JIEM 2009). After a missed heartbeat the score is about 0.2, after
///   two 0.6, after three 1.
/// - `trouble = f / (f + 1)` of the failures `f` that are remembered: one for each time-out, and for each silence that
///   had reached a half, its height. Each success takes a quarter of them away; successes and heartbeats also let them
///   fade to a half in 60 periods. Silence lets nothing fade. So a node that times out every second call stays near
///   0.8, and one that did so once is below 0.3 after three successes.
///
/// Above 0.5 is a good time for [`Candidate::avoid`](crate::shards::Candidate::avoid).
///
/// Cost: an event takes constant time, a score goes through the window.
#[derive(Clone, Debug)]
pub struct Reliability {
    /// In seconds, as all that follows.
    period: f64,
    /// The newest last, each positive.
    intervals: VecDeque<f64>,
    heard_at: Option<Duration>,
    failures: f64,
    faded_at: Duration,
}

impl Reliability {
    /// Nothing is known yet of a node that should be heard of every `period`. Less than a millisecond counts as one.
    pub fn new(period: Duration) -> Self {
        Self {
            period: period.as_secs_f64().max(1e-3),
            intervals: VecDeque::with_capacity(WINDOW),
            heard_at: None,
            failures: 0.0,
            faded_at: Duration::ZERO,
        }
    }

    /// A heartbeat came. Two at one time are one.
    pub fn heartbeat(&mut self, at: Duration) {
        let silence = self.silence(at);
        self.fade(at);
        let Some(heard_at) = self.heard_at else {
            self.heard_at = Some(at);
            return;
        };
        let interval = at.saturating_sub(heard_at).as_secs_f64();
        if interval <= 0.0 {
            return;
        }
        if silence >= 0.5 {
            self.fail(silence);
        }
        if self.intervals.len() == WINDOW {
            self.intervals.pop_front();
        }
        self.intervals.push_back(interval.min(INTERVAL_PERIODS_MAX * self.period));
        self.heard_at = Some(at);
    }

    /// A call to it was not answered in time, or failed in a way that says as much.
    pub fn timed_out(&mut self, at: Duration) {
        self.fail(1.0);
        // What fails again has not got better since.
        self.faded_at = self.faded_at.max(at);
    }

    /// A call to it was answered.
    pub fn succeeded(&mut self, at: Duration) {
        self.fade(at);
        self.failures *= FORGIVEN;
    }

    /// It is dead, or was started anew: the intervals so far say nothing of the next ones. Failures are remembered.
    pub fn died(&mut self) {
        self.intervals.clear();
        self.heard_at = None;
    }

    /// The suspicion that it is gone: -log10 of the chance that a heartbeat comes even later than now. 0 as long as it
    /// was never heard of, about 0.3 when a heartbeat is due, without bound after that; finite.
    pub fn phi(&self, at: Duration) -> f64 {
        let Some(heard_at) = self.heard_at else { return 0.0 };
        let (mean, deviation) = self.distribution();
        let y = (at.saturating_sub(heard_at).as_secs_f64() - mean) / deviation;
        let x = y * (1.5976 + 0.070_56 * y * y);
        // ln(1 + e^x), without the overflow.
        (x.max(0.0) + (-x.abs()).exp().ln_1p()) / LN_10
    }

    /// How unreliable it is, from 0 to 1. It does not fall while nothing happens.
    pub fn score(&self, at: Duration) -> f64 {
        let trouble = self.failures / (self.failures + 1.0);
        1.0 - (1.0 - self.silence(at)) * (1.0 - trouble)
    }

    fn silence(&self, at: Duration) -> f64 {
        (self.phi(at) / PHI_MAX).min(1.0)
    }

    /// The mean and the deviation of the intervals, both positive.
    fn distribution(&self) -> (f64, f64) {
        let count = self.intervals.len() as f64 + PRIOR;
        let mean = (self.intervals.iter().sum::<f64>() + PRIOR * self.period) / count;
        let square = |interval: f64| (interval - mean) * (interval - mean);
        let squares = self.intervals.iter().copied().map(square).sum::<f64>() + PRIOR * square(self.period);
        // A node that beats faster than it has to is not held to that.
        let mean = mean.max(self.period);
        (mean, (squares / count).sqrt().max(mean / 2.0))
    }

    fn fail(&mut self, by: f64) {
        self.failures = (self.failures + by).min(FAILURES_MAX);
    }

    fn fade(&mut self, at: Duration) {
        let periods = at.saturating_sub(self.faded_at).as_secs_f64() / self.period;
        self.failures *= (-periods / HALF_LIFE_PERIODS).exp2();
        self.faded_at = self.faded_at.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Heard of every second from 0 to `beats`.
    fn regular(beats: u32) -> Reliability {
        let mut node = Reliability::new(SECOND);
        (0..=beats).for_each(|beat| node.heartbeat(SECOND * beat));
        node
    }

    #[test]
    fn nothing_speaks_against_a_node_that_is_unknown_or_on_time() {
        assert_eq!(Reliability::new(SECOND).score(Duration::MAX), 0.0);
        for beats in [0, 1, 10, 1_000] {
            let node = regular(beats);
            assert!(node.score(SECOND * beats + SECOND) < 0.05, "{beats}");
        }
    }

    #[test]
    fn silence_raises_the_score_and_never_lowers_it() {
        let mut troubled = regular(100);
        troubled.timed_out(SECOND * 100);
        for node in [regular(0), regular(100), troubled] {
            let start = node.heard_at.unwrap();
            let scores: Vec<_> =
                (0..10_000).map(|step| node.score(start + Duration::from_millis(step * 7))).collect();
            assert!(scores.windows(2).all(|pair| pair[0] <= pair[1]));
            assert_eq!(node.score(Duration::MAX), 1.0);
        }
        let score = |missed: f64| regular(100).score(SECOND * 101 + SECOND.mul_f64(missed));
        let (one, two, three) = (score(1.0), score(2.0), score(3.0));
        assert!(
            (0.15..0.25).contains(&one) && (0.5..0.65).contains(&two) && three == 1.0,
            "{one} {two} {three}"
        );
    }

    #[test]
    fn phi_is_minus_the_logarithm_of_the_tail() {
        // Mean 1 s, deviation 0.5 s; the tails of the normal distribution at 0, 1 and 2 deviations.
        for (millis, tail) in [(1_000, 0.5_f64), (1_500, 0.158_655), (2_000, 0.022_750)] {
            let phi = regular(64).phi(SECOND * 64 + Duration::from_millis(millis));
            assert!((10_f64.powf(-phi) - tail).abs() < 2e-4, "{millis}: {phi}");
        }
    }

    #[test]
    fn time_outs_raise_the_score_and_successes_lower_it_again() {
        let mut node = Reliability::new(SECOND);
        let mut before = node.score(Duration::ZERO);
        for _ in 0..10 {
            node.timed_out(SECOND);
            let after = node.score(SECOND);
            assert!(after > before);
            before = after;
        }
        for _ in 0..40 {
            node.succeeded(SECOND);
            let after = node.score(SECOND);
            assert!(after < before);
            before = after;
        }
        assert!(before < 0.001, "{before}");
    }

    #[test]
    fn what_happens_now_and_then_is_forgiven_and_what_happens_often_is_not() {
        let score = |failing: u32, of: u32| {
            let mut node = Reliability::new(SECOND);
            for call in 0..of * 100 {
                let at = Duration::from_millis(u64::from(call));
                if call % of < failing { node.timed_out(at) } else { node.succeeded(at) }
            }
            node.score(Duration::ZERO)
        };
        assert!(score(1, 100) < 0.01);
        assert!((0.65..0.85).contains(&score(1, 2)), "{}", score(1, 2));
        assert!(score(9, 10) > 0.9);
    }

    #[test]
    fn failures_fade_with_time_once_the_node_is_heard_of_and_not_in_silence() {
        let mut node = regular(10);
        node.timed_out(SECOND * 10);
        let at_once = node.score(SECOND * 10);
        assert!(node.score(SECOND * 10) >= 0.5);
        for beat in 11..=70 {
            node.heartbeat(SECOND * beat);
        }
        let after_a_half_life = node.score(SECOND * 70);
        assert!((after_a_half_life - 1.0 / 3.0).abs() < 0.01, "{at_once} {after_a_half_life}");
    }

    #[test]
    fn silence_forgives_nothing() {
        let mut node = Reliability::new(SECOND);
        (0..3).for_each(|_| node.timed_out(SECOND));
        assert_eq!(node.score(SECOND), 0.75);
        assert_eq!(node.score(SECOND * 3_600), 0.75);
    }

    #[test]
    fn a_node_redeems_itself_within_a_bounded_time() {
        let mut node = Reliability::new(SECOND);
        (0..100_000).for_each(|_| node.timed_out(SECOND));
        (0..12).for_each(|_| node.succeeded(SECOND));
        assert!(node.score(SECOND) < 0.5, "{}", node.score(SECOND));
    }

    #[test]
    fn a_node_that_beats_faster_than_it_has_to_is_not_held_to_that() {
        let mut node = Reliability::new(SECOND);
        (0..=1_000).for_each(|beat| node.heartbeat(SECOND / 10 * beat));
        assert!(node.score(SECOND * 101) < 0.05, "{}", node.score(SECOND * 101));
        assert_eq!(node.intervals.len(), WINDOW);
    }

    #[test]
    fn a_gap_is_remembered_after_it_has_ended_and_does_not_excuse_the_next() {
        let mut node = regular(64);
        let end = SECOND * 64 + Duration::from_secs(3_600);
        node.heartbeat(end);
        assert!((0.4..0.6).contains(&node.score(end)), "{}", node.score(end));
        assert!(node.score(end + SECOND * 7) > 0.9);
    }

    #[test]
    fn a_node_that_is_always_late_is_expected_late() {
        let mut node = Reliability::new(SECOND);
        (0..200).for_each(|beat| node.heartbeat(SECOND * 3 * beat));
        let (node, end) = (node, SECOND * 3 * 199);
        assert!(node.phi(end + SECOND * 3) < 0.4 && regular(100).phi(SECOND * 103) > 1.5);
    }

    #[test]
    fn death_clears_the_window_and_keeps_the_failures() {
        let mut node = Reliability::new(SECOND);
        (0..100).for_each(|beat| node.heartbeat(SECOND * 9 * beat));
        node.timed_out(SECOND * 900);
        let trouble = node.failures;
        node.died();
        assert_eq!((node.intervals.len(), node.phi(Duration::MAX), node.failures), (0, 0.0, trouble));
        // The first interval after it is not the time that it was dead.
        node.heartbeat(SECOND * 10_000);
        assert_eq!(node.distribution().0, 1.0);
    }

    #[test]
    fn whatever_comes_in_the_score_is_a_number_from_0_to_1_and_the_memory_is_bounded() {
        let odd = [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_millis(1),
            SECOND,
            SECOND * 3_600,
            Duration::from_secs(u64::MAX / 2),
            Duration::MAX,
        ];
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut node = Reliability::new(odd[random.usize(..odd.len())]);
            for _ in 0..300 {
                let mut at = odd[random.usize(..odd.len())];
                let bits = random.u32(1..60);
                at = at.saturating_add(Duration::from_nanos(random.u64(..1 << bits)));
                match random.u32(..20) {
                    0 => node.died(),
                    1..5 => node.timed_out(at),
                    5..10 => node.succeeded(at),
                    _ => node.heartbeat(at),
                }
                for at in odd {
                    let (score, phi) = (node.score(at), node.phi(at));
                    assert!((0.0..=1.0).contains(&score), "seed {seed}: {score}, {node:?}");
                    assert!(phi.is_finite() && phi >= 0.0, "seed {seed}: {phi}, {node:?}");
                }
                assert!(node.intervals.len() <= WINDOW && node.intervals.capacity() <= 2 * WINDOW);
            }
        }
    }

    #[test]
    fn time_that_does_not_move_is_no_interval() {
        let mut node = regular(3);
        let before = node.distribution();
        (0..1_000).for_each(|_| node.heartbeat(SECOND * 3));
        node.heartbeat(SECOND);
        assert_eq!((node.distribution(), node.heard_at), (before, Some(SECOND * 3)));
    }
}
