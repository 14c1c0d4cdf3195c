//! C2, C12: bodies that come and go as streams.

use futures_util::stream::{self, StreamExt};
use leasehold_core::{Body, Bytes, Error, ErrorKind, Precondition};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    trial::{ensure, ensure_eq, holds, refused, value},
    values::{check_pattern, pattern, streamed},
};

pub(super) const CASES: &[Case] = &[
    case!(C12, a_large_stream_is_written_and_read_whole),
    case!(C2, a_stream_of_odd_chunks_is_written_whole),
    case!(C2, an_empty_stream_is_an_empty_value),
    case!(C2, a_body_is_not_asked_again_after_its_end),
    case!(C2, a_stream_that_misses_its_announced_size_is_refused),
    case!(C2, a_body_that_fails_leaves_the_old_value),
    case!(C3, a_stream_whose_precondition_fails_writes_nothing, [ConditionalPut]),
    case!(C2, a_read_under_way_never_mixes_two_values),
    case!(C13, a_body_that_stalls_holds_up_nobody_else),
];

async fn a_large_stream_is_written_and_read_whole(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    for (id, announced) in [(1, Some(6 << 20)), (2, None)] {
        let written = pattern(id, 6 << 20);
        store.put("large", streamed(written, 100_003, announced)).await?;
        let object = other.get("large").await?.ok_or_else(|| Stop::failed("the value is missing"))?;
        ensure_eq!(object.body.size(), Some(6 << 20), "the size that the body announces");
        let mut chunks = object.body.into_stream();
        let mut read = Vec::new();
        while let Some(chunk) = chunks.next().await {
            read.extend_from_slice(&chunk?);
        }
        ensure_eq!(check_pattern(&read), Ok(id), "a stream of 6 MiB");
    }
    Ok(())
}

async fn a_stream_of_odd_chunks_is_written_whole(trial: Trial) -> Check {
    let store = trial.store();
    let parts = ["", "a", "", "", "bc", "d", ""].map(|part| Ok(Bytes::from_static(part.as_bytes())));
    store.put("k", Body::from_stream(stream::iter(parts).boxed(), None)).await?;
    holds(store, "k", Some(b"abcd")).await?;
    let written = pattern(3, 3000);
    store.put("k", streamed(written.clone(), 1, Some(3000))).await?;
    holds(store, "k", Some(&written)).await
}

async fn an_empty_stream_is_an_empty_value(trial: Trial) -> Check {
    let store = trial.store();
    for announced in [None, Some(0)] {
        store.put("k", "old").await?;
        store.put("k", Body::from_stream(stream::empty().boxed(), announced)).await?;
        holds(store, "k", Some(b"")).await?;
    }
    Ok(())
}

async fn a_body_is_not_asked_again_after_its_end(trial: Trial) -> Check {
    let store = trial.store();
    for (count, announced) in [(0, None), (3, None), (3, Some(30_000))] {
        // A stream may do anything when it is asked past its end; this one panics.
        let chunks = stream::unfold(0, move |number| async move {
            (number < count).then(|| (Ok(Bytes::from(vec![b'x'; 10_000])), number + 1))
        });
        store.put("k", Body::from_stream(chunks.boxed(), announced)).await?;
        holds(store, "k", Some(&vec![b'x'; count * 10_000])).await?;
    }
    Ok(())
}

async fn a_stream_that_misses_its_announced_size_is_refused(trial: Trial) -> Check {
    let store = trial.store();
    store.put("old", "old value").await?;
    for size in [0, 999, 1001, 5000, u64::MAX] {
        for key in ["old", "new"] {
            let body = streamed(pattern(1, 1000), 300, Some(size));
            let what = format!("a stream of 1,000 bytes that announced {size}");
            refused(store.put(key, body).await, ErrorKind::Invalid, &what)?;
        }
        holds(store, "old", Some(b"old value")).await?;
        holds(store, "new", None).await?;
    }
    ensure_eq!(store.list("").await?.len(), 1, "the number of keys after refused puts");
    Ok(())
}

async fn a_body_that_fails_leaves_the_old_value(trial: Trial) -> Check {
    let store = trial.store();
    store.put("old", "old value").await?;
    for good_chunks in [0, 1, 50] {
        for announced in [None, Some(1 << 20)] {
            for key in ["old", "dir/new"] {
                let good = stream::repeat_with(|| Ok(Bytes::from(vec![7; 20_000]))).take(good_chunks);
                let broken = Error::new(ErrorKind::Unavailable, "the source of the body broke off");
                let chunks = good.chain(stream::once(async { Err(broken) }));
                let result = store.put(key, Body::from_stream(chunks.boxed(), announced)).await;
                let what = "a put whose body fails";
                let error = result.err().ok_or_else(|| Stop::failed(format!("{what} succeeded")))?;
                ensure!(!error.is_indeterminate(), "{what} claims an unknown outcome: {error}");
            }
            holds(store, "old", Some(b"old value")).await?;
            holds(store, "dir/new", None).await?;
        }
    }
    ensure_eq!(store.list("").await?.len(), 1, "the number of keys after failed puts");
    Ok(())
}

async fn a_stream_whose_precondition_fails_writes_nothing(trial: Trial) -> Check {
    let store = trial.store();
    let old = store.put("k", "old").await?;
    store.put("k", "newer").await?;
    for precondition in [Precondition::Absent, Precondition::Matches(old)] {
        let body = streamed(pattern(1, 300_000), 10_000, None);
        let result = store.put("k", body).precondition(precondition).await;
        refused(result, ErrorKind::Conflict, "a conditional put of a stream")?;
        holds(store, "k", Some(b"newer")).await?;
    }
    Ok(())
}

async fn a_read_under_way_never_mixes_two_values(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let size = 3 << 20;
    for end in 0..2 {
        store.put("k", pattern(1, size)).await?;
        let object = other.get("k").await?.ok_or_else(|| Stop::failed("the value is missing"))?;
        let mut chunks = object.body.into_stream();
        let mut read = chunks.next().await.transpose()?.map(Vec::from).unwrap_or_default();
        if end == 0 {
            store.put("k", pattern(2, size)).await?;
        } else {
            store.delete("k").await?;
        }
        // It may break off with an error, but what it yields is one value.
        let mut whole = true;
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => read.extend_from_slice(&chunk),
                Err(_) => whole = false,
            }
        }
        if whole {
            ensure_eq!(check_pattern(&read), Ok(1), "what a read under way yields");
        }
    }
    Ok(())
}

async fn a_body_that_stalls_holds_up_nobody_else(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let (started, mut has_started) = tokio::sync::mpsc::channel(1);
    let chunks = stream::once(async { Ok(Bytes::from_static(b"begun")) })
        .chain(stream::once(async move {
            started.send(()).await.ok();
            std::future::pending().await
        }))
        .boxed();
    let store = store.clone();
    let stalled = tokio::spawn(async move { store.put("k", Body::from_stream(chunks, None)).await });
    has_started.recv().await;
    other.put("k", "others").await?;
    let version = other.put("k", "go on").await?;
    if trial.claims(leasehold_core::Capability::ConditionalPut) {
        other.put("k", "still").if_match(version).await?;
    }
    other.increment("n", 1).await?;
    ensure!(value(&other, "k").await?.is_some(), "the key is gone while a body stalls");
    stalled.abort();
    drop(stalled.await);
    let seen = value(&other, "k").await?;
    ensure!(seen.as_deref() != Some(b"begun".as_slice()), "a dropped put left a torn value");
    Ok(())
}
