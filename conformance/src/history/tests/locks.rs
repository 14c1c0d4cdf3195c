//! The model of a lock: small cases, and against a search that tries everything.

use std::collections::HashSet;

use super::against_naive::lines;
use crate::history::{Lock, LockAction as A, LockReply as R, Mode, Record, Recorder, Verdict, check_with};

type Call = Record<A, R>;

const ALONE: A = A::Acquire(Mode::Exclusive);
const SHARED: A = A::Acquire(Mode::Shared);

fn is_right(lock: Lock, calls: &[(u64, A, R, (u64, u64))]) -> bool {
    let record = |(client, action, reply, times): &(u64, A, R, (u64, u64))| {
        Record::new(*client, "lock", action.clone(), reply.clone(), *times)
    };
    check_with(&lock, &calls.iter().map(record).collect::<Vec<_>>()) == Verdict::Linearizable
}

#[test]
fn two_holders_at_once_are_noticed() {
    let first = (1, ALONE, R::Granted(1), (0, 1));
    let second = (2, ALONE, R::Granted(2), (2, 6));
    assert!(!is_right(Lock::new(), &[first.clone(), second.clone()]));
    let release = |reply, times| (1, A::Release(1), reply, times);
    assert!(is_right(Lock::new(), &[first.clone(), second.clone(), release(R::Released, (3, 4))]));
    assert!(is_right(Lock::new(), &[first.clone(), second.clone(), release(R::Unknown, (3, 4))]));
    assert!(!is_right(Lock::new(), &[first, second, release(R::Released, (7, 8))]));
}

#[test]
fn a_lease_that_may_run_out_lets_another_in_and_its_holder_is_fenced() {
    let calls = [
        (1, ALONE, R::Granted(1), (0, 1)),
        (1, A::Expire(1), R::Unknown, (2, 3)),
        (2, ALONE, R::Granted(2), (4, 5)),
        (1, A::Renew(1), R::Lost, (6, 7)),
        (1, A::Release(1), R::Lost, (8, 9)),
    ];
    assert!(is_right(Lock::new(), &calls));
    let mut held = calls.clone();
    held[3].2 = R::Held;
    assert!(!is_right(Lock::new(), &held));
    let mut too_early = calls;
    too_early[1].3 = (5, 6);
    assert!(!is_right(Lock::new(), &too_early));
}

#[test]
fn a_token_that_does_not_grow_is_noticed() {
    let calls = |second, third| {
        [
            (1, ALONE, R::Granted(5), (0, 1)),
            (1, A::Release(5), R::Released, (2, 3)),
            (3, ALONE, second, (4, 5)),
            (2, ALONE, R::Granted(third), (6, 7)),
        ]
    };
    assert!(is_right(Lock::new(), &calls(R::Unknown, 6)));
    assert!(!is_right(Lock::new(), &calls(R::Unknown, 5)));
    assert!(!is_right(Lock::new(), &calls(R::Unknown, 4)));
}

#[test]
fn a_refusal_without_a_holder_is_noticed() {
    let refused = (2, ALONE, R::Refused, (4, 5));
    assert!(!is_right(Lock::new(), std::slice::from_ref(&refused)));
    assert!(is_right(Lock::new(), &[(1, ALONE, R::Unknown, (0, 1)), refused]));
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    let readers = [(1, SHARED, R::Granted(1), (0, 1)), (2, SHARED, R::Granted(2), (2, 3))];
    let writer = (3, ALONE, R::Granted(3), (4, 5));
    assert!(is_right(Lock::new(), &readers));
    assert!(!is_right(Lock::new(), &[&readers[..], std::slice::from_ref(&writer)].concat()));
    let done = [(1, A::Release(1), R::Released, (4, 9)), (2, A::Release(2), R::Unknown, (4, 9))];
    assert!(is_right(Lock::new(), &[&readers[..], &done, &[writer]].concat()));
}

