//! The suite itself is tested: each flaw is noticed by the cases named for it, in the promise they are about.

use std::time::Duration;

use leasehold_conformance::{Options, Outcome, broken::Flaw, cases, run_case};

async fn unnoticed(flaw: Flaw, names: &[&str]) -> Vec<String> {
    let options = Options::default().longest(Duration::from_secs(5));
    let mut unnoticed = Vec::new();
    for name in names {
        let case = cases().into_iter().find(|case| case.name == *name).expect("the case is in the table");
        // A race on a machine that has no time for it can miss a few times.
        let mut outcome = Outcome::Passed;
        for _ in 0..10 {
            let report = run_case(&flaw.subject(), &case, &options).await;
            println!("{flaw:?}: {report}");
            outcome = report.outcome;
            if matches!(outcome, Outcome::Failed(_)) {
                break;
            }
        }
        if !matches!(outcome, Outcome::Failed(_)) {
            unnoticed.push(format!("{flaw:?} by {name}: {outcome:?}"));
        }
    }
    unnoticed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_flaw_is_noticed_by_the_cases_named_for_it() {
    let mut all = Vec::new();
    for (flaw, names) in Flaw::ALL {
        all.extend(unnoticed(*flaw, names).await);
    }
    assert!(all.is_empty(), "not noticed:\n{}", all.join("\n"));
}
