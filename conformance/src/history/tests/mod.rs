mod against_naive;
mod effort;
mod generated;
mod ids;
mod locks;

use super::{Action as A, Record, Recorder, Reply as R, Verdict, check};
use generated::Shape;

fn v(number: i64) -> String {
    format!("v{number}")
}

fn history(calls: &[(u64, A, R, (u64, u64))]) -> Vec<Record> {
    let record = |(client, action, reply, times): &(u64, A, R, (u64, u64))| {
        Record::new(*client, "k", action.clone(), reply.clone(), *times)
    };
    calls.iter().map(record).collect()
}

fn is_linearizable(calls: &[(u64, A, R, (u64, u64))]) -> bool {
    match check(&history(calls)) {
        Verdict::Linearizable => true,
        Verdict::Violated { .. } => false,
        Verdict::Undecided { .. } => panic!("undecided"),
    }
}

#[test]
fn a_read_that_overlaps_a_write_may_see_either_value() {
    for seen in [R::Absent, R::Found(1, v(1))] {
        assert!(is_linearizable(&[(1, A::Put(1), R::Written(v(1)), (0, 10)), (2, A::Get, seen, (1, 9))]));
    }
}

#[test]
fn a_stale_read_is_noticed() {
    assert!(!is_linearizable(&[(1, A::Put(1), R::Written(v(1)), (0, 1)), (2, A::Get, R::Absent, (2, 3))]));
}

#[test]
fn a_value_that_goes_back_is_noticed() {
    assert!(!is_linearizable(&[
        (1, A::Put(1), R::Written(v(1)), (0, 1)),
        (1, A::Put(2), R::Written(v(2)), (2, 9)),
        (2, A::Get, R::Found(2, v(2)), (3, 4)),
        (3, A::Get, R::Found(1, v(1)), (5, 6)),
    ]));
}

#[test]
fn two_winners_of_one_precondition_are_noticed() {
    assert!(!is_linearizable(&[
        (1, A::Create(1), R::Written(v(1)), (0, 10)),
        (2, A::Create(2), R::Written(v(2)), (0, 10)),
    ]));
    assert!(!is_linearizable(&[
        (1, A::Put(1), R::Written(v(1)), (0, 1)),
        (1, A::Replace(v(1), 2), R::Written(v(2)), (2, 10)),
        (2, A::DeleteIf(v(1)), R::Deleted, (3, 10)),
    ]));
}

#[test]
fn a_conflict_without_a_rival_is_noticed() {
    assert!(!is_linearizable(&[(1, A::Create(1), R::Conflict, (0, 1))]));
}

#[test]
fn a_lost_increment_is_noticed() {
    let good = [
        (1, A::Increment(1), R::Sum(2), (0, 10)),
        (2, A::Increment(1), R::Sum(1), (1, 9)),
        (1, A::Get, R::Found(2, v(7)), (11, 12)),
    ];
    assert!(is_linearizable(&good));
    let mut bad = good;
    bad[0].2 = R::Sum(1);
    bad[2].2 = R::Found(1, v(7));
    assert!(!is_linearizable(&bad));
}

#[test]
fn an_unknown_write_may_land_late_or_never() {
    let unknown = (1, A::Put(1), R::Unknown, (0, 1));
    let absent = |from| (2, A::Get, R::Absent, (from, from + 1));
    let found = |from| (2, A::Get, R::Found(1, v(1)), (from, from + 1));
    assert!(is_linearizable(&[unknown.clone(), absent(2), absent(4)]));
    assert!(is_linearizable(&[unknown.clone(), absent(2), found(4)]));
    assert!(!is_linearizable(&[unknown.clone(), found(2), absent(4)]));
    // It lands at most once: a delete that came after it was seen is final.
    let deleted = (3, A::Delete, R::Deleted, (4, 5));
    assert!(!is_linearizable(&[unknown.clone(), found(2), deleted.clone(), found(6)]));
    assert!(is_linearizable(&[unknown, found(2), deleted, absent(6)]));
}

#[test]
fn an_unknown_write_explains_a_conflict_it_caused_unseen() {
    let put = (1, A::Put(1), R::Written(v(1)), (0, 1));
    let lost = (2, A::Replace(v(1), 2), R::Conflict, (4, 5));
    assert!(!is_linearizable(&[put.clone(), lost.clone()]));
    assert!(is_linearizable(&[put, (3, A::Put(9), R::Unknown, (2, 3)), lost]));
}

#[test]
fn an_unknown_write_cannot_land_before_it_was_sent() {
    let seen = (2, A::Get, R::Found(1, v(1)), (0, 1));
    assert!(!is_linearizable(&[seen, (1, A::Put(1), R::Unknown, (2, 3))]));
}

#[test]
fn keys_are_independent_and_the_wrong_one_is_named() {
    let mut records = history(&[(1, A::Put(1), R::Written(v(1)), (0, 1))]);
    records.push(Record::new(1, "other", A::Get, R::Found(1, v(1)), (2, 3)));
    match check(&records) {
        Verdict::Violated { key, history } => {
            assert_eq!(key, "other");
            assert!(history.contains("> 2–3 client 1: Get"), "{history}");
        }
        verdict => panic!("{verdict}"),
    }
}

#[test]
fn a_call_that_is_dropped_is_recorded_as_unknown() {
    let recorder = Recorder::new();
    drop(recorder.begin(1, "k", A::Put(1)));
    recorder.begin(1, "k", A::Get).end(R::Absent);
    let records = recorder.records();
    assert_eq!((records[0].reply.clone(), records[1].reply.clone()), (R::Unknown, R::Absent));
    assert_eq!(check(&records), Verdict::Linearizable);
}

#[test]
fn right_histories_are_accepted() {
    for seed in 0..40 {
        let shape = Shape { clients: 5, calls: 40, ..Shape::default() };
        assert_eq!(check(&shape.records(seed)), Verdict::Linearizable, "seed {seed}");
        let shape = Shape { unknown: 0.1, ..shape };
        assert_eq!(check(&shape.records(seed)), Verdict::Linearizable, "seed {seed}, unknown");
    }
}

#[test]
fn one_stale_read_among_ten_thousand_calls_is_noticed_and_named() {
    let mut records = Shape { clients: 10, calls: 1000, ..Shape::default() }.records(3);
    let reads: Vec<usize> =
        (0..records.len()).filter(|at| matches!(records[*at].reply, R::Found(..))).collect();
    let (early, late) = (reads[10], reads[reads.len() - 10]);
    records[late].reply = records[early].reply.clone();
    let Verdict::Violated { history, .. } = check(&records) else { panic!("not noticed") };
    let Record { called, returned, .. } = records[late];
    assert!(history.contains(&format!("> {called}–{returned} ")), "{history}");
}
