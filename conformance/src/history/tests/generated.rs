//! Histories made from an order known to be right: each call has its effect at a moment between its beginning and its
//! end, or, when its outcome is unknown, at that moment, long after, or never.

use super::{A, R, Record, v};

/// What a register holds: a number and its version.
type State = Option<(i64, String)>;

/// Which calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mix {
    /// All.
    Conditional,
    /// Those without preconditions.
    Blind,
    /// Reads and increments.
    Counter,
}

/// What a history looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) clients: u64,
    /// Calls of each client.
    pub(super) calls: u64,
    /// How many calls of others one lasts at most.
    pub(super) overlap: u64,
    /// The share of writes that nobody knows the outcome of.
    pub(super) unknown: f64,
    pub(super) mix: Mix,
    /// Values and increments are below this; `None`: no value comes twice.
    pub(super) values: Option<i64>,
    /// One increment in this many calls.
    pub(super) increments: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            clients: 6,
            calls: 100,
            overlap: 6,
            unknown: 0.0,
            mix: Mix::Conditional,
            values: None,
            increments: 10,
        }
    }
}

impl Shape {
    pub(super) fn records(&self, seed: u64) -> Vec<Record> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut state: State = None;
        let mut known: Vec<Option<String>> = vec![None; self.clients as usize];
        let mut free_from = vec![0_u64; self.clients as usize];
        let mut late: Vec<(u64, A, String)> = Vec::new();
        let mut records = Vec::new();
        for number in 0_u64.. {
            if records.len() as u64 == self.clients * self.calls {
                break;
            }
            let moment = (number + 1) * 1000;
            late.retain(|(due, action, version)| {
                if *due <= moment {
                    act(&mut state, action, version);
                }
                *due > moment
            });
            let client = random.usize(..self.clients as usize);
            if free_from[client] >= moment - 1 {
                continue;
            }
            let called = moment - random.u64(..1000 * self.overlap).min(moment - free_from[client] - 1);
            let returned = moment + random.u64(1..1000 * self.overlap);
            free_from[client] = returned;
            let action = self.action(&mut random, number as i64, known[client].clone());
            let version = v(number as i64);
            let mut reply = R::Unknown;
            if action == A::Get || random.f64() >= self.unknown {
                reply = act(&mut state, &action, &version);
            } else {
                match random.u8(..3) {
                    0 => drop(act(&mut state, &action, &version)),
                    1 => late.push((moment + random.u64(..100_000), action.clone(), version)),
                    _ => {}
                }
            }
            if let R::Found(_, version) | R::Written(version) = &reply {
                known[client] = Some(version.clone());
            }
            records.push(Record::new(client as u64, "k", action, reply, (called, returned)));
        }
        records.sort_by_key(|record| record.called);
        records
    }

    fn action(&self, random: &mut fastrand::Rng, number: i64, known: Option<String>) -> A {
        if random.u32(..self.increments) == 0 {
            return A::Increment(random.i64(1..self.values.unwrap_or(1 << 40)));
        }
        let value = self.values.map_or((number + 1) << 48, |values| random.i64(0..values));
        let conditions = self.mix == Mix::Conditional;
        match (random.u8(..9), known) {
            _ if self.mix == Mix::Counter => A::Get,
            (0..4, _) => A::Get,
            (5, Some(version)) if conditions => A::DeleteIf(version),
            (4..7, Some(version)) if conditions => A::Replace(version, value),
            (7, _) if conditions => A::Create(value),
            (8, _) => A::Delete,
            _ => A::Put(value),
        }
    }
}

/// What a register does.
fn act(state: &mut State, action: &A, version: &str) -> R {
    let at = state.as_ref().map(|(_, version)| version.as_str());
    let holds = match action {
        A::Create(_) => at.is_none(),
        A::Replace(wanted, _) | A::DeleteIf(wanted) => at == Some(wanted),
        _ => true,
    };
    match action {
        _ if !holds => R::Conflict,
        A::Get => state.clone().map_or(R::Absent, |(value, version)| R::Found(value, version)),
        A::Put(value) | A::Create(value) | A::Replace(_, value) => {
            *state = Some((*value, version.to_owned()));
            R::Written(version.to_owned())
        }
        A::Delete | A::DeleteIf(_) => {
            *state = None;
            R::Deleted
        }
        A::Increment(delta) => {
            let sum = state.as_ref().map_or(0, |(value, _)| *value) + delta;
            *state = Some((sum, version.to_owned()));
            R::Sum(sum)
        }
    }
}

/// One reply becomes another one of the same kind.
pub(super) fn spoil(records: &mut [Record], random: &mut fastrand::Rng) {
    let at = random.usize(..records.len());
    let versions: Vec<(i64, String)> = records
        .iter()
        .filter_map(|record| match (&record.reply, &record.action) {
            (R::Found(value, version), _) => Some((*value, version.clone())),
            (R::Written(version), A::Put(value) | A::Create(value) | A::Replace(_, value)) => {
                Some((*value, version.clone()))
            }
            _ => None,
        })
        .collect();
    let reply = match (&records[at].action, &records[at].reply) {
        (_, R::Unknown) => return,
        (A::Get, _) if versions.is_empty() || random.u8(..4) == 0 => R::Absent,
        (A::Get, _) => {
            let (value, version) = versions[random.usize(..versions.len())].clone();
            R::Found(value, version)
        }
        (A::Increment(_), R::Sum(sum)) => R::Sum(sum + random.i64(-1..=1)),
        (A::Create(_) | A::Replace(..), R::Conflict) => R::Written(v(-1)),
        (A::DeleteIf(_), R::Conflict) => R::Deleted,
        (A::Create(_) | A::Replace(..) | A::DeleteIf(_), _) => R::Conflict,
        (_, reply) => reply.clone(),
    };
    records[at].reply = reply;
}
