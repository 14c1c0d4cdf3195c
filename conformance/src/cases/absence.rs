//! C4: absence is a value, conflict is an error.

use leasehold_core::ErrorKind;

use crate::{
    Case, Check, Trial,
    case::case,
    trial::{ensure, holds, refused},
};

pub(super) const CASES: &[Case] = &[
    case!(C4, an_absent_key_is_found_by_no_verb),
    case!(C4, deleting_an_absent_key_succeeds),
    case!(C4, a_deleted_key_is_found_by_no_verb),
    case!(C4, a_conditional_delete_of_an_absent_key_conflicts, [ConditionalDelete]),
    case!(C4, a_conditional_delete_takes_only_its_version, [ConditionalDelete]),
    case!(C4, a_key_above_or_below_a_value_is_absent),
];

async fn an_absent_key_is_found_by_no_verb(trial: Trial) -> Check {
    for key in ["k", "a/b/c", "ä", "K"] {
        holds(trial.store(), key, None).await?;
    }
    ensure!(trial.store().list("").await?.is_empty(), "a fresh store lists something");
    Ok(())
}

async fn deleting_an_absent_key_succeeds(trial: Trial) -> Check {
    let store = trial.store();
    store.delete("never/there").await?;
    store.put("k", "v").await?;
    store.delete("k").await?;
    store.delete("k").await?;
    trial.another().await?.delete("k").await?;
    holds(store, "k", None).await
}

async fn a_deleted_key_is_found_by_no_verb(trial: Trial) -> Check {
    let store = trial.store();
    for key in ["k", "a/b/c"] {
        store.put(key, "v").await?;
        store.delete(key).await?;
        holds(store, key, None).await?;
    }
    ensure!(store.list("").await?.is_empty(), "an emptied store lists something");
    Ok(())
}

async fn a_conditional_delete_of_an_absent_key_conflicts(trial: Trial) -> Check {
    let store = trial.store();
    let version = store.put("k", "v").await?;
    store.delete("k").await?;
    for key in ["k", "never/there"] {
        let result = store.delete(key).if_match(version.clone()).await;
        refused(result, ErrorKind::Conflict, "a conditional delete of an absent key")?;
        holds(store, key, None).await?;
    }
    Ok(())
}

async fn a_conditional_delete_takes_only_its_version(trial: Trial) -> Check {
    let store = trial.store();
    let old = store.put("k", "old").await?;
    let new = store.put("k", "new").await?;
    let result = store.delete("k").if_match(old).await;
    refused(result, ErrorKind::Conflict, "a conditional delete of an old version")?;
    holds(store, "k", Some(b"new")).await?;
    trial.another().await?.delete("k").if_match(new).await?;
    holds(store, "k", None).await
}

async fn a_key_above_or_below_a_value_is_absent(trial: Trial) -> Check {
    let store = trial.store();
    store.put("a/b", "v").await?;
    for key in ["a", "a/b/c", "a/b/c/d", "b", "a/bb", "a/B"] {
        holds(store, key, None).await?;
        store.delete(key).await?;
    }
    holds(store, "a/b", Some(b"v")).await
}
