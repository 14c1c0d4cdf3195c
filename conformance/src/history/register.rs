//! The model of one key: a register that holds a number and its version, or nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::Model;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
    #[default]
    Unknown,
}

/// A register that holds a number and its version, or nothing; it begins with nothing.
///
/// What [`check`](super::check) goes by. Increments whose outcome is unknown are the costly part of such a history, since any
/// of them together may explain a sum: a dozen of different amounts on one key are no trouble, nor is any number of
/// equal amounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Register;

/// A version as a small number; the one that nobody has seen yet is `UNSEEN`.
type VersionId = u32;
const UNSEEN: VersionId = 0;

/// A number, or `None` for one of those that no reply can be about: what was written with an unknown outcome, and
/// neither was read nor can have led to a sum that was.
type Value = Option<i64>;

/// What the register holds.
type State = Option<(Value, VersionId)>;

/// An action and its reply with versions as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    action: StepAction,
    reply: StepReply,
    /// The values from which open increments may lead to the one that the reply is about.
    from: Option<(i128, i128)>,
    needs: Value,
    /// Whether this read may be what tells which version a state has, where that matters.
    settles: bool,
    /// Whether it may tell the version of a state at all.
    tells: bool,
}

/// What is true of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterFact {
    /// The number it holds.
    Value(i64),
    /// The version it is known to have.
    Version(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StepAction {
    Get,
    Put(Value),
    Create(Value),
    Replace(VersionId, Value),
    Delete,
    DeleteIf(VersionId),
    Increment(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StepReply {
    Absent,
    Found(i64, VersionId),
    Written(VersionId),
    Deleted,
    Sum(i64),
    Conflict,
    Unknown,
}

use StepAction as A;
use StepReply as R;

impl Step {
    fn value_asked(&self) -> Option<i128> {
        asked_for(self).map(i128::from)
    }
}

impl Model for Register {
    type Action = Action;
    type Reply = Reply;
    type Step = Step;
    type State = State;
    type Fact = RegisterFact;

    fn steps(&self, calls: &[(&Action, &Reply)]) -> Vec<Step> {
        let mut steps = numbered(calls);
        relate(&mut steps);
        steps
    }

    /// A version that a client names was read or written by it before, so a state whose version nobody has seen
    /// is never the one it means.
    fn apply(&self, step: &Step, state: &State) -> Option<State> {
        let state = *state;
        let version = state.map(|(_, version)| version);
        let holds = match step.action {
            A::Create(_) => state.is_none(),
            A::Replace(wanted, _) | A::DeleteIf(wanted) => version == Some(wanted),
            A::Get | A::Put(_) | A::Delete | A::Increment(_) => true,
        };
        match (step.action, step.reply) {
            (A::Get, R::Absent) => state.is_none().then_some(state),
            (A::Get, R::Found(value, seen)) => match state {
                Some((Some(stored), UNSEEN)) if stored == value => Some(Some((Some(value), seen))),
                Some((Some(stored), version)) if (stored, version) == (value, seen) => Some(state),
                _ => None,
            },
            (A::Put(value) | A::Create(value) | A::Replace(_, value), R::Written(version)) if holds => {
                Some(Some((value, version)))
            }
            (A::Delete | A::DeleteIf(_), R::Deleted) if holds => Some(None),
            (A::Increment(delta), R::Sum(sum)) => {
                let before = state.map_or(Some(0), |(value, _)| value)?;
                (before.checked_add(delta) == Some(sum)).then_some(Some((Some(sum), UNSEEN)))
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
                let sum = state.map_or(Some(0), |(value, _)| value)?.checked_add(delta)?;
                Some(Some((Some(sum), UNSEEN)))
            }
            _ => None,
        }
    }

    fn is_open(&self, step: &Step) -> bool {
        step.reply == R::Unknown
    }

    fn only_looks(&self, step: &Step) -> bool {
        matches!(step.reply, R::Absent | R::Found(..) | R::Conflict) && !step.settles
    }

    fn is_blind(&self, step: &Step) -> bool {
        matches!(
            (step.action, step.reply),
            (A::Put(_), R::Written(_) | R::Unknown) | (A::Delete, R::Deleted | R::Unknown)
        )
    }

    /// Increments of the same sign ascend: their sum leaves the range of numbers in every order, or in none.
    fn may_follow(&self, last: &Step, next: &Step) -> bool {
        match (last.action, next.action) {
            (A::Increment(last), A::Increment(next)) => (last < 0) != (next < 0) || last <= next,
            _ => true,
        }
    }

    /// After an open call the version is one that nobody has seen, or nothing is there; on from there only lead a
    /// create and increments.
    fn may_help(&self, open: &Step, _: &State, after: &State, goal: &Step) -> bool {
        match goal.reply {
            R::Found(..) | R::Sum(_) => match (after, goal.from) {
                (Some((Some(value), _)), Some((least, most))) => {
                    // Where all open increments are positive they ascend, and none but greater ones follow.
                    let wanting = most - i128::from(*value);
                    let next = match open.action {
                        A::Increment(delta) if delta > 0 => i128::from(delta),
                        _ => 0,
                    };
                    (least..=most).contains(&i128::from(*value))
                        && (goal.value_asked() != Some(most) || wanting == 0 || wanting >= next)
                }
                (Some(_), _) => false,
                (None, _) => true,
            },
            R::Absent => after.is_none(),
            R::Written(_) => matches!(goal.action, A::Create(_)) && after.is_none(),
            R::Deleted => false,
            R::Conflict | R::Unknown => true,
        }
    }

    fn facts(&self, state: &State) -> impl IntoIterator<Item = RegisterFact> {
        let version = state.map(|(_, version)| version).filter(|version| *version != UNSEEN);
        let value = state.and_then(|(value, _)| value);
        value.map(RegisterFact::Value).into_iter().chain(version.map(RegisterFact::Version))
    }

    fn needs(&self, step: &Step) -> Option<RegisterFact> {
        match (step.action, step.reply) {
            (A::Replace(version, _) | A::DeleteIf(version), R::Written(_) | R::Deleted | R::Unknown) => {
                Some(RegisterFact::Version(version))
            }
            _ => step.needs.map(RegisterFact::Value),
        }
    }

    fn makes(&self, step: &Step) -> impl IntoIterator<Item = RegisterFact> {
        let version = match step.reply {
            R::Written(version) => Some(version),
            R::Found(_, version) if step.tells => Some(version),
            _ => None,
        };
        made_by(step).map(RegisterFact::Value).into_iter().chain(version.map(RegisterFact::Version))
    }
}

/// The value that is there after the call.
fn made_by(step: &Step) -> Value {
    match (step.action, step.reply) {
        (A::Put(value) | A::Create(value) | A::Replace(_, value), R::Written(_) | R::Unknown) => value,
        (A::Increment(_), R::Sum(sum)) => Some(sum),
        _ => None,
    }
}

fn numbered<'a>(calls: &[(&'a Action, &'a Reply)]) -> Vec<Step> {
    let mut names: HashMap<&str, VersionId> = HashMap::new();
    let mut id = |version: &'a str| {
        let next = names.len() as VersionId + 1;
        *names.entry(version).or_insert(next)
    };
    let step = |(action, reply): &(&'a Action, &'a Reply)| {
        let action = match action {
            Action::Get => A::Get,
            Action::Put(value) => A::Put(Some(*value)),
            Action::Create(value) => A::Create(Some(*value)),
            Action::Replace(version, value) => A::Replace(id(version), Some(*value)),
            Action::Delete => A::Delete,
            Action::DeleteIf(version) => A::DeleteIf(id(version)),
            Action::Increment(delta) => A::Increment(*delta),
        };
        let reply = match reply {
            Reply::Absent => R::Absent,
            Reply::Found(value, version) => R::Found(*value, id(version)),
            Reply::Written(version) => R::Written(id(version)),
            Reply::Deleted => R::Deleted,
            Reply::Sum(sum) => R::Sum(*sum),
            Reply::Conflict => R::Conflict,
            Reply::Unknown => R::Unknown,
        };
        Step { action, reply, from: None, needs: None, settles: false, tells: false }
    };
    calls.iter().map(step).collect()
}

/// Relates the values that were written to the ones that replies are about.
fn relate(steps: &mut [Step]) {
    let (mut least, mut most) = (0_i128, 0_i128);
    for step in steps.iter().filter(|step| step.reply == R::Unknown) {
        if let A::Increment(delta) = step.action {
            (least, most) = (least + i128::from(delta.min(0)), most + i128::from(delta.max(0)));
        }
    }
    let asked: BTreeSet<i128> = steps.iter().filter_map(asked_for).map(i128::from).collect();
    for step in steps.iter_mut().filter(|step| step.reply == R::Unknown) {
        if let A::Put(value) | A::Create(value) | A::Replace(_, value) = &mut step.action {
            let is_told = |made: &i64| {
                let made = i128::from(*made);
                asked.range(made + least..=made + most).next().is_some()
            };
            *value = value.filter(is_told);
        }
    }
    let mut made: BTreeMap<i128, u32> = BTreeMap::from([(0, 0)]);
    for value in steps.iter().filter_map(made_by) {
        *made.entry(value.into()).or_default() += 1;
    }
    let written: HashSet<VersionId> = steps
        .iter()
        .filter_map(|step| if let R::Written(version) = step.reply { Some(version) } else { None })
        .collect();
    let named: HashSet<VersionId> = steps.iter().filter_map(names).collect();
    for step in steps {
        let Some(asked) = asked_for(step).map(i128::from) else { continue };
        step.from = Some((asked - most, asked - least));
        // Whether open increments may lead here from another value.
        let is_sum = (least < 0 && most > 0)
            || made.range(asked - most..=asked - least).any(|(made, _)| *made != asked);
        // Nothing counts as 0 too.
        step.needs = (asked != 0 && !is_sum).then_some(asked as i64);
        // A version that can be there twice and that a precondition names may have to be read the second time.
        let comes_once = !is_sum && made.get(&asked).is_none_or(|times| *times <= 1);
        step.tells =
            matches!(step.reply, R::Found(_, version) if !(comes_once && written.contains(&version)));
        step.settles = matches!(step.reply, R::Found(_, version) if named.contains(&version)) && !comes_once;
    }
}

/// The version in the precondition.
fn names(step: &Step) -> Option<VersionId> {
    match step.action {
        A::Replace(version, _) | A::DeleteIf(version) => Some(version),
        _ => None,
    }
}

/// The value that the reply says was there.
fn asked_for(step: &Step) -> Option<i64> {
    match (step.action, step.reply) {
        (A::Get, R::Found(value, _)) => Some(value),
        (A::Increment(delta), R::Sum(sum)) => sum.checked_sub(delta),
        _ => None,
    }
}
