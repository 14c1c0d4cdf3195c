//! Splits a history by key and names what is wrong with it.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
};

use super::{
    Model, Record, Register,
    search::{Found, Timed, search},
};

/// Whether a history is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// There is an order that explains every reply.
    Linearizable,
    /// There is none for this key.
    Violated {
        /// The key.
        key: String,
        /// The calls around the first reply that no order explains, one a line; that one is marked with `>`.
        history: String,
    },
    /// The search was given up; the history has too many open choices.
    Undecided {
        /// The key.
        key: String,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::Violated { key, history } => {
                write!(f, "no order explains what was seen on {key:?}:\n{history}")
            }
            Self::Undecided { key } => write!(f, "undecided on {key:?}: too many open choices"),
        }
    }
}

/// Decides whether a history of registers is linearizable. Every key begins absent; keys are independent of each other.
///
/// Takes about a millisecond for a thousand calls; a wrong history takes some ten times as long as a right one.
pub fn check(history: &[Record]) -> Verdict {
    check_with(&Register, history)
}

/// Decides whether a history is linearizable, by what `model` says of the object under each key.
///
/// ```
/// use leasehold_conformance::history::{Lock, LockAction, LockReply, Mode, Recorder, Verdict, check_with};
///
/// let recorder = Recorder::default();
/// let acquire = recorder.begin(1, "jobs", LockAction::Acquire(Mode::Exclusive));
/// acquire.end(LockReply::Granted(1));
/// // Nobody released it.
/// recorder.begin(2, "jobs", LockAction::Acquire(Mode::Exclusive)).end(LockReply::Granted(2));
/// assert!(matches!(check_with(&Lock::new(), &recorder.records()), Verdict::Violated { .. }));
/// ```
pub fn check_with<M: Model>(model: &M, history: &[Record<M::Action, M::Reply>]) -> Verdict {
    for (key, records) in by_key(history) {
        match searched(model, &records).0 {
            Found::Order => {}
            Found::GaveUp => return Verdict::Undecided { key: key.to_owned() },
            Found::None => {
                let history = around(&records, first_wrong(model, &records));
                return Verdict::Violated { key: key.to_owned(), history };
            }
        }
    }
    Verdict::Linearizable
}

/// The records on each key, by the time at which they began.
pub(super) fn by_key<A, R>(history: &[Record<A, R>]) -> BTreeMap<&str, Vec<&Record<A, R>>> {
    let mut keys: BTreeMap<&str, Vec<&Record<A, R>>> = BTreeMap::new();
    for record in history {
        keys.entry(&record.key).or_default().push(record);
    }
    for records in keys.values_mut() {
        records.sort_by_key(|record| record.called);
    }
    keys
}

/// The search over all calls on one key, and how many placements it took.
pub(super) fn searched<M: Model>(model: &M, records: &[&Record<M::Action, M::Reply>]) -> (Found, u64) {
    search_until(model, records, u64::MAX)
}

/// The search over what was seen until `now`: calls that had no reply by then are open.
fn search_until<M: Model>(model: &M, records: &[&Record<M::Action, M::Reply>], now: u64) -> (Found, u64) {
    let unknown = M::Reply::default();
    let begun = &records[..records.partition_point(|record| record.called < now)];
    let reply = |record| {
        let Record { reply, returned, .. }: &Record<M::Action, M::Reply> = record;
        if *returned <= now { reply } else { &unknown }
    };
    let calls: Vec<_> = begun.iter().map(|record| (&record.action, reply(record))).collect();
    let timed = |(record, step): (&&Record<_, _>, _)| Timed {
        called: record.called,
        returned: record.returned,
        step,
    };
    let timed: Vec<_> = begun.iter().zip(model.steps(&calls)).map(timed).collect();
    search(model, &timed)
}

/// The first reply that no order explains: what was seen up to there is not linearizable, and before it was.
fn first_wrong<M: Model>(model: &M, records: &[&Record<M::Action, M::Reply>]) -> usize {
    let unknown = M::Reply::default();
    let mut ends: Vec<usize> = (0..records.len()).filter(|call| records[*call].reply != unknown).collect();
    ends.sort_by_key(|call| records[*call].returned);
    // Whatever is wrong stays wrong, so this can be found by halving.
    let first =
        ends.partition_point(|end| search_until(model, records, records[*end].returned).0 != Found::None);
    ends[first.min(ends.len() - 1)]
}

/// The calls around the one at `stuck`.
pub(super) fn around<A: Debug, R: Debug + Default + PartialEq>(
    records: &[&Record<A, R>],
    stuck: usize,
) -> String {
    let range = stuck.saturating_sub(12)..records.len().min(stuck + 6);
    let line = |position: usize| {
        let Record { client, action, reply, called, returned, .. } = records[position];
        let mark = if position == stuck { ">" } else { " " };
        let end = if *reply == R::default() { "…".into() } else { returned.to_string() };
        format!("{mark} {called}–{end} client {client}: {action:?} → {reply:?}")
    };
    range.map(line).collect::<Vec<_>>().join("\n")
}
