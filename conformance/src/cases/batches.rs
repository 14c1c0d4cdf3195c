//! C10, C11: one result for each operation, in order; all or nothing only where it is claimed.

use leasehold_core::{
    BatchOptions, ByteRange, Capability, DeleteOptions, ErrorKind, GetOptions, Key, Operation, Outcome,
    Precondition, PutOptions, Result, Version,
};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    race::{race, race_all},
    trial::{ensure, ensure_eq, holds, refused, value},
    values::{pattern, streamed},
};

pub(super) const CASES: &[Case] = &[
    case!(C10, an_empty_batch_has_no_results),
    case!(C10, results_stand_where_their_operations_stood),
    case!(C10, a_bad_entry_does_not_spoil_the_others),
    case!(C10, operations_on_one_key_run_in_the_order_given),
    case!(C10, a_batch_of_a_thousand_is_done_entry_by_entry),
    case!(C10, preconditions_hold_in_batches, [ConditionalPut]),
    case!(C10, a_conditional_delete_in_a_batch_takes_only_its_version, [ConditionalDelete]),
    case!(C3, racing_batches_have_one_winner_for_each_key, [ConditionalPut]),
    case!(C12, a_batch_over_the_limit_is_refused),
    case!(C11, an_atomic_batch_that_is_not_claimed_is_refused),
    case!(C11, an_atomic_batch_is_all_or_nothing, [AtomicBatch]),
    case!(C11, an_atomic_batch_is_seen_at_one_moment, [AtomicBatch]),
    case!(C11, of_racing_atomic_batches_one_wins_whole, [AtomicBatch, ConditionalPut]),
];

fn put(key: &str, text: &str) -> Check<Operation> {
    Ok(Operation::Put(Key::new(key)?, text.to_owned().into(), PutOptions::default()))
}

fn put_if(key: &str, text: &str, precondition: Precondition) -> Check<Operation> {
    Ok(Operation::Put(Key::new(key)?, text.to_owned().into(), precondition.into()))
}

fn get(key: &str) -> Check<Operation> {
    Ok(Operation::Get(Key::new(key)?, GetOptions::default()))
}

fn delete(key: &str) -> Check<Operation> {
    Ok(Operation::Delete(Key::new(key)?, DeleteOptions::default()))
}

async fn run(trial: &Trial, operations: Vec<Operation>) -> Check<Vec<Result<Outcome>>> {
    let count = operations.len();
    let results = trial.store().batch(operations, BatchOptions::default()).await;
    ensure_eq!(results.len(), count, "the number of results");
    Ok(results)
}

/// What a result came to, as text.
async fn told(result: Result<Outcome>) -> Check<String> {
    Ok(match result {
        Ok(Outcome::Got(lookup)) => match lookup.found() {
            Some(object) => format!("got {}", object.text().await?),
            None => "got nothing".into(),
        },
        Ok(Outcome::Put(_)) => "put".into(),
        Ok(Outcome::Deleted) => "deleted".into(),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.kind().to_string(),
    })
}

async fn all_told(results: Vec<Result<Outcome>>) -> Check<Vec<String>> {
    let mut all = Vec::with_capacity(results.len());
    for result in results {
        all.push(told(result).await?);
    }
    Ok(all)
}

async fn an_empty_batch_has_no_results(trial: Trial) -> Check {
    run(&trial, vec![]).await?;
    Ok(())
}

