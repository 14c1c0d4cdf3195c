//! Runs the table, case by case.

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, select};
use leasehold_core::{Clock, Error, Random, SystemClock, SystemRandom};

use crate::{
    Case, CaseReport, Check, Effort, Outcome, Promise, Report, Stop, Subject, Trial, cases, subject::Clean,
};

/// The variable that holds the seed to replay.
const SEED_VARIABLE: &str = "LEASEHOLD_SEED";

/// How long a key must be possible for the cases to have room.
const KEY_BYTES_MIN: usize = 100;

/// How to run the suite.
#[derive(Clone, Debug)]
pub struct Options {
    filter: String,
    seed: u64,
    longest: Duration,
    effort: Effort,
    exceptions: Vec<(String, String)>,
}

impl Default for Options {
    /// All cases with full effort, a seed from `LEASEHOLD_SEED` or else a fresh one, one minute for a case.
    fn default() -> Self {
        let given = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| SystemRandom.bits() >> 11);
        Self {
            filter: String::new(),
            seed,
            longest: Duration::from_secs(60),
            effort: Effort::Full,
            exceptions: Vec::new(),
        }
    }
}

impl Options {
    /// Only cases whose name or promise contains `filter`.
    #[must_use]
    pub fn only(mut self, filter: impl Into<String>) -> Self {
        self.filter = filter.into();
        self
    }

    /// What decides the random choices.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How long one case may take; past that it counts as wedged and fails.
    #[must_use]
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// How many rounds, steps and keys the cases go through.
    #[must_use]
    pub fn effort(mut self, effort: Effort) -> Self {
        self.effort = effort;
        self
    }

    /// Leaves out one case, because the store is known to fail it; reports tell the reason.
    ///
    /// # Panics
    /// When there is no case of this name: an exception that is misspelt would go unnoticed.
    #[must_use]
    pub fn except(mut self, name: impl Into<String>, reason: impl Into<String>) -> Self {
        let name = name.into();
        assert!(cases().iter().any(|case| case.name == name), "there is no case {name:?} to leave out");
        self.exceptions.push((name, reason.into()));
        self
    }

    fn exception(&self, case: &Case) -> Option<&str> {
        self.exceptions.iter().find(|(name, _)| name == case.name).map(|(_, reason)| reason.as_str())
    }

    /// Whether `case` is one that is run.
    pub fn includes(&self, case: &Case) -> bool {
        case.name.contains(&self.filter) || case.promise.to_string() == self.filter
    }
}

/// Runs the suite, one case after the other, inside a tokio runtime (with several threads, so that races are real).
pub async fn run(subject: &Subject, options: &Options) -> Report {
    run_each(subject, options, |_, _| {}, |_| {}).await
}

/// As [`run()`], for those who want to see it go on: `begun` is called ahead of each case, with how many there are, and `ended`
/// after it.
pub async fn run_each(
    subject: &Subject,
    options: &Options,
    mut begun: impl FnMut(&Case, usize),
    mut ended: impl FnMut(&CaseReport),
) -> Report {
    let opened = async { Ok::<_, Error>(subject.prepare().await?.open().await?.capabilities()) };
    let capabilities = within(options, opened).await.ok();
    let cases: Vec<Case> = cases().into_iter().filter(|case| options.includes(case)).collect();
    let (mut reports, mut cleanings) = (Vec::with_capacity(cases.len()), Vec::new());
    for case in &cases {
        begun(case, cases.len());
        let (report, clean) = report(subject, case, options).await;
        ended(&report);
        // What was cut off may have gone on, and written after all was cleaned up.
        let cut_off = case.promise == Promise::C13 || matches!(report.outcome, Outcome::Failed(_));
        cleanings.extend(clean.filter(|_| cut_off));
        reports.push(report);
    }
    let mut left = None;
    for clean in cleanings {
        if let Err(stop) = within(options, clean()).await {
            left = Some(stop.why().to_owned());
            break;
        }
    }
    Report { subject: subject.name().to_owned(), capabilities, seed: options.seed, cases: reports, left }
}

