//! Ids given out: small cases, and against a search that tries everything.

use std::{collections::HashSet, ops::Range};

use super::against_naive::lines;
use crate::history::{IdsAction as A, IdsReply as R, Record, Verdict, check_ids};

type Call = Record<A, R>;

fn take(client: u64, range: Range<u64>, times: (u64, u64)) -> Call {
    Record::new(client, "ids", A::Take(range.end - range.start), R::Taken(range), times)
}

fn give(client: u64, range: Range<u64>, reply: R, times: (u64, u64)) -> Call {
    Record::new(client, "ids", A::Return(range), reply, times)
}

fn is_right(calls: &[Call]) -> bool {
    check_ids(calls) == Verdict::Linearizable
}

#[test]
fn ranges_that_overlap_are_noticed_and_named() {
    let calls = [take(1, 0..10, (0, 1)), take(2, 10..20, (2, 3)), take(3, 19..21, (2, 4))];
    assert!(is_right(&calls[..2]));
    let Verdict::Violated { history, .. } = check_ids(&calls) else { panic!("not noticed") };
    assert!(history.contains("> 2–4 client 3: Take(2) → Taken(19..21)"), "{history}");
}

#[test]
fn fewer_or_more_ids_than_asked_for_are_noticed() {
    let call = |range| Record::new(1, "ids", A::Take(5), R::Taken(range), (0, 1));
    assert!(is_right(&[call(3..8)]));
    assert!(!is_right(&[call(3..7)]));
    assert!(!is_right(&[call(3..9)]));
}

#[test]
fn what_was_given_back_may_come_again_and_only_that() {
    for reply in [R::Returned, R::Unknown] {
        let first = [take(1, 0..10, (0, 1)), give(1, 4..10, reply, (4, 9))];
        let with = |call: Call| is_right(&[&first[..], &[call]].concat());
        assert!(with(take(2, 4..10, (2, 5))));
        assert!(with(take(2, 5..7, (20, 21))));
        assert!(!with(take(2, 3..7, (20, 21))));
        assert!(!with(take(2, 4..10, (2, 3))));
    }
}

#[test]
fn what_another_client_gives_back_is_not_free() {
    let calls = [take(1, 0..10, (0, 1)), give(2, 0..10, R::Returned, (2, 3)), take(3, 0..10, (4, 5))];
    assert!(!is_right(&calls));
}

/// Whether any order gives no id twice.
fn naive(
    calls: &[Call],
    placed: u64,
    out: &[(u64, u64)],
    seen: &mut HashSet<(u64, Vec<(u64, u64)>)>,
) -> bool {
    let left = || (0..calls.len()).filter(|at| placed & 1 << at == 0);
    let closed = left().filter(|at| calls[*at].reply != R::Unknown);
    let Some(latest) = closed.map(|at| calls[at].returned).min() else { return true };
    if !seen.insert((placed, out.to_vec())) {
        return false;
    }
    left().filter(|at| calls[*at].called < latest).any(|at| {
        let call = &calls[at];
        let mut after = out.to_vec();
        match (&call.action, &call.reply) {
            (A::Return(range), _) => after.retain(|(id, owner)| !range.contains(id) || *owner != call.client),
            (A::Take(count), R::Taken(range)) => {
                if range.end - range.start != *count || out.iter().any(|(id, _)| range.contains(id)) {
                    return false;
                }
                after.extend(range.clone().map(|id| (id, call.client)));
                after.sort_unstable();
            }
            (A::Take(_), _) => {}
        }
        naive(calls, placed | 1 << at, &after, seen)
    })
}

/// Clients that take and give back, most of the time what is free.
fn random_calls(random: &mut fastrand::Rng) -> Vec<Call> {
    let mut free_from = [0_u64; 3];
    let mut mine: [Vec<Range<u64>>; 3] = Default::default();
    (0..random.usize(2..9))
        .map(|_| {
            let client = random.usize(..3);
            let called = free_from[client] + random.u64(1..5);
            let returned = called + random.u64(1..12);
            free_from[client] = returned;
            let is_unknown = random.u8(..5) == 0;
            if !mine[client].is_empty() && random.bool() {
                let at = random.usize(..mine[client].len());
                let range = mine[client].swap_remove(at);
                let reply = if is_unknown { R::Unknown } else { R::Returned };
                return give(client as u64, range, reply, (called, returned));
            }
            let start = random.u64(..8);
            let range = start..start + random.u64(1..3);
            let mut call = take(client as u64, range.clone(), (called, returned));
            if is_unknown {
                call.reply = R::Unknown;
            } else {
                mine[client].push(range);
            }
            call
        })
        .collect()
}

#[test]
fn small_histories_of_ids_have_the_verdict_of_trying_everything() {
    let (mut decided, mut wrong) = (0, 0);
    for seed in 0..20_000 {
        let calls = random_calls(&mut fastrand::Rng::with_seed(seed));
        let right = naive(&calls, 0, &[], &mut HashSet::new());
        assert_eq!(is_right(&calls), right, "seed {seed}: {}", lines(&calls));
        (decided, wrong) = (decided + 1, wrong + u32::from(!right));
    }
    assert!(wrong > decided / 5 && wrong < decided * 4 / 5, "{wrong} of {decided} are wrong");
}
