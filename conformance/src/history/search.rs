//! The search for an order.
//!
//! Depth first over the sets of calls placed so far. Three things keep it short: a state reached twice with the same
//! set is not looked at again (sets are compared by a 128-bit sum of random numbers, one for each call); a call that
//! fits and can never change anything is placed at once, since placing it later cannot help; calls with an unknown outcome are
//! tried last, since most of the time they explain nothing.

use std::collections::HashSet;

use super::register::{State, Step, StepReply, UNSEEN};

/// How many placements are tried before the search is given up.
const PLACEMENTS_MAX: u64 = 5_000_000;

/// One call with its times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) called: u64,
    pub(super) returned: u64,
    pub(super) step: Step,
}

impl Timed {
    fn is_open(&self) -> bool {
        self.step.reply == StepReply::Unknown
    }

    /// Whether it fits into `state`, changes none, and does not settle which version this one has. A delete is never
    /// idle: where there is nothing to delete now there may be later.
    fn is_idle(&self, state: State) -> bool {
        matches!(self.step.reply, StepReply::Absent | StepReply::Found(..) | StepReply::Conflict)
            && !matches!(state, Some((_, UNSEEN)))
            && self.step.apply(state) == Some(state)
    }
}

pub(super) enum Found {
    Order,
    /// `stuck` is the call whose reply no order explained, in the attempt that came furthest.
    None {
        stuck: usize,
    },
    GaveUp,
}

/// A call placed, and where to go on if it turns out wrong.
struct Placed {
    call: usize,
    before: State,
    /// Placed without choice: going back skips it.
    forced: bool,
}

/// Looks for an order; `calls` ascend by the time they were called.
pub(super) fn search(calls: &[Timed]) -> Found {
    let mut search = Search::new(calls);
    let mut furthest = (0, search.ends.first().copied().unwrap_or(0));
    let mut seen: HashSet<(u128, State)> = HashSet::new();
    let mut placements = 0;
    let mut resume_after: Option<usize> = None;
    loop {
        let Some(bound) = search.first_end() else { return Found::Order };
        if search.placed.len() >= furthest.0 {
            furthest = (search.placed.len(), bound);
        }
        if resume_after.is_none()
            && let Some(call) = search.idle(bound)
        {
            search.place(call, search.state, true);
            continue;
        }
        let next = search.next_choice(bound, resume_after, |sum, state| seen.insert((sum, state)));
        if let Some((call, after)) = next {
            placements += 1;
            if placements > PLACEMENTS_MAX {
                return Found::GaveUp;
            }
            search.place(call, after, false);
            resume_after = None;
            continue;
        }
        resume_after = loop {
            match search.take_back() {
                None => return Found::None { stuck: furthest.1 },
                Some(Placed { forced: true, .. }) => {}
                Some(Placed { call, .. }) => break Some(call),
            }
        };
    }
}

struct Search<'a> {
    calls: &'a [Timed],
    /// Calls with a reply, by the time of the reply.
    ends: Vec<usize>,
    /// Before this position in `ends` everything is placed.
    ends_from: usize,
    /// Before this position in `calls` everything is placed or open.
    calls_from: usize,
    /// The open calls.
    open: Vec<usize>,
    is_placed: Vec<bool>,
    random: Vec<u128>,
    sum: u128,
    state: State,
    placed: Vec<Placed>,
}

impl<'a> Search<'a> {
    fn new(calls: &'a [Timed]) -> Self {
        let (open, mut ends): (Vec<_>, Vec<_>) = (0..calls.len()).partition(|call| calls[*call].is_open());
        ends.sort_by_key(|call| calls[*call].returned);
        let mut random = fastrand::Rng::with_seed(calls.len() as u64);
        Self {
            calls,
            ends,
            ends_from: 0,
            calls_from: 0,
            open,
            is_placed: vec![false; calls.len()],
            random: calls.iter().map(|_| random.u128(..)).collect(),
            sum: 0,
            state: None,
            placed: Vec::new(),
        }
    }

    /// The call with the earliest reply of those not placed: nothing that began later can come before it.
    fn first_end(&mut self) -> Option<usize> {
        while self.ends.get(self.ends_from).is_some_and(|call| self.is_placed[*call]) {
            self.ends_from += 1;
        }
        while self.calls_from < self.calls.len()
            && (self.is_placed[self.calls_from] || self.calls[self.calls_from].is_open())
        {
            self.calls_from += 1;
        }
        self.ends.get(self.ends_from).copied()
    }

    /// The calls with a reply that may come next.
    fn candidates(&self, bound: usize, from: usize) -> impl Iterator<Item = usize> {
        let latest = self.calls[bound].returned;
        (from.max(self.calls_from)..self.calls.len())
            .take_while(move |call| self.calls[*call].called < latest)
            .filter(|call| !self.is_placed[*call] && !self.calls[*call].is_open())
    }

    fn idle(&self, bound: usize) -> Option<usize> {
        self.candidates(bound, 0).find(|call| self.calls[*call].is_idle(self.state))
    }

    /// The next choice after `tried`, in the order: calls with a reply, open calls.
    fn next_choice(
        &self,
        bound: usize,
        tried: Option<usize>,
        mut is_new: impl FnMut(u128, State) -> bool,
    ) -> Option<(usize, State)> {
        let tried_open = tried.filter(|call| self.calls[*call].is_open());
        let first = if tried_open.is_some() { usize::MAX } else { tried.map_or(0, |call| call + 1) };
        let latest = self.calls[bound].returned;
        let open = self
            .open
            .iter()
            .copied()
            .filter(|call| tried_open.is_none_or(|tried| *call > tried))
            .take_while(|call| self.calls[*call].called < latest)
            .filter(|call| !self.is_placed[*call]);
        let closed = (first != usize::MAX).then(|| self.candidates(bound, first)).into_iter().flatten();
        closed.chain(open).find_map(|call| {
            let after = self.calls[call].step.apply(self.state)?;
            is_new(self.sum ^ self.random[call], after).then_some((call, after))
        })
    }

    fn place(&mut self, call: usize, after: State, forced: bool) {
        self.placed.push(Placed { call, before: self.state, forced });
        self.is_placed[call] = true;
        self.sum ^= self.random[call];
        self.state = after;
    }

    fn take_back(&mut self) -> Option<Placed> {
        let placed = self.placed.pop()?;
        self.is_placed[placed.call] = false;
        self.sum ^= self.random[placed.call];
        self.state = placed.before;
        self.calls_from = self.calls_from.min(placed.call);
        if !self.calls[placed.call].is_open() {
            let returned = self.calls[placed.call].returned;
            let position = self.ends.partition_point(|call| self.calls[*call].returned < returned);
            self.ends_from = self.ends_from.min(position);
        }
        Some(placed)
    }
}
