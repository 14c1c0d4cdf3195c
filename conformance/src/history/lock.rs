//! The model of one lock: plain, read-write or a semaphore, with a token for each grant; and so of an election.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Model;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// With others that share it, up to the lock's number of permits.
    Shared,
}

/// What a client asked a lock for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum LockAction {
    /// To hold it; whether it waits for that or only tries is seen from the reply.
    Acquire(Mode),
    /// To hold it no longer, by the token of the grant.
    Release(u64),
    /// Not a call: from here on the grant of this token may end by itself, once, at any time or never. To be begun
    /// where a lease could first run out, and dropped.
    Expire(u64),
    /// To go on holding it, or whether it is held, by the token of the grant.
    Renew(u64),
    /// Who holds it alone.
    Observe,
}

/// What it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum LockReply {
    /// It holds it, with this token.
    Granted(u64),
    /// It does not hold it: somebody else does.
    Refused,
    /// It holds it no longer, and did until then.
    Released,
    /// It holds it still.
    Held,
    /// It did not hold it any longer: fenced off.
    Lost,
    /// This token holds it alone, or none does.
    Leader(Option<u64>),
    /// Nobody knows.
    #[default]
    Unknown,
}

/// A lock whose tokens strictly grow from grant to grant; an election is one that is only held alone, and its terms are
/// the tokens.
///
/// The grant of an acquisition whose outcome is unknown has no one who would keep it: it holds the lock until
/// something else is seen. Any number of them costs little. A grant that ends without its holder has to be
/// announced by [`LockAction::Expire`]; without one, a grant is only ended by its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lock {
    permits: u32,
}

impl Lock {
    /// A plain or a read-write lock: held by one alone, or shared by any number.
    pub fn new() -> Self {
        Self { permits: u32::MAX }
    }

    /// A semaphore: shared by at most `permits`, and held alone when nobody shares it.
    pub fn semaphore(permits: u32) -> Self {
        Self { permits }
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self::new()
    }
}

/// Who holds a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holders {
    /// The greatest token so far, as far as is known: where the outcome of a grant is unknown it is the least it can be.
    last: u64,
    /// By token.
    known: Vec<(u64, Mode)>,
    /// Grants that nobody knows of: they may have ended, and they may hold it still.
    unseen_shared: u32,
    /// One of those, with its token once that was observed.
    unseen_alone: Option<Option<u64>>,
}

/// A call on a lock with its reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockStep(Step);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// With the greatest token below it that some client was granted.
    Granted(u64, Mode, u64),
    Refused(Mode),
    Released(u64),
    Held(u64),
    Lost(u64),
    /// Whether some client knows that it was granted this token.
    Leader(Option<u64>, bool),
    OpenAcquire(Mode),
    OpenRelease(u64),
    /// An open call that only looks.
    Nothing,
    /// A reply that does not belong to the action.
    Wrong,
}

impl Holders {
    fn holds(&self, token: u64) -> bool {
        self.known.iter().any(|(known, _)| *known == token) || self.unseen_alone == Some(Some(token))
    }

    /// Without the grants nobody knows of that are in the way of one more holder, if the known ones are not.
    fn with_room(&self, mode: Mode, permits: u32) -> Option<Self> {
        let mut room = self.clone();
        room.unseen_alone = None;
        let shares = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        match mode {
            Mode::Exclusive => {
                room.unseen_shared = 0;
                self.known.is_empty().then_some(room)
            }
            Mode::Shared => {
                let is_alone = self.known.iter().any(|(_, mode)| *mode == Mode::Exclusive);
                let left = permits.checked_sub(shares)?.checked_sub(1)?;
                room.unseen_shared = self.unseen_shared.min(left);
                (!is_alone).then_some(room)
            }
        }
    }

    /// Whether one more holder may have been refused.
    fn may_refuse(&self, mode: Mode, permits: u32) -> bool {
        let shares = self.known.len() as u64 + u64::from(self.unseen_shared);
        let is_alone =
            self.unseen_alone.is_some() || self.known.iter().any(|(_, mode)| *mode == Mode::Exclusive);
        match mode {
            Mode::Exclusive => is_alone || shares > 0,
            Mode::Shared => is_alone || shares >= u64::from(permits),
        }
    }

    fn without(&self, token: u64) -> Self {
        let mut rest = self.clone();
        rest.known.retain(|(known, _)| *known != token);
        rest.unseen_alone = rest.unseen_alone.filter(|unseen| *unseen != Some(token));
        rest
    }

    fn observed(&self, leader: Option<u64>) -> Option<Self> {
        let known = self.known.iter().find(|(_, mode)| *mode == Mode::Exclusive).map(|(token, _)| *token);
        let mut after = self.clone();
        match (leader, self.unseen_alone) {
            _ if known.is_some() => (known == leader).then_some(after),
            (None, _) => {
                after.unseen_alone = None;
                Some(after)
            }
            (Some(token), Some(None)) if token >= self.last => {
                (after.last, after.unseen_alone) = (token, Some(leader));
                Some(after)
            }
            (Some(_), Some(unseen)) => (unseen == leader).then_some(after),
            (Some(_), None) => None,
        }
    }
}

impl Model for Lock {
    type Action = LockAction;
    type Reply = LockReply;
    type Step = LockStep;
    type State = Holders;
    type Fact = u64;

