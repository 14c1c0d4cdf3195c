//! Looking ahead: a state must not be left while a call needs what it alone can give.

use std::collections::HashMap;

use super::{Model, search::Timed};

/// How many of the calls not placed yet need each fact, and how many make it.
pub(super) struct Facts<M: Model> {
    numbers: HashMap<M::Fact, usize>,
    needs: Vec<Option<usize>>,
    makes: Vec<Option<usize>>,
    needed: Vec<u32>,
    made: Vec<u32>,
}

impl<M: Model> Facts<M> {
    pub(super) fn new(model: &M, calls: &[Timed<M::Step>]) -> Self {
        let mut numbers = HashMap::new();
        let (mut needs, mut makes) = (Vec::new(), Vec::new());
        for call in calls {
            let need = model.needs(&call.step).filter(|_| !model.is_open(&call.step));
            let mut number = |fact: M::Fact| {
                let next = numbers.len();
                *numbers.entry(fact).or_insert(next)
            };
            needs.push(need.map(&mut number));
            makes.push(model.makes(&call.step).map(&mut number));
        }
        let count = |facts: &[Option<usize>]| {
            let mut counts = vec![0; numbers.len()];
            facts.iter().flatten().for_each(|fact| counts[*fact] += 1);
            counts
        };
        let (needed, made) = (count(&needs), count(&makes));
        Self { numbers, needs, makes, needed, made }
    }

    pub(super) fn place(&mut self, call: usize) {
        self.needs[call].into_iter().for_each(|fact| self.needed[fact] -= 1);
        self.makes[call].into_iter().for_each(|fact| self.made[fact] -= 1);
    }

    pub(super) fn take_back(&mut self, call: usize) {
        self.needs[call].into_iter().for_each(|fact| self.needed[fact] += 1);
        self.makes[call].into_iter().for_each(|fact| self.made[fact] += 1);
    }

    /// Whether going from `before` to `after` by `call` ends a fact for good that another call needs.
    pub(super) fn is_hopeless(&self, model: &M, before: &M::State, after: &M::State, call: usize) -> bool {
        if self.numbers.is_empty() || before == after {
            return false;
        }
        let Some(left) = model.fact(before) else { return false };
        if model.fact(after).as_ref() == Some(&left) {
            return false;
        }
        let Some(left) = self.numbers.get(&left).copied() else { return false };
        let by_itself = u32::from(self.needs[call] == Some(left));
        self.made[left] == 0 && self.needed[left] > by_itself
    }
}