/// Runs one case on a fresh store of the subject.
pub async fn run_case(subject: &Subject, case: &Case, options: &Options) -> CaseReport {
    report(subject, case, options).await.0
}

async fn report(subject: &Subject, case: &Case, options: &Options) -> (CaseReport, Option<Clean>) {
    let start = SystemClock.monotonic();
    let mut clean = None;
    let outcome = match attempt(subject, case, options, &mut clean).await {
        Ok(()) => Outcome::Passed,
        Err(Stop::Skipped(why)) => Outcome::Skipped(why),
        Err(Stop::Failed(why)) => Outcome::Failed(why),
    };
    let elapsed = SystemClock.monotonic() - start;
    (CaseReport { name: case.name, promise: case.promise, outcome, elapsed }, clean)
}

async fn attempt(subject: &Subject, case: &Case, options: &Options, clean: &mut Option<Clean>) -> Check {
    if let Some(reason) = options.exception(case) {
        return Err(Stop::Skipped(format!("left out: {reason}")));
    }
    let fixture = within(options, subject.prepare()).await?;
    *clean = fixture.cleaning();
    let trial = within(options, Trial::new(fixture, options.seed, options.effort)).await?;
    if let Some(missing) = case.requires.iter().find(|capability| !trial.claims(**capability)) {
        return Err(Stop::Skipped(format!("the store does not claim {missing}")));
    }
    let longest = trial.key_bytes_max();
    if longest < KEY_BYTES_MIN {
        return Err(Stop::Skipped(format!(
            "prefixes leave {longest} bytes to a key; the cases need {KEY_BYTES_MIN}"
        )));
    }
    // A task of its own, so that a panic in the adapter is a failure like any other.
    let mut task = tokio::spawn((case.run)(trial));
    let ended = within(options, async {
        (&mut task).await.map_err(|error| Stop::failed(format!("the case did not end: {error}")))
    });
    let checked = ended.await.and_then(|checked| checked);
    task.abort();
    let Some(clean) = clean else { return checked };
    match (checked, within(options, clean()).await) {
        (checked, Ok(())) => checked,
        (Ok(()), Err(left)) => Err(left),
        (Err(stop), Err(left)) => {
            Err(Stop::failed(format!("{}; and when it was cleaned up, {}", stop.why(), left.why())))
        }
    }
}

/// What `work` comes to, unless it takes longer than a case may.
async fn within<T, E: Into<Stop>>(
    options: &Options,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Stop> {
    match select(pin!(work), SystemClock.sleep(options.longest)).await {
        Either::Left((done, _)) => done.map_err(Into::into),
        Either::Right(_) => {
            Err(Stop::failed(format!("wedged: not done after {} s", options.longest.as_secs())))
        }
    }
}

/// Runs the case of this name and panics when it fails: what `conformance_tests!` makes a `#[test]` of.
///
/// # Panics
/// When the case fails, with what was seen and the seed; when there is no such case.
pub fn test_case(subject: &Subject, name: &str) {
    test_case_with(subject, name, &Options::default());
}

/// As [`test_case()`], with options.
///
/// # Panics
/// As [`test_case()`].
pub fn test_case_with(subject: &Subject, name: &str, options: &Options) {
    let case = cases().into_iter().find(|case| case.name == name).expect("the case is in the table");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let report = runtime.block_on(run_case(subject, &case, options));
    // A wedged case may never let go of its thread.
    runtime.shutdown_background();
    match report.outcome {
        Outcome::Passed => {}
        Outcome::Skipped(why) => println!("skipped: {why}"),
        Outcome::Failed(why) => {
            panic!("{} on {}: {why}\nreplay with {SEED_VARIABLE}={}", case.name, subject.name(), options.seed)
        }
    }
}