    fn steps(&self, calls: &[(&LockAction, &LockReply)]) -> Vec<LockStep> {
        use {LockAction as A, LockReply as R};
        let granted: BTreeSet<u64> = calls
            .iter()
            .filter_map(|(_, reply)| if let R::Granted(token) = reply { Some(*token) } else { None })
            .collect();
        let step = |(action, reply): &(&LockAction, &LockReply)| match (action, reply) {
            (A::Acquire(mode), R::Granted(token)) => {
                Step::Granted(*token, *mode, granted.range(..token).next_back().copied().unwrap_or(0))
            }
            (A::Acquire(mode), R::Refused) => Step::Refused(*mode),
            (A::Acquire(mode), R::Unknown) => Step::OpenAcquire(*mode),
            (A::Release(token) | A::Expire(token), R::Released) => Step::Released(*token),
            (A::Release(token) | A::Expire(token), R::Unknown) => Step::OpenRelease(*token),
            (A::Release(token) | A::Renew(token), R::Lost) => Step::Lost(*token),
            (A::Renew(token), R::Held) => Step::Held(*token),
            (A::Observe, R::Leader(token)) => {
                Step::Leader(*token, token.is_some_and(|token| granted.contains(&token)))
            }
            (A::Renew(_) | A::Observe, R::Unknown) => Step::Nothing,
            _ => Step::Wrong,
        };
        calls.iter().map(step).map(LockStep).collect()
    }

    fn apply(&self, step: &LockStep, state: &Holders) -> Option<Holders> {
        match step.0 {
            Step::Granted(token, mode, before) => {
                // What has a lesser token could not come later.
                let is_next = token > state.last && before <= state.last;
                let mut after = state.with_room(mode, self.permits).filter(|_| is_next)?;
                (after.last, after.known) = (token, [&after.known[..], &[(token, mode)]].concat());
                Some(after)
            }
            Step::Refused(mode) => state.may_refuse(mode, self.permits).then(|| state.clone()),
            Step::Released(token) => state.holds(token).then(|| state.without(token)),
            Step::Held(token) => state.holds(token).then(|| state.clone()),
            // A grant that nobody keeps may have ended.
            Step::Lost(token) if state.unseen_alone == Some(Some(token)) => Some(state.without(token)),
            Step::Lost(token) => (!state.holds(token)).then(|| state.clone()),
            Step::Leader(Some(token), true) => state.observed(Some(token)).filter(|_| state.holds(token)),
            Step::Leader(token, _) => state.observed(token),
            Step::OpenAcquire(mode) => {
                let mut after = state.with_room(mode, self.permits)?;
                after.last = state.last.checked_add(1)?;
                match mode {
                    Mode::Exclusive => after.unseen_alone = Some(None),
                    // Of any number, one is as many.
                    Mode::Shared if self.permits == u32::MAX => after.unseen_shared = 1,
                    Mode::Shared => after.unseen_shared += 1,
                }
                let is_more =
                    after.unseen_shared > state.unseen_shared || after.unseen_alone != state.unseen_alone;
                is_more.then_some(after)
            }
            Step::OpenRelease(token) => state.holds(token).then(|| state.without(token)),
            Step::Nothing | Step::Wrong => None,
        }
    }

    fn is_open(&self, step: &LockStep) -> bool {
        matches!(step.0, Step::OpenAcquire(_) | Step::OpenRelease(_) | Step::Nothing)
    }

    /// An observation of a token that no client was granted is what tells whose it is.
    fn only_looks(&self, step: &LockStep) -> bool {
        matches!(step.0, Step::Refused(_) | Step::Held(_) | Step::Lost(_) | Step::Leader(Some(_), true))
    }

    /// Releases ascend by their tokens.
    fn may_follow(&self, last: &LockStep, next: &LockStep) -> bool {
        match (&last.0, &next.0) {
            (Step::OpenRelease(last), Step::OpenRelease(next)) => last < next,
            _ => true,
        }
    }

    fn may_help(&self, open: &LockStep, before: &Holders, after: &Holders, goal: &LockStep) -> bool {
        // Of holders that all have to go, the one with the least token goes first.
        let is_first = |token: &u64| before.known.first().is_none_or(|(first, _)| first == token);
        match (&goal.0, &open.0) {
            // Room is made, and no more than it takes. A grant that nobody knows of only matters beside this one.
            (Step::Granted(_, mode, _), Step::OpenRelease(token)) => {
                before.with_room(*mode, self.permits).is_none() && (*mode == Mode::Shared || is_first(token))
            }
            (Step::Granted(_, mode, _), Step::OpenAcquire(unseen)) => {
                (mode, unseen) == (&Mode::Shared, &Mode::Shared)
            }
            // To refuse takes another grant; that one may take releases first, of all that hold it.
            (Step::Refused(_) | Step::Leader(..), Step::OpenRelease(token)) => is_first(token),
            (Step::Refused(_), _) => true,
            (Step::Leader(..), Step::OpenAcquire(unseen)) => *unseen == Mode::Exclusive,
            (Step::Lost(token), _) => !after.holds(*token),
            // Whatever comes before these may as well come after.
            _ => false,
        }
    }

    fn facts(&self, state: &Holders) -> impl IntoIterator<Item = u64> {
        let unseen = state.unseen_alone.flatten();
        state.known.iter().map(|(token, _)| *token).chain(unseen).collect::<Vec<_>>()
    }

    fn needs(&self, step: &LockStep) -> Option<u64> {
        match step.0 {
            Step::Released(token) | Step::Held(token) | Step::OpenRelease(token) => Some(token),
            Step::Leader(Some(token), true) => Some(token),
            _ => None,
        }
    }

    fn makes(&self, step: &LockStep) -> impl IntoIterator<Item = u64> {
        match step.0 {
            Step::Granted(token, ..) => Some(token),
            Step::Leader(token, false) => token,
            _ => None,
        }
    }
}
