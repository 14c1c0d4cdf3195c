//! C12: past a limit there is an error, and nothing has happened.

use leasehold_core::{ErrorKind, Key, Operation, PutOptions, Store};

use crate::{
    Case, Check, Trial,
    case::case,
    trial::{ensure, ensure_eq, holds, refused},
    values::{pattern, streamed},
};

pub(super) const CASES: &[Case] = &[
    case!(C12, a_value_over_the_limit_is_refused),
    case!(C12, a_value_at_the_limit_fits),
    case!(C12, an_endless_stream_is_refused_at_the_limit),
    case!(C11, capabilities_stay_as_they_are),
];

/// A handle with a limit, and the limit: layers may need a part of what is below them.
async fn limited(trial: &Trial) -> Check<(Store, usize)> {
    let store = trial.limited(1000).await?;
    let limit = store.capabilities().limits().value_bytes_max;
    ensure!((100..=1000).contains(&limit), "a store that is limited to 1000 bytes tells a limit of {limit}");
    Ok((store, limit as usize))
}

async fn a_value_over_the_limit_is_refused(trial: Trial) -> Check {
    let (store, limit) = limited(&trial).await?;
    store.put("old", "old").await?;
    for key in ["old", "new"] {
        let large = || pattern(1, limit + 1);
        let what = "a value over the limit";
        refused(store.put(key, large()).await, ErrorKind::Invalid, what)?;
        refused(
            store.put(key, streamed(large(), 300, Some(limit as u64 + 1))).await,
            ErrorKind::Invalid,
            what,
        )?;
        refused(store.put(key, streamed(large(), 300, None)).await, ErrorKind::Invalid, what)?;
        let entry = Operation::Put(Key::new(key)?, large().into(), PutOptions::default());
        let good = Operation::Put(Key::new("good")?, "v".into(), PutOptions::default());
        let mut results = store.batch(vec![entry, good], Default::default()).await;
        ensure!(results.len() == 2 && results[1].is_ok(), "the entry beside a large one: {results:?}");
        refused(results.remove(0), ErrorKind::Invalid, what)?;
    }
    holds(&store, "old", Some(b"old")).await?;
    holds(&store, "new", None).await
}

async fn a_value_at_the_limit_fits(trial: Trial) -> Check {
    let (store, limit) = limited(&trial).await?;
    let bytes = pattern(1, limit);
    store.put("a", bytes.clone()).await?;
    store.put("b", streamed(bytes.clone(), 300, Some(limit as u64))).await?;
    store.put("c", streamed(bytes.clone(), 300, None)).await?;
    for key in ["a", "b", "c"] {
        holds(&store, key, Some(&bytes)).await?;
    }
    Ok(())
}

async fn an_endless_stream_is_refused_at_the_limit(trial: Trial) -> Check {
    use futures_util::stream::{self, StreamExt};
    let store = trial.limited(100_000).await?;
    store.put("k", "old").await?;
    let endless = stream::repeat_with(|| Ok(vec![0; 10_000].into())).boxed();
    let body = leasehold_core::Body::from_stream(endless, None);
    refused(store.put("k", body).await, ErrorKind::Invalid, "a stream without end")?;
    holds(&store, "k", Some(b"old")).await
}

async fn capabilities_stay_as_they_are(trial: Trial) -> Check {
    let before = trial.store().capabilities();
    trial.store().put("k", "v").await?;
    ensure_eq!(trial.store().capabilities(), before, "the capabilities later");
    ensure_eq!(trial.another().await?.capabilities(), before, "the capabilities of another handle");
    Ok(())
}
