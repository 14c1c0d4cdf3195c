//! C3, C11: preconditions, one caller at a time.

use leasehold_core::{Capability, DeleteOptions, ErrorKind, Operation, Precondition, Version};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    trial::{ensure, holds, refused},
};

pub(super) const CASES: &[Case] = &[
    case!(C3, if_absent_creates_once, [ConditionalPut]),
    case!(C3, if_match_writes_once, [ConditionalPut]),
    case!(C3, if_match_on_an_absent_key_conflicts, [ConditionalPut]),
    case!(C3, a_version_of_another_key_does_not_match, [ConditionalPut, UniqueVersions]),
    case!(C3, a_version_that_nobody_wrote_does_not_match, [ConditionalPut]),
    case!(C3, a_deleted_key_can_be_created_again, [ConditionalPut]),
    case!(C3, a_version_from_before_a_delete_does_not_match, [ConditionalPut, UniqueVersions]),
    case!(C3, a_precondition_holds_through_another_handle, [ConditionalPut]),
    case!(C4, a_conflict_says_what_and_where_and_is_not_to_be_resent, [ConditionalPut]),
    case!(C11, a_conditional_put_that_is_not_claimed_is_refused),
    case!(C11, a_conditional_delete_that_is_not_claimed_is_refused),
];

async fn if_absent_creates_once(trial: Trial) -> Check {
    let store = trial.store();
    store.put("k", "first").if_absent().await?;
    refused(store.put("k", "second").if_absent().await, ErrorKind::Conflict, "a second create")?;
    holds(store, "k", Some(b"first")).await?;
    store.put("k", "").await?;
    refused(store.put("k", "third").if_absent().await, ErrorKind::Conflict, "a create over an empty value")?;
    holds(store, "k", Some(b"")).await
}

async fn if_match_writes_once(trial: Trial) -> Check {
    let store = trial.store();
    let first = store.put("k", "first").await?;
    let second = store.put("k", "second").if_match(first.clone()).await?;
    for value in ["third", "first", "second"] {
        let result = store.put("k", value).if_match(first.clone()).await;
        refused(result, ErrorKind::Conflict, "a put with an old version")?;
        holds(store, "k", Some(b"second")).await?;
    }
    store.put("k", "third").if_match(second).await?;
    holds(store, "k", Some(b"third")).await
}

async fn if_match_on_an_absent_key_conflicts(trial: Trial) -> Check {
    let store = trial.store();
    let version = store.put("other", "v").await?;
    let result = store.put("k", "v").if_match(version.clone()).await;
    refused(result, ErrorKind::Conflict, "if_match on an absent key")?;
    holds(store, "k", None).await?;
    store.delete("other").await?;
    let result = store.put("other", "v").if_match(version).await;
    refused(result, ErrorKind::Conflict, "if_match on a deleted key")?;
    holds(store, "other", None).await
}

async fn a_version_of_another_key_does_not_match(trial: Trial) -> Check {
    let store = trial.store();
    let foreign = store.put("a", "same").await?;
    let own = store.put("b", "same").await?;
    if foreign != own {
        refused(store.put("b", "new").if_match(foreign).await, ErrorKind::Conflict, "a foreign version")?;
        holds(store, "b", Some(b"same")).await?;
    }
    Ok(())
}

async fn a_version_that_nobody_wrote_does_not_match(trial: Trial) -> Check {
    let store = trial.store();
    let version = store.put("k", "v").await?;
    let longer = format!("{version}0");
    for text in ["", "*", "0", "no-such-version", "\"", &longer, "ä/../b"] {
        let result = store.put("k", "new").if_match(Version::new(text)).await;
        refused(result, ErrorKind::Conflict, &format!("if_match with the version {text:?}"))?;
        holds(store, "k", Some(b"v")).await?;
    }
    Ok(())
}

