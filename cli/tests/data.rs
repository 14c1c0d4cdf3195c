//! The verbs of a store, through the real binary: what they print, and how they exit.

mod support;

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
};

use support::{Place, bare, finish};

#[test]
fn a_value_comes_back_as_it_was_put() {
    let place = Place::new();
    let version = place.run(["put", "users/42", "ada"]).expect(0).stdout;
    assert_eq!(version.lines().count(), 1);
    let got = place.run(["get", "users/42"]).expect(0);
    assert_eq!((got.stdout.as_str(), got.stderr.as_str()), ("ada", ""), "no newline is added");

    let head = place.run(["head", "users/42", "--json"]).expect(0).json();
    assert_eq!(head["version"], version.trim());
    assert_eq!((&head["key"], &head["size"]), (&"users/42".into(), &3.into()));
    assert!(place.run(["head", "users/42"]).expect(0).stdout.contains("size:     3"));
}

#[test]
fn attributes_are_shown_beside_their_value_until_the_next_put() {
    let place = Place::new();
    let put = ["put", "page", "<p>", "--attribute", "content-type=text/html", "--attribute", "note=a = b"];
    place.run(put).expect(0);
    let head = place.run(["head", "page"]).expect(0).stdout;
    assert!(head.ends_with("\nattribute content-type: text/html\nattribute note: a = b\n"), "{head}");
    let shown = place.run(["head", "page", "--json"]).expect(0).json();
    assert_eq!(shown["attributes"], serde_json::json!({"content-type": "text/html", "note": "a = b"}));
    assert_eq!(place.run(["get", "page"]).expect(0).stdout, "<p>");

    place.run(["put", "page", "<p>"]).expect(0);
    assert!(!place.run(["head", "page"]).expect(0).stdout.contains("attribute"));
    assert!(place.run(["head", "page", "--json"]).expect(0).json().get("attributes").is_none());
}

#[test]
fn a_list_tells_no_attributes() {
    let place = Place::new();
    place.run(["put", "page", "<p>", "--attribute", "content-type=text/html"]).expect(0);
    for arguments in [&["ls", "--json"][..], &["ls", "--long"]] {
        let listed = place.run(arguments).expect(0).stdout;
        assert!(listed.contains("page") && !listed.contains("text/html"), "{listed}");
    }
}

#[test]
fn attributes_that_no_store_carries_are_refused_and_nothing_is_written() {
    let place = Place::new();
    place.run(["put", "k", "old"]).expect(0);
    for (wrong, words) in [
        (&["note"][..], "takes NAME=VALUE"),
        (&["Note=x"], "is no name of an attribute"),
        (&["note=caf\u{e9}"], "not printable ASCII"),
        (&["a=1", "a=2"], "given twice"),
    ] {
        let pairs = wrong.iter().flat_map(|pair| ["--attribute", pair]);
        place.run(["put", "k", "new"].into_iter().chain(pairs)).refused(2, words);
    }
    assert_eq!(place.run(["get", "k"]).stdout, "old");
}

#[test]
fn a_missing_key_is_a_no_with_a_sentence() {
    let place = Place::new();
    place.run(["put", "something", "x"]).expect(0);
    for verb in ["get", "head"] {
        place.run([verb, "nothing"]).refused(1, "there is no \"nothing\"");
    }
    place.run(["del", "nothing"]).expect(0);
}

#[test]
fn a_mistyped_store_is_not_made_by_looking_at_it() {
    let place = Place::new();
    for arguments in [&["get", "k"][..], &["head", "k"], &["ls"], &["del", "k"]] {
        place.run(arguments).refused(2, "there is no such directory");
    }
    let directory = tempfile::tempdir().unwrap();
    let url = directory.path().to_str().unwrap();
    finish(&mut bare(["ls", "--store", url])).refused(2, "there is no store in this directory");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn the_record_of_a_lock_is_not_changed_by_mistake() {
    let place = Place::new();
    for arguments in [
        &["put", "_locks/l", "x"][..],
        &["cas", "_locks/l", "--absent", "x"],
        &["incr", "_locks/l"],
        &["del", "_locks/l"],
    ] {
        place.run(["put", "k", "v"]).expect(0);
        place.run(arguments).refused(2, "--force does it all the same");
    }
    assert_eq!(place.run(["ls", "_locks/"]).expect(0).stdout, "");
}

#[test]
#[cfg(target_os = "linux")]
fn a_write_whose_answer_is_lost_is_not_called_a_failure() {
    let place = Place::new();
    for expected in 1..=2 {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = place.command(["incr", "n"]).stdout(full).output().unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert!(String::from_utf8(ended.stderr).unwrap().contains("the write was applied"));
        assert_eq!(place.run(["get", "n"]).expect(0).stdout, expected.to_string());
    }
}

#[test]
fn values_come_from_arguments_files_and_stdin() {
    let place = Place::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("large");
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    fs::write(&file, &large).unwrap();

    place.run(["put", "file", &format!("@{}", file.display())]).expect(0);
    place.feed(["put", "dash", "-"], &large).expect(0);
    place.feed(["put", "pipe"], b"from a pipe").expect(0);
    for key in ["file", "dash"] {
        let mut child = place.command(["get", key]).stdout(Stdio::piped()).spawn().unwrap();
        let mut got = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut got).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(got == large, "{key} came back changed");
    }
    assert_eq!(place.run(["get", "pipe"]).stdout, "from a pipe");

    place.run(["put", "at", "@@home"]).expect(0);
    assert_eq!(place.run(["get", "at"]).stdout, "@home");
    place.run(["put", "number", "-5"]).expect(0);
    assert_eq!(place.run(["get", "number"]).stdout, "-5");
    place.run(["put", "empty", ""]).expect(0);
    assert_eq!(place.run(["get", "empty"]).expect(0).stdout, "");

    place.run(["put", "k", "@/no/such/file"]).refused(2, "/no/such/file");
    place.run(["put", "k", &format!("@{}", directory.path().display())]).refused(2, "is a directory");
}

