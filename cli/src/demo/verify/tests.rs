//! The checks find what they are there for: each test spoils a sound store in one way.

use leasehold::coordination::{Lease, Leases, Node};

use super::{super::reference, *};
use crate::demo::plan::{Applied, Outcome};

/// A run of one shard and two files, done as it should be under token 1.
struct Run {
    root: tempfile::TempDir,
    plan: Plan,
    results: Store,
    lease: Lease,
    before: Vec<Look>,
}

const FILES: [&str; 2] = ["a", "b"];

impl Run {
    async fn sound() -> Self {
        let root = tempfile::tempdir().unwrap();
        let files = FILES.map(str::to_owned);
        for file in FILES {
            std::fs::write(root.path().join(file), file).unwrap();
        }
        let store = leasehold::open("mem:").await.unwrap();
        let leases = Leases::connect(store.clone(), Node::new("n").unwrap()).await.unwrap();
        let lease = leases.acquire("shard-000").await.unwrap().unwrap();
        let before = reference::look_at_all(root.path(), &files).await.unwrap();
        let (plan, results) = (Plan::new(&files, 1), store.namespace(Plan::RESULTS).unwrap());
        let run = Self { root, plan, results, lease, before };
        for file in FILES {
            run.put(file, file).await;
        }
        run.log(&[(1, None), (1, Some(0)), (1, Some(1))]).await;
        run
    }

    /// Stores a result for `file`, as if it contained `content`.
    async fn put(&self, file: &str, content: &str) {
        let sha256 = super::super::plan::hex(&<sha2::Sha256 as sha2::Digest>::digest(content));
        let outcome = Outcome::Read { sha256, bytes: content.len() as u64, lines: 0 };
        let finding = records::encode(&Finding { path: file.to_owned(), outcome }).unwrap();
        self.lease.guard(self.results.clone()).put(Plan::result_key(0, file), finding).await.unwrap();
    }

    async fn log(&self, applied: &[(u64, Option<usize>)]) {
        let applied = applied.iter().map(|&(token, step)| Applied { token, step }).collect();
        let progress = records::encode(&Progress { applied }).unwrap();
        self.lease.guard(self.results.clone()).put(Plan::progress_key(0), progress).await.unwrap();
    }

    /// What is wrong: lost, duplicated, mismatched, token regressions, changed.
    async fn verdict(&self, acknowledged: &[Acknowledged]) -> [usize; 5] {
        let after = reference::look_at_all(self.root.path(), &FILES.map(str::to_owned)).await.unwrap();
        let looks = FILES.into_iter().zip(self.before.iter().zip(&after)).collect();
        let found = verify(&self.results, &self.plan, &looks, acknowledged).await.unwrap();
        let Findings { lost, duplicated, mismatched, token_regressions, changed, .. } = found;
        assert_eq!(found.hold(), lost + duplicated + mismatched + token_regressions == 0);
        [lost, duplicated, mismatched, token_regressions, changed]
    }
}

#[tokio::test]
async fn a_sound_run_holds() {
    let run = Run::sound().await;
    let acknowledged = |step, logged| Acknowledged { shard: 0, token: 1, step, logged };
    let all = [acknowledged(0, false), acknowledged(0, true), acknowledged(1, false), acknowledged(1, true)];
    assert_eq!(run.verdict(&all).await, [0; 5]);
}

#[tokio::test]
async fn a_missing_result_and_a_missing_entry_are_lost() {
    let run = Run::sound().await;
    run.results.delete(Plan::result_key(0, "a")).await.unwrap();
    assert_eq!(run.verdict(&[]).await, [1, 0, 0, 0, 0]);
    let run = Run::sound().await;
    run.log(&[(1, None), (1, Some(0))]).await;
    assert_eq!(run.verdict(&[]).await, [1, 0, 0, 0, 0]);
}

#[tokio::test]
async fn an_acknowledged_write_that_is_not_there_is_lost() {
    let run = Run::sound().await;
    for logged in [false, true] {
        // Nobody wrote anything under token 7.
        let acknowledged = Acknowledged { shard: 0, token: 7, step: 1, logged };
        assert_eq!(run.verdict(&[acknowledged]).await, [1, 0, 0, 0, 0]);
    }
}

#[tokio::test]
async fn an_entry_too_many_and_a_stray_record_are_duplicates() {
    let run = Run::sound().await;
    run.log(&[(1, None), (1, Some(0)), (1, Some(1)), (1, Some(1))]).await;
    assert_eq!(run.verdict(&[]).await, [0, 1, 0, 0, 0]);
    let run = Run::sound().await;
    run.results.put("files/000/stray", "x").await.unwrap();
    assert_eq!(run.verdict(&[]).await, [0, 1, 0, 0, 0]);
}

#[tokio::test]
async fn another_content_is_a_mismatch_unless_the_file_changed() {
    let run = Run::sound().await;
    run.put("b", "something else").await;
    assert_eq!(run.verdict(&[]).await, [0, 0, 1, 0, 0]);
    std::fs::write(run.root.path().join("b"), "something else").unwrap();
    assert_eq!(run.verdict(&[]).await, [0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn an_older_token_after_a_newer_one_is_a_regression() {
    let run = Run::sound().await;
    run.log(&[(2, None), (1, Some(0)), (1, Some(1))]).await;
    assert_eq!(run.verdict(&[]).await, [0, 0, 0, 1, 0]);
    // A result that is older than its entry: somebody wrote over it who must not.
    run.log(&[(1, None), (1, Some(0)), (3, Some(1))]).await;
    assert_eq!(run.verdict(&[]).await, [0, 0, 0, 1, 0]);
}
