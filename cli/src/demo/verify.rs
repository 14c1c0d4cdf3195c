//! Does the store hold what it has to? Read straight from it, after all nodes have ended.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::{
    Store,
    coordination::{Guarded, GuardedRecord},
};

use super::{
    book::Acknowledged,
    plan::{Finding, Plan, Progress},
    records,
    reference::Look,
};
use crate::failure::Failure;

/// How many examples of what is wrong are kept.
const EXAMPLES_MAX: usize = 20;

/// What was found. All zero, but for `changed`, is what must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Files without a result, or without an entry in their shard's record; acknowledged writes that are not there.
    pub(crate) lost: usize,
    /// Files with more than one entry; records that belong to no file.
    pub(crate) duplicated: usize,
    /// Results that are not what the file says.
    pub(crate) mismatched: usize,
    /// Places where a smaller token was applied after a larger one.
    pub(crate) token_regressions: usize,
    /// Files that changed while the demo ran, so that nothing can be said about them.
    pub(crate) changed: usize,
    /// What is wrong, in words.
    pub(crate) examples: Vec<String>,
}

impl Findings {
    pub(crate) fn hold(&self) -> bool {
        self.lost + self.duplicated + self.mismatched + self.token_regressions == 0
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text);
        }
    }

    fn lose(&mut self, what: impl Into<String>) {
        self.lost += 1;
        self.example(what.into());
    }
}

/// What the parent knows a file to be: two looks, before and after.
pub(crate) type Looks<'a> = BTreeMap<&'a str, (&'a Look, &'a Look)>;

/// What is stored for a shard.
struct Stored {
    progress: Progress,
    /// By step; with the finding in it.
    results: BTreeMap<usize, (GuardedRecord, Option<Finding>)>,
}

/// Checks everything in `results` against the plan, the files, and what was acknowledged.
pub(crate) async fn verify(
    results: &Store,
    plan: &Plan,
    looks: &Looks<'_>,
    acknowledged: &[Acknowledged],
) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    let mut known = BTreeSet::new();
    let mut shards = Vec::new();
    for (shard, files) in plan.shards.iter().enumerate() {
        known.insert(Plan::progress_key(shard));
        known.extend(files.iter().map(|path| Plan::result_key(shard, path)));
        let stored = read(results, shard, files).await?;
        check_progress(&mut findings, shard, files, &stored);
        for (step, path) in files.iter().enumerate() {
            check_result(&mut findings, path, stored.results.get(&step), looks.get(path.as_str()));
        }
        shards.push(stored);
    }
    check_acknowledged(&mut findings, &shards, acknowledged);
    for entry in results.list("").await? {
        if !known.contains(entry.key.as_str()) {
            findings.duplicated += 1;
            findings.example(format!("{} belongs to no file", entry.key));
        }
    }
    Ok(findings)
}

async fn read(results: &Store, shard: usize, files: &[String]) -> Result<Stored, Failure> {
    let progress = match Guarded::read_unfenced(results, Plan::progress_key(shard)).await? {
        Some(GuardedRecord { value: Some(bytes), .. }) => records::decode(&bytes)?,
        _ => Progress::default(),
    };
    let mut stored = BTreeMap::new();
    for (step, path) in files.iter().enumerate() {
        if let Some(seen) = Guarded::read_unfenced(results, Plan::result_key(shard, path)).await? {
            let finding = seen.value.as_deref().map(records::decode).transpose()?;
            stored.insert(step, (seen, finding));
        }
    }
    Ok(Stored { progress, results: stored })
}

fn check_progress(findings: &mut Findings, shard: usize, files: &[String], stored: &Stored) {
    let applied = &stored.progress.applied;
    for pair in applied.windows(2).filter(|pair| pair[0].token > pair[1].token) {
        findings.token_regressions += 1;
        findings.example(format!(
            "shard {shard:03}: token {} was applied after {}",
            pair[1].token, pair[0].token
        ));
    }
    for (step, path) in files.iter().enumerate() {
        let entries: Vec<_> = applied.iter().filter(|applied| applied.step == Some(step)).collect();
        match (entries.as_slice(), stored.results.get(&step)) {
            ([], _) => findings.lose(format!("{path} was never done")),
            ([entry], Some((seen, _))) if seen.token.get() < entry.token => {
                findings.token_regressions += 1;
                findings
                    .example(format!("{path}: done under token {}, but holds {}", entry.token, seen.token));
            }
            ([_], _) => {}
            (many, _) => {
                findings.duplicated += many.len() - 1;
                findings.example(format!("{path} was done {} times", many.len()));
            }
        }
    }
    let strays =
        applied.iter().filter(|applied| applied.step.is_some_and(|step| step >= files.len())).count();
    if strays > 0 {
        findings.duplicated += strays;
        findings.example(format!("shard {shard:03} has {strays} entries for files it has not"));
    }
}

fn check_result(
    findings: &mut Findings,
    path: &str,
    stored: Option<&(GuardedRecord, Option<Finding>)>,
    looks: Option<&(&Look, &Look)>,
) {
    let Some((_, Some(finding))) = stored else { return findings.lose(format!("{path} has no result")) };
    match looks {
        Some((before, after)) if before != after => findings.changed += 1,
        Some((Look { content: Some(content), .. }, _))
            if finding.path == path && content.equals(&finding.outcome) => {}
        Some((Look { content: None, .. }, _)) => findings.changed += 1,
        _ => {
            findings.mismatched += 1;
            findings.example(format!("{path}: a node found {:?}", finding.outcome));
        }
    }
}

fn check_acknowledged(findings: &mut Findings, shards: &[Stored], acknowledged: &[Acknowledged]) {
    for Acknowledged { shard, token, step, logged } in acknowledged {
        let stored = shards.get(*shard);
        let there = stored.is_some_and(|stored| match logged {
            true => stored.progress.applied.iter().any(|one| (one.token, one.step) == (*token, Some(*step))),
            // A successor may have written it again, with a token of its own.
            false => stored
                .results
                .get(step)
                .is_some_and(|(seen, value)| seen.token.get() >= *token && value.is_some()),
        });
        if !there {
            let what = if *logged { "entry" } else { "result" };
            findings.lose(format!("shard {shard:03}: the acknowledged {what} of file {step} is not there"));
        }
    }
}

#[cfg(test)]
mod tests;
