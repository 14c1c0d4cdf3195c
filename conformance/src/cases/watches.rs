//! C14: who waits for a change is woken by it, where the store says so.

use std::time::Duration;

use futures_util::{
    future::{Either, select},
    stream::StreamExt,
};
use leasehold_core::{
    BatchOptions, Capability, Changes, Clock, DeleteOptions, Key, Operation, Prefix, PutOptions, Scope,
    Store, SystemClock,
};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    race::race_all,
    trial::{ensure, value},
};

pub(super) const CASES: &[Case] = &[
    case!(C14, every_kind_of_write_wakes_who_watches_its_key, [Changes]),
    case!(C14, a_change_wakes_watchers_on_every_handle, [Changes]),
    case!(C14, a_change_below_a_prefix_wakes_who_watches_it, [Changes]),
    case!(C14, a_watch_that_is_dropped_leaves_the_others, [Changes]),
    case!(C14, who_reads_when_woken_sees_the_last_value, [Changes, Linearizable]),
    case!(C11, changes_that_are_not_claimed_are_not_told),
];

/// How long a wake-up may take: far beyond any that comes.
const LONGEST: Duration = Duration::from_secs(20);

fn key(text: &str) -> Check<Key> {
    Ok(Key::new(text)?)
}

fn prefix(text: &str) -> Check<Scope> {
    Ok(Scope::Prefix(Prefix::new(text)?))
}

async fn watch(store: &Store, scope: &Scope) -> Check<Changes> {
    let none = || Stop::Skipped("the system has no room for a watch now".into());
    store.adapter().changes(scope).await?.ok_or_else(none)
}

/// Waits for a wake-up. The end of a watch is none.
async fn woken(changes: &mut Changes, what: &str) -> Check {
    match select(changes.next(), SystemClock.sleep(LONGEST)).await {
        Either::Left((Some(()), _)) => Ok(()),
        Either::Left((None, _)) => Err(Stop::failed(format!("the watch ended instead of telling: {what}"))),
        Either::Right(_) => Err(Stop::failed(format!("nobody was woken by {what}"))),
    }
}

async fn every_kind_of_write_wakes_who_watches_its_key(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let conditional = trial.claims(Capability::ConditionalPut);
    for name in ["k", "deep/er/k", "deep/er/k2"] {
        let scope = Scope::Key(key(name)?);
        for writer in [&other, store] {
            // Each has a watch of its own, so that no wake-up of an earlier write can pass for its own.
            let mut changes = watch(store, &scope).await?;
            writer.put(name, "1").await?;
            woken(&mut changes, "a put that creates").await?;

            let mut changes = watch(store, &scope).await?;
            let version = writer.put(name, "2").await?;
            woken(&mut changes, "a put that replaces").await?;

            if conditional {
                let mut changes = watch(store, &scope).await?;
                writer.put(name, "3").if_match(version).await?;
                woken(&mut changes, "a put with a condition").await?;
            }

            let mut changes = watch(store, &scope).await?;
            writer.increment(name, 1).await?;
            woken(&mut changes, "an increment").await?;

            let mut changes = watch(store, &scope).await?;
            let put = Operation::Put(key(name)?, "5".into(), PutOptions::default());
            let aside = Operation::Put(key("aside")?, "5".into(), PutOptions::default());
            for result in writer.adapter().batch(vec![aside, put], BatchOptions::default()).await {
                result?;
            }
            woken(&mut changes, "a put in a batch").await?;

            let mut changes = watch(store, &scope).await?;
            let delete = Operation::Delete(key(name)?, DeleteOptions::default());
            for result in writer.adapter().batch(vec![delete], BatchOptions::default()).await {
                result?;
            }
            woken(&mut changes, "a delete in a batch").await?;

            if conditional {
                let mut changes = watch(store, &scope).await?;
                writer.put(name, "6").if_absent().await?;
                woken(&mut changes, "a create").await?;
            }

            writer.put(name, "7").await?;
            let mut changes = watch(store, &scope).await?;
            writer.delete(name).await?;
            woken(&mut changes, "a delete").await?;
        }
    }
    Ok(())
}

