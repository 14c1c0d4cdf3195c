//! The open calls, and which of them may explain a reply.
//!
//! An open call is only worth placing when the call with a reply after it depends on it. So open calls are placed in
//! chains, each right before the call it explains, and these rules keep the chains few. Each leaves at least one of
//! the shortest orders that explain everything, if there is one:
//!
//! 1. *Nothing before a blind call.* What comes right before a call that leads to one state from everywhere can be
//!    left out. So a blind call is never explained by a chain, and a blind open call only begins one.
//! 2. *Equal calls are used in the order in which they began.* The later of two equal open calls can be exchanged
//!    with the earlier: that one could be placed wherever the later one could, and open calls are never too late.
//! 3. *Calls that can be exchanged are in one order*, which the model names.
//! 4. *A chain ends at the first state in which the call it explains fits and only looks*: the rest can as well come
//!    after that call.
//! 5. *A chain goes where the call fits*: the model says which steps lead nowhere, or could as well come later.

use std::{collections::HashMap, rc::Rc};

use super::{Model, search::Timed, visited::Used};

/// Open calls whose steps are equal, in the order in which they began.
struct Class {
    members: Vec<usize>,
}

/// All open calls in classes, by the time at which the first of each class began.
pub(super) struct Opens<'a, M: Model> {
    model: &'a M,
    calls: &'a [Timed<M::Step>],
    classes: Vec<Class>,
    /// The classes that need a fact, by that; the others under `None`.
    by_need: HashMap<Option<M::Fact>, Vec<usize>>,
}

/// What a search may still spend.
pub(super) struct Budget {
    /// How many more calls may be placed.
    pub(super) placements: u64,
    /// How many open calls may explain one reply.
    pub(super) chain_max: usize,
    /// Whether a chain that would be longer was left out.
    pub(super) is_cut: bool,
}

/// A call with a reply after open calls which make it fit.
pub(super) struct Explained<S> {
    /// The open calls, by their classes.
    pub(super) chain: Vec<usize>,
    pub(super) call: usize,
    pub(super) after: S,
}

/// A search for chains under way.
struct Chains<'a, S> {
    goal: usize,
    /// Open calls that began later cannot come next.
    latest: u64,
    used: Vec<u32>,
    chain: Vec<usize>,
    found: &'a mut Vec<Explained<S>>,
    budget: &'a mut Budget,
}

impl<'a, M: Model> Opens<'a, M> {
    pub(super) fn new(model: &'a M, calls: &'a [Timed<M::Step>]) -> Self {
        let mut classes: Vec<Class> = Vec::new();
        let mut class_of: HashMap<&M::Step, usize> = HashMap::new();
        for (call, timed) in calls.iter().enumerate().filter(|(_, timed)| model.is_open(&timed.step)) {
            let class = *class_of.entry(&timed.step).or_insert(classes.len());
            if class == classes.len() {
                classes.push(Class { members: Vec::new() });
            }
            classes[class].members.push(call);
        }
        let mut by_need: HashMap<_, Vec<usize>> = HashMap::new();
        for (number, class) in classes.iter().enumerate() {
            by_need.entry(model.needs(&calls[class.members[0]].step)).or_default().push(number);
        }
        Self { model, calls, classes, by_need }
    }

    pub(super) fn none_used(&self) -> Used {
        vec![0; self.classes.len()].into()
    }

    /// `used` and the calls of `chain`.
    pub(super) fn use_chain(&self, used: &Used, chain: &[usize]) -> Used {
        if chain.is_empty() {
            return used.clone();
        }
        let mut more: Used = Rc::from(&used[..]);
        let counts = Rc::make_mut(&mut more);
        chain.iter().for_each(|class| counts[*class] += 1);
        more
    }

    /// The call of a class that began first.
    pub(super) fn first_of(&self, class: usize) -> usize {
        self.classes[class].members[0]
    }

    /// The calls between two uses.
    pub(super) fn between(&self, before: &Used, after: &Used) -> Vec<usize> {
        if Rc::ptr_eq(before, after) {
            return Vec::new();
        }
        let members = self.classes.iter().zip(before.iter().zip(after.iter()));
        members
            .flat_map(|(class, (from, to))| &class.members[*from as usize..*to as usize])
            .copied()
            .collect()
    }

    /// Adds every chain from `state` after which `goal` fits.
    pub(super) fn explain(
        &self,
        goal: usize,
        (state, used, latest): (&M::State, &Used, u64),
        found: &mut Vec<Explained<M::State>>,
        budget: &mut Budget,
    ) {
        if !self.model.is_blind(&self.calls[goal].step) {
            let mut chains = Chains { goal, latest, used: used.to_vec(), chain: Vec::new(), found, budget };
            self.extend(&mut chains, state);
        }
    }

    fn extend(&self, chains: &mut Chains<'_, M::State>, state: &M::State) {
        let goal = &self.calls[chains.goal].step;
        let needs = self.model.facts(state).into_iter().map(Some).chain([None]);
        for class in needs.filter_map(|need| self.by_need.get(&need)).flatten().copied() {
            let members = &self.classes[class].members;
            if chains.budget.placements == 0 {
                return;
            }
            let Some(call) = members.get(chains.used[class] as usize).map(|call| &self.calls[*call]) else {
                continue;
            };
            if call.called >= chains.latest || !self.may_follow(chains.chain.last().copied(), class) {
                continue;
            }
            let Some(after) = self.model.apply(&call.step, state) else { continue };
            if after == *state || !self.model.may_help(&call.step, state, &after, goal) {
                continue;
            }
            if chains.chain.len() >= chains.budget.chain_max {
                chains.budget.is_cut = true;
                return;
            }
            chains.budget.placements -= 1;
            chains.chain.push(class);
            chains.used[class] += 1;
            let end = self.model.apply(goal, &after);
            let goes_on = !self.model.only_looks(goal) || end.as_ref() != Some(&after);
            if let Some(end) = end {
                chains.found.push(Explained { chain: chains.chain.clone(), call: chains.goal, after: end });
            }
            if goes_on {
                self.extend(chains, &after);
            }
            chains.used[class] -= 1;
            chains.chain.pop();
        }
    }

    /// Whether a call of `class` may come right after one of `last` in a chain.
    fn may_follow(&self, last: Option<usize>, class: usize) -> bool {
        let Some(last) = last else { return true };
        let (last_step, step) = (self.step_of(last), self.step_of(class));
        !self.model.is_blind(step) && self.model.may_follow(last_step, step)
    }

    fn step_of(&self, class: usize) -> &M::Step {
        &self.calls[self.first_of(class)].step
    }
}
