//! The decision which fault meets a request.

use std::collections::VecDeque;

use http::header::CONTENT_LENGTH;
use http::request::Parts;

use crate::random::Dice;
use crate::{BODY_BYTES_MAX, Fault, When};

#[derive(Debug, Default)]
pub(crate) struct Plan {
    scripts: Vec<(When, VecDeque<Fault>)>,
    standing: Vec<(When, Fault)>,
    dice: Option<Dice>,
}

impl Plan {
    pub(crate) fn script(&mut self, when: When, faults: impl IntoIterator<Item = Fault>) {
        self.scripts.push((when, faults.into_iter().collect()));
    }

    pub(crate) fn always(&mut self, when: When, fault: Fault) {
        self.standing.push((when, fault));
    }

    pub(crate) fn random(&mut self, dice: Dice) {
        self.dice = Some(dice);
    }

    pub(crate) fn scripted_left(&self) -> usize {
        self.scripts.iter().map(|(_, faults)| faults.len()).sum()
    }

    pub(crate) fn next(&mut self, head: &Parts) -> Fault {
        for (when, faults) in &mut self.scripts {
            if when.matches(head)
                && let Some(fault) = faults.pop_front()
            {
                return fault;
            }
        }
        if let Some((_, fault)) = self.standing.iter().find(|(when, _)| when.matches(head)) {
            return fault.clone();
        }
        match &mut self.dice {
            Some(dice) if dice.rates.when.matches(head) => match dice.roll(&head.method) {
                // Chance is not to turn a large upload into one that can never succeed.
                Fault::HoldRequest(_) | Fault::Duplicate(_) if too_large_to_keep(head) => Fault::Pass,
                fault => fault,
            },
            _ => Fault::Pass,
        }
    }
}

fn too_large_to_keep(head: &Parts) -> bool {
    let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.is_some_and(|length: usize| length > BODY_BYTES_MAX)
}
