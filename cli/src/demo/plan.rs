//! Which file belongs to which shard, and under which keys what is found out about it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The work of one run, kept in the store under [`Plan::KEY`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The files of each shard, in the order in which they are processed.
    pub(crate) shards: Vec<Vec<String>>,
}

impl Plan {
    pub(crate) const KEY: &'static str = "plan";
    /// The namespace that holds what is written under leases.
    pub(crate) const RESULTS: &'static str = "results";

    /// Splits `files` by a stable hash of their paths.
    pub(crate) fn new(files: &[String], shards: usize) -> Self {
        let mut split = vec![Vec::new(); shards];
        for file in files {
            let digest = Sha256::digest(file);
            let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            split[(number % shards as u64) as usize].push(file.clone());
        }
        Self { shards: split }
    }

    /// The name of a shard's lease.
    pub(crate) fn lease(shard: usize) -> String {
        format!("shard-{shard:03}")
    }

    /// Where a shard's progress is kept.
    pub(crate) fn progress_key(shard: usize) -> String {
        format!("progress/{shard:03}")
    }

    /// Where a file's result is kept. A path can be longer than a key, and have characters that a key has not.
    pub(crate) fn result_key(shard: usize, path: &str) -> String {
        format!("files/{shard:03}/{}", hex(&Sha256::digest(path)[..16]))
    }
}

/// What has been applied to a shard: the record that every holder seals, and then extends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) applied: Vec<Applied>,
}

/// One guarded write of a shard's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) token: u64,
    /// The file that was done; none for the seal of a new holder.
    pub(crate) step: Option<usize>,
}

impl Progress {
    /// The file to begin with.
    pub(crate) fn next_step(&self) -> usize {
        self.applied.iter().filter_map(|applied| applied.step).max().map_or(0, |step| step + 1)
    }
}

/// What was found out about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) outcome: Outcome,
}

/// The content in short, or why it could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Read { sha256: String, bytes: u64, lines: u64 },
    Unreadable(String),
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_one_shard_and_always_the_same() {
        let files: Vec<String> = (0..500).map(|n| format!("src/{n}.rs")).collect();
        let plan = Plan::new(&files, 16);
        assert_eq!(plan.shards.iter().map(Vec::len).sum::<usize>(), 500);
        assert!(plan.shards.iter().all(|shard| !shard.is_empty()));
        // A file's shard is its own affair: no other file moves it.
        let alone = Plan::new(&files[..1], 16);
        let home = |plan: &Plan| plan.shards.iter().position(|shard| shard.contains(&files[0]));
        assert_eq!(home(&plan), home(&alone));
        // Pinned: another hash would send files to other shards in the middle of an upgrade.
        assert_eq!(home(&plan), Some(12));
    }

    #[test]
    fn a_successor_begins_after_the_last_file_that_was_done() {
        let applied = |token, step| Applied { token, step };
        let progress = Progress { applied: vec![applied(1, None), applied(1, Some(0)), applied(2, None)] };
        assert_eq!(progress.next_step(), 1);
        assert_eq!(Progress::default().next_step(), 0);
    }
}
