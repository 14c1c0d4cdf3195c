//! C3: of any number of racing writers exactly one wins a precondition.

use leasehold_core::{Precondition, Result, Store, Version};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    race::race,
    trial::{ensure, ensure_eq, value},
};

pub(super) const CASES: &[Case] = &[
    case!(C3, of_racing_creates_exactly_one_wins, [ConditionalPut]),
    case!(C3, of_racing_updates_exactly_one_wins, [ConditionalPut]),
    case!(C3, of_racing_conditional_deletes_exactly_one_wins, [ConditionalDelete]),
    case!(C3, of_a_racing_update_and_delete_exactly_one_wins, [ConditionalPut, ConditionalDelete]),
    case!(C3, a_blind_put_is_never_lost_to_a_conditional_one, [ConditionalPut]),
    case!(C3, racing_creates_on_many_keys_have_one_winner_each, [ConditionalPut]),
    case!(
        C3,
        a_key_that_is_created_and_deleted_by_many_has_one_owner_at_a_time,
        [ConditionalPut, ConditionalDelete]
    ),
];

const WRITERS: usize = 32;
const HANDLES: usize = 4;

/// Who won; an unexpected error ends the case.
fn winners<T>(results: Vec<Result<T>>) -> Check<Vec<usize>> {
    let mut winners = Vec::new();
    for (writer, result) in results.into_iter().enumerate() {
        match result {
            Ok(_) => winners.push(writer),
            Err(error) if error.is_conflict() && !error.is_indeterminate() => {}
            Err(error) => return Err(Stop::failed(format!("a loser got {}: {error}", error.kind()))),
        }
    }
    Ok(winners)
}

/// Races writers for one precondition and checks that one won and that its value stays.
async fn contest(handles: &[Store], key: &str, precondition: Precondition) -> Check {
    let results = race((0..WRITERS).map(|writer| {
        let (store, key) = (handles[writer % handles.len()].clone(), key.to_owned());
        let precondition = precondition.clone();
        async move { store.put(&key, format!("writer {writer}")).precondition(precondition).await }
    }))
    .await?;
    let versions: Vec<Option<Version>> = results.iter().map(|result| result.as_ref().ok().cloned()).collect();
    let winners = winners(results)?;
    ensure!(winners.len() == 1, "{} of {WRITERS} racing writers won: {winners:?}", winners.len());
    let winner = winners[0];
    for handle in handles {
        let seen = value(handle, key).await?;
        ensure_eq!(seen.as_deref(), Some(format!("writer {winner}").as_bytes()), "the winner's value");
        let version = handle.head(key).await?.map(|metadata| metadata.version);
        ensure_eq!(version, versions[winner], "the version the winner was told");
    }
    Ok(())
}

async fn of_racing_creates_exactly_one_wins(trial: Trial) -> Check {
    let handles = trial.handles(HANDLES).await?;
    for round in 0..trial.rounds(25) {
        contest(&handles, &format!("round/{round}"), Precondition::Absent).await?;
    }
    for _ in 0..trial.rounds(10) {
        handles[0].delete("again").await?;
        contest(&handles, "again", Precondition::Absent).await?;
    }
    Ok(())
}

async fn of_racing_updates_exactly_one_wins(trial: Trial) -> Check {
    let handles = trial.handles(HANDLES).await?;
    for _ in 0..trial.rounds(35) {
        let version = handles[0].put("k", "before").await?;
        contest(&handles, "k", Precondition::Matches(version)).await?;
    }
    Ok(())
}

async fn of_racing_conditional_deletes_exactly_one_wins(trial: Trial) -> Check {
    let handles = trial.handles(HANDLES).await?;
    for _ in 0..trial.rounds(25) {
        let version = handles[0].put("k", "v").await?;
        let results = race((0..WRITERS).map(|writer| {
            let (store, version) = (handles[writer % HANDLES].clone(), version.clone());
            async move { store.delete("k").if_match(version).await }
        }))
        .await?;
        let winners = winners(results)?;
        ensure!(winners.len() == 1, "{} of {WRITERS} conditional deletes won", winners.len());
        ensure!(value(&handles[1], "k").await?.is_none(), "the key is still there");
    }
    Ok(())
}

