//! Thousands of compare-and-swaps by many clients on an object store that loses requests, answers and track of time.

mod support;

use std::{sync::Arc, time::Duration};

use leasehold_core::{Backoff, Bytes, Result, Store};
use leasehold_object_store::{Backend, FromObjectStore};
use object_store::{ObjectStoreExt, path::Path};
use support::flaky::{Fault, Flaky, Odds};
use tokio::task::JoinSet;

const CLIENTS: usize = 8;
const CALLS: usize = 60;

/// How calls ended.
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

/// Each client makes its calls one after the other.
async fn by_clients<F>(call: impl Fn(String) -> F) -> Ends
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for client in 0..CLIENTS {
        let tokens = (0..CALLS).map(|step| format!("{client}-{step}"));
        let calls: Vec<_> = tokens.map(|token| (token.clone(), call(token))).collect();
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

fn over(flaky: &Arc<Flaky>, backend: Backend) -> Store {
    let patience =
        Backoff { attempts_max: 5, first: Duration::from_micros(10), longest: Duration::from_micros(200) };
    Store::new(FromObjectStore::new(flaky.clone(), backend).resolving(patience))
}

/// What an honest store and its network do.
fn of_a_network() -> Odds {
    vec![
        (0.06, Fault::Before),
        (0.10, Fault::After),
        (0.05, Fault::Ghost),
        (0.05, Fault::Undecided),
        (0.03, Fault::Throttled),
        (0.02, Fault::NoVersion),
        (0.01, Fault::Denied),
    ]
}

/// The same, with a client that sends again by itself.
fn with_retries() -> Odds {
    [of_a_network(), vec![(0.15, Fault::SentTwice)]].concat()
}

async fn left(flaky: &Flaky, key: &str) -> String {
    flaky.calm().await;
    let bytes = flaky
        .inner()
        .get(&Path::from(key))
        .await
        .expect("it is there, and text")
        .bytes()
        .await
        .expect("it is there, and text");
    String::from_utf8(bytes.to_vec()).expect("it is there, and text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_ends_at_what_was_acknowledged_and_what_was_applied_unknown() {
    let mut found = 0;
    for (seed, odds, backend) in [
        (1, of_a_network(), Backend::in_memory()),
        (2, of_a_network(), Backend::in_memory()),
        (3, with_retries(), Backend::in_memory().retries_below()),
        (4, of_a_network(), Backend::unknown().sends_once().conditional_puts().unique_versions()),
    ] {
        let flaky = Arc::new(Flaky::seeded(seed, odds, 0.05));
        let store = over(&flaky, backend);
        let ends = by_clients(|_| {
            let store = store.clone();
            async move { store.increment("n", 1).await.map(drop) }
        })
        .await;
        let count: usize = left(&flaky, "n").await.parse().unwrap();
        let writes = flaky.applied();
        let (applied, unknown) = (ends.applied.len(), ends.unknown.len());
        // Every write that was applied counted once, and none of a call that was refused was.
        assert_eq!(count, writes.values().sum::<usize>(), "seed {seed}: writes and count differ");
        assert!((applied..=applied + unknown).contains(&count), "seed {seed}: {applied}, {unknown}: {count}");
        assert!(
            writes.keys().any(String::is_empty) || writes.values().all(|times| *times == 1),
            "seed {seed}"
        );
        assert!(unknown > 0 && applied > 0, "seed {seed}: {applied} applied, {unknown} unknown");
        found += applied;
    }
    assert!(found > 1000, "only {found} increments were acknowledged");
}

fn append(token: &str) -> impl FnMut(Option<Bytes>) -> Result<Option<Bytes>> + Send + use<> {
    let line = format!("{token}\n");
    move |current| {
        let mut text = current.map(Vec::from).unwrap_or_default();
        text.extend_from_slice(line.as_bytes());
        Ok(Some(text.into()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_once_and_what_was_refused_is_not() {
    let (mut applied_unknown, mut refused) = (0, 0);
    for (seed, odds, backend) in [
        (11, of_a_network(), Backend::in_memory()),
        (12, of_a_network(), Backend::in_memory()),
        (13, with_retries(), Backend::in_memory().retries_below()),
        (14, of_a_network(), Backend::unknown().sends_once().conditional_puts().unique_versions()),
    ] {
        let flaky = Arc::new(Flaky::seeded(seed, odds, 0.05));
        let store = over(&flaky, backend);
        let ends = by_clients(|token| {
            let store = store.clone();
            async move { store.update("log", append(&token)).await.map(drop) }
        })
        .await;
        let log = left(&flaky, "log").await;
        let times = |token: &String| log.lines().filter(|line| *line == token.as_str()).count();
        for token in &ends.applied {
            assert_eq!(times(token), 1, "seed {seed}: {token} was acknowledged");
        }
        for token in &ends.refused {
            assert_eq!(times(token), 0, "seed {seed}: {token} was refused");
        }
        let resolved = ends.unknown.iter().map(times).inspect(|times| assert!(*times <= 1)).sum::<usize>();
        assert_eq!(log.lines().count(), ends.applied.len() + resolved, "seed {seed}");
        (applied_unknown, refused) = (applied_unknown + resolved, refused + ends.refused.len());
    }
    // How many it were with one seed depends on how the clients took turns.
    assert!(applied_unknown > 0 && refused > 0, "too few faults: {applied_unknown}, {refused}");
}