async fn results_stand_where_their_operations_stood(trial: Trial) -> Check {
    let store = trial.store();
    for (key, text) in [("a", "1"), ("b", "2"), ("d", "4")] {
        store.put(key, text).await?;
    }
    let operations = vec![
        get("d")?,
        put("c", "3")?,
        get("a")?,
        delete("b")?,
        get("absent")?,
        put("e/f", "5")?,
        delete("absent")?,
    ];
    let seen = all_told(run(&trial, operations).await?).await?;
    let wanted = ["got 4", "put", "got 1", "deleted", "got nothing", "put", "deleted"];
    ensure_eq!(seen, wanted, "the results in order");
    for (key, wanted) in [("a", Some("1")), ("b", None), ("c", Some("3")), ("e/f", Some("5"))] {
        holds(&trial.another().await?, key, wanted.map(str::as_bytes)).await?;
    }
    let version = run(&trial, vec![put("v", "x")?]).await?.remove(0);
    let head = store.head("v").await?.map(|metadata| metadata.version);
    match version {
        Ok(Outcome::Put(version)) => ensure_eq!(head, Some(version), "the version that a batch told"),
        other => return Err(Stop::failed(format!("a put in a batch came to {other:?}"))),
    }
    Ok(())
}

async fn a_bad_entry_does_not_spoil_the_others(trial: Trial) -> Check {
    trial.store().put("text", "0123").await?;
    let mut past = GetOptions::default();
    past.range = ByteRange::From(100);
    let short =
        Operation::Put(Key::new("short")?, streamed(pattern(1, 100), 30, Some(200)), PutOptions::default());
    let operations = vec![
        put("a", "1")?,
        Operation::Get(Key::new("text")?, past),
        put("b", "2")?,
        short,
        get("text")?,
        put("c", "3")?,
    ];
    let seen = all_told(run(&trial, operations).await?).await?;
    ensure_eq!(
        seen,
        ["put", "invalid", "put", "invalid", "got 0123", "put"],
        "the results around bad entries"
    );
    for key in ["a", "b", "c"] {
        ensure!(value(trial.store(), key).await?.is_some(), "{key:?} was not written");
    }
    holds(trial.store(), "short", None).await
}

async fn operations_on_one_key_run_in_the_order_given(trial: Trial) -> Check {
    for _ in 0..trial.rounds(10) {
        let operations = vec![
            get("k")?,
            put("k", "1")?,
            get("k")?,
            put("k", "2")?,
            put("other", "x")?,
            put("k", "3")?,
            get("k")?,
            delete("k")?,
            get("k")?,
            put("k", "4")?,
            delete("k")?,
        ];
        let seen = all_told(run(&trial, operations).await?).await?;
        let wanted = [
            "got nothing",
            "put",
            "got 1",
            "put",
            "put",
            "put",
            "got 3",
            "deleted",
            "got nothing",
            "put",
            "deleted",
        ];
        ensure_eq!(seen, wanted, "operations on one key");
    }
    let last = trial.rounds(100) - 1;
    let puts = (0..=last).map(|number| put("k", &number.to_string())).collect::<Check<_>>()?;
    run(&trial, puts).await?;
    holds(trial.store(), "k", Some(last.to_string().as_bytes())).await
}

async fn a_batch_of_a_thousand_is_done_entry_by_entry(trial: Trial) -> Check {
    let count = trial.rounds(1000);
    let puts =
        (0..count).map(|number| put(&format!("k/{number}"), &format!("v{number}"))).collect::<Check<_>>()?;
    for result in run(&trial, puts).await? {
        result?;
    }
    let gets = (0..count).rev().map(|number| get(&format!("k/{number}"))).collect::<Check<_>>()?;
    let seen = all_told(run(&trial, gets).await?).await?;
    for (position, seen) in seen.into_iter().enumerate() {
        ensure_eq!(seen, format!("got v{}", count - 1 - position), "entry {position} of a thousand");
    }
    Ok(())
}