#[test]
fn more_than_the_permits_are_noticed() {
    let holders: Vec<_> = (1..=3).map(|n| (n, SHARED, R::Granted(n), (n * 10, n * 10 + 1))).collect();
    assert!(is_right(Lock::semaphore(3), &holders));
    assert!(!is_right(Lock::semaphore(2), &holders));
    let refused = (4, SHARED, R::Refused, (40, 41));
    assert!(is_right(Lock::semaphore(3), &[&holders[..], std::slice::from_ref(&refused)].concat()));
    assert!(!is_right(Lock::semaphore(4), &[&holders[..], &[refused]].concat()));
}

#[test]
fn a_term_has_one_leader_and_observers_see_it() {
    let calls = |seen| {
        [
            (1, ALONE, R::Granted(1), (0, 1)),
            (3, A::Observe, R::Leader(Some(1)), (2, 3)),
            (1, A::Release(1), R::Unknown, (4, 5)),
            (3, A::Observe, R::Leader(None), (6, 7)),
            (2, ALONE, R::Unknown, (8, 9)),
            (3, A::Observe, R::Leader(Some(seen)), (10, 11)),
            (4, A::Observe, R::Leader(Some(seen)), (12, 13)),
        ]
    };
    assert!(is_right(Lock::new(), &calls(2)));
    assert!(!is_right(Lock::new(), &calls(1)));
}

#[test]
fn a_grant_that_nobody_was_told_of_may_have_ended() {
    let calls = [
        (1, ALONE, R::Unknown, (0, 1)),
        (3, A::Observe, R::Leader(Some(2)), (2, 3)),
        (1, A::Release(2), R::Lost, (4, 5)),
        (3, A::Observe, R::Leader(Some(2)), (6, 7)),
    ];
    assert!(is_right(Lock::new(), &calls[..3]));
    assert!(!is_right(Lock::new(), &calls));
}

#[test]
fn a_recorder_of_locks_is_checked() {
    let recorder = Recorder::default();
    recorder.begin(1, "a", ALONE).end(R::Granted(7));
    drop(recorder.begin(1, "a", A::Expire(7)));
    recorder.begin(2, "a", ALONE).end(R::Granted(8));
    assert_eq!(check_with(&Lock::new(), &recorder.records()), Verdict::Linearizable);
    recorder.begin(1, "a", A::Renew(7)).end(R::Held);
    let Verdict::Violated { history, .. } = check_with(&Lock::new(), &recorder.records()) else {
        panic!("not noticed")
    };
    assert!(history.contains("> 5–6 client 1: Renew(7) → Held"), "{history}");
}

/// Each holder with its token.
type Holders = Vec<(u64, Mode, Told)>;

/// Who was told of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    Holder,
    Nobody,
    /// Somebody who looked.
    Observer,
}

/// The greatest token, and who holds the lock.
type State = (u64, Holders);

fn naive(calls: &[Call], permits: u32) -> bool {
    let tokens = calls.iter().map(|call| match call.reply {
        R::Granted(token) | R::Leader(Some(token)) => token,
        _ => 0,
    });
    let most = tokens.max().unwrap_or(0) + calls.len() as u64;
    let naive = Naive { calls, permits: permits as usize, most };
    naive.search(0, (0, Vec::new()), &mut HashSet::new())
}

struct Naive<'a> {
    calls: &'a [Call],
    permits: usize,
    most: u64,
}

