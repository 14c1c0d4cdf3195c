//! `leasehold id-range`, through the real binary.

mod support;

use support::{Place, Running};

#[test]
fn a_range_that_is_printed_can_be_divided_and_returned() {
    let place = Place::new();
    let taken = place.run(["id-range", "take", "orders", "1000"]).expect(0).stdout;
    assert!(taken.starts_with("0-1000:"), "{taken}");
    let parts =
        place.run(["id-range", "divide", "orders", taken.trim(), "3", "--from", "10"]).expect(0).stdout;
    let parts: Vec<&str> = parts.lines().collect();
    let starts: Vec<&str> = parts.iter().map(|part| part.split(':').next().unwrap()).collect();
    assert_eq!(starts, ["10-340", "340-670", "670-1000"]);
    place.run(["id-range", "return", "orders", parts[2], "--from", "900"]).expect(0);
    let returned = place.run(["id-range", "return", "orders", parts[0], "--json"]).expect(0).json();
    assert_eq!(returned, serde_json::json!({"returned": {"start": 10, "end": 340}}));
    // What came back is given out again, what was divided or used is not.
    let again = place.run(["id-range", "take", "orders", "100", "--json"]).expect(0).json();
    assert_eq!((&again["start"], &again["end"]), (&10.into(), &110.into()));
    let range = again["range"].as_str().unwrap();
    let parts = place.run(["id-range", "divide", "orders", range, "2", "--json"]).expect(0).json_lines();
    assert_eq!((&parts[0]["end"], &parts[1]["start"]), (&60.into(), &60.into()));
}

#[test]
fn each_range_is_used_once_and_nonsense_is_refused() {
    let place = Place::new();
    let taken = place.run(["id-range", "take", "orders", "10"]).expect(0).stdout;
    let taken = taken.trim();
    place
        .run(["id-range", "return", "orders", taken, "--from", "11"])
        .refused(2, "11 is not between 0 and 10");
    place.run(["id-range", "divide", "orders", taken, "11"]).refused(2, "cannot be divided into 11 parts");
    place
        .run(["id-range", "return", "orders", &taken.replace("0-10", "0-99")])
        .refused(2, "is not a range of ids");
    place.run(["id-range", "return", "orders", taken]).expect(0);
    place.run(["id-range", "return", "orders", taken]).refused(2, "given back already");
    place.run(["id-range", "divide", "orders", taken, "2"]).refused(2, "given back already");
    place.run(["id-range", "take", "orders", "0"]).refused(2, "at least one id");
    place.run(["id-range", "take", "a/b", "1"]).refused(2, "is not a sequence of ids");
    place.run(["id-range", "take", "orders", "18446744073709551615"]).expect(0);
    place.run(["id-range", "take", "orders", "18446744073709551615"]).refused(4, "begin another sequence");
}

#[test]
fn many_who_take_at_once_share_no_id() {
    let place = Place::new();
    place.run(["id-range", "take", "orders", "1"]).expect(0);
    let start = |_| Running::start(place.command(["id-range", "take", "orders", "7", "--json"]));
    let running: Vec<Running> = (0..24).map(start).collect();
    let ranges = running.into_iter().map(|running| running.end().expect(0).json());
    let mut starts: Vec<u64> = ranges.map(|range| range["start"].as_u64().unwrap()).collect();
    starts.sort_unstable();
    assert_eq!(starts, (0..24).map(|number| 1 + 7 * number).collect::<Vec<u64>>());
}
