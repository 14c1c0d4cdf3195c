//! The model of one key: a register that holds a number and its version, or nothing.

use serde::Serialize;

/// What a client asked for. Values are numbers, versions are named by their text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Action {
    /// Read.
    Get,
    /// Write, whatever is there.
    Put(i64),
    /// Write when nothing is there.
    Create(i64),
    /// Write when this version is there.
    Replace(String, i64),
    /// Delete, whatever is there.
    Delete,
    /// Delete when this version is there.
    DeleteIf(String),
    /// Add; absent counts as 0.
    Increment(i64),
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Reply {
    /// A read found nothing.
    Absent,
    /// A read found this number and version.
    Found(i64, String),
    /// A put wrote this version.
    Written(String),
    /// A delete is done.
    Deleted,
    /// An increment came to this sum.
    Sum(i64),
    /// The precondition did not hold; nothing changed.
    Conflict,
    /// Nobody knows: applied, not applied, or applied later.
    Unknown,
}

/// A version as a small number; the one that nobody has seen yet is `UNSEEN`.
pub(super) type VersionId = u32;
pub(super) const UNSEEN: VersionId = 0;

/// What the key holds.
pub(super) type State = Option<(i64, VersionId)>;

/// An action and its reply with versions as numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) action: StepAction,
    pub(super) reply: StepReply,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum StepAction {
    Get,
    Put(i64),
    Create(i64),
    Replace(VersionId, i64),
    Delete,
    DeleteIf(VersionId),
    Increment(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepReply {
    Absent,
    Found(i64, VersionId),
    Written(VersionId),
    Deleted,
    Sum(i64),
    Conflict,
    Unknown,
}

impl Step {
    /// The state after this step, or `None` when its reply cannot be given in `state`.
    ///
    /// A version that a client names was read or written by it before, so a state whose version nobody has seen
    /// is never the one it means.
    pub(super) fn apply(&self, state: State) -> Option<State> {
        use StepAction as A;
        use StepReply as R;
        let version = state.map(|(_, version)| version);
        let holds = match self.action {
            A::Create(_) => state.is_none(),
            A::Replace(wanted, _) | A::DeleteIf(wanted) => version == Some(wanted),
            A::Get | A::Put(_) | A::Delete | A::Increment(_) => true,
        };
        match (self.action, self.reply) {
            (A::Get, R::Absent) => state.is_none().then_some(state),
            (A::Get, R::Found(value, seen)) => match state {
                Some((stored, UNSEEN)) if stored == value => Some(Some((value, seen))),
                Some(stored) if stored == (value, seen) => Some(state),
                _ => None,
            },
            (A::Put(value) | A::Create(value) | A::Replace(_, value), R::Written(version)) if holds => {
                Some(Some((value, version)))
            }
            (A::Delete | A::DeleteIf(_), R::Deleted) if holds => Some(None),
            (A::Increment(delta), R::Sum(sum)) => {
                let before = state.map_or(0, |(value, _)| value);
                (before.checked_add(delta) == Some(sum)).then_some(Some((sum, UNSEEN)))
            }
            (_, R::Conflict) if !holds => Some(state),
            // Without effect there is nothing to place.
            (A::Get, R::Unknown) => None,
            (_, R::Unknown) if !holds => None,
            (A::Put(value) | A::Create(value) | A::Replace(_, value), R::Unknown) => {
                Some(Some((value, UNSEEN)))
            }
            (A::Delete | A::DeleteIf(_), R::Unknown) => state.is_some().then_some(None),
            (A::Increment(delta), R::Unknown) => {
                let sum = state.map_or(0, |(value, _)| value).checked_add(delta)?;
                Some(Some((sum, UNSEEN)))
            }
            _ => None,
        }
    }
}
