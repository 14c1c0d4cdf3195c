//! C10: many keys in one call of the store's handle.

use leasehold_core::ErrorKind;

use crate::{
    Case, Check, Trial,
    case::case,
    trial::{ensure_eq, holds, refused},
};

pub(super) const CASES: &[Case] =
    &[case!(C10, get_many_answers_key_by_key), case!(C10, put_many_answers_value_by_value)];

async fn get_many_answers_key_by_key(trial: Trial) -> Check {
    let store = trial.store();
    store.put("a", "1").await?;
    store.put("b", "2").await?;
    let results = store.get_many(["b", "", "absent", "a//b", "a", "b"]).await;
    ensure_eq!(results.len(), 6, "the number of results");
    for (position, (result, wanted)) in results
        .into_iter()
        .zip([Ok(Some("2")), Err(()), Ok(None), Err(()), Ok(Some("1")), Ok(Some("2"))])
        .enumerate()
    {
        let Ok(wanted) = wanted else {
            refused(result, ErrorKind::Invalid, "an unsound key among sound ones")?;
            continue;
        };
        let seen = match result? {
            Some(object) => Some(object.text().await?),
            None => None,
        };
        ensure_eq!(seen.as_deref(), wanted, "result {position}");
    }
    ensure_eq!(store.get_many(Vec::<String>::new()).await.len(), 0, "the results for no keys");
    Ok(())
}

async fn put_many_answers_value_by_value(trial: Trial) -> Check {
    let store = trial.store();
    let results = store.put_many([("a", "1"), ("../x", "2"), ("b", ""), ("a", "3"), ("c/", "4")]).await;
    ensure_eq!(results.len(), 5, "the number of results");
    for (position, result) in results.into_iter().enumerate() {
        if [1, 4].contains(&position) {
            refused(result, ErrorKind::Invalid, "an unsound key among sound ones")?;
        } else {
            result?;
        }
    }
    holds(store, "a", Some(b"3")).await?;
    holds(store, "b", Some(b"")).await?;
    ensure_eq!(store.list("").await?.len(), 2, "the number of keys");
    Ok(())
}
