//! Faults by chance, repeatable by seed.

use std::time::Duration;

use fastrand::Rng;
use http::Method;

use crate::{Answer, Fault, Until, When};

/// How often each fault happens: probabilities that add up to at most 1.
///
/// The default is that none does.
#[derive(Debug, Clone)]
pub struct Rates {
    /// Which requests may be met at all.
    pub when: When,
    /// Of [`Fault::LoseReply`].
    pub lose_reply: f64,
    /// Of [`Fault::HoldRequest`], until the client has gone or for up to [`hold_max`](Self::hold_max), evenly.
    pub hold_request: f64,
    /// Of [`Fault::HoldReply`], for as long.
    pub hold_reply: f64,
    /// Of [`Fault::Answer`].
    pub answer: f64,
    /// Of [`Fault::AnswerApplied`].
    pub answer_applied: f64,
    /// Of [`Fault::TruncateReply`], somewhere.
    pub truncate_reply: f64,
    /// Of [`Fault::CutRequest`], somewhere, seen by the upstream or not.
    pub cut_request: f64,
    /// Of [`Fault::Reset`].
    pub reset: f64,
    /// Of [`Fault::Duplicate`], whose second copy comes up to [`hold_max`](Self::hold_max) later.
    pub duplicate: f64,
    /// The longest hold.
    pub hold_max: Duration,
    /// What [`Fault::Answer`] says; 409 and 412 only to writes. By default 409, 429, 500 and 503.
    pub answers: Vec<Answer>,
    /// What [`Fault::AnswerApplied`] says. By default 500 and 503, as servers do.
    pub answers_applied: Vec<Answer>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            when: When::any(),
            lose_reply: 0.0,
            hold_request: 0.0,
            hold_reply: 0.0,
            answer: 0.0,
            answer_applied: 0.0,
            truncate_reply: 0.0,
            cut_request: 0.0,
            reset: 0.0,
            duplicate: 0.0,
            hold_max: Duration::from_millis(50),
            answers: vec![
                Answer::conflict(),
                Answer::too_many_requests(),
                Answer::internal_error(),
                Answer::slow_down(),
            ],
            answers_applied: vec![Answer::internal_error(), Answer::unavailable()],
        }
    }
}

impl Rates {
    /// A fault for this share of the requests, each kind as often as the others.
    #[must_use]
    pub fn even(share: f64) -> Self {
        let each = share / 9.0;
        Self {
            lose_reply: each,
            hold_request: each,
            hold_reply: each,
            answer: each,
            answer_applied: each,
            truncate_reply: each,
            cut_request: each,
            reset: each,
            duplicate: each,
            ..Self::default()
        }
    }

    /// In a fixed order, which is what makes a seed repeatable.
    fn table(&self) -> [f64; 9] {
        [
            self.lose_reply,
            self.hold_request,
            self.hold_reply,
            self.answer,
            self.answer_applied,
            self.truncate_reply,
            self.cut_request,
            self.reset,
            self.duplicate,
        ]
    }

    fn validate(&self) {
        let table = self.table();
        assert!(table.iter().all(|rate| *rate >= 0.0), "a rate is a probability, not below 0");
        assert!(table.iter().sum::<f64>() <= 1.0 + 1e-9, "the rates add up to more than 1");
    }
}

/// Rates and the generator that rolls them.
#[derive(Debug)]
pub(crate) struct Dice {
    pub(crate) rates: Rates,
    rng: Rng,
}

impl Dice {
    pub(crate) fn new(seed: u64, rates: Rates) -> Self {
        rates.validate();
        Self { rates, rng: Rng::with_seed(seed) }
    }

    pub(crate) fn roll(&mut self, method: &Method) -> Fault {
        let mut point = self.rng.f64();
        for (kind, rate) in self.rates.table().into_iter().enumerate() {
            if point < rate {
                return self.fault(kind, method);
            }
            point -= rate;
        }
        Fault::Pass
    }

    fn fault(&mut self, kind: usize, method: &Method) -> Fault {
        match kind {
            0 => Fault::LoseReply,
            1 => Fault::HoldRequest(self.until()),
            2 => Fault::HoldReply(self.until()),
            3 => choose(&mut self.rng, &self.rates.answers, method).map_or(Fault::Pass, Fault::Answer),
            4 => choose(&mut self.rng, &self.rates.answers_applied, method)
                .map_or(Fault::Pass, Fault::AnswerApplied),
            5 => Fault::TruncateReply { bytes: self.bytes() },
            6 => Fault::CutRequest { bytes: self.bytes(), forward: self.rng.bool() },
            7 => Fault::Reset,
            _ => Fault::Duplicate(Until::After(self.duration())),
        }
    }

    fn until(&mut self) -> Until {
        if self.rng.bool() { Until::ClientGone } else { Until::After(self.duration()) }
    }

    fn duration(&mut self) -> Duration {
        self.rates.hold_max.mul_f64(self.rng.f64())
    }

    /// Small and large numbers alike: bodies are of all sizes, and a cut is made within them in any case.
    fn bytes(&mut self) -> u64 {
        let magnitude = self.rng.u32(0..=20);
        self.rng.u64(0..1 << magnitude)
    }
}

fn choose(rng: &mut Rng, answers: &[Answer], method: &Method) -> Option<Answer> {
    let suitable: Vec<&Answer> = answers.iter().filter(|answer| answer.suits(method)).collect();
    rng.choice(suitable).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolls(seed: u64) -> String {
        let mut dice = Dice::new(seed, Rates::even(0.9));
        let rolls: Vec<Fault> = (0..200).map(|_| dice.roll(&Method::PUT)).collect();
        format!("{rolls:?}")
    }

    #[test]
    fn a_seed_repeats_its_faults() {
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
    }

    #[test]
    fn every_kind_comes_up_about_as_often_as_its_rate() {
        let mut dice = Dice::new(1, Rates::even(0.9));
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..10_000 {
            let name = format!("{:?}", dice.roll(&Method::PUT));
            let kind = name.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
            *counts.entry(kind).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 10, "nine kinds and none: {counts:?}");
        assert!(counts.values().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_read_is_never_told_that_it_lost_a_race() {
        let mut dice = Dice::new(3, Rates { answer: 1.0, ..Rates::default() });
        for _ in 0..1_000 {
            let Fault::Answer(answer) = dice.roll(&Method::GET) else { panic!("the rate is 1") };
            assert!(answer.status() != 409 && answer.status() != 412);
        }
    }

    #[test]
    #[should_panic(expected = "more than 1")]
    fn rates_above_one_are_refused() {
        Dice::new(0, Rates { reset: 0.7, answer: 0.4, ..Rates::default() });
    }
}
