//! `leasehold conformance`, through the real binary.

mod support;

use std::fs;

use serde_json::Value;
use support::{Place, bare, finish};

#[test]
fn a_directory_keeps_every_promise_and_nothing_is_left_in_it() {
    let place = Place::new();
    place.run(["put", "mine", "v"]).expect(0);
    let junit = place.path().with_extension("xml");
    let file = junit.to_str().expect("a path in UTF-8");
    let said = place.run(["conformance", "--effort", "light", "--junit", file]).expect(0);
    let text = said.stdout.as_str();
    assert!(text.contains("an_acknowledged_put_is_read_by_every_verb"), "{text}");
    assert!(text.contains(" passed, 0 failed, "), "{text}");
    assert_eq!(place.run(["ls"]).expect(0).stdout, "mine\n");
    let report = fs::read_to_string(junit).expect("the report was written");
    assert!(report.starts_with("<?xml") && report.contains("failures=\"0\""), "{report}");
}

#[test]
fn a_broken_promise_is_named_and_can_be_left_out() {
    let place = Place::new();
    let stack = place.path().with_extension("toml");
    // Every write fails before it does anything.
    let text = format!("store = \"{}\"\n[[layer]]\nfaults = {{ seed = 1, before = 1.0 }}\n", place.url());
    fs::write(&stack, text).expect("the stack is written");
    let config = stack.to_str().expect("a path in UTF-8");
    let case = "an_acknowledged_put_is_read_by_every_verb";
    let call = ["--config", config, "conformance", "--only", case, "--seed", "7", "--json"];
    let said = finish(&mut bare(call)).expect(1);
    let report: Value = serde_json::from_str(&said.stdout).expect("one JSON object");
    assert_eq!((&report["holds"], &report["failed"], &report["seed"]), (&false.into(), &1.into(), &7.into()));
    let of_case = &report["cases"][0];
    assert_eq!((&of_case["name"], &of_case["outcome"]), (&case.into(), &"failed".into()));
    assert!(of_case["why"].as_str().is_some_and(|why| !why.is_empty()), "{report}");

    let exception = format!("{case}=known since long");
    let call = ["--config", config, "conformance", "--only", case, "--except", &exception];
    // Nothing is known of a store of which nothing was tried.
    let said = finish(&mut bare(call)).expect(1);
    assert!(said.stdout.contains("left out: known since long"), "{}", said.stdout);
}

#[test]
fn what_a_layer_has_put_off_is_cleaned_up_as_well() {
    let place = Place::new();
    let stack = place.path().with_extension("toml");
    let text = format!("store = \"{}\"\n[[layer]]\nbatch = {{ mode = \"write-behind\" }}\n", place.url());
    fs::write(&stack, text).expect("the stack is written");
    let config = stack.to_str().expect("a path in UTF-8");
    // Cases that leave values, and whose handles promise something only to those who share them.
    let said = finish(&mut bare(["conformance", config, "--effort", "light", "--only", "C8"])).expect(0);
    assert!(said.stdout.contains(" passed, 0 failed, "), "{}", said.stdout);
    assert_eq!(place.run(["ls"]).expect(0).stdout, "");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_written() {
    let place = Place::new();
    for (arguments, words) in [
        (&["--only", "nothing of the kind"][..], "--list"),
        (&["--except", "no_such_case=because"], "no case \"no_such_case\""),
        (&["--except", "a_list_ascends_in_byte_order"], "needs a reason"),
        (&["--list", "mem:"], "cannot be used with"),
    ] {
        let said = place.run([&["conformance"], arguments].concat()).expect(2);
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
    assert!(!place.path().exists());
    let unnamed = finish(bare(["conformance"]).env_remove("LEASEHOLD_STORE")).expect(2);
    assert!(unnamed.stderr.contains("no store is named"), "{}", unnamed.stderr);
}

#[test]
fn cases_are_listed_and_a_store_can_be_named_behind_the_verb() {
    let listed = finish(&mut bare(["conformance", "--list", "--only", "C9", "--json"])).expect(0);
    let cases: Vec<Value> = serde_json::from_str(&listed.stdout).expect("a JSON array");
    assert!(!cases.is_empty() && cases.iter().all(|case| case["promise"] == "C9"), "{cases:?}");
    let said = finish(&mut bare(["conformance", "mem:", "--only", "C9"])).expect(0);
    assert!(said.stdout.ends_with(&format!("{} passed, 0 failed, 0 skipped: mem:\n", cases.len())));
}
