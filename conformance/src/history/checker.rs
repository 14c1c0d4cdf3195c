//! Splits a history by key and names what is wrong with it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use super::{
    Action, Record, Reply,
    register::{Step, StepAction, StepReply, VersionId},
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
        match search(&timed(&records)) {
            Found::Order => {}
            Found::GaveUp => return Verdict::Undecided { key: key.to_owned() },
            Found::None { stuck } => {
                return Verdict::Violated { key: key.to_owned(), history: around(&records, stuck) };
            }
        }
    }
    Verdict::Linearizable
}

fn timed(records: &[&Record]) -> Vec<Timed> {
    let mut names: HashMap<String, VersionId> = HashMap::new();
    let mut id = |version: &String| {
        let next = names.len() as VersionId + 1;
        *names.entry(version.clone()).or_insert(next)
    };
    records
        .iter()
        .map(|record| {
            let action = match &record.action {
                Action::Get => StepAction::Get,
                Action::Put(value) => StepAction::Put(*value),
                Action::Create(value) => StepAction::Create(*value),
                Action::Replace(version, value) => StepAction::Replace(id(version), *value),
                Action::Delete => StepAction::Delete,
                Action::DeleteIf(version) => StepAction::DeleteIf(id(version)),
                Action::Increment(delta) => StepAction::Increment(*delta),
            };
            let reply = match &record.reply {
                Reply::Absent => StepReply::Absent,
                Reply::Found(value, version) => StepReply::Found(*value, id(version)),
                Reply::Written(version) => StepReply::Written(id(version)),
                Reply::Deleted => StepReply::Deleted,
                Reply::Sum(sum) => StepReply::Sum(*sum),
                Reply::Conflict => StepReply::Conflict,
                Reply::Unknown => StepReply::Unknown,
            };
            Timed { called: record.called, returned: record.returned, step: Step { action, reply } }
        })
        .collect()
}

/// The calls around the one at which the search got stuck.
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
