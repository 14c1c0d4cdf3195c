//! `leasehold demo` from end to end: real processes, real signals, a small real tree.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use serde_json::Value;
use support::{Outcome, Place, Running, bare, finish};
use tempfile::TempDir;

fn tree(files: usize) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for number in 0..files {
        let directory = root.path().join(format!("d{}", number % 3));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("f{number}")), format!("line\n{number}\n").repeat(number)).unwrap();
    }
    root
}

fn demo(root: &Path, more: &[&str]) -> Vec<String> {
    let mut all = vec!["demo", "--json", "--input", root.to_str().unwrap()];
    if !more.contains(&"--ttl") {
        all.extend(["--ttl", "600ms"]);
    }
    all.extend(more);
    all.into_iter().map(str::to_owned).collect()
}

#[track_caller]
fn held(outcome: Outcome) -> Value {
    let outcome = outcome.expect(0);
    let report = outcome.json();
    for nothing in ["lost", "duplicated", "mismatched", "token_regressions", "stale_writes_accepted"] {
        assert_eq!(report[nothing], 0, "{outcome:?}");
    }
    for something in ["takeovers", "stale_writes_refused", "acknowledged"] {
        assert!(report[something].as_u64().unwrap() > 0, "{outcome:?}");
    }
    let failover = &report["failover_ms"];
    // Nobody may take over before the ttl has passed since the last renewal, which is at most a third of it ago.
    assert!(failover["max"].as_u64() >= failover["p50"].as_u64());
    assert!(failover["p50"].as_u64().unwrap() > 400, "{outcome:?}");
    report
}

#[test]
fn a_demo_holds_and_says_so_in_one_line() {
    let root = tree(40);
    let report = held(finish(&mut bare(demo(root.path(), &["--seed", "1"]))));
    assert_eq!((&report["files"], &report["shards"], &report["nodes"]), (&40.into(), &16.into(), &3.into()));
    assert_eq!((&report["ok"], &report["seed"]), (&true.into(), &1.into()));
    // Two guarded writes a file, but for what the killed node could not say any more: one for each of its shards.
    assert!(report["acknowledged"].as_u64().unwrap() >= 2 * 40 - 16);
}

#[test]
fn a_demo_holds_when_a_leader_divides_the_shards() {
    let root = tree(40);
    let report = held(finish(&mut bare(demo(root.path(), &["--coordinator", "leader"]))));
    assert_eq!((&report["coordinator"], &report["shards"]), (&"leader".into(), &16.into()));
}

#[test]
fn two_nodes_one_file_and_one_shard_are_enough() {
    let root = tree(1);
    let report = held(finish(&mut bare(demo(root.path(), &["--nodes", "2", "--shards", "1"]))));
    assert_eq!(report["files"], 1);
    assert_eq!((&report["takeovers"], &report["stale_writes_refused"]), (&2.into(), &1.into()));
}

#[test]
fn two_demos_on_one_store_do_not_meet_and_leave_nothing() {
    let place = Place::new();
    let root = tree(12);
    place.run(["put", "mine", "kept"]).expect(0);
    let start = || Running::start(place.command(demo(root.path(), &["--shards", "4"])));
    let (one, other) = (start(), start());
    assert_eq!(held(one.end())["files"], 12);
    assert_eq!(held(other.end())["files"], 12);
    assert_eq!(place.run(["ls"]).stdout, "mine\n");
}

#[test]
fn what_is_left_out_is_said() {
    let root = tree(6);
    let at = |path: &str| root.path().join(path);
    symlink("f1", at("link")).unwrap();
    fs::write(at("secret"), "x").unwrap();
    fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir(at(".git")).unwrap();
    // Somebody who may do everything may read this too.
    let readable = fs::read(at("secret")).is_ok();

    let outcome = finish(&mut bare(demo(root.path(), &[])));
    let said = outcome.stderr.clone();
    let report = held(outcome);
    assert!(said.contains("1 symbolic links"), "{said}");
    assert!(said.contains("--all takes them in"), "{said}");
    assert_eq!(said.contains("1 unreadable files"), !readable, "{said}");
    let (files, left_out) = if readable { (7, 2) } else { (6, 3) };
    assert_eq!((&report["files"], &report["left_out"]), (&files.into(), &left_out.into()));
}

#[test]
fn a_file_that_changes_meanwhile_is_not_called_wrong() {
    let root = tree(8);
    let file = root.path().join("d0/f0");
    let mut command = bare(demo(root.path(), &[]));
    // Its progress is on stderr; the first line after the snapshot tells when to change something.
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("killing") {
        assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut said).unwrap(), 0, "{said}");
    }
    fs::write(&file, "changed").unwrap();
    let rest = std::thread::spawn(move || {
        let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    });
    let report = held(child.wait_with_output().unwrap().into());
    rest.join().unwrap();
    assert_eq!(report["changed"], 1);
}

#[test]
fn absurd_calls_are_refused() {
    let root = tree(1);
    for (more, words) in [
        (["--nodes", "1"], "nobody to take over"),
        (["--nodes", "0"], "from 2 to 32"),
        (["--nodes", "1000"], "from 2 to 32"),
        (["--shards", "0"], "from 1 to 256"),
        (["--shards", "100000"], "from 1 to 256"),
        (["--ttl", "0s"], "from 300ms"),
        (["--files-max", "0"], "at least 1"),
        (["--store", "mem:"], "cannot share mem:"),
    ] {
        let arguments = [&["demo", "--json", "--input", root.path().to_str().unwrap()][..], &more].concat();
        finish(&mut bare(arguments)).refused(2, words);
    }
    let empty = tempfile::tempdir().unwrap();
    let refuse = |path: &Path, words| finish(&mut bare(demo(path, &[]))).refused(2, words);
    refuse(empty.path(), "has no files");
    refuse(&empty.path().join("missing"), "cannot be read");
    refuse(&root.path().join("d0/f0"), "is not a directory");
}

#[test]
fn an_interrupt_ends_every_node() {
    let root = tree(5);
    let temporary = tempfile::tempdir().unwrap();
    let mut command = bare(demo(root.path(), &["--ttl", "30s"]));
    command.env("TMPDIR", temporary.path());
    let (mut child, mut stderr) = piped(&mut command);
    let mut said = String::new();
    while !said.contains("killing") {
        assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut said).unwrap(), 0, "{said}");
    }
    support::signal(child.id(), "INT");
    // The nodes have the same stderr: its end is the end of them all.
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "the temporary store is gone");
}

#[test]
fn the_nodes_of_a_killed_parent_end() {
    let root = tree(5);
    let temporary = tempfile::tempdir().unwrap();
    let mut command = bare(demo(root.path(), &["--ttl", "30s"]));
    command.env("TMPDIR", temporary.path());
    let (mut child, mut stderr) = piped(&mut command);
    let mut said = String::new();
    while !said.contains("killing") {
        assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut said).unwrap(), 0, "{said}");
    }
    child.kill().unwrap();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    child.wait().unwrap();
}

fn piped(
    command: &mut std::process::Command,
) -> (std::process::Child, std::io::BufReader<std::process::ChildStderr>) {
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let stderr = child.stderr.take().expect("stderr is piped");
    (child, std::io::BufReader::new(stderr))
}
