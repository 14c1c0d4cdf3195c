//! What came out of a run.

use std::{fmt, time::Duration};

use leasehold_core::Capabilities;

use crate::Promise;

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The promise held.
    Passed,
    /// It did not; what was seen.
    Failed(String),
    /// It was not tried; why.
    Skipped(String),
}

impl Outcome {
    /// In a word: `passed`, `failed` or `skipped`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// What was seen, or why it was not tried.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(why) | Self::Skipped(why) => Some(why),
        }
    }
}

/// One case of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaseReport {
    /// The case.
    pub name: &'static str,
    /// The promise it is about.
    pub promise: Promise,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub elapsed: Duration,
}

/// One run of the suite. Displays as a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What it was run against.
    pub subject: String,
    /// What that claims; `None` when no store could be made.
    pub capabilities: Option<Capabilities>,
    /// The seed that replays it.
    pub seed: u64,
    /// The cases, in the order of the table.
    pub cases: Vec<CaseReport>,
    /// Why something of them may be left in the store.
    pub left: Option<String>,
}

impl Report {
    /// Whether at least one case ran and none failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none() && self.cases.iter().any(|case| case.outcome == Outcome::Passed)
    }

    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| matches!(case.outcome, Outcome::Failed(_)))
    }

    /// The last line: how many cases ended in which way, and the seed that replays a failure.
    pub fn summary(&self) -> String {
        let Counts { passed, failed, skipped } = self.counts();
        let all = format!("{passed} passed, {failed} failed, {skipped} skipped: {}", self.subject);
        match (passed, failed) {
            (0, 0) => format!("{all}; nothing was tried, so nothing is known"),
            (_, 0) => all,
            _ => format!("{all}; replay with seed {}", self.seed),
        }
    }

    /// How many cases passed, failed and were skipped.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for case in &self.cases {
            match case.outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::Skipped(_) => counts.skipped += 1,
            }
        }
        counts
    }
}

/// How many cases ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// The promise held.
    pub passed: usize,
    /// It did not.
    pub failed: usize,
    /// It was not tried.
    pub skipped: usize,
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match &self.outcome {
            Outcome::Passed => "ok",
            Outcome::Failed(_) => "FAILED",
            Outcome::Skipped(_) => "skipped",
        };
        let promise = self.promise.to_string();
        write!(f, "{word:7} {promise:3} {:5} ms  {}", self.elapsed.as_millis(), self.name)?;
        self.outcome.why().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            writeln!(f, "{case}")?;
        }
        f.write_str(&self.summary())
    }
}
