//! How much work the search has with large histories, in placements; no clock is asked.

use super::{
    Record, Shape,
    generated::{Mix, spoil},
    locks,
};
use crate::history::{Lock, Register, checker::searched, search::Found};

/// Every history is decided, with no more than so many placements for each call.
fn assert_effort(shape: Shape, seeds: u64, for_each: u64) {
    let (mut most, mut wrongs) = (0, 0);
    for seed in 0..seeds {
        let mut records = shape.records(seed);
        let (found, placements) = effort(&records);
        assert_eq!(found, Found::Order, "{shape:?}, seed {seed}: {placements} placements");
        spoil(&mut records, &mut fastrand::Rng::with_seed(seed));
        let (found, wrong) = effort(&records);
        assert_ne!(found, Found::GaveUp, "{shape:?}, seed {seed}: {wrong} placements, spoilt");
        wrongs += u64::from(found == Found::None);
        most = most.max(placements).max(wrong);
    }
    assert!(most <= for_each * shape.clients * shape.calls, "{shape:?}: {most} placements");
    assert!(wrongs > 0, "{shape:?}: nothing was spoilt");
}

fn effort(records: &[Record]) -> (Found, u64) {
    searched(&Register, &records.iter().collect::<Vec<_>>())
}

#[test]
fn unknown_outcomes_without_conditions_are_decided() {
    for unknown in [0.08, 0.14, 0.2] {
        for overlap in [6, 20, 60] {
            assert_effort(Shape { unknown, overlap, mix: Mix::Blind, ..Shape::default() }, 30, 500);
        }
    }
}

#[test]
fn unknown_outcomes_with_conditions_are_decided() {
    for unknown in [0.08, 0.14, 0.2] {
        for overlap in [6, 20, 60] {
            assert_effort(Shape { unknown, overlap, ..Shape::default() }, 30, 500);
        }
    }
}

#[test]
fn counters_with_unknown_increments_are_decided() {
    for unknown in [0.1, 0.3] {
        let shape = Shape { unknown, mix: Mix::Counter, increments: 2, overlap: 20, ..Shape::default() };
        // Of equal increments any number may be unknown.
        assert_effort(Shape { values: Some(2), ..shape }, 10, 100);
    }
}

/// Ten clients with five thousand calls each.
const LARGE: Shape = Shape {
    clients: 10,
    calls: 5000,
    overlap: 10,
    unknown: 0.0,
    mix: Mix::Conditional,
    values: None,
    increments: 10,
};

#[test]
fn five_thousand_calls_of_each_of_ten_clients_are_decided() {
    assert_effort(LARGE, 4, 2);
}

#[test]
fn unknown_outcomes_among_many_calls_are_decided() {
    assert_effort(Shape { unknown: 0.02, calls: 200, ..LARGE }, 8, 100);
    let (found, placements) = effort(&Shape { unknown: 0.02, ..LARGE }.records(1));
    assert_eq!(found, Found::Order, "{placements} placements");
}

/// The shares of unknown outcomes and of leases that run out.
const TROUBLES: [(f64, f64); 3] = [(0.0, 0.0), (0.05, 0.1), (0.2, 0.3)];

#[test]
fn locks_and_elections_are_decided() {
    for (unknown, expiring) in TROUBLES {
        for (calls, overlap, seeds) in [(600, 6, 20), (600, 40, 20), (50_000, 10, 1)] {
            let (permits, shared) = (u32::MAX, 0.0);
            let shape = locks::Shape { clients: 10, calls, overlap, unknown, expiring, permits, shared };
            assert_effort_of_locks(shape, seeds, 20);
        }
    }
}

#[test]
fn shared_locks_and_semaphores_are_decided() {
    for (permits, shared) in [(u32::MAX, 0.8), (5, 0.9)] {
        for (unknown, expiring) in TROUBLES {
            let shape =
                locks::Shape { clients: 6, calls: 200, overlap: 10, unknown, expiring, permits, shared };
            assert_effort_of_locks(shape, 10, 500);
        }
    }
}

/// Every history is decided, with no more than so many placements for each call.
fn assert_effort_of_locks(shape: locks::Shape, seeds: u64, for_each: u64) {
    let model = Lock::semaphore(shape.permits);
    for seed in 0..seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut records = shape.records(&mut random);
        let (found, placements) = searched(&model, &records.iter().collect::<Vec<_>>());
        assert_eq!(found, Found::Order, "{shape:?}, seed {seed}: {placements} placements");
        locks::spoil(&mut records, &mut random);
        let (found, wrong) = searched(&model, &records.iter().collect::<Vec<_>>());
        assert_ne!(found, Found::GaveUp, "{shape:?}, seed {seed}: {wrong} placements, spoilt");
        let most = placements.max(wrong);
        assert!(most <= for_each * shape.calls as u64, "{shape:?}, seed {seed}: {most} placements");
    }
}