#[test]
fn conditions_decide_and_a_lost_race_says_so() {
    let place = Place::new();
    let first = place.run(["put", "k", "1", "--if-absent", "--json"]).expect(0).json();
    let first = first["version"].as_str().unwrap().to_owned();
    place.run(["put", "k", "2", "--if-absent"]).refused(1, "exists already");
    let second = place.run(["put", "k", "2", "--if-match", &first]).expect(0).stdout;
    assert_ne!(second.trim(), first);
    place.run(["put", "k", "3", "--if-match", &first]).refused(1, "another version");
    place.run(["del", "k", "--if-match", &first]).refused(1, "another version");
    assert_eq!(place.run(["get", "k"]).stdout, "2");
    place.run(["del", "k", "--if-match", second.trim()]).expect(0);
    place.run(["del", "k", "--if-match", second.trim()]).refused(1, "gone");
    assert_eq!(place.run(["put", "k", "x", "--if-absent", "--if-match", "v"]).code, 2);
}

#[test]
fn cas_compares_by_value_and_knows_absence() {
    let place = Place::new();
    place.run(["cas", "k", "--absent", "one"]).expect(0);
    place.run(["cas", "k", "--absent", "two"]).refused(1, "not what was expected");
    place.run(["cas", "k", "one", "two"]).expect(0);
    let lost = place.run(["cas", "k", "one", "three", "--json"]).expect(1);
    assert_eq!(lost.json()["swapped"], false);
    assert_eq!(place.run(["cas", "k", "two", "three", "--json"]).expect(0).json()["swapped"], true);
    place.feed(["cas", "k", "three", "-"], b"four").expect(0);
    place.run(["cas", "k", "three", "--delete"]).refused(1, "not what was expected");
    place.run(["cas", "k", "four", "--delete"]).expect(0);
    place.run(["get", "k"]).expect(1);

    for wrong in [&["cas", "k", "one"][..], &["cas", "k", "--absent", "a", "b"], &["cas", "k", "-", "-"]] {
        place.run(wrong).refused(2, "");
    }
    assert_eq!(place.run(["cas", "k", "a", "--absent", "--delete"]).code, 2);
}

#[test]
fn counters_go_both_ways() {
    let place = Place::new();
    assert_eq!(place.run(["incr", "n"]).expect(0).stdout, "1\n");
    assert_eq!(place.run(["incr", "n", "41"]).expect(0).stdout, "42\n");
    assert_eq!(place.run(["incr", "n", "-50", "--json"]).expect(0).json()["value"], -8);
    place.run(["incr", "n", &i64::MIN.to_string()]).refused(2, "64 bits");
    place.run(["put", "text", "abc"]).expect(0);
    place.run(["incr", "text"]).refused(2, "not a decimal integer");
    assert_eq!(place.run(["incr", "n", "many"]).code, 2);
}

