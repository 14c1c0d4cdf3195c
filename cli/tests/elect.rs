//! `leasehold elect` and `leasehold leader`, through the real binary and real signals.

mod support;

use std::process::Stdio;

use support::{Place, Running, is_running};

/// A candidate that says its term when it leads, and stays until its stdin closes.
fn candidate(place: &Place, options: &[&str]) -> Running {
    let command = ["--", "sh", "-c", "echo $LEASEHOLD_ELECTION $LEASEHOLD_TERM $LEASEHOLD_TOKEN; exec cat"];
    let mut command = place.command([&["elect", "boss", "--ttl", "1s"], options, &command].concat());
    command.stdin(Stdio::piped());
    Running::start(command)
}

#[test]
fn one_leads_and_the_next_when_it_is_gone() {
    let place = Place::new();
    let first = candidate(&place, &["--node", "one", "--proclaim", "http://10.0.0.1\nx"]);
    assert_eq!(first.line(), "boss 1 1");
    let second = candidate(&place, &["--node", "two"]);
    let refused = ["elect", "boss", "--try", "--", "echo", "ran"];
    place.run(refused).refused(75, "boss is led by one in term 1");
    let seen = place.run(["leader", "boss", "--json"]).expect(0).json();
    assert_eq!((&seen["leader"], &seen["term"], &seen["led"]), (&"one".into(), &1.into(), &true.into()));
    assert_eq!(seen["proclaimed"], "http://10.0.0.1\nx");
    let text = place.run(["leader", "boss"]).expect(0).stdout;
    assert_eq!(text, "boss is led by one in term 1: http://10.0.0.1\\nx\n", "no line of its own");
    // It dies: the next leads after the ttl.
    first.signal("KILL");
    assert_eq!(second.line(), "boss 2 2");
    let seen = place.run(["leader", "boss", "--json"]).expect(0).json();
    assert_eq!((&seen["leader"], &seen["proclaimed"]), (&"two".into(), &serde_json::Value::Null));
    second.close().expect(0);
    place.run(["leader", "boss"]).refused(1, "nobody leads \"boss\"");
    place.run(["leader", "nobody"]).refused(1, "nobody leads");
    place.run(["elect", "boss", "--try", "--", "sh", "-c", "exit 7"]).expect(7);
}

#[test]
fn a_stopped_leader_loses_its_command_before_another_leads() {
    let place = Place::new();
    let script = "trap '' TERM; echo $$; while :; do sleep 0.02; done";
    let first = Running::start(place.command(["elect", "boss", "--ttl", "1s", "--", "sh", "-c", script]));
    let id = first.line().parse().unwrap();
    first.signal("STOP");
    let second = candidate(&place, &[]);
    assert_eq!(second.line(), "boss 2 2");
    assert!(!is_running(id), "the command outlived its leadership");
    first.signal("CONT");
    first.end().refused(70, "the leadership of \"boss\" was lost");
    second.close().expect(0);
}

#[test]
fn a_leader_that_was_deposed_ends_its_command_at_once() {
    let place = Place::new();
    let running = candidate(&place, &[]);
    assert_eq!(running.line(), "boss 1 1");
    let key = "_cluster/elections/boss/leader";
    let held = place.run(["get", key]).expect(0).stdout;
    let newer = held.replacen("\"token\":1", "\"token\":9", 1);
    assert_ne!(newer, held);
    place.run(["put", key, &newer]).refused(2, "--force");
    place.run(["put", key, &newer, "--force"]).expect(0);
    running.end().refused(70, "was lost");
}

#[test]
fn signals_reach_the_command_of_a_leader_and_end_a_candidate() {
    let place = Place::new();
    let leader = candidate(&place, &[]);
    assert_eq!(leader.line(), "boss 1 1");
    let waiting = candidate(&place, &[]);
    let watching = Running::start(place.command(["leader", "boss", "--watch"]));
    assert!(watching.line().contains("in term 1"));
    // It may be told of before it listens: then it dies of the signal, which is as well.
    waiting.signal("INT");
    let code = waiting.end().code;
    assert!([130, -2].contains(&code), "{code}");
    leader.signal("TERM");
    leader.end().expect(143);
    assert!(watching.line().contains("resigned after term 1"));
    watching.signal("INT");
    watching.end().expect(0);
}

#[test]
fn a_command_that_cannot_be_run_gives_the_leadership_up() {
    let place = Place::new();
    place.run(["elect", "boss", "--", "/no/such/command"]).refused(127, "was not found");
    place.run(["elect", "boss", "--try", "--", "true"]).expect(0);
}
