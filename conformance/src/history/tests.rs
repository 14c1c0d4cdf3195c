use super::{Action as A, Record, Recorder, Reply as R, Verdict, check};

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

/// A history of clients that overlap, made from an order known to be right: each call takes effect at a moment
/// between its beginning and its end. One in `unknown_in` writes has its reply withheld.
fn generated(clients: u64, calls: u64, seed: u64, unknown_in: Option<u32>) -> Vec<Record> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut state: Option<(i64, String)> = None;
    let mut known: Vec<Option<String>> = vec![None; clients as usize];
    let mut records = Vec::new();
    let mut free_from = vec![0_u64; clients as usize];
    for number in 0.. {
        if records.len() as u64 == clients * calls {
            break;
        }
        let moment = (number + 1) * 1000;
        let client = random.usize(..clients as usize);
        if free_from[client] >= moment - 1 {
            continue;
        }
        let called = moment - random.u64(..1000 * clients).min(moment - free_from[client] - 1);
        let returned = moment + random.u64(1..1000 * clients);
        free_from[client] = returned;
        let (value, fresh) = (number as i64 * 1000, v(number as i64));
        let expected = known[client].clone().unwrap_or_default();
        let fits = state.as_ref().is_some_and(|(_, version)| *version == expected);
        let (action, mut reply) = match random.u8(..10) {
            0..4 => (A::Get, state.clone().map_or(R::Absent, |(value, version)| R::Found(value, version))),
            4 => (A::Put(value), R::Written(fresh)),
            5..7 if fits => (A::Replace(expected, value), R::Written(fresh)),
            5..7 => (A::Replace(expected, value), R::Conflict),
            7 if state.is_none() => (A::Create(value), R::Written(fresh)),
            7 => (A::Create(value), R::Conflict),
            8 => (A::Delete, R::Deleted),
            _ => {
                let sum = state.as_ref().map_or(0, |(value, _)| *value) + 1;
                state = Some((sum, fresh));
                (A::Increment(1), R::Sum(sum))
            }
        };
        match &reply {
            R::Written(version) => state = Some((value, version.clone())),
            R::Deleted => state = None,
            _ => {}
        }
        if action != A::Get && unknown_in.is_some_and(|chance| random.u32(..chance) == 0) {
            reply = R::Unknown;
        }
        if let R::Found(_, version) | R::Written(version) = &reply {
            known[client] = Some(version.clone());
        }
        records.push(Record::new(client as u64, "k", action, reply, (called, returned)));
    }
    records
}

#[test]
fn right_histories_are_accepted() {
    for seed in 0..40 {
        assert_eq!(check(&generated(5, 40, seed, None)), Verdict::Linearizable, "seed {seed}");
        assert_eq!(check(&generated(5, 40, seed, Some(10))), Verdict::Linearizable, "seed {seed}, unknown");
    }
}

#[test]
fn a_thousand_calls_of_each_of_ten_clients_are_decided() {
    assert_eq!(check(&generated(10, 1000, 1, None)), Verdict::Linearizable);
    assert_eq!(check(&generated(10, 1000, 2, Some(50))), Verdict::Linearizable);
}

#[test]
fn one_stale_read_among_ten_thousand_calls_is_noticed() {
    let mut records = generated(10, 1000, 3, None);
    let reads: Vec<usize> =
        (0..records.len()).filter(|at| matches!(records[*at].reply, R::Found(..))).collect();
    let (early, late) = (reads[10], reads[reads.len() - 10]);
    records[late].reply = records[early].reply.clone();
    assert!(matches!(check(&records), Verdict::Violated { .. }));
}
