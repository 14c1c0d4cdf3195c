//! Locks that are shared, counted, in line, several, nested: between real processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{fs, process::Stdio, time::Duration};

use leasehold::{Clock, SystemClock};
use serde_json::Value;
use support::{Outcome, Place, Running, until, until_within};

/// A holder that says its token and stays until its stdin closes.
fn holder(place: &Place, arguments: &[&str]) -> Running {
    let running = waiter(place, arguments);
    running.line();
    running
}

/// One that does the same when it gets what it asks for.
fn waiter(place: &Place, arguments: &[&str]) -> Running {
    let mut command =
        place.command([arguments, &["--", "sh", "-c", "echo $LEASEHOLD_TOKEN; exec cat"]].concat());
    command.stdin(Stdio::piped());
    Running::start(command)
}

fn attempt(place: &Place, arguments: &[&str]) -> Outcome {
    place.run([arguments, &["--try", "--", "echo", "ran"]].concat())
}

fn shown(place: &Place, name: &str) -> Value {
    place.run(["locks", name, "--json"]).expect(0).json()
}

fn in_line(place: &Place, name: &str) -> usize {
    shown(place, name)["waiting"].as_array().unwrap().len()
}

#[test]
fn many_share_a_lock_and_one_who_wants_it_alone_waits_for_all() {
    let place = Place::new();
    let readers: Vec<Running> = (0..3).map(|_| holder(&place, &["lock", "index", "--shared"])).collect();
    assert_eq!(shown(&place, "index")["holders"].as_array().unwrap().len(), 3);
    attempt(&place, &["lock", "index"]).refused(75, "try again");
    let writer = waiter(&place, &["lock", "index"]);
    until("the writer holds new readers back", || (in_line(&place, "index") == 1).then_some(()));
    attempt(&place, &["lock", "index", "--shared"]).refused(75, "held by");
    for reader in readers {
        reader.close().expect(0);
    }
    assert_eq!(writer.line(), "4");
    attempt(&place, &["lock", "index", "--shared"]).refused(75, "the lock \"index\" is held by");
    writer.close().expect(0);
    attempt(&place, &["lock", "index", "--shared"]).expect(0);
}

#[test]
fn a_semaphore_lets_in_its_number() {
    let place = Place::new();
    let mut holders: Vec<Running> =
        (0..3).map(|_| holder(&place, &["semaphore", "pool", "-n", "3"])).collect();
    attempt(&place, &["semaphore", "pool", "-n", "3"]).refused(75, "the semaphore \"pool\" of 3 is held by");
    attempt(&place, &["semaphore", "pool", "-n", "4"]).refused(2, "in use as a semaphore of 3");
    attempt(&place, &["lock", "pool"]).refused(2, "in use as a semaphore of 3");
    let next = waiter(&place, &["semaphore", "pool", "-n", "3"]);
    holders.pop().unwrap().close().expect(0);
    assert_eq!(next.line(), "4");
    for holder in holders.into_iter().chain([next]) {
        holder.close().expect(0);
    }
    place.run(["semaphore", "pool", "-n", "3", "--", "sh", "-c", "exit 7"]).expect(7);
    attempt(&place, &["lock", "pool"]).expect(0);
}

#[test]
fn several_locks_are_taken_all_at_once_or_none() {
    let place = Place::new();
    let said = place.run([
        "lock",
        "b",
        "a",
        "--",
        "sh",
        "-c",
        "echo $LEASEHOLD_LOCK $LEASEHOLD_TOKEN; echo $LEASEHOLD_LOCKS",
    ]);
    assert_eq!(said.expect(0).stdout, "b 1\n{\"a\":1,\"b\":1}\n");
    let held = holder(&place, &["lock", "b", "--node", "the-holder"]);
    attempt(&place, &["lock", "a", "b", "c"]).refused(75, "the lock \"b\" is held by \"the-holder\"");
    attempt(&place, &["lock", "a"]).expect(0);
    held.close().expect(0);
    attempt(&place, &["lock", "a", "b", "c", "--fair"]).expect(0);
}