async fn preconditions_hold_in_batches(trial: Trial) -> Check {
    let store = trial.store();
    let old = store.put("k", "old").await?;
    let now = store.put("k", "now").await?;
    let operations = vec![
        put_if("new", "first", Precondition::Absent)?,
        put_if("new", "second", Precondition::Absent)?,
        put_if("k", "stale", Precondition::Matches(old.clone()))?,
        put_if("k", "fresh", Precondition::Matches(now))?,
        put_if("k", "late", Precondition::Matches(old))?,
        put_if("absent", "x", Precondition::Matches(Version::new("1")))?,
        put("plain", "p")?,
    ];
    let seen = all_told(run(&trial, operations).await?).await?;
    ensure_eq!(
        seen,
        ["put", "conflict", "conflict", "put", "conflict", "conflict", "put"],
        "conditions in a batch"
    );
    for (key, wanted) in
        [("new", Some("first")), ("k", Some("fresh")), ("absent", None), ("plain", Some("p"))]
    {
        holds(store, key, wanted.map(str::as_bytes)).await?;
    }
    Ok(())
}

async fn a_conditional_delete_in_a_batch_takes_only_its_version(trial: Trial) -> Check {
    let store = trial.store();
    let old = store.put("k", "old").await?;
    let now = store.put("k", "now").await?;
    let delete_if = |key: &str, version: &Version| -> Check<Operation> {
        Ok(Operation::Delete(Key::new(key)?, DeleteOptions::matching(version.clone())))
    };
    let operations = vec![
        delete_if("k", &old)?,
        get("k")?,
        delete_if("k", &now)?,
        delete_if("k", &now)?,
        delete_if("none", &old)?,
    ];
    let seen = all_told(run(&trial, operations).await?).await?;
    ensure_eq!(
        seen,
        ["conflict", "got now", "deleted", "conflict", "conflict"],
        "conditional deletes in a batch"
    );
    holds(store, "k", None).await
}

async fn racing_batches_have_one_winner_for_each_key(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    for round in 0..trial.rounds(10) {
        let mut contenders = Vec::new();
        for writer in 0..8 {
            let mut operations = (0..10)
                .map(|key| put_if(&format!("{round}/{key}"), &writer.to_string(), Precondition::Absent))
                .collect::<Check<Vec<_>>>()?;
            if writer % 2 == 1 {
                operations.reverse();
            }
            let store = handles[writer % 4].clone();
            contenders.push(async move { store.batch(operations, BatchOptions::default()).await });
        }
        let results = race(contenders).await?;
        let mut wins = [0; 10];
        for (writer, results) in results.iter().enumerate() {
            ensure_eq!(results.len(), 10, "the number of results");
            for (position, result) in results.iter().enumerate() {
                let key = if writer % 2 == 1 { 9 - position } else { position };
                match result {
                    Ok(_) => wins[key] += 1,
                    Err(error) => ensure!(error.is_conflict(), "a loser got {error}"),
                }
            }
        }
        ensure_eq!(wins, [1; 10], "the winners of each key");
    }
    Ok(())
}

async fn a_batch_over_the_limit_is_refused(trial: Trial) -> Check {
    let limit = trial.store().capabilities().limits().batch_operations_max;
    if limit > 200_000 {
        return Err(Stop::Skipped(format!("a batch may have {limit} operations")));
    }
    let operations = (0..=limit).map(|_| put("k", "v")).collect::<Check<Vec<_>>>()?;
    let results = run(&trial, operations).await?;
    for result in results {
        if let Ok(Outcome::Put(_)) | Err(_) = &result {
            refused(result, ErrorKind::Invalid, "an entry of a batch over the limit")?;
        }
    }
    holds(trial.store(), "k", None).await
}

async fn an_atomic_batch_that_is_not_claimed_is_refused(trial: Trial) -> Check {
    if trial.claims(Capability::AtomicBatch) {
        return Err(Stop::Skipped("the store claims atomic-batch".into()));
    }
    trial.store().put("old", "old").await?;
    let operations = vec![put("new", "v")?, delete("old")?, get("old")?];
    let results = trial.store().batch(operations, BatchOptions::atomic()).await;
    ensure_eq!(results.len(), 3, "the number of results");
    for result in results {
        let unsupported = ErrorKind::Unsupported(Capability::AtomicBatch);
        refused(result, unsupported, "an entry of an atomic batch that is not claimed")?;
    }
    holds(trial.store(), "new", None).await?;
    holds(trial.store(), "old", Some(b"old")).await
}

