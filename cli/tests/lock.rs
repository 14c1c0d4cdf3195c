//! `leasehold lock`, through the real binary and real signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{
    fs::{self, File},
    process::Stdio,
};

use rustix::fs::{FlockOperation, flock};
use support::{Place, Running, finish, is_running};

/// A holder that stays until its stdin closes. Not a shell: one that is interrupted while it starts a program may
/// go on to start it.
fn holder(place: &Place, options: &[&str]) -> Running {
    let mut command = place.command([&["lock", "nightly"], options, &["--", "cat"]].concat());
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.feed("held\n");
    assert_eq!(running.line(), "held");
    running
}

fn lock<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["lock", "nightly"], options, &["--", "sh", "-c", script]].concat()
}

#[test]
fn the_command_learns_the_lock_and_a_token_that_grows() {
    let place = Place::new();
    for token in 1..=3 {
        let said = place.run(lock(&[], "echo $LEASEHOLD_LOCK $LEASEHOLD_TOKEN")).expect(0).stdout;
        assert_eq!(said, format!("nightly {token}\n"));
    }
    place.run(["lock", "a/b", "--", "true"]).expect(0);
}

#[test]
fn the_exit_code_is_the_command_s() {
    let place = Place::new();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137)] {
        place.run(lock(&[], script)).expect(code);
    }
}

#[test]
fn stdin_and_stdout_are_the_command_s() {
    let place = Place::new();
    assert_eq!(place.feed(["lock", "l", "--", "cat"], b"through").expect(0).stdout, "through");
}

#[test]
fn a_command_that_cannot_be_run_releases_the_lease() {
    let place = Place::new();
    place.run(["lock", "nightly", "--", "/no/such/command"]).refused(127, "was not found");
    let file = place.path().join("plain");
    fs::write(&file, "text").unwrap();
    place.run(["lock", "nightly", "--try", "--", file.to_str().unwrap()]).refused(126, "cannot be run");
    place.run(lock(&["--try"], "true")).expect(0);
}

#[test]
fn signals_reach_the_command() {
    let place = Place::new();
    let script = "trap 'echo one' USR1; trap 'echo two' USR2; trap 'echo bye; exit 9' TERM; echo ready; \
                  while :; do sleep 0.02; done";
    let running = Running::start(place.command(lock(&[], script)));
    assert_eq!(running.line(), "ready");
    for (signal, said) in [("USR1", "one"), ("USR2", "two"), ("TERM", "bye")] {
        running.signal(signal);
        assert_eq!(running.line(), said);
    }
    running.end().expect(9);

    for (signal, code) in [("INT", 130), ("HUP", 129), ("QUIT", 131)] {
        let running = holder(&place, &[]);
        running.signal(signal);
        running.end().expect(code);
    }
    place.run(lock(&["--try"], "true")).expect(0);
}

#[test]
fn a_lock_that_is_held_is_not_acquired_and_nobody_who_asked_is_left() {
    let place = Place::new();
    let holder = holder(&place, &["--node", "the-holder"]);
    place.run(lock(&["--try"], "echo ran")).refused(75, "held by \"the-holder\"");
    place.run(lock(&["--wait", "50ms"], "echo ran")).refused(75, "held by \"the-holder\"");
    place.run(lock(&["--try", "--node", "the-holder"], "echo ran")).refused(75, "held by");
    holder.close().expect(0);
    place.run(lock(&["--try"], "echo ran")).expect(0);
    assert_eq!(place.run(["ls", "_locks/.sessions/"]).expect(0).stdout, "");
}

#[test]
fn a_waiter_gets_the_lock_when_it_is_released() {
    let place = Place::new();
    let mut first = holder(&place, &[]);
    let second = Running::start(place.command(lock(&[], "echo second $LEASEHOLD_TOKEN")));
    first.close_stdin();
    assert_eq!(second.line(), "second 2");
    first.end().expect(0);
    second.end().expect(0);
}

#[test]
fn a_waiter_can_be_interrupted() {
    let place = Place::new();
    let first = holder(&place, &[]);
    // Signals are received before the store is asked; the certificate of the store tells that it was.
    let waiter = Running::start(place.command(lock(&["--wait", "1m"], "echo ran")));
    waiter_is_receiving(waiter.id());
    waiter.signal("INT");
    let end = waiter.end().expect(130);
    assert_eq!((end.stdout.as_str(), end.stderr.as_str()), ("", ""));
    first.close().expect(0);
    assert_eq!(place.run(["ls", "_locks/.sessions/"]).expect(0).stdout, "");
}