#[test]
fn those_in_line_come_in_the_order_they_came() {
    let place = Place::new();
    let first = holder(&place, &["lock", "l"]);
    let mut line = Vec::new();
    for number in 1..=4 {
        line.push(waiter(&place, &["lock", "l", "--fair", "--node", &format!("w{number}")]));
        until("it stands in line", || (in_line(&place, "l") == number).then_some(()));
    }
    let waiting = shown(&place, "l")["waiting"].clone();
    assert_eq!((&waiting[0]["node"], &waiting[3]["node"]), (&"w1".into(), &"w4".into()));
    // One who is interrupted in line leaves it.
    let interrupted = line.remove(1);
    interrupted.signal("TERM");
    interrupted.end().expect(143);
    assert_eq!(in_line(&place, "l"), 3);
    first.close().expect(0);
    for (number, next) in line.into_iter().enumerate() {
        assert_eq!(next.line(), (number + 2).to_string());
        next.close().expect(0);
    }
    assert_eq!(place.run(["ls", "_locks/.sessions/"]).expect(0).stdout, "");
}

#[test]
fn of_many_who_try_at_once_one_gets_it() {
    let place = Place::new();
    place.run(["lock", "race", "--", "true"]).expect(0);
    let mut racers: Vec<Running> = (0..24).map(|_| waiter(&place, &["lock", "race", "--try"])).collect();
    until("all but one have ended", || {
        (racers.iter_mut().filter_map(|racer| racer.has_ended().then_some(())).count() == 23).then_some(())
    });
    let winner = racers.iter_mut().position(|racer| !racer.has_ended()).unwrap();
    let winner = racers.remove(winner);
    assert_eq!(winner.line(), "2");
    for racer in racers {
        racer.end().refused(75, "the lock \"race\" is held by");
    }
    winner.close().expect(0);
}

#[test]
fn a_killed_holder_is_followed_by_a_waiter_after_its_ttl() {
    for verb in [&["lock", "l"][..], &["lock", "l", "--fair"], &["semaphore", "l", "-n", "1"]] {
        let place = Place::new();
        let ttl = ["--ttl", "1s"];
        let dead = holder(&place, &[verb, &ttl].concat());
        let began = SystemClock.monotonic();
        let next = waiter(&place, &[verb, &ttl].concat());
        dead.signal("KILL");
        assert!(next.line().parse::<u64>().unwrap() > 1);
        assert!(SystemClock.monotonic() - began >= Duration::from_secs(1), "not before its time");
        assert_eq!(shown(&place, "l")["holders"].as_array().unwrap().len(), 1);
        next.close().expect(0);
        assert_eq!(
            place.run(["ls", "_locks/.sessions/"]).expect(0).stdout,
            "",
            "what the dead one left is removed"
        );
    }
}

#[test]
fn two_who_each_want_the_other_s_lock_are_told_apart() {
    let place = Place::new();
    let start = |mine: &str, other: &str| {
        let script = format!("echo held; read go; \"$LH\" lock {other} -- echo got {other}");
        let mut command =
            place.command(["lock", mine, "--node", &format!("has-{mine}"), "--", "sh", "-c", &script]);
        command.stdin(Stdio::piped());
        let running = Running::start(command);
        assert_eq!(running.line(), "held");
        running
    };
    let (mut a, mut b) = (start("a", "b"), start("b", "a"));
    a.feed("go\n");
    b.feed("go\n");
    let outcomes = [a.end(), b.end()];
    let (victim, winner) = match outcomes {
        [first, second] if first.code == 0 => (second, first),
        [first, second] => (first, second),
    };
    let winner = winner.expect(0);
    assert!(winner.stdout.starts_with("got "), "{winner:?}");
    let victim = victim.refused(1, "waiting for it would never end");
    for words in ["has-a", "has-b", "holds \"a\" and waits for \"b\"", "holds \"b\" and waits for \"a\""] {
        assert!(victim.stderr.contains(words), "{victim:?}");
    }
    for name in ["a", "b"] {
        assert!(shown(&place, name)["holders"].as_array().unwrap().is_empty());
    }
}

