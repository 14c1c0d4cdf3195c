//! Several processes on one directory: exact preconditions across them, and nothing lost when they are killed.
//!
//! The test binary runs itself again in the role that a variable names; pipes say when to go and who has won.

#[path = "processes/child.rs"]
mod child;
#[path = "processes/kill.rs"]
mod kill;
#[path = "processes/parent.rs"]
mod parent;
#[path = "processes/race.rs"]
mod race;

use leasehold_conformance::broken::Flaw;
use leasehold_core::Store;
use leasehold_fs::Fs;
use std::path::Path;
use tempfile::TempDir;

/// How the name of a directory begins whose stores are durable and write the files of replaced values again.
const REUSING: &str = "reusing-";

fn directory(reusing: bool) -> TempDir {
    // What is kept in memory, as a directory for temporary files may be, is not durable.
    let made = if reusing {
        tempfile::Builder::new().prefix(REUSING).tempdir_in(env!("CARGO_TARGET_TMPDIR"))
    } else {
        TempDir::new()
    };
    made.expect("a temporary directory can be made")
}

fn is_reusing(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(REUSING))
}

async fn open(path: &Path) -> Store {
    let reusing = is_reusing(path);
    Store::new(Fs::open(path).durable(reusing).reuse_files(reusing).await.expect("the directory opens"))
}

/// What a child process runs; as a test of its own it has no role and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn child_entry() {
    if let Some((role, path)) = child::role() {
        let store = open(&path).await;
        match role.as_str() {
            "race" => race::child(store).await,
            "flawed race" => race::child(Flaw::ChecksThenWrites.around(store)).await,
            "write" => kill::child(store).await,
            role => panic!("there is no role {role:?}"),
        }
    }
}
