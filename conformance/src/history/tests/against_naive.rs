//! The search against one that tries everything and knows nothing.

use std::{collections::HashSet, fmt::Debug};

use super::{
    A, R, Record, Shape, Verdict, check,
    generated::{Mix, spoil},
};

/// A number and its version, if anybody has seen that one.
type State = Option<(i64, Option<String>)>;

/// Whether any order explains all replies.
fn naive(records: &[Record]) -> bool {
    search(records, 0, None, &mut HashSet::new())
}

fn search(records: &[Record], placed: u64, state: State, failed: &mut HashSet<(u64, State)>) -> bool {
    if failed.contains(&(placed, state.clone())) {
        return false;
    }
    let is_left = |at: &usize| placed & 1 << at == 0;
    let left: Vec<usize> = (0..records.len()).filter(is_left).collect();
    let Some(latest) =
        left.iter().map(|at| &records[*at]).filter(|call| call.reply != R::Unknown).map(|r| r.returned).min()
    else {
        return true;
    };
    for at in left.into_iter().filter(|at| records[*at].called < latest) {
        if let Some(after) = step(&records[at], &state)
            && search(records, placed | 1 << at, after, failed)
        {
            return true;
        }
    }
    failed.insert((placed, state));
    false
}

/// The state after a call, if its reply is right.
fn step(Record { action, reply, .. }: &Record, state: &State) -> Option<State> {
    let version = state.as_ref().map(|(_, version)| version.as_deref());
    let holds = match action {
        A::Create(_) => state.is_none(),
        A::Replace(wanted, _) | A::DeleteIf(wanted) => version == Some(Some(wanted)),
        _ => true,
    };
    if !holds {
        return (*reply == R::Conflict).then(|| state.clone());
    }
    match (action, reply, state) {
        (A::Get, R::Absent, None) => Some(None),
        (A::Get, R::Found(read, seen), Some((value, version)))
            if read == value && version.as_ref().is_none_or(|version| version == seen) =>
        {
            Some(Some((*read, Some(seen.clone()))))
        }
        (A::Put(value) | A::Create(value) | A::Replace(_, value), R::Written(version), _) => {
            Some(Some((*value, Some(version.clone()))))
        }
        (A::Put(value) | A::Create(value) | A::Replace(_, value), R::Unknown, _) => {
            Some(Some((*value, None)))
        }
        (A::Delete | A::DeleteIf(_), R::Deleted | R::Unknown, _) => Some(None),
        (A::Increment(delta), reply, _) => {
            let sum = state.as_ref().map_or(0, |(value, _)| *value).checked_add(*delta)?;
            (*reply == R::Unknown || *reply == R::Sum(sum)).then_some(Some((sum, None)))
        }
        _ => None,
    }
}

pub(super) fn lines<A: Debug, R: Debug>(records: &[Record<A, R>]) -> String {
    let line = |Record { client, action, reply, called, returned, .. }: &Record<A, R>| {
        format!("\n{called}–{returned} client {client}: {action:?} → {reply:?}")
    };
    records.iter().map(line).collect()
}

/// How many histories of a few calls are decided, and how many of them are wrong.
fn agree(seeds: std::ops::Range<u64>) -> (u32, u32) {
    let (mut decided, mut wrong) = (0, 0);
    for seed in seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        let shape = Shape {
            clients: random.u64(1..5),
            calls: random.u64(2..5),
            overlap: random.u64(1..12),
            unknown: random.f64() * 0.5,
            mix: [Mix::Conditional, Mix::Blind, Mix::Counter][random.usize(..3)],
            values: [Some(3), Some(2), Some(6), None][random.usize(..4)],
            increments: random.u32(2..12),
        };
        let mut records = shape.records(seed);
        for _ in 0..random.u8(..4) {
            spoil(&mut records, &mut random);
        }
        if random.u8(..4) == 0 {
            for record in &mut records {
                if let A::Increment(delta) = &mut record.action
                    && random.bool()
                {
                    *delta = -*delta;
                }
            }
        }
        let right = naive(&records);
        assert_eq!(
            matches!(check(&records), Verdict::Linearizable),
            right,
            "seed {seed}, {shape:?}: {}",
            lines(&records)
        );
        (decided, wrong) = (decided + 1, wrong + u32::from(!right));
    }
    (decided, wrong)
}

#[test]
fn small_histories_have_the_verdict_of_trying_everything() {
    let (decided, wrong) = agree(0..20_000);
    assert!(wrong > decided / 5 && wrong < decided * 4 / 5, "{wrong} of {decided} are wrong");
}