async fn a_change_wakes_watchers_on_every_handle(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    let scope = Scope::Key(key("k")?);
    for (number, writer) in handles.iter().enumerate() {
        let mut watches = Vec::new();
        for handle in handles.iter().chain(&handles) {
            watches.push(watch(handle, &scope).await?);
        }
        writer.put("k", number.to_string()).await?;
        for changes in &mut watches {
            woken(changes, "a put through another handle").await?;
        }
    }
    Ok(())
}

async fn a_change_below_a_prefix_wakes_who_watches_it(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let all = ["", "a", "a/", "a/b", "a/b/", "a/b/c/d/", "a/b/c/d/e"];
    for text in all {
        let scope = prefix(text)?;
        for name in ["a/b/c/d/e", "a/b/c/d/e/f", "a/b/c/d/e2/g/h", "a/b/c/d/e"] {
            // Twice: where nothing is yet, and where something is.
            for what in ["a first put", "a second one"] {
                let mut changes = watch(store, &scope).await?;
                other.put(name, what).await?;
                woken(&mut changes, &format!("{what} of {name:?}, watched by the prefix {text:?}")).await?;
            }
            let mut changes = watch(store, &scope).await?;
            other.delete(name).await?;
            woken(&mut changes, &format!("a delete of {name:?}, watched by the prefix {text:?}")).await?;
        }
        // One watch sees it all, in places that come and go.
        let mut changes = watch(store, &scope).await?;
        for round in 0..trial.rounds(5) {
            let name = format!("a/b/c/d/e/{round}/f");
            other.put(&name, "v").await?;
            woken(&mut changes, "a put in a new place").await?;
            other.delete(&name).await?;
            woken(&mut changes, "its delete").await?;
        }
    }
    Ok(())
}

async fn a_watch_that_is_dropped_leaves_the_others(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let (one, under) = (Scope::Key(key("a/k")?), prefix("a/")?);
    let mut kept = [watch(store, &one).await?, watch(store, &under).await?];
    for _ in 0..trial.rounds(20) {
        drop(watch(store, &one).await?);
        drop(watch(store, &under).await?);
        other.put("a/k", "v").await?;
        for changes in &mut kept {
            woken(changes, "a put beside watches that come and go").await?;
        }
    }
    Ok(())
}

async fn who_reads_when_woken_sees_the_last_value(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    let (last, rounds) = ("last".as_bytes(), trial.rounds(20));
    for round in 0..rounds {
        let name = format!("a/{}/k", round % 3);
        let name = name.as_str();
        let scope = if round % 2 == 0 { Scope::Key(key(name)?) } else { prefix("a/")? };
        handles[0].put(name, "first").await?;
        let mut changes = watch(&handles[1], &scope).await?;
        let reading = async {
            // Only what wakes brings it to the last value: nothing polls here.
            while value(&handles[1], name).await?.as_deref() != Some(last) {
                woken(&mut changes, "the writes after the one that was read").await?;
            }
            Ok(())
        };
        let writing = async {
            race_all(handles[2..].iter().cloned().map(|store| {
                let name = name.to_owned();
                async move {
                    for number in 0..10 {
                        store.put(&name, number.to_string()).await?;
                        store.delete(&name).await?;
                    }
                    Ok(())
                }
            }))
            .await?;
            handles[2].put(name, last).await?;
            Ok::<(), Stop>(())
        };
        let (read, written) = futures_util::future::join(reading, writing).await;
        written.and(read)?;
    }
    Ok(())
}

async fn changes_that_are_not_claimed_are_not_told(trial: Trial) -> Check {
    if trial.claims(Capability::Changes) {
        return Err(Stop::Skipped("the store claims it".into()));
    }
    for scope in [Scope::Key(key("k")?), prefix("a/")?] {
        let told = trial.store().adapter().changes(&scope).await?;
        ensure!(told.is_none(), "{scope} is watched, though the store does not claim that it can");
    }
    Ok(())
}