async fn of_a_racing_update_and_delete_exactly_one_wins(trial: Trial) -> Check {
    let handles = trial.handles(HANDLES).await?;
    for _ in 0..trial.rounds(40) {
        let version = handles[0].put("k", "before").await?;
        let results = race((0..8).map(|writer| {
            let (store, version) = (handles[writer % HANDLES].clone(), version.clone());
            async move {
                if writer % 2 == 0 {
                    store.put("k", "after").if_match(version).await.map(|_| "put")
                } else {
                    store.delete("k").if_match(version).await.map(|()| "delete")
                }
            }
        }))
        .await?;
        let done: Vec<&str> = results.iter().filter_map(|result| result.as_ref().ok().copied()).collect();
        let winners = winners(results)?;
        ensure!(winners.len() == 1, "{} of 8 racing updates and deletes won: {done:?}", winners.len());
        let left = value(&handles[1], "k").await?;
        let wanted = (done[0] == "put").then_some(b"after".as_slice());
        ensure_eq!(left.as_deref(), wanted, "what is left after {} won", done[0]);
    }
    Ok(())
}

async fn a_blind_put_is_never_lost_to_a_conditional_one(trial: Trial) -> Check {
    let handles = trial.handles(HANDLES).await?;
    for round in 0..trial.rounds(40) {
        let version = handles[0].put("k", "before").await?;
        if round % 2 == 0 {
            handles[0].delete("k").await?;
        }
        let results = race((0..8).map(|writer| {
            let (store, version) = (handles[writer % HANDLES].clone(), version.clone());
            async move {
                match writer {
                    0 => store.put("k", "blind").await.map(drop),
                    _ if round % 2 == 0 => store.put("k", "conditional").if_absent().await.map(drop),
                    _ => store.put("k", "conditional").if_match(version).await.map(drop),
                }
            }
        }))
        .await?;
        // In either order the blind put comes out on top: the conditional one came first, or it conflicts.
        ensure!(results[0].is_ok(), "a put without a precondition failed: {:?}", results[0]);
        ensure!(winners(results)?.len() <= 2, "more than one conditional put won");
        let left = value(&handles[2], "k").await?;
        ensure_eq!(left.as_deref(), Some(b"blind".as_slice()), "what is left after a blind put");
    }
    Ok(())
}

async fn racing_creates_on_many_keys_have_one_winner_each(trial: Trial) -> Check {
    let handles = trial.handles(HANDLES).await?;
    let keys = trial.rounds(40);
    let results = race((0..8_usize).map(|writer| {
        let store = handles[writer % HANDLES].clone();
        async move {
            let mut won = Vec::new();
            for step in 0..keys {
                // Everybody goes through the keys in another order.
                let key = (step * (2 * writer + 1)) % keys;
                match store.put(format!("d{}/k{key}", key % 5), format!("{writer}")).if_absent().await {
                    Ok(_) => won.push(key),
                    Err(error) if error.is_conflict() => {}
                    Err(error) => return Err(Stop::from(error)),
                }
            }
            Ok(won)
        }
    }))
    .await?;
    let mut owner = vec![None; keys];
    for (writer, won) in results.into_iter().enumerate() {
        for key in won? {
            ensure!(owner[key].is_none(), "{writer} and {:?} both created key {key}", owner[key]);
            owner[key] = Some(writer);
        }
    }
    for (key, owner) in owner.into_iter().enumerate() {
        let seen = value(&handles[0], &format!("d{}/k{key}", key % 5)).await?;
        ensure_eq!(seen, owner.map(|writer| writer.to_string().into()), "the value of key {key}");
    }
    Ok(())
}

async fn a_key_that_is_created_and_deleted_by_many_has_one_owner_at_a_time(trial: Trial) -> Check {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    let handles = trial.handles(HANDLES).await?;
    let (inside, attempts) = (Arc::new(AtomicUsize::new(0)), trial.rounds(25));
    let results = race((0..8_usize).map(|writer| {
        let (store, inside) = (handles[writer % HANDLES].clone(), inside.clone());
        async move {
            for _ in 0..attempts {
                match store.put("lock", format!("{writer}")).if_absent().await {
                    Ok(version) => {
                        let others = inside.fetch_add(1, Ordering::SeqCst);
                        ensure!(others == 0, "{} owners at a time", others + 1);
                        tokio::task::yield_now().await;
                        let seen = value(&store, "lock").await?;
                        ensure_eq!(seen, Some(writer.to_string().into()), "the owner's own value");
                        inside.fetch_sub(1, Ordering::SeqCst);
                        store.delete("lock").if_match(version).await?;
                    }
                    Err(error) if error.is_conflict() => tokio::task::yield_now().await,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        }
    }))
    .await?;
    results.into_iter().collect()
}
