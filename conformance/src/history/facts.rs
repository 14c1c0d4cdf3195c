//! Looking ahead: a state must not be left while a call needs what it alone can give.

use std::collections::HashMap;

use super::{Model, search::Timed};

/// How many of the calls not placed yet need each fact, and how many make it.
pub(super) struct Facts<M: Model> {
    numbers: HashMap<M::Fact, usize>,
    needs: Vec<Option<usize>>,
    makes: Vec<Vec<usize>>,
    needed: Vec<u32>,
    made: Vec<u32>,
    /// How many of those are open.
    open_made: Vec<u32>,
    is_open: Vec<bool>,
}

impl<M: Model> Facts<M> {
    pub(super) fn new(model: &M, calls: &[Timed<M::Step>]) -> Self {
        let mut numbers = HashMap::new();
        let (mut needs, mut makes) = (Vec::new(), Vec::new());
        for call in calls {
            let need = model.needs(&call.step);
            let mut number = |fact: M::Fact| {
                let next = numbers.len();
                *numbers.entry(fact).or_insert(next)
            };
            needs.push(need.map(&mut number));
            makes.push(model.makes(&call.step).into_iter().map(&mut number).collect::<Vec<_>>());
        }
        let is_open: Vec<bool> = calls.iter().map(|call| model.is_open(&call.step)).collect();
        let none = vec![0; numbers.len()];
        let (needed, made, open_made) = (none.clone(), none.clone(), none);
        let mut facts = Self { numbers, needs, makes, needed, made, open_made, is_open };
        (0..calls.len()).for_each(|call| facts.take_back(call));
        facts
    }

    pub(super) fn place(&mut self, call: usize) {
        if let Some(fact) = self.needs[call] {
            self.needed[fact] -= u32::from(!self.is_open[call]);
        }
        for fact in &self.makes[call] {
            self.made[*fact] -= 1;
            self.open_made[*fact] -= u32::from(self.is_open[call]);
        }
    }

    pub(super) fn take_back(&mut self, call: usize) {
        if let Some(fact) = self.needs[call] {
            self.needed[fact] += u32::from(!self.is_open[call]);
        }
        for fact in &self.makes[call] {
            self.made[*fact] += 1;
            self.open_made[*fact] += u32::from(self.is_open[call]);
        }
    }

    /// Whether `call` lacks a fact in `state` that nothing makes any more.
    pub(super) fn is_over(&self, model: &M, state: &M::State, call: usize) -> bool {
        self.needs[call].is_some_and(|fact| self.made[fact] == 0 && !self.is_true(model, state, fact))
    }

    fn is_true(&self, model: &M, state: &M::State, number: usize) -> bool {
        model.facts(state).into_iter().any(|fact| self.numbers.get(&fact) == Some(&number))
    }

    /// Whether going from `before` to `after` by `call` ends a fact for good that another call needs.
    pub(super) fn is_hopeless(&self, model: &M, before: &M::State, after: &M::State, call: usize) -> bool {
        if self.numbers.is_empty() || before == after {
            return false;
        }
        let is_lost = |left: M::Fact| {
            let Some(number) = self.numbers.get(&left).copied() else { return false };
            let by_itself = u32::from(self.needs[call] == Some(number));
            self.made[number] == 0
                && self.needed[number] > by_itself
                && !model.facts(after).into_iter().any(|fact| fact == left)
        };
        model.facts(before).into_iter().any(is_lost)
    }

    /// Whether `call` lacks a fact in `state` that no open call left makes.
    pub(super) fn is_beyond_help(&self, model: &M, state: &M::State, call: usize) -> bool {
        let Some(number) = self.needs[call] else { return false };
        self.open_made[number] == 0 && !self.is_true(model, state, number)
    }
}
