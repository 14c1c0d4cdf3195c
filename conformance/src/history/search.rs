//! The search for an order.
//!
//! Depth first over the sets of calls placed so far. What keeps it short: a state reached twice with the same calls
//! that have a reply and no fewer open ones used is not looked at again ([`Visited`]; sets are compared by a 128-bit
//! sum of random numbers, one for each call); a call that fits and only looks is placed at once, since placing it later
//! cannot help; calls with an unknown outcome are only placed in front of one that they explain, and are tried last,
//! since most of the time they explain nothing ([`Opens`]); a state is not left while a call needs it ([`Facts`]).

use super::{
    Model,
    facts::Facts,
    list::List,
    opens::{Budget, Explained, Opens},
    visited::{Used, Visited},
};

/// How many placements are tried before the search is given up.
const PLACEMENTS_MAX: u64 = 5_000_000;

/// How many open calls explain one reply in most orders.
const CHAIN_SHORT: usize = 2;

/// One call with its times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed<S> {
    pub(super) called: u64,
    pub(super) returned: u64,
    pub(super) step: S,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Order,
    None,
    GaveUp,
}

/// Calls placed, and where to go on if they turn out wrong.
struct Placed<S> {
    call: usize,
    state_before: S,
    used_before: Used,
    resume: Resume<S>,
}

/// What is left to try at a state.
enum Resume<S> {
    /// All of it.
    Start,
    /// The calls after this one, without open calls; then those.
    After(usize),
    /// These.
    Explained(Vec<Explained<S>>),
    /// Nothing: the call was placed without choice.
    Never,
}

