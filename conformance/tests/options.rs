//! What the options of a run do to it.

use std::{
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use leasehold_conformance::{Effort, Fixture, Options, Outcome, Subject, run};
use leasehold_core::{Result, Store};
use leasehold_layers::Meter;
use leasehold_memory::Memory;

/// A store in memory whose cases are cleaned up by `clean`.
fn cleaned<F>(clean: impl Fn() -> F + Clone + Send + Sync + 'static) -> Subject
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    Subject::new("cleaned", move || {
        let store = Store::new(Memory::new());
        ready(Ok(Fixture::new(move || ready(Ok(store.clone()))).cleaned_by(clean.clone())))
    })
}

#[tokio::test]
async fn what_was_cut_off_is_cleaned_up_again_at_the_end() {
    let times = Arc::new(AtomicUsize::new(0));
    let counted = times.clone();
    let subject = cleaned(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        ready(Ok(()))
    });
    let report = run(&subject, &Options::default().only("C9")).await;
    assert!(report.passed(), "{report}");
    assert_eq!(times.swap(0, Ordering::SeqCst), report.cases.len());
    let report = run(&subject, &Options::default().only("C13").effort(Effort::Light)).await;
    assert!(report.passed(), "{report}");
    assert_eq!(times.load(Ordering::SeqCst), 2 * report.cases.len());
}

#[tokio::test]
async fn a_store_that_cannot_be_cleaned_up_wedges_no_run() {
    let subject = cleaned(pending::<Result<()>>);
    let options = Options::default().only("a_list_of_nothing_is_empty").longest(Duration::from_millis(100));
    let report = run(&subject, &options).await;
    assert!(matches!(&report.cases[0].outcome, Outcome::Failed(why) if why.contains("wedged")), "{report}");
    assert!(report.left.is_some_and(|why| why.contains("wedged")));
}

#[tokio::test]
async fn prefixes_that_leave_no_room_are_told() {
    for (taken, skipped) in [(800, false), (1_000, true)] {
        let subject = Subject::memory().namespaced(&"n".repeat(taken)).unwrap();
        let report = run(&subject, &Options::default().only("long_keys_and_long_segments_fit")).await;
        assert_eq!(matches!(report.cases[0].outcome, Outcome::Skipped(_)), skipped, "{report}");
        assert_eq!(report.passed(), !skipped, "{report}");
    }
}

#[tokio::test]
async fn a_case_that_is_left_out_is_reported_with_the_reason() {
    let name = "deleting_an_absent_key_succeeds";
    let options = Options::default().only("absent_key").except(name, "version 1.2 answers 404");
    let report = run(&Subject::memory(), &options).await;
    let case = report.cases.iter().find(|case| case.name == name).unwrap();
    assert_eq!(case.outcome, Outcome::Skipped("left out: version 1.2 answers 404".into()));
    assert!(
        report.to_string().contains("deleting_an_absent_key_succeeds: left out: version 1.2 answers 404")
    );
    assert!(report.passed() && report.cases.len() > 1, "{report}");
}

#[test]
#[should_panic(expected = "there is no case \"deletes_work\"")]
fn a_misspelt_exception_is_a_mistake() {
    drop(Options::default().except("deletes_work", "because"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_light_effort_sends_a_fraction_of_the_requests() {
    let mut requests = Vec::new();
    for effort in [Effort::Full, Effort::Light] {
        let meter = Meter::new();
        let layer = meter.clone();
        let subject = Subject::memory().layered("meter", move |store| Ok(store.layer(layer.clone())));
        // Cases whose number of calls does not depend on who is faster.
        let report = run(&subject, &Options::default().only("C7").effort(effort)).await;
        assert!(report.passed(), "{report}");
        requests.push(meter.counts().total());
    }
    assert!(requests[1] * 4 < requests[0], "full and light: {requests:?}");
}
