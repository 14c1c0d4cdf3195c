//! Locks between processes whose clocks disagree by years, and run at other rates, through libfaketime.
//!
//! Skipped, with a word, where it is not installed (Debian: `apt install faketime`).

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use leasehold::{Clock, SystemClock};
use support::{Outcome, Place, Running};

fn library() -> Option<PathBuf> {
    let multiarch = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    let places = [&*multiarch, "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime"];
    let found =
        places.iter().map(|place| Path::new(place).join("libfaketimeMT.so.1")).find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: libfaketime is not installed");
    }
    found
}

/// What the clocks of a machine say.
#[derive(Clone, Copy)]
enum Clocks {
    /// The clock of day says this; those that only count are right.
    Day(&'static str),
    /// All clocks run this much faster.
    Rate(&'static str),
}

/// Clocks of day that have nothing to do with each other, and rates within the bound of 1 %.
const SOUND: [Clocks; 4] = [
    Clocks::Day("+10y"),
    Clocks::Day("@2001-09-09 01:46:40 x3"),
    Clocks::Rate("1.005"),
    Clocks::Rate("0.995"),
];

fn set_clocks(command: &mut Command, library: &Path, clocks: Clocks) {
    match clocks {
        Clocks::Day(day) => command.env("FAKETIME", day).env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        Clocks::Rate(rate) => {
            // All clocks become one. It begins as the kernel's that only count, because what waits for a moment in the kernel
            // waits by that one.
            let uptime = fs::read_to_string("/proc/uptime").unwrap();
            let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
            let day = SystemClock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            command.env("FAKETIME", format!("-{:.3} x{rate}", day.as_secs_f64() - uptime))
        }
    };
    command.env("LD_PRELOAD", library).env("FAKETIME_NO_CACHE", "1");
}

/// The command, on a machine with such clocks.
fn elsewhere(place: &Place, library: &Path, clocks: Clocks, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    set_clocks(&mut command, library, clocks);
    command
}

#[test]
fn clocks_of_day_mean_nothing_to_a_lock() {
    let Some(library) = library() else { return };
    let place = Place::new();
    let (count, mark) = (place.path().with_extension("count"), place.path().with_extension("mark"));
    fs::write(&count, "0").unwrap();
    // Two at once would find the mark of each other, or lose a step of the count.
    let section = format!(
        "mkdir '{mark}' || exit 9; n=$(cat '{count}'); echo $((n + 1)) > '{count}'; rmdir '{mark}'",
        mark = mark.display(),
        count = count.display(),
    );
    let rounds = 8;
    let script = format!(
        "for round in $(seq {rounds}); do \"$LH\" lock job --ttl 2s --wait 5m -- sh -c \"$SECTION\" || exit; done"
    );
    let running: Vec<Running> = SOUND
        .iter()
        .map(|clocks| {
            let mut command = Command::new("sh");
            command.args(["-c", &script]).env("SECTION", &section);
            command.env("LEASEHOLD_STORE", place.url()).env("LH", env!("CARGO_BIN_EXE_leasehold"));
            set_clocks(&mut command, &library, *clocks);
            Running::start(command)
        })
        .collect();
    for process in running {
        process.end().expect(0);
    }
    assert_eq!(fs::read_to_string(&count).unwrap().trim(), (rounds * SOUND.len()).to_string());
}

#[test]
fn whoever_dies_is_waited_for_whatever_the_clocks_say() {
    let Some(library) = library() else { return };
    let pairs = [
        (Clocks::Day("+10y"), Clocks::Day("-10y")),
        (Clocks::Day("-10y"), Clocks::Rate("1.005")),
        (Clocks::Rate("0.995"), Clocks::Rate("1.005")),
    ];
    for (theirs, ours) in pairs {
        let place = Place::new();
        let holder = |clocks| {
            let arguments = ["lock", "job", "--ttl", "2s", "--", "sh", "-c", "echo held; exec sleep 1000"];
            let running = Running::start(elsewhere(&place, &library, clocks, &arguments));
            assert_eq!(running.line(), "held");
            running
        };
        let attempt = |wait: &[&str]| -> Outcome {
            let arguments = [&["lock", "job", "--ttl", "2s"], wait, &["--", "echo", "ran"]].concat();
            support::finish(&mut elsewhere(&place, &library, ours, &arguments))
        };
        let held = holder(theirs);
        // Alive, however far in the past it seems to have renewed.
        attempt(&["--wait", "3s"]).refused(75, "held by");
        held.signal("KILL");
        assert_eq!(attempt(&["--wait", "1m"]).expect(0).stdout, "ran\n");
    }
}

/// Rates beyond the bound: two may believe to hold the lock then. What they write under its token is safe all the same.
#[test]
fn a_clock_that_runs_far_too_slowly_is_fenced() {
    let Some(library) = library() else { return };
    let place = Place::new();
    let slow = ["lock", "job", "--ttl", "1s", "--", "sh", "-c", "echo $LEASEHOLD_TOKEN; exec cat"];
    let mut command = elsewhere(&place, &library, Clocks::Rate("0.1"), &slow);
    command.stdin(Stdio::piped());
    let stale = Running::start(command);
    let old: u64 = stale.line().parse().unwrap();
    // What is a second there is ten here, so it does not renew in time.
    let taken = ["lock", "job", "--ttl", "1s", "--wait", "1m", "--", "sh", "-c", "echo $LEASEHOLD_TOKEN"];
    let new: u64 = place.run(taken).expect(0).stdout.trim().parse().unwrap();
    assert!(new > old);
    assert_eq!(stale.end().code, 70, "it is told that it lost the lock");
}