/// Looks for an order; `calls` ascend by the time they were called. Returns how many placements it took, too.
///
/// Looks first with only as many open calls in front of a reply as most orders need.
pub(super) fn search<M: Model>(model: &M, calls: &[Timed<M::Step>]) -> (Found, u64) {
    let mut placements = PLACEMENTS_MAX;
    for chain_max in [CHAIN_SHORT, usize::MAX] {
        let mut search = Search::new(model, calls, Budget { placements, chain_max, is_cut: false });
        let found = search.run();
        placements = search.budget.placements;
        if found != Found::None || !search.budget.is_cut {
            return (found, PLACEMENTS_MAX - placements);
        }
    }
    (Found::None, PLACEMENTS_MAX - placements)
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a [Timed<M::Step>],
    opens: Opens<'a, M>,
    facts: Facts<M>,
    visited: Visited<M::State>,
    /// The calls with a reply that are not placed, by the time they were called.
    by_call: List,
    /// The same, by the time of the reply.
    by_reply: List,
    random: Vec<u128>,
    sum: u128,
    state: M::State,
    used: Used,
    placed: Vec<Placed<M::State>>,
    budget: Budget,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, calls: &'a [Timed<M::Step>], budget: Budget) -> Self {
        let closed: Vec<usize> = (0..calls.len()).filter(|call| !model.is_open(&calls[*call].step)).collect();
        let mut ends = closed.clone();
        ends.sort_by_key(|call| calls[*call].returned);
        let mut random = fastrand::Rng::with_seed(calls.len() as u64);
        let opens = Opens::new(model, calls);
        Self {
            model,
            calls,
            facts: Facts::new(model, calls),
            visited: Visited::new(),
            by_call: List::new(closed, calls.len()),
            by_reply: List::new(ends, calls.len()),
            random: calls.iter().map(|_| random.u128(..)).collect(),
            sum: 0,
            state: M::State::default(),
            used: opens.none_used(),
            opens,
            placed: Vec::new(),
            budget,
        }
    }

    fn run(&mut self) -> Found {
        let mut resume = Resume::Start;
        loop {
            // What began after the first reply that is still to come cannot come next.
            let Some(latest) = self.by_reply.first().map(|call| self.calls[call].returned) else {
                return Found::Order;
            };
            if let Resume::Start = resume
                && let Some(call) = self.idle(latest)
            {
                self.place(call, self.state.clone(), self.used.clone(), Resume::Never);
                continue;
            }
            if self.try_next(latest, resume) {
                resume = Resume::Start;
                continue;
            }
            if self.budget.placements == 0 {
                return Found::GaveUp;
            }
            resume = loop {
                match self.take_back() {
                    None => return Found::None,
                    Some(Resume::Never) => {}
                    Some(resume) => break resume,
                }
            };
        }
    }

    /// Places the next call worth it, if one is left.
    fn try_next(&mut self, latest: u64, resume: Resume<M::State>) -> bool {
        let mut explained = match resume {
            Resume::Explained(explained) => explained,
            Resume::Never => return false,
            Resume::Start | Resume::After(_) => {
                let mut next = match resume {
                    Resume::After(call) => self.by_call.after(call),
                    _ => self.by_call.first(),
                };
                while let Some(call) = next.filter(|call| self.calls[*call].called < latest) {
                    if self.budget.placements == 0 {
                        return false;
                    }
                    if let Some(after) = self.model.apply(&self.calls[call].step, &self.state)
                        && self.is_worth(call, &after, &self.used.clone())
                    {
                        self.budget.placements -= 1;
                        self.place(call, after, self.used.clone(), Resume::After(call));
                        return true;
                    }
                    next = self.by_call.after(call);
                }
                self.explained(latest)
            }
        };
        while let Some(Explained { chain, call, after }) = explained.pop() {
            let used = self.opens.use_chain(&self.used, &chain);
            if self.budget.placements > 0 && self.is_worth(call, &after, &used) {
                self.budget.placements -= 1;
                self.place(call, after, used, Resume::Explained(explained));
                return true;
            }
        }
        false
    }

    fn is_worth(&mut self, call: usize, after: &M::State, used: &Used) -> bool {
        let Self { model, facts, opens, visited, .. } = self;
        let is_over = |class| facts.is_over(model, after, opens.first_of(class));
        !facts.is_hopeless(model, &self.state, after, call)
            && visited.is_new(self.sum ^ self.random[call], after.clone(), used, is_over)
    }

    /// The calls that open calls would make fit; the best last.
    fn explained(&mut self, latest: u64) -> Vec<Explained<M::State>> {
        let mut found = Vec::new();
        let mut next = self.by_call.first();
        while let Some(call) = next.filter(|call| self.calls[*call].called < latest) {
            if !self.facts.is_beyond_help(self.model, &self.state, call) {
                self.opens.explain(call, (&self.state, &self.used, latest), &mut found, &mut self.budget);
            }
            next = self.by_call.after(call);
        }
        found.reverse();
        found
    }

    /// A call that fits and only looks.
    fn idle(&self, latest: u64) -> Option<usize> {
        let mut next = self.by_call.first();
        while let Some(call) = next.filter(|call| self.calls[*call].called < latest) {
            let step = &self.calls[call].step;
            if self.model.only_looks(step)
                && self.model.apply(step, &self.state).as_ref() == Some(&self.state)
            {
                return Some(call);
            }
            next = self.by_call.after(call);
        }
        None
    }

    fn place(&mut self, call: usize, after: M::State, used: Used, resume: Resume<M::State>) {
        for open in self.opens.between(&self.used, &used) {
            self.facts.place(open);
        }
        self.facts.place(call);
        self.by_call.take_out(call);
        self.by_reply.take_out(call);
        self.sum ^= self.random[call];
        let state_before = std::mem::replace(&mut self.state, after);
        let used_before = std::mem::replace(&mut self.used, used);
        self.placed.push(Placed { call, state_before, used_before, resume });
    }

    /// Takes back what was placed last; what is left to try where it was placed.
    fn take_back(&mut self) -> Option<Resume<M::State>> {
        let Placed { call, state_before, used_before, resume } = self.placed.pop()?;
        for open in self.opens.between(&used_before, &self.used) {
            self.facts.take_back(open);
        }
        self.facts.take_back(call);
        self.by_reply.put_back(call);
        self.by_call.put_back(call);
        self.sum ^= self.random[call];
        (self.state, self.used) = (state_before, used_before);
        Some(resume)
    }
}
