//! How much work the search has with large histories, in placements; no clock is asked.

use super::{Record, Shape, generated::spoil};
use crate::history::{Register, checker::searched, search::Found};

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
            assert_effort(Shape { unknown, overlap, conditions: false, ..Shape::default() }, 30, 500);
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
