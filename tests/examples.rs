//! Every example that ends by itself does, and says that all is well.

use std::{path::PathBuf, process::Command};

/// The examples are built beside the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let target =
        test.parent().and_then(|deps| deps.parent()).expect("tests are built in a directory of their own");
    target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

#[test]
fn examples_run_to_their_end() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let place = directory.path().join("cluster").display().to_string();
    let runs: [(&str, &[&str], &str); 7] = [
        ("counter", &[&place], ""),
        ("singleton", &[&place, "node-1"], "step 3 is written"),
        ("layers", &[], "read:"),
        ("cron", &[], "5 runs, each on one machine"),
        ("worker_pool", &[], "all 8 shards were worked on"),
        ("leader", &[], "node-2 leads term 2"),
        ("coordinators", &[], "leader: {\"node-1\": 3, \"node-2\": 3}"),
    ];
    for (name, arguments, said) in runs {
        let path = example(name);
        let output = Command::new(&path).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && stdout.contains(said), "{name}:\n{stdout}\n{stderr}");
    }
}
