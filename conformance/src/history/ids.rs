//! Whether ids were given out twice: no search is needed for that.

use std::{collections::BTreeMap, ops::Range};

use serde::Serialize;

use super::{
    Record, Verdict,
    checker::{around, by_key},
};

/// What a client asked a sequence of ids for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum IdsAction {
    /// So many ids in a row.
    Take(u64),
    /// Gives ids back that this client took; they may be given out again.
    Return(Range<u64>),
}

/// What it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum IdsReply {
    /// These are its own.
    Taken(Range<u64>),
    /// They are given back.
    Returned,
    /// Nobody knows: ids may have been taken that nobody uses; what was to be given back may be, or may be later.
    #[default]
    Unknown,
}

/// Decides whether no id was given to two clients, and to each as many as it asked for.
///
/// There is no order to look for: nothing is lost by letting every return happen as early as it can, when it was called,
/// and every taking as late as it can, when its reply came. If an id is given out twice then, it is in every
/// order; if none is, that is an order. So this takes one pass in the order of those events, whatever is unknown: a taking
/// without a reply tells nobody an id, and a return without one may have happened.
///
/// ```
/// use leasehold_conformance::history::{IdsAction, IdsReply, Recorder, Verdict, check_ids};
///
/// let recorder = Recorder::default();
/// recorder.begin(1, "orders", IdsAction::Take(10)).end(IdsReply::Taken(0..10));
/// drop(recorder.begin(2, "orders", IdsAction::Take(10)));
/// recorder.begin(3, "orders", IdsAction::Take(10)).end(IdsReply::Taken(20..30));
/// assert_eq!(check_ids(&recorder.records()), Verdict::Linearizable);
/// recorder.begin(2, "orders", IdsAction::Take(1)).end(IdsReply::Taken(9..10));
/// assert!(matches!(check_ids(&recorder.records()), Verdict::Violated { .. }));
/// ```
pub fn check_ids(history: &[Record<IdsAction, IdsReply>]) -> Verdict {
    for (key, records) in by_key(history) {
        if let Some(wrong) = first_wrong(&records) {
            return Verdict::Violated { key: key.to_owned(), history: around(&records, wrong) };
        }
    }
    Verdict::Linearizable
}

/// Ranges that are out, by where they begin: where they end, and who has them.
type Out = BTreeMap<u64, (u64, u64)>;

fn first_wrong(records: &[&Record<IdsAction, IdsReply>]) -> Option<usize> {
    let moment = |at: &usize| match records[*at].action {
        IdsAction::Take(_) => records[*at].returned,
        IdsAction::Return(_) => records[*at].called,
    };
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(moment);
    let mut out = Out::new();
    order.into_iter().find(|at| {
        let Record { client, action, reply, .. } = records[*at];
        match (action, reply) {
            (_, IdsReply::Unknown) | (IdsAction::Return(_), IdsReply::Returned) => {
                if let IdsAction::Return(range) = action {
                    give_back(&mut out, range, *client);
                }
                false
            }
            (IdsAction::Take(count), IdsReply::Taken(range)) => {
                range.end.checked_sub(range.start) != Some(*count) || !take(&mut out, range, *client)
            }
            _ => true,
        }
    })
}

/// Whether all of it was free.
fn take(out: &mut Out, range: &Range<u64>, client: u64) -> bool {
    let is_free = out.range(..range.end).next_back().is_none_or(|(_, (end, _))| *end <= range.start);
    if is_free && !range.is_empty() {
        out.insert(range.start, (range.end, client));
    }
    is_free
}

/// Frees what `client` has of it.
fn give_back(out: &mut Out, range: &Range<u64>, client: u64) {
    let within: Vec<_> = out
        .range(..range.end)
        .rev()
        .take_while(|(_, (end, _))| *end > range.start)
        .filter(|(_, (_, owner))| *owner == client)
        .map(|(start, (end, _))| *start..*end)
        .collect();
    for held in within {
        out.remove(&held.start);
        for rest in [held.start..range.start, range.end..held.end] {
            if !rest.is_empty() {
                out.insert(rest.start, (rest.end, client));
            }
        }
    }
}