#[test]
fn lists_are_in_byte_order_and_can_be_cut() {
    let place = Place::new();
    for key in ["a/b", "a", "B", "a/c", "ä"] {
        place.run(["put", key, "v"]).expect(0);
    }
    assert_eq!(place.run(["ls"]).expect(0).stdout, "B\na\na/b\na/c\nä\n");
    assert_eq!(place.run(["ls", "a/"]).stdout, "a/b\na/c\n");
    assert_eq!(place.run(["ls", "--after", "a", "--limit", "1"]).stdout, "a/b\n");
    assert_eq!(place.run(["ls", "nothing"]).expect(0).stdout, "");
    let long = place.run(["ls", "-l", "a/b"]).stdout;
    assert!(long.ends_with(" a/b\n") && long.contains(" 1 "), "{long}");
    let lines = place.run(["ls", "--json"]).stdout;
    assert_eq!(lines.lines().count(), 5);
    for line in lines.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["size"], 1);
        assert!(entry["version"].is_string() && entry["key"].is_string());
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    place.feed(["put", "large"], &vec![b'x'; 4 << 20]).expect(0);
    let mut child =
        place.command(["get", "large"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_store_has_to_be_named() {
    for arguments in [&["get", "k"][..], &["ls"], &["lock", "l", "--", "true"]] {
        finish(&mut bare(arguments)).refused(2, "set LEASEHOLD_STORE");
        finish(bare(arguments).env("LEASEHOLD_STORE", "")).refused(2, "set LEASEHOLD_STORE");
    }
    finish(&mut bare(["get", "k", "--store", "mem:"])).refused(1, "there is no");
    finish(&mut bare(["get", "k", "--store", "nosuch:x"])).refused(2, "nosuch");
    let place = Place::new();
    place.run(["put", "k", "v"]).expect(0);
    for key in ["", "/a", "a//b", "a/../b"] {
        place.run(["get", key]).refused(2, "is not a key");
    }
}

#[test]
fn help_documents_the_exit_codes_and_shows_no_secret() {
    let help = finish(bare(["--help"]).env("LEASEHOLD_STORE", "s3://key:hunter2@bucket")).expect(0).stdout;
    for words in ["Exit codes", "lost race", "outcome unknown", "75", "70"] {
        assert!(help.contains(words), "{words:?} is missing");
    }
    assert!(!help.contains("hunter2") && !help.contains("demo-node"));
}

#[test]
fn of_many_processes_exactly_one_wins_and_every_increment_counts() {
    let place = Place::new();
    place.run(["put", "seat", "free"]).expect(0);
    let start = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let racers: Vec<_> = (0..8)
        .map(|n| start(&mut place.command(["cas", "seat", "free", &format!("taken by {n}")])))
        .collect();
    let adders: Vec<_> = (0..16).map(|_| start(&mut place.command(["incr", "visits"]))).collect();
    let codes: Vec<_> = racers.into_iter().map(|mut child| child.wait().unwrap().code().unwrap()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 1].contains(code)), "{codes:?}");
    let winner = codes.iter().position(|code| *code == 0).unwrap();
    assert_eq!(place.run(["get", "seat"]).stdout, format!("taken by {winner}"));
    for mut adder in adders {
        assert!(adder.wait().unwrap().success());
    }
    assert_eq!(place.run(["get", "visits"]).stdout, "16");
}

#[test]
fn a_stack_by_file_is_used_and_printed() {
    let place = Place::new();
    let file = place.path().with_extension("toml");
    let file = file.to_str().expect("the path is text");
    let stack = |layers: &str| fs::write(file, format!("store = {:?}\n{layers}", place.url())).unwrap();
    stack("[[layer]]\nretry = {}\n[[layer]]\nbatch = { mode = \"write-behind\", wait = \"1h\" }\n");
    // Written behind, and stored before the command ends.
    place.run(["--config", file, "put", "k", "v"]).expect(0);
    assert_eq!(place.run(["get", "k"]).expect(0).stdout, "v");
    assert_eq!(place.run(["--store", file, "get", "k"]).expect(0).stdout, "v");

    let shown = place.run(["--config", file, "stack"]).expect(0).stdout;
    assert!(shown.starts_with("batch") && shown.contains("weakens linearizable"), "{shown}");
    assert!(shown.contains("linearizable         no  because of batch"), "{shown}");
    let shown = place.run(["--config", file, "stack", "--json"]).expect(0).json();
    assert_eq!(shown["levels"][0]["name"], "batch");
    assert_eq!(shown["levels"][0]["weakens"], serde_json::json!(["linearizable"]));
    assert_eq!(shown["levels"][1]["name"], "retry");

    // A lock is refused on what is not linearizable.
    let refused = place.run(["--config", file, "lock", "l", "--", "true"]);
    assert!(refused.stderr.contains("linearizable"), "{}", refused.stderr);

    stack("[[layer]]\nretry = { tries = 3 }\n");
    let refused = place.run(["--config", file, "get", "k"]).expect(2);
    assert!(refused.stderr.contains("line 3: unknown field `tries`"), "{}", refused.stderr);
    assert_eq!(refused.stderr.lines().count(), 1);
}

#[test]
fn a_stack_over_memory_locks_nothing_and_a_url_is_no_stack() {
    let place = Place::new();
    let file = place.path().with_extension("toml");
    let file = file.to_str().expect("the path is text");
    fs::write(file, "store = \"mem:\"\n[[layer]]\nretry = {}\n").unwrap();
    let refused = place.run(["--config", file, "lock", "l", "--", "true"]).expect(2);
    assert!(refused.stderr.contains("processes cannot share mem:"), "{}", refused.stderr);
    for url in ["s3://bucket/app.toml", "fs:x.toml", "stack.yaml"] {
        let refused = place.run(["--config", url, "put", "k", "v"]).expect(2);
        assert!(refused.stderr.contains("is no stack"), "{}", refused.stderr);
    }
}