impl Naive<'_> {
    fn search(&self, placed: u64, state: State, seen: &mut HashSet<(u64, State)>) -> bool {
        if !seen.insert((placed, state.clone())) {
            return false;
        }
        let left = || (0..self.calls.len()).filter(|at| placed & 1 << at == 0);
        let closed = left().filter(|at| self.calls[*at].reply != R::Unknown);
        let Some(latest) = closed.map(|at| self.calls[at].returned).min() else { return true };
        // A holder that nobody was told of may end at any time.
        for gone in (0..state.1.len()).filter(|at| state.1[*at].2 != Told::Holder) {
            let mut without = state.clone();
            without.1.remove(gone);
            if self.search(placed, without, seen) {
                return true;
            }
        }
        left().filter(|at| self.calls[*at].called < latest).any(|at| {
            let next = self.steps(&self.calls[at], &state);
            next.into_iter().any(|after| self.search(placed | 1 << at, after, seen))
        })
    }

    /// Every state that may come of it.
    fn steps(&self, Record { action, reply, .. }: &Call, (last, holders): &State) -> Vec<State> {
        let is_alone = holders.iter().any(|(_, mode, _)| *mode == Mode::Exclusive);
        let has_room = |mode: &Mode| match mode {
            Mode::Exclusive => holders.is_empty(),
            Mode::Shared => !is_alone && holders.len() < self.permits,
        };
        let is_held =
            |token: &u64| holders.iter().any(|(held, _, told)| held == token && *told != Told::Nobody);
        let grant = |token: u64, mode: &Mode, told| (token, [&holders[..], &[(token, *mode, told)]].concat());
        let without =
            |token: &u64| (*last, holders.iter().filter(|(held, ..)| held != token).copied().collect());
        let same = (*last, holders.clone());
        match (action, reply) {
            (A::Acquire(mode), R::Granted(token)) if has_room(mode) && token > last => {
                vec![grant(*token, mode, Told::Holder)]
            }
            (A::Acquire(mode), R::Unknown) if has_room(mode) => {
                (last + 1..=self.most).map(|token| grant(token, mode, Told::Nobody)).collect()
            }
            (A::Acquire(mode), R::Refused) if !has_room(mode) => vec![same],
            (A::Release(token), R::Released) if is_held(token) => vec![without(token)],
            (A::Release(token) | A::Expire(token), R::Unknown) if is_held(token) => vec![without(token)],
            (A::Renew(token), R::Held) if is_held(token) => vec![same],
            (A::Renew(token) | A::Release(token), R::Lost) if !is_held(token) => vec![same],
            (A::Observe, R::Leader(seen)) => {
                let mut after = same;
                let leader = after.1.iter_mut().find(|(_, mode, _)| *mode == Mode::Exclusive);
                if leader.as_ref().map(|(token, ..)| *token) != *seen {
                    return Vec::new();
                }
                leader
                    .into_iter()
                    .filter(|(.., told)| *told == Told::Nobody)
                    .for_each(|holder| holder.2 = Told::Observer);
                vec![after]
            }
            _ => Vec::new(),
        }
    }
}

/// What a history of locks looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) clients: u64,
    pub(super) calls: usize,
    /// How many calls of others one lasts at most.
    pub(super) overlap: u64,
    pub(super) unknown: f64,
    /// The share of grants that run out.
    pub(super) expiring: f64,
    pub(super) permits: u32,
    /// The share of acquisitions that are shared.
    pub(super) shared: f64,
}