async fn an_atomic_batch_is_all_or_nothing(trial: Trial) -> Check {
    let store = trial.store();
    store.put("old", "old").await?;
    let mut past = GetOptions::default();
    past.range = ByteRange::From(100);
    let mut bad = vec![Operation::Get(Key::new("a")?, past)];
    bad.push(Operation::Put(Key::new("bad")?, streamed(pattern(1, 100), 30, Some(7)), PutOptions::default()));
    if trial.claims(Capability::ConditionalPut) {
        bad.push(put_if("a", "x", Precondition::Absent)?);
    }
    for bad in bad {
        let shown = format!("{bad:?}");
        let operations = vec![put("a", "1")?, delete("old")?, bad, put("b", "2")?];
        let results = store.batch(operations, BatchOptions::atomic()).await;
        ensure_eq!(results.len(), 4, "the number of results");
        ensure!(results.iter().all(Result::is_err), "with {shown} among them, some succeeded: {results:?}");
        for (key, wanted) in [("a", None), ("b", None), ("bad", None), ("old", Some(b"old".as_slice()))] {
            holds(store, key, wanted).await?;
        }
    }
    let operations = vec![put("a", "1")?, delete("old")?, put("a", "2")?, get("a")?];
    let seen = all_told(store.batch(operations, BatchOptions::atomic()).await).await?;
    ensure_eq!(seen, ["put", "deleted", "put", "got 2"], "an atomic batch");
    holds(store, "a", Some(b"2")).await?;
    holds(store, "old", None).await
}

async fn an_atomic_batch_is_seen_at_one_moment(trial: Trial) -> Check {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    let handles = trial.handles(3).await?;
    // The writers go on until the reader has looked often enough, and seen enough of what they do.
    let looks = trial.rounds(80);
    let done = Arc::new(AtomicBool::new(false));
    race_all((0..3).map(|client| {
        let (store, done) = (handles[client].clone(), done.clone());
        async move {
            let (mut last, mut changes) = (String::new(), 0);
            for round in 0.. {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                let enough = round >= looks && changes >= looks / 4 || round >= 50 * looks;
                done.fetch_or(client == 2 && enough, Ordering::SeqCst);
                let text = format!("{client}-{round}");
                let operations = match client {
                    0 | 1 => vec![put("a", &text)?, put("b", &text)?, put("c", &text)?],
                    _ => vec![get("a")?, get("b")?, get("c")?],
                };
                let seen = all_told(store.batch(operations, BatchOptions::atomic()).await).await?;
                let whole = seen[0] == seen[1] && seen[1] == seen[2];
                done.fetch_or(!whole, Ordering::SeqCst);
                ensure!(whole, "half of an atomic batch was seen: {seen:?}");
                changes += usize::from(seen[0] != last);
                last.clone_from(&seen[0]);
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    }))
    .await?;
    Ok(())
}

async fn of_racing_atomic_batches_one_wins_whole(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    for round in 0..trial.rounds(20) {
        let mut contenders = Vec::new();
        for writer in 0..8_usize {
            // Neighbours overlap in one key each.
            let keys = [format!("{round}/x"), format!("{round}/own-{writer}"), format!("{round}/y")];
            let operations = keys
                .iter()
                .map(|key| put_if(key, &writer.to_string(), Precondition::Absent))
                .collect::<Check<Vec<_>>>()?;
            let store = handles[writer % 4].clone();
            contenders.push(async move { store.batch(operations, BatchOptions::atomic()).await });
        }
        let results = race(contenders).await?;
        let won = |results: &Vec<Result<Outcome>>| results.iter().all(Result::is_ok);
        ensure_eq!(results.iter().filter(|results| won(results)).count(), 1, "the atomic batches that won");
        ensure_eq!(trial.store().list(format!("{round}/")).await?.len(), 3, "the keys of the one that won");
    }
    Ok(())
}