/// Looks until the process has a handler for SIGINT.
fn waiter_is_receiving(id: u32) {
    loop {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        if u64::from_str_radix(caught.trim(), 16).unwrap() & 0b10 != 0 {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn what_the_command_leaves_behind_is_ended_before_the_release() {
    let place = Place::new();
    let said = place.run(lock(&[], "sleep 1000 & echo $!; exit 3")).expect(3).stdout;
    assert!(!is_running(said.trim().parse().unwrap()));
    let said = place.run(lock(&[], "(trap '' TERM; sleep 1000) & echo $!; exit 0")).expect(0).stdout;
    assert!(!is_running(said.trim().parse().unwrap()), "also when it ignores TERM");
}

#[test]
fn a_stopped_holder_loses_its_command_before_another_gets_the_lock() {
    let place = Place::new();
    let script = "trap '' TERM; sleep 1000 & echo $$ $!; while :; do sleep 0.02; done";
    let first = Running::start(place.command(lock(&["--ttl", "1s"], script)));
    let processes: Vec<u32> = first.line().split(' ').map(|id| id.parse().unwrap()).collect();
    assert!(processes.iter().all(|id| is_running(*id)));

    first.signal("STOP");
    let second = Running::start(place.command(lock(&["--ttl", "1s"], "echo $LEASEHOLD_TOKEN")));
    assert!(second.line().parse::<u64>().unwrap() > 1);
    for id in processes {
        assert!(!is_running(id), "process {id} outlived its lease");
    }
    first.signal("CONT");
    first.end().refused(70, "was lost");
    second.end().expect(0);
}

#[test]
fn a_holder_that_cannot_renew_asks_its_command_to_stop() {
    let place = Place::new();
    // Makes the record's lock file, and a token that is not the first.
    place.run(lock(&[], "true")).expect(0);
    place.run(lock(&[], "true")).expect(0);
    let script = "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
    // Between TERM and KILL is 3/16 of the ttl: time enough for a shell on a busy machine.
    let running = Running::start(place.command(lock(&["--ttl", "5s"], script)));
    assert_eq!(running.line(), "ready");
    let _stuck = stick(&place);
    assert_eq!(running.line(), "asked");
    let end = running.end();
    assert_eq!(end.code, 70, "{end:?}");
}

/// Takes the store's own locks, as a process does that was stopped in the middle of a write.
fn stick(place: &Place) -> Vec<File> {
    let locks = fs::read_dir(place.path().join(".leasehold/locks")).unwrap();
    let files: Vec<File> = locks.map(|entry| File::open(entry.unwrap().path()).unwrap()).collect();
    assert!(!files.is_empty());
    for file in &files {
        flock(file, FlockOperation::LockExclusive).unwrap();
    }
    files
}

#[test]
fn a_lease_taken_by_another_ends_the_command_at_once() {
    let place = Place::new();
    place.run(lock(&[], "true")).expect(0);
    let script = "trap '' TERM; echo $$; while :; do sleep 0.02; done";
    let running = Running::start(place.command(lock(&["--ttl", "300ms"], script)));
    let id = running.line().parse().unwrap();
    // The record of its session with a larger token, as one who put it out would have written it.
    let session = place.run(["ls", "_locks/.sessions/"]).expect(0).stdout;
    let held = place.run(["get", session.trim()]).expect(0).stdout;
    let newer = held.replacen("\"token\":1", "\"token\":9", 1);
    assert_ne!(newer, held);
    place.run(["put", session.trim(), &newer, "--force"]).expect(0);
    running.end().refused(70, "was lost");
    assert!(!is_running(id));
    assert_eq!(place.run(lock(&[], "echo $LEASEHOLD_TOKEN")).expect(0).stdout, "3\n");
}

#[test]
fn a_killed_holder_takes_its_command_with_it() {
    let place = Place::new();
    let running = Running::start(place.command(lock(&[], "trap '' TERM; sleep 1000 & echo held; wait")));
    assert_eq!(running.line(), "held");
    running.signal("KILL");
    // Every process of the group has stdout, so its end is theirs.
    assert!(running.until_silent().is_empty());
}

/// What an older version left of a lock that nobody holds.
const LEASE: &str = r#"{"format":1,"token":7,"state":"released","holder":{"node":"n","incarnation":"0123456789abcdef"},"sequence":9,"ttl_ms":10000,"op_id":"0","recent":[]}"#;

#[test]
fn a_record_that_is_none_is_left_alone() {
    let place = Place::new();
    for (record, code, words) in [
        ("garbage", 4, "not the record of a lock"),
        ("", 4, "not the record of a lock"),
        (r#"{"format":99,"anything":true}"#, 2, "upgrade"),
        (LEASE, 2, "this is the name of a \"lease\""),
    ] {
        place.run(["put", "_locks/nightly", record, "--force"]).expect(0);
        place.run(lock(&["--try"], "echo ran")).refused(code, words);
        assert_eq!(place.run(["get", "_locks/nightly"]).expect(0).stdout, record);
    }
}

#[test]
fn absurd_calls_are_refused_before_anything_runs() {
    let place = Place::new();
    for ttl in ["0s", "1ms", "1000d"] {
        place.run(lock(&["--ttl", ttl], "echo ran")).refused(2, "between 100ms and 24h");
    }
    for wrong in [
        &["lock", "nightly", "--ttl", "soon", "--", "true"][..],
        &["lock", "nightly"],
        &["lock", "nightly", "--try", "--wait", "1s", "--", "true"],
        &["lock", "", "--", "true"],
        &["lock", "../x", "--", "true"],
        &["lock", "nightly", "--node", "a/b", "--", "true"],
        &["lock", "a", "b", "--shared", "--", "true"],
        &["lock", "a", "../x", "--", "true"],
        &["lock", ".hidden", "--", "true"],
        &["semaphore", "s", "--", "true"],
        &["semaphore", "s", "-n", "0", "--", "true"],
        &["semaphore", "s", "-n", "1001", "--", "true"],
        &["elect", "a/b", "--", "true"],
        &["elect", "e"],
    ] {
        let outcome = place.run(wrong).expect(2);
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn memory_that_nobody_shares_locks_nothing_and_is_refused() {
    let place = Place::new();
    let mut locked = place.command(lock(&[], "true"));
    finish(locked.env("LEASEHOLD_STORE", "mem:")).refused(2, "processes cannot share mem:");
}
