//! What came out of a demo: one line of JSON, or a few sentences.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{Coordinator, book::Book, tree::Tree, verify::Findings};

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    ok: bool,
    files: usize,
    bytes: u64,
    shards: usize,
    nodes: usize,
    coordinator: Coordinator,
    takeovers: usize,
    stale_writes_refused: usize,
    stale_writes_accepted: usize,
    acknowledged: usize,
    lost: usize,
    duplicated: usize,
    mismatched: usize,
    token_regressions: usize,
    changed: usize,
    left_out: usize,
    failover_ms: Percentiles,
    seconds: f64,
    seed: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    p50: u64,
    max: u64,
}

/// What a run was asked to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
    pub(crate) coordinator: Coordinator,
}

impl Report {
    pub(crate) fn new(
        asked: Asked,
        tree: &Tree,
        book: &Book,
        findings: &Findings,
        elapsed: Duration,
    ) -> Self {
        let failovers = book.failovers();
        let at = |index: usize| failovers.get(index).map_or(0, |time| time.as_millis() as u64);
        let middle = failovers.len().saturating_sub(1) / 2;
        // Faults without effect, or files that were all somebody else's to change, would prove nothing.
        let proves_something =
            book.stale_refused > 0 && !failovers.is_empty() && findings.changed < tree.files.len();
        Self {
            ok: findings.hold() && book.stale_accepted == 0 && proves_something,
            files: tree.files.len(),
            bytes: tree.bytes,
            shards: book.shards.len(),
            nodes: asked.nodes,
            coordinator: asked.coordinator,
            takeovers: book.takeovers,
            stale_writes_refused: book.stale_refused,
            stale_writes_accepted: book.stale_accepted,
            acknowledged: book.acknowledged.len(),
            lost: findings.lost,
            duplicated: findings.duplicated,
            mismatched: findings.mismatched,
            token_regressions: findings.token_regressions,
            changed: findings.changed,
            left_out: tree.left_out_count(),
            failover_ms: Percentiles { p50: at(middle), max: at(failovers.len().saturating_sub(1)) },
            seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0,
            seed: asked.seed,
        }
    }

    pub(crate) fn ok(&self) -> bool {
        self.ok
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percentiles { p50, max } = self.failover_ms;
        writeln!(
            f,
            "{} files ({} bytes) in {} shards on {} nodes, divided by {}, in {:.1} s (seed {})",
            self.files,
            self.bytes,
            self.shards,
            self.nodes,
            self.coordinator.name(),
            self.seconds,
            self.seed
        )?;
        writeln!(f, "takeovers             {} (failover p50 {p50} ms, max {max} ms)", self.takeovers)?;
        writeln!(
            f,
            "stale writes          {} refused, {} accepted",
            self.stale_writes_refused, self.stale_writes_accepted
        )?;
        writeln!(f, "acknowledged writes   {}", self.acknowledged)?;
        writeln!(
            f,
            "lost {}, duplicated {}, mismatched {}, tokens out of order {}",
            self.lost, self.duplicated, self.mismatched, self.token_regressions
        )?;
        if self.changed > 0 {
            writeln!(f, "{} files changed meanwhile, so nothing is said about them", self.changed)?;
        }
        let verdict = if self.ok {
            "verified: every result equals what one process finds in the files"
        } else {
            "NOT verified: see stderr"
        };
        f.write_str(verdict)
    }
}