#[test]
fn a_lock_inside_of_itself_is_a_deadlock_and_other_locks_inside_are_none() {
    let place = Place::new();
    let nested = |inner: &str| {
        let script = format!("\"$LH\" lock {inner} -- sh -c 'echo $LEASEHOLD_LOCK'");
        place.run(["lock", "a", "--", "sh", "-c", &script])
    };
    nested("a").refused(1, "holds \"a\" and waits for \"a\"");
    assert_eq!(nested("b").expect(0).stdout, "b\n");
    // Two that run beside each other under one lock may wait for each other.
    let script = "for i in 1 2 3; do \"$LH\" lock b -- sh -c 'echo in; sleep 0.7' & done; wait";
    assert_eq!(place.run(["lock", "a", "--", "sh", "-c", script]).expect(0).stdout, "in\nin\nin\n");
    let mut garbled = place.command(["lock", "a", "--", "true"]);
    support::finish(garbled.env("LEASEHOLD_OWNER", "garbage")).refused(2, "unset it");
}

#[test]
fn locks_are_shown_with_those_who_hold_and_wait() {
    let place = Place::new();
    place.run(["lock", "free", "--", "true"]).expect(0);
    assert_eq!(place.run(["locks"]).expect(0).stdout, "");
    let held = holder(&place, &["lock", "a/b", "--node", "one"]);
    let pool = holder(&place, &["semaphore", "pool", "-n", "2", "--node", "two"]);
    let waiting = waiter(&place, &["lock", "a/b", "--fair", "--node", "three"]);
    until("it stands in line", || (in_line(&place, "a/b") == 1).then_some(()));
    let text = place.run(["locks"]).expect(0).stdout;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["a/b", "alone", "1", "one", "three"]);
    assert_eq!(rows[2], ["pool", "1", "of", "2", "1", "two"]);
    let all = place.run(["locks", "--all", "--json"]).expect(0).json_lines();
    let names: Vec<&str> = all.iter().map(|lock| lock["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a/b", "free", "pool"]);
    assert_eq!((&all[2]["kind"], &all[2]["permits"]), (&"semaphore".into(), &2.into()));
    assert_eq!(all[0]["holders"][0]["token"], 1);
    let details = place.run(["locks", "a/b"]).expect(0).stdout;
    assert_eq!(details, "a/b: alone, last token 1\n  held by one with token 1\n  in line 1: three\n");
    place.run(["locks", "never"]).refused(1, "nobody ever asked for a lock \"never\"");
    held.close().expect(0);
    waiting.close().expect(0);
    pool.close().expect(0);
}

/// Each adds one to a plain file, by reading and writing it: what excludes too little loses some of them.
#[test]
fn two_hundred_processes_count_exactly() {
    let place = Place::new();
    place.run(["lock", "hot", "--", "true"]).expect(0);
    let counter = place.path().with_extension("count");
    fs::write(&counter, "0").unwrap();
    let script = format!("read n <'{0}'; echo $((n + 1)) >'{0}'", counter.display());
    let start = |number: u32| {
        // So many on so few processors need time to renew.
        let mut arguments = vec!["lock", "hot", "--ttl", "1m"];
        arguments.extend(number.is_multiple_of(2).then_some("--fair"));
        arguments.extend(["--", "sh", "-c", &script]);
        Running::start(place.command(arguments))
    };
    let mut running: Vec<Running> = (0..200).map(start).collect();
    let patience = Duration::from_secs(240);
    until_within(patience, "all have ended", || running.iter_mut().all(Running::has_ended).then_some(()));
    for process in running {
        process.end().expect(0);
    }
    assert_eq!(fs::read_to_string(&counter).unwrap(), "200\n");
    assert_eq!(place.run(["ls", "_locks/.sessions/"]).expect(0).stdout, "");
}
