//! C7: versions are opaque, and unique where that is claimed.

use std::collections::HashSet;

use leasehold_core::{Capability, Version};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    race::race_all,
    trial::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    case!(C7, put_returns_the_version_that_reads_show),
    case!(C7, reading_changes_no_version),
    case!(C7, another_value_has_another_version),
    case!(C7, a_version_survives_as_text, [ConditionalPut]),
    case!(C7, a_value_that_returns_has_a_new_version, [UniqueVersions]),
    case!(C7, a_key_that_is_deleted_and_made_again_has_a_new_version, [UniqueVersions]),
    case!(C7, a_thousand_rapid_writes_have_a_thousand_versions, [UniqueVersions]),
    case!(C7, racing_writers_get_different_versions, [UniqueVersions]),
    case!(C7, increments_and_batches_make_new_versions, [UniqueVersions]),
];

async fn version_of(trial: &Trial, key: &str) -> Check<Version> {
    let head = trial.store().head(key).await?;
    head.map(|metadata| metadata.version).ok_or_else(|| Stop::failed(format!("{key:?} is missing")))
}

async fn put_returns_the_version_that_reads_show(trial: Trial) -> Check {
    let other = trial.another().await?;
    for text in ["one", "two", "two", ""] {
        let version = trial.store().put("dir/k", text).await?;
        for store in [trial.store(), &other] {
            let head = store.head("dir/k").await?.map(|metadata| metadata.version);
            ensure_eq!(head, Some(version.clone()), "the version of head");
            let got = store.get("dir/k").await?.map(|object| object.metadata.version);
            ensure_eq!(got, Some(version.clone()), "the version of get");
            let listed = store.list("dir/").await?.pop().map(|entry| entry.metadata.version);
            ensure_eq!(listed, Some(version.clone()), "the version of list");
        }
    }
    Ok(())
}

async fn reading_changes_no_version(trial: Trial) -> Check {
    let store = trial.store();
    let version = store.put("k", "v").await?;
    for _ in 0..10 {
        store.get("k").await?;
        store.list("").await?;
        store.put("other", "v").await?;
        store.delete("other").await?;
        ensure_eq!(version_of(&trial, "k").await?, version, "the version after reads and other writes");
    }
    Ok(())
}

async fn another_value_has_another_version(trial: Trial) -> Check {
    let store = trial.store();
    let mut seen = HashSet::new();
    for text in ["a", "b", "ab", "ba", "", " ", "a\n"] {
        ensure!(seen.insert(store.put("k", text).await?), "{text:?} has the version of another value");
    }
    Ok(())
}

async fn a_version_survives_as_text(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let version = store.put("k", "v").await?;
    let noted = Version::new(version.to_string());
    other.put("k", "w").if_match(noted).await?;
    Ok(())
}

async fn a_value_that_returns_has_a_new_version(trial: Trial) -> Check {
    let store = trial.store();
    let mut seen = HashSet::new();
    for round in 0..5 {
        for text in ["A", "B", "B", "A", ""] {
            let version = store.put("k", text).await?;
            ensure!(seen.insert(version.clone()), "{version:?} came back in round {round} with {text:?}");
        }
    }
    if trial.claims(Capability::ConditionalPut) {
        let first = store.put("k", "A").await?;
        store.put("k", "B").await?;
        store.put("k", "A").await?;
        ensure!(store.put("k", "C").if_match(first).await.is_err(), "A, B, A brought the old version back");
    }
    Ok(())
}

async fn a_key_that_is_deleted_and_made_again_has_a_new_version(trial: Trial) -> Check {
    let handles = trial.handles(2).await?;
    let mut seen = HashSet::new();
    for round in 0..trial.rounds(100) {
        let store = &handles[round % 2];
        let version = store.put("dir/k", "same").await?;
        ensure!(seen.insert(version.clone()), "{version:?} came back after a delete, in round {round}");
        handles[(round + 1) % 2].delete("dir/k").await?;
    }
    Ok(())
}

async fn a_thousand_rapid_writes_have_a_thousand_versions(trial: Trial) -> Check {
    let handles = trial.handles(2).await?;
    let mut seen = HashSet::new();
    let writes = trial.rounds(1000);
    for number in 0..writes {
        let store = &handles[usize::from(number >= writes / 2 && number % 2 == 0)];
        let version = store.put("k", "same size").await?;
        ensure!(seen.insert(version.clone()), "{version:?} came back at write {number}");
    }
    Ok(())
}

async fn racing_writers_get_different_versions(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    let rounds = trial.rounds(30);
    let versions = race_all((0..8_usize).map(|writer| {
        let store = handles[writer % 4].clone();
        async move {
            let mut versions = Vec::new();
            for round in 0..rounds {
                versions.push(store.put("k", "same").await?);
                if round % 3 == 2 {
                    store.delete("k").await?;
                }
            }
            Ok(versions)
        }
    }))
    .await?;
    let mut seen = HashSet::new();
    for version in versions.into_iter().flatten() {
        ensure!(seen.insert(version.clone()), "two writes got {version:?}");
    }
    Ok(())
}

async fn increments_and_batches_make_new_versions(trial: Trial) -> Check {
    let store = trial.store();
    let mut seen = HashSet::new();
    for delta in [1, 0, -1, 1, 0] {
        store.increment("k", delta).await?;
        let version = version_of(&trial, "k").await?;
        ensure!(seen.insert(version.clone()), "{version:?} came back after adding {delta}");
        for result in store.put_many([("k", "1"), ("k", "1")]).await {
            let version = result?;
            ensure!(seen.insert(version.clone()), "{version:?} came back in a batch");
        }
        ensure!(seen.contains(&version_of(&trial, "k").await?), "a batch told another version than head");
    }
    Ok(())
}
