//! What the options of a run do to it.

use leasehold_conformance::{Effort, Options, Outcome, Subject, run};
use leasehold_layers::Meter;

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
