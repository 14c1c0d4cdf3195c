//! C1: what was acknowledged is seen by every later read, through every handle.

use crate::{
    Case, Check, Trial,
    case::case,
    race::race_all,
    trial::{ensure, ensure_eq, holds, value},
};

pub(super) const CASES: &[Case] = &[
    case!(C1, an_acknowledged_put_is_read_by_every_verb, [Linearizable]),
    case!(C1, an_acknowledged_put_is_read_through_another_handle, [Linearizable]),
    case!(C1, an_acknowledged_delete_is_seen_through_another_handle, [Linearizable]),
    case!(C1, handles_that_take_turns_never_read_an_older_value, [Linearizable]),
    case!(C1, a_value_seen_by_one_reader_is_seen_by_all_later_ones, [Linearizable]),
    case!(C1, a_list_shows_what_was_acknowledged_before_it, [Linearizable]),
    case!(C1, handles_that_begin_at_the_same_moment_all_work),
    case!(C6, what_was_acknowledged_outlives_the_handle_that_wrote_it),
];

async fn an_acknowledged_put_is_read_by_every_verb(trial: Trial) -> Check {
    let store = trial.store();
    for text in ["one", "two, longer", ""] {
        store.put("k", text).await?;
        holds(store, "k", Some(text.as_bytes())).await?;
    }
    Ok(())
}

async fn an_acknowledged_put_is_read_through_another_handle(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    for number in 0..trial.rounds(20) {
        let text = format!("value {number}");
        let key = format!("k{}", number % 3);
        let version = store.put(&key, text.as_str()).await?;
        holds(&other, &key, Some(text.as_bytes())).await?;
        let seen = other.get(&key).range(2..5).await?;
        ensure!(seen.is_some(), "the other handle does not see {key:?}");
        if let Some(object) = seen {
            ensure_eq!(*object.version(), version, "the version that the other handle sees");
            ensure_eq!(
                object.bytes().await?,
                &text.as_bytes()[2..5],
                "the range that the other handle reads"
            );
        }
    }
    Ok(())
}

async fn an_acknowledged_delete_is_seen_through_another_handle(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    for _ in 0..trial.rounds(20) {
        store.put("k", "v").await?;
        holds(&other, "k", Some(b"v")).await?;
        store.delete("k").await?;
        holds(&other, "k", None).await?;
    }
    Ok(())
}

async fn handles_that_take_turns_never_read_an_older_value(trial: Trial) -> Check {
    let handles = trial.handles(3).await?;
    for number in 0..trial.rounds(150) {
        let text = number.to_string();
        handles[number % 3].put("k", text.as_str()).await?;
        for next in [number + 1, number + 2] {
            let seen = value(&handles[next % 3], "k").await?;
            ensure_eq!(seen.as_deref(), Some(text.as_bytes()), "what another handle reads");
        }
    }
    Ok(())
}

async fn a_value_seen_by_one_reader_is_seen_by_all_later_ones(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    handles[0].put("k", "0").await?;
    let last = trial.rounds(150) as u64;
    let highest = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    race_all(handles.into_iter().enumerate().map(|(client, store)| {
        let highest = highest.clone();
        async move {
            for number in 1..=last {
                if client == 0 {
                    store.put("k", number.to_string()).await?;
                    continue;
                }
                let floor = highest.load(std::sync::atomic::Ordering::SeqCst);
                let bytes = value(&store, "k").await?;
                let text = bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
                let seen = text.and_then(|text| text.parse::<u64>().ok());
                ensure!(seen.is_some_and(|seen| seen >= floor), "a reader saw {floor}, a later one {text:?}");
                highest.fetch_max(seen.unwrap_or(0), std::sync::atomic::Ordering::SeqCst);
            }
            Ok(())
        }
    }))
    .await?;
    Ok(())
}

async fn a_list_shows_what_was_acknowledged_before_it(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    for number in 0..trial.rounds(60) {
        let key = format!("k/{number:03}");
        store.put(&key, "v").await?;
        let last = other.list("k/").await?.pop().map(|entry| entry.key.to_string());
        ensure_eq!(last, Some(key), "the last key that the other handle lists");
    }
    Ok(())
}

async fn handles_that_begin_at_the_same_moment_all_work(trial: Trial) -> Check {
    for round in 0..trial.rounds(25) {
        // What a handle prepares at its first write, it prepares beside the others.
        let mut handles = trial.handles(9).await?;
        handles.remove(0);
        race_all(handles.into_iter().enumerate().map(|(number, store)| async move {
            store.put(format!("{round}/{number}"), "first").await?;
            Ok(())
        }))
        .await?;
        ensure_eq!(
            trial.store().list(format!("{round}/")).await?.len(),
            8,
            "the first writes of eight handles"
        );
    }
    Ok(())
}

async fn what_was_acknowledged_outlives_the_handle_that_wrote_it(trial: Trial) -> Check {
    for number in 0..5 {
        let handle = trial.another().await?;
        handle.put(format!("k{number}"), "v").await?;
        drop(handle);
    }
    let fresh = trial.another().await?;
    for number in 0..5 {
        holds(&fresh, &format!("k{number}"), Some(b"v")).await?;
    }
    Ok(())
}
