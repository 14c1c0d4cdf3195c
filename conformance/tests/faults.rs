//! Counting and histories on a store that loses calls, replies and track of time.

use std::time::Duration;

use leasehold_conformance::{Options, Outcome, Subject, cases, run_case};
use leasehold_core::{Bytes, ErrorKind, Result, Store};
use leasehold_layers::{Fault, Faults, Retry, Verb};
use leasehold_memory::Memory;
use tokio::task::JoinSet;

/// How calls ended: applied, refused, unknown.
#[derive(Default)]
struct Ends {
    applied: Vec<String>,
    refused: Vec<String>,
    unknown: Vec<String>,
}

impl Ends {
    fn note<T>(&mut self, token: String, result: Result<T>) {
        match result {
            Ok(_) => self.applied.push(token),
            Err(error) if error.is_indeterminate() => self.unknown.push(token),
            Err(_) => self.refused.push(token),
        }
    }
}

/// Eight clients of thirty calls each.
async fn by_eight_clients<F>(call: impl Fn(String) -> F) -> Ends
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for client in 0..8 {
        let calls: Vec<_> =
            (0..30).map(|step| format!("{client}-{step}")).map(|t| (t.clone(), call(t))).collect();
        tasks.spawn(async move {
            let mut ends = Ends::default();
            for (token, call) in calls {
                ends.note(token, call.await);
            }
            ends
        });
    }
    let mut all = Ends::default();
    while let Some(ends) = tasks.join_next().await {
        let Ends { applied, refused, unknown } = ends.expect("a client ends");
        all.applied.extend(applied);
        all.refused.extend(refused);
        all.unknown.extend(unknown);
    }
    all
}

fn append(token: &str) -> impl FnMut(Option<Bytes>) -> Result<Option<Bytes>> + Send + use<> {
    let line = format!("{token}\n");
    move |current| {
        let mut text = current.map(Vec::from).unwrap_or_default();
        text.extend_from_slice(line.as_bytes());
        Ok(Some(text.into()))
    }
}

/// Counts on `store`, which loses what `faults` say. Returns how the calls ended, and what `bare` holds in the end.
async fn count(bare: &Store, faults: &Faults, store: Store) -> (Ends, usize) {
    let ends = by_eight_clients(|_| {
        let store = store.clone();
        async move { store.increment("n", 1).await.map(drop) }
    })
    .await;
    faults.release_ghosts().await;
    let count = bare.increment("n", 0).await.expect("a number is there");
    (ends, count as usize)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_counter_ends_at_what_was_acknowledged_and_what_is_unknown() {
    for seed in 0..10 {
        let (bare, faults) =
            (Store::new(Memory::new()), Faults::seeded(seed).before(0.1).after(0.1).ghost(0.1));
        let (ends, count) = count(&bare, &faults, bare.clone().layer(faults.clone())).await;
        assert!(!ends.unknown.is_empty() && !ends.refused.is_empty(), "seed {seed}: no faults");
        // Here every lost reply and every released ghost did count.
        assert_eq!(count, ends.applied.len() + ends.unknown.len(), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_tried_again_counts_once() {
    for seed in 0..10 {
        let (bare, faults) =
            (Store::new(Memory::new()), Faults::seeded(seed).before(0.3).after(0.1).ghost(0.1));
        let retry = Retry::new().waits(Duration::from_micros(10), Duration::from_micros(50));
        let (ends, count) = count(&bare, &faults, bare.clone().layer(faults.clone()).layer(retry)).await;
        assert_eq!(count, ends.applied.len() + ends.unknown.len(), "seed {seed}");
        assert!(!ends.unknown.is_empty() && ends.applied.len() > ends.unknown.len(), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_update_with_an_unknown_outcome_is_never_applied_twice() {
    for seed in 0..10 {
        let faults = Faults::seeded(seed).before(0.05).after(0.1).ghost(0.05);
        let bare = Store::new(Memory::new());
        let store = bare.clone().layer(faults.clone());
        let ends = by_eight_clients(|token| {
            let store = store.clone();
            async move { store.update("log", append(&token)).await.map(drop) }
        })
        .await;
        faults.release_ghosts().await;
        let log = bare.get("log").await.unwrap().unwrap().text().await.unwrap();
        let times = |token: &String| log.lines().filter(|line| *line == token.as_str()).count();
        assert!(!ends.unknown.is_empty() && !ends.refused.is_empty(), "seed {seed}: no faults");
        for token in &ends.applied {
            assert_eq!(times(token), 1, "seed {seed}: {token} was acknowledged");
        }
        for token in &ends.refused {
            assert_eq!(times(token), 0, "seed {seed}: {token} was refused");
        }
        for token in &ends.unknown {
            assert!(times(token) <= 1, "seed {seed}: {token} is unknown and was applied twice");
        }
    }
}

#[tokio::test]
async fn an_update_whose_reply_is_lost_says_so_and_stays_applied_once() {
    let (faults, bare) = (Faults::new(), Store::new(Memory::new()));
    let store = bare.clone().layer(faults.clone());
    faults.next(Verb::Put, Fault::After);
    assert!(store.update("log", append("once")).await.unwrap_err().is_indeterminate());
    assert_eq!(bare.get("log").await.unwrap().unwrap().text().await.unwrap(), "once\n");
    faults.next(Verb::Put, Fault::After);
    let error = store.compare_and_swap("log", Some("once\n"), "twice").await.unwrap_err();
    assert!(error.is_indeterminate() && error.kind() != ErrorKind::Conflict, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn histories_with_unknown_outcomes_are_linearizable() {
    for seed in 0..8 {
        let faults = Faults::seeded(seed).before(0.05).after(0.05).ghost(0.03);
        let layer = faults.clone();
        let subject = Subject::memory().layered("faults", move |store| Ok(store.layer(layer.clone())));
        // Ghosts land while the clients go on.
        let landing = tokio::spawn({
            let faults = faults.clone();
            async move {
                loop {
                    faults.release_ghosts().await;
                    tokio::task::yield_now().await;
                }
            }
        });
        for name in
            ["a_history_of_racing_clients_is_linearizable", "a_history_without_conditions_is_linearizable"]
        {
            let case = cases().into_iter().find(|case| case.name == name).unwrap();
            let report = run_case(&subject, &case, &Options::default().seed(seed)).await;
            assert_eq!(report.outcome, Outcome::Passed, "{report}");
        }
        landing.abort();
        assert!(faults.injected().after > 0 && faults.injected().ghosts > 0);
    }
}