async fn a_deleted_key_can_be_created_again(trial: Trial) -> Check {
    let store = trial.store();
    for round in ["one", "two", "three"] {
        store.put("dir/k", round).if_absent().await?;
        holds(store, "dir/k", Some(round.as_bytes())).await?;
        store.delete("dir/k").await?;
    }
    Ok(())
}

async fn a_version_from_before_a_delete_does_not_match(trial: Trial) -> Check {
    let store = trial.store();
    let before = store.put("k", "same").await?;
    store.delete("k").await?;
    store.put("k", "same").await?;
    let result = store.put("k", "new").if_match(before).await;
    refused(result, ErrorKind::Conflict, "a version from before a delete")?;
    holds(store, "k", Some(b"same")).await
}

async fn a_precondition_holds_through_another_handle(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let first = store.put("k", "first").await?;
    refused(other.put("k", "x").if_absent().await, ErrorKind::Conflict, "a create through another handle")?;
    let second = other.put("k", "second").if_match(first.clone()).await?;
    refused(store.put("k", "x").if_match(first).await, ErrorKind::Conflict, "an old version")?;
    store.put("k", "third").if_match(second).await?;
    holds(&other, "k", Some(b"third")).await
}

async fn a_conflict_says_what_and_where_and_is_not_to_be_resent(trial: Trial) -> Check {
    let store = trial.store();
    store.put("some/key", "v").await?;
    let result = store.put("some/key", "secret-value").if_absent().await;
    let error = result.err().ok_or_else(|| Stop::failed("a second create succeeded"))?;
    ensure!(error.is_conflict(), "the error is no conflict: {error}");
    ensure!(!error.is_retryable(), "a conflict claims that it may be sent again as it is");
    ensure!(error.key() == Some("some/key"), "the error names the key {:?}", error.key());
    ensure!(error.operation() == Some("put"), "the error names the operation {:?}", error.operation());
    let told = format!("{error} {error:?}");
    ensure!(!told.contains("secret-value"), "the error tells the value");
    Ok(())
}

async fn a_conditional_put_that_is_not_claimed_is_refused(trial: Trial) -> Check {
    let (store, missing) = (trial.store(), Capability::ConditionalPut);
    if trial.claims(missing) {
        return Err(Stop::Skipped("the store claims conditional-put".into()));
    }
    let version = store.put("k", "old").await?;
    for precondition in [Precondition::Absent, Precondition::Matches(version)] {
        for key in ["k", "new"] {
            let unsupported = ErrorKind::Unsupported(missing);
            let result = store.put(key, "new").precondition(precondition.clone()).await;
            refused(result, unsupported, "a conditional put that is not claimed")?;
            let key = leasehold_core::Key::new(key)?;
            let entry = Operation::Put(key, "new".into(), precondition.clone().into());
            let result = store.batch(vec![entry], Default::default()).await.remove(0);
            refused(result, unsupported, "a conditional put in a batch that is not claimed")?;
        }
    }
    holds(store, "k", Some(b"old")).await?;
    holds(store, "new", None).await
}

async fn a_conditional_delete_that_is_not_claimed_is_refused(trial: Trial) -> Check {
    let (store, missing) = (trial.store(), Capability::ConditionalDelete);
    if trial.claims(missing) {
        return Err(Stop::Skipped("the store claims conditional-delete".into()));
    }
    let version = store.put("k", "old").await?;
    let unsupported = ErrorKind::Unsupported(missing);
    for key in ["k", "absent"] {
        let result = store.delete(key).if_match(version.clone()).await;
        refused(result, unsupported, "a conditional delete that is not claimed")?;
        let options = DeleteOptions::matching(version.clone());
        let entry = Operation::Delete(leasehold_core::Key::new(key)?, options);
        let result = store.batch(vec![entry], Default::default()).await.remove(0);
        refused(result, unsupported, "a conditional delete in a batch that is not claimed")?;
    }
    holds(store, "k", Some(b"old")).await
}
