//! Splits a history by key and names what is wrong with it.

use std::{collections::BTreeMap, fmt};

use super::{
    Model, Record, Register, Reply,
    register::Step,
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
        /// The calls around the reply that no order explains, one a line.
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

/// Decides whether a history is linearizable. Every key begins absent; keys are independent of each other.
///
/// Takes about a millisecond for a thousand calls; a wrong history takes longer than a right one.
pub fn check(history: &[Record]) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in history {
        keys.entry(&record.key).or_default().push(record);
    }
    for (key, mut records) in keys {
        records.sort_by_key(|record| record.called);
        match searched(&records).0 {
            Found::Order => {}
            Found::GaveUp => return Verdict::Undecided { key: key.to_owned() },
            Found::None => {
                let history = around(&records, first_wrong(&records));
                return Verdict::Violated { key: key.to_owned(), history };
            }
        }
    }
    Verdict::Linearizable
}

/// The search over all calls on one key, and how many placements it took.
pub(super) fn searched(records: &[&Record]) -> (Found, u64) {
    search(&Register, &timed(records.iter().map(|record| (*record, &record.reply))))
}

fn timed<'a>(calls: impl Iterator<Item = (&'a Record, &'a Reply)>) -> Vec<Timed<Step>> {
    let calls: Vec<_> = calls.collect();
    let steps =
        Register.steps(&calls.iter().map(|(record, reply)| (&record.action, *reply)).collect::<Vec<_>>());
    let times = calls.iter().map(|(record, _)| (record.called, record.returned));
    times.zip(steps).map(|((called, returned), step)| Timed { called, returned, step }).collect()
}

/// The first reply that no order explains: what was seen up to there is not linearizable, and before it was.
fn first_wrong(records: &[&Record]) -> usize {
    let mut ends: Vec<usize> =
        (0..records.len()).filter(|call| records[*call].reply != Reply::Unknown).collect();
    ends.sort_by_key(|call| records[*call].returned);
    // Whatever is wrong stays wrong, so this can be found by halving.
    let first = ends.partition_point(|end| {
        let now = records[*end].returned;
        let begun = records.iter().take_while(|record| record.called < now);
        let calls = begun.map(|record| {
            let is_back = record.returned <= now;
            (*record, if is_back { &record.reply } else { &Reply::Unknown })
        });
        search(&Register, &timed(calls)).0 != Found::None
    });
    ends[first.min(ends.len() - 1)]
}

/// The calls around the one at `stuck`.
fn around(records: &[&Record], stuck: usize) -> String {
    let range = stuck.saturating_sub(12)..records.len().min(stuck + 6);
    let line = |position: usize| {
        let Record { client, action, reply, called, returned, .. } = records[position];
        let mark = if position == stuck { ">" } else { " " };
        let end = if *reply == Reply::Unknown { "…".into() } else { returned.to_string() };
        format!("{mark} {called}–{end} client {client}: {action:?} → {reply:?}")
    };
    range.map(line).collect::<Vec<_>>().join("\n")
}
