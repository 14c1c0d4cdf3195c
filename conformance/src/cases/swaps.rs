//! C3, C5: compare-and-swap by value, and the read-decide-write loop on top.

use leasehold_core::{Bytes, Error, ErrorKind};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    race::race_all,
    trial::{ensure_eq, holds, refused},
};

pub(super) const CASES: &[Case] = &[
    case!(C3, compare_and_swap_takes_values_and_absence, [ConditionalPut, ConditionalDelete]),
    case!(C3, of_racing_swaps_from_one_value_exactly_one_wins, [ConditionalPut]),
    case!(C3, updates_under_contention_lose_nothing, [ConditionalPut]),
    case!(C3, an_update_can_create_change_and_delete, [ConditionalPut, ConditionalDelete]),
    case!(C3, json_updates_under_contention_lose_nothing, [ConditionalPut]),
    case!(C4, an_update_that_decides_against_it_changes_nothing, [ConditionalPut]),
];

async fn compare_and_swap_takes_values_and_absence(trial: Trial) -> Check {
    let store = trial.store();
    let none = None::<&str>;
    for (expected, new, done) in [
        (Some("x"), Some("y"), false),
        (none, none, true),
        (none, Some("a"), true),
        (none, Some("b"), false),
        (Some("b"), Some("c"), false),
        (Some(""), Some("c"), false),
        (Some("a"), Some("a"), true),
        (Some("a"), Some(""), true),
        (none, Some("x"), false),
        (Some(""), Some("d"), true),
        (Some("x"), none, false),
        (Some("d"), none, true),
        (Some("d"), none, false),
    ] {
        let seen = store.compare_and_swap("k", expected, new).await?;
        ensure_eq!(seen, done, "the swap from {expected:?} to {new:?}");
    }
    holds(store, "k", None).await
}

async fn of_racing_swaps_from_one_value_exactly_one_wins(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    for round in 0..trial.rounds(20) {
        let (from, to) = (round.checked_sub(1).map(|last| last.to_string()), round.to_string());
        let done = race_all((0..8_usize).map(|client| {
            let (store, from, to) = (handles[client % 4].clone(), from.clone(), to.clone());
            async move { Ok(store.compare_and_swap("k", from.as_deref(), to).await?) }
        }))
        .await?;
        ensure_eq!(done.iter().filter(|done| **done).count(), 1, "the swaps done in round {round}");
        holds(&handles[1], "k", Some(to.as_bytes())).await?;
    }
    Ok(())
}

fn plus_one(current: Option<Bytes>) -> leasehold_core::Result<Option<Bytes>> {
    let number = leasehold_core::add_to(current.as_deref(), 1)?;
    Ok(Some(number.to_string().into()))
}

async fn updates_under_contention_lose_nothing(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    let steps = trial.rounds(50);
    race_all((0..8_usize).map(|client| {
        let store = handles[client % 4].clone();
        async move {
            for _ in 0..steps {
                store.update("n", plus_one).await?;
            }
            Ok(())
        }
    }))
    .await?;
    holds(&handles[1], "n", Some((8 * steps).to_string().as_bytes())).await
}

async fn an_update_can_create_change_and_delete(trial: Trial) -> Check {
    let store = trial.store();
    for (before, after) in
        [(None, Some("a")), (Some("a"), Some("")), (Some(""), Some("b")), (Some("b"), None), (None, None)]
    {
        let stored = store
            .update("k", |current| {
                if current.as_deref() != before.map(str::as_bytes) {
                    return Err(Error::invalid(format!(
                        "the update was shown {current:?} instead of {before:?}"
                    )));
                }
                Ok(after.map(|text| Bytes::from_static(text.as_bytes())))
            })
            .await?;
        ensure_eq!(stored.as_deref(), after.map(str::as_bytes), "what the update says it stored");
        holds(store, "k", after.map(str::as_bytes)).await?;
    }
    Ok(())
}

async fn json_updates_under_contention_lose_nothing(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    let steps = trial.rounds(20);
    race_all((0..4_usize).map(|client| {
        let store = handles[client].clone();
        async move {
            for step in 0..steps {
                store
                    .update_json("set", |seen: Option<Vec<String>>| {
                        let mut all = seen.unwrap_or_default();
                        all.push(format!("{client}-{step}"));
                        Ok(Some(all))
                    })
                    .await?;
            }
            Ok(())
        }
    }))
    .await?;
    let object = handles[0].get("set").await?.ok_or_else(|| Stop::failed("the set is missing"))?;
    let mut all: Vec<String> = object.json().await?;
    all.sort_unstable();
    all.dedup();
    ensure_eq!(all.len(), 4 * steps, "the entries that are left");
    Ok(())
}

async fn an_update_that_decides_against_it_changes_nothing(trial: Trial) -> Check {
    let store = trial.store();
    store.put("k", "no json").await?;
    let version = store.head("k").await?.map(|metadata| metadata.version);
    let refusal = |_| Err::<Option<Bytes>, _>(Error::new(ErrorKind::Denied, "not today"));
    refused(store.update("k", refusal).await, ErrorKind::Denied, "an update that declines")?;
    refused(store.update("new", refusal).await, ErrorKind::Denied, "an update that declines")?;
    let result = store.update_json("k", |seen: Option<Vec<u8>>| Ok(seen)).await;
    refused(result, ErrorKind::Corrupt, "a JSON update of a value that is no JSON")?;
    holds(store, "k", Some(b"no json")).await?;
    holds(store, "new", None).await?;
    let after = store.head("k").await?.map(|metadata| metadata.version);
    ensure_eq!(after, version, "the version after updates that changed nothing");
    Ok(())
}
