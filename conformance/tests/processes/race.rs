//! Of racing conditional writes from several processes exactly one wins.

use std::sync::Arc;

use leasehold_core::{Precondition, Store};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    child::{hear, tell},
    directory, open,
    parent::{Lines, Process},
};

const PROCESSES: usize = 4;
const TASKS: usize = 8;
const ROUNDS: usize = 200;

/// Each line names a key and how to write it; the answer is who of this process has won.
pub(crate) async fn child(store: Store) {
    while let Some(key) = hear() {
        let head = store.head(key.as_str()).await.expect("head works");
        let precondition = head.map_or(Precondition::Absent, |head| Precondition::Matches(head.version));
        tell("ready");
        hear().expect("the parent says go");
        let barrier = Arc::new(Barrier::new(TASKS));
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (store, key, barrier) = (store.clone(), key.clone(), barrier.clone());
            let precondition = precondition.clone();
            tasks.spawn(async move {
                let name = format!("{}.{task}", std::process::id());
                barrier.wait().await;
                match store.put(key.as_str(), name.as_str()).precondition(precondition).await {
                    Ok(_) => Some(name),
                    Err(error) => {
                        assert!(error.is_conflict() && !error.is_indeterminate(), "{error}");
                        None
                    }
                }
            });
        }
        let winners: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
        tell(&format!("won {}", winners.join(" ")));
    }
}

/// How many rounds had not exactly one winner, or another value than the winner's.
async fn contest(role: &str, prepare: bool, reusing: bool) -> usize {
    let mut unfair = 0;
    let directory = directory(reusing);
    let (store, lines) = (open(directory.path()).await, Lines::new());
    let mut processes: Vec<Process> =
        (0..PROCESSES).map(|number| Process::start(role, directory.path(), number, &lines)).collect();
    for round in 0..ROUNDS {
        // Some keys share a folder that has to be made first, some lie at the top.
        let key = if round % 2 == 0 { format!("r{round}") } else { format!("d{}/r{round}", round / 4) };
        if prepare {
            store.put(key.as_str(), "before").await.expect("put works");
        }
        processes.iter_mut().for_each(|process| process.tell(&key));
        assert!(lines.of_each(PROCESSES).iter().all(|line| line == "ready"));
        processes.iter_mut().for_each(|process| process.tell("go"));
        let told = lines.of_each(PROCESSES);
        let winners: Vec<&str> = told
            .iter()
            .flat_map(|line| line.strip_prefix("won").expect("a result").split_whitespace())
            .collect();
        let left = store.get(key.as_str()).await.expect("get works").expect("a value");
        if winners != [left.text().await.expect("text")] {
            unfair += 1;
        }
    }
    processes.into_iter().for_each(Process::stop);
    unfair
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_creates_from_several_processes_exactly_one_wins() {
    assert_eq!(contest("race", false, false).await, 0, "rounds without exactly one winner, of {ROUNDS}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_updates_from_several_processes_exactly_one_wins() {
    for reusing in [false, true] {
        let unfair = contest("race", true, reusing).await;
        assert_eq!(unfair, 0, "rounds without exactly one winner, of {ROUNDS}; files reused: {reusing}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_between_processes_shows_who_looks_before_he_writes() {
    let unfair = contest("flawed race", true, false).await;
    println!("{unfair} of {ROUNDS} rounds were unfair");
    assert!(
        unfair > ROUNDS / 4,
        "only {unfair} of {ROUNDS} rounds were seen to be unfair: the race is too tame"
    );
}