impl Shape {
    /// A right history, made from an order.
    pub(super) fn records(&self, random: &mut fastrand::Rng) -> Vec<Call> {
        let (mut last, mut holders): (u64, Vec<(u64, Mode)>) = (0, Vec::new());
        let mut mine: Vec<Vec<u64>> = vec![Vec::new(); self.clients as usize];
        let mut free_from = vec![0_u64; self.clients as usize];
        // Grants that end by themselves, and when.
        let mut ends: Vec<(u64, u64)> = Vec::new();
        let mut records = Vec::new();
        let mut moment = 0;
        while records.len() < self.calls {
            moment += 1000;
            ends.retain(|(due, token)| {
                holders.retain(|(held, _)| held != token || *due > moment);
                *due > moment
            });
            let client = random.usize(..self.clients as usize);
            if free_from[client] >= moment - 1 {
                continue;
            }
            let called = moment - random.u64(..1000 * self.overlap).min(moment - free_from[client] - 1);
            let returned = moment + random.u64(1..1000 * self.overlap);
            free_from[client] = returned;
            let is_alone = holders.iter().any(|(_, mode)| *mode == Mode::Exclusive);
            let mode = if random.f64() < self.shared { Mode::Shared } else { Mode::Exclusive };
            let (action, mut reply) = match (random.u8(..6), mine[client].last().copied()) {
                (0, _) => {
                    let alone = holders.iter().find(|(_, mode)| *mode == Mode::Exclusive);
                    (A::Observe, R::Leader(alone.map(|(token, _)| *token)))
                }
                (1..3, Some(token)) => {
                    let is_held = holders.iter().any(|(held, _)| *held == token);
                    (A::Renew(token), if is_held { R::Held } else { R::Lost })
                }
                (3..6, Some(token)) => {
                    mine[client].pop();
                    let before = holders.len();
                    holders.retain(|(held, _)| *held != token);
                    (A::Release(token), if holders.len() < before { R::Released } else { R::Lost })
                }
                _ => {
                    let has_room = match mode {
                        Mode::Exclusive => holders.is_empty(),
                        Mode::Shared => !is_alone && holders.len() < self.permits as usize,
                    };
                    let mut reply = R::Refused;
                    if has_room {
                        last += random.u64(1..3);
                        holders.push((last, mode));
                        reply = R::Granted(last);
                    }
                    (A::Acquire(mode), reply)
                }
            };
            let is_unknown = random.f64() < self.unknown;
            if let R::Granted(token) = reply {
                if is_unknown {
                    ends.push((moment + random.u64(1..20_000), token));
                } else {
                    mine[client].push(token);
                    if random.f64() < self.expiring {
                        let due = returned + random.u64(1..20_000);
                        ends.push((due, token));
                        let times = (returned.max(due.saturating_sub(5000)), u64::MAX);
                        records.push(Record::new(99, "lock", A::Expire(token), R::Unknown, times));
                    }
                }
            }
            if is_unknown {
                reply = R::Unknown;
            }
            records.push(Record::new(client as u64, "lock", action, reply, (called, returned)));
        }
        records.sort_by_key(|record| record.called);
        records
    }
}

/// One reply becomes another one.
pub(super) fn spoil(records: &mut [Call], random: &mut fastrand::Rng) {
    let at = random.usize(..records.len());
    let token = random.u64(1..8);
    let reply = match (&records[at].action, &records[at].reply) {
        (_, R::Unknown) => return,
        (A::Acquire(_), R::Refused) => R::Granted(token),
        (A::Acquire(_), R::Granted(now)) => {
            [R::Refused, R::Granted(now + 1), R::Granted(now.saturating_sub(1).max(1))][random.usize(..3)]
                .clone()
        }
        (A::Release(_), R::Released) => R::Lost,
        (A::Release(_), _) => R::Released,
        (A::Renew(_), R::Held) => R::Lost,
        (A::Renew(_), _) => R::Held,
        (A::Observe, R::Leader(Some(now))) => {
            [R::Leader(None), R::Leader(Some(now + 1))][random.usize(..2)].clone()
        }
        (_, _) => R::Leader(Some(token)),
    };
    records[at].reply = reply;
}

#[test]
fn small_histories_of_locks_have_the_verdict_of_trying_everything() {
    let (mut decided, mut wrong) = (0, 0);
    for seed in 0..5_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let shape = Shape {
            clients: random.u64(1..5),
            calls: random.usize(3..12),
            overlap: random.u64(1..10),
            unknown: random.f64() * 0.4,
            expiring: random.f64() * 0.5,
            permits: [1, 2, 3, u32::MAX][random.usize(..4)],
            shared: random.f64(),
        };
        let mut records = shape.records(&mut random);
        for _ in 0..random.u8(..4) {
            spoil(&mut records, &mut random);
        }
        let right = naive(&records, shape.permits);
        let verdict = check_with(&Lock::semaphore(shape.permits), &records);
        assert_eq!(verdict == Verdict::Linearizable, right, "seed {seed}, {shape:?}: {}", lines(&records));
        (decided, wrong) = (decided + 1, wrong + u32::from(!right));
    }
    assert!(wrong > decided / 5 && wrong < decided * 4 / 5, "{wrong} of {decided} are wrong");
}
