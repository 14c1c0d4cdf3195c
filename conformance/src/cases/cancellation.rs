//! C13: a dropped future leaves no lock, no torn value, and nothing behind.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use futures_util::stream::{self, StreamExt};
use leasehold_core::{Body, Bytes, Capability, Store};

use crate::{
    Case, Check, Trial,
    case::case,
    trial::{ensure, ensure_eq, value},
    values::{check_pattern, pattern},
};

pub(super) const CASES: &[Case] = &[
    case!(C13, a_dropped_put_leaves_a_whole_value),
    case!(C13, dropped_writes_leave_the_store_usable),
    case!(C13, a_dropped_stream_leaves_the_old_value),
    case!(C13, a_dropped_increment_counts_once_or_not_at_all),
    case!(C13, a_dropped_batch_leaves_whole_entries),
];

/// Polls a future at most `polls` times, with pauses, and then drops it. Returns whether it was done.
async fn cut_off<T>(future: impl Future<Output = T>, polls: u32) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A body that pauses before every chunk.
fn hesitant(bytes: Bytes, chunk_bytes: usize) -> Body {
    let size = bytes.len();
    let chunks = stream::unfold(0, move |start| {
        let bytes = bytes.clone();
        async move {
            tokio::task::yield_now().await;
            let end = bytes.len().min(start + chunk_bytes);
            (start < end).then(|| (Ok(bytes.slice(start..end)), end))
        }
    });
    Body::from_stream(chunks.boxed(), Some(size as u64))
}

/// Checks that every verb works on `key`, however it was left.
///
/// A dropped write may still land, and then disturbs one attempt; each does so once at most.
async fn usable(store: &Store, key: &str) -> Check {
    let mut checked = Ok(());
    for _ in 0..200 {
        checked = used(store, key).await;
        if checked.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
    checked
}

async fn used(store: &Store, key: &str) -> Check {
    store.put(key, "usable").await?;
    ensure_eq!(value(store, key).await?, Some("usable".into()), "the value after dropped calls");
    let version = store.put(key, "1").await?;
    if store.capabilities().supports(Capability::ConditionalPut) {
        store.put(key, "2").if_match(version).await?;
    } else {
        store.put(key, "2").await?;
    }
    ensure_eq!(store.increment(key, 1).await?, 3, "the sum after dropped calls");
    let entries = store.list(key).await?;
    ensure!(
        entries.iter().any(|entry| entry.key.as_str() == key),
        "a list lacks the key after dropped calls"
    );
    store.delete(key).await?;
    ensure!(store.head(key).await?.is_none(), "the key is there after its delete");
    Ok(())
}

async fn a_dropped_put_leaves_a_whole_value(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let mut random = trial.random();
    store.put("k", pattern(0, 100)).await?;
    for id in 1..trial.rounds(150) as u64 {
        let bytes = pattern(id, random.usize(16..200_000));
        let body = if random.bool() { bytes.into() } else { hesitant(bytes, 20_000) };
        cut_off(store.put("k", body).into_future(), random.u32(..8)).await;
        let seen = value(&other, "k").await?;
        let seen = seen.as_deref().ok_or("nothing".to_owned()).and_then(check_pattern);
        ensure!(
            seen.as_ref().is_ok_and(|seen| *seen <= id),
            "after a dropped put: {seen:?}; seed {}",
            trial.seed()
        );
    }
    ensure_eq!(other.list("").await?.len(), 1, "the keys after dropped puts");
    usable(&other, "k").await
}

async fn dropped_writes_leave_the_store_usable(trial: Trial) -> Check {
    let handles = trial.handles(2).await?;
    let mut random = trial.random();
    let conditional = trial.claims(Capability::ConditionalPut) && trial.claims(Capability::ConditionalDelete);
    for round in 0..trial.rounds(60) {
        let store = &handles[round % 2];
        let version = store.put("dir/k", "start").await?;
        let polls = random.u32(..4);
        match round % 6 {
            0 if conditional => {
                drop(cut_off(store.put("dir/k", "new").if_match(version).into_future(), polls).await)
            }
            1 if conditional => {
                drop(cut_off(store.delete("dir/k").if_match(version).into_future(), polls).await)
            }
            2 if conditional => {
                drop(cut_off(store.put("dir/k2", "new").if_absent().into_future(), polls).await)
            }
            3 => drop(cut_off(store.delete("dir/k").into_future(), polls).await),
            4 => drop(cut_off(store.put("dir/k", "new").into_future(), polls).await),
            _ => drop(cut_off(store.list("").into_future(), polls).await),
        }
        let seen = value(&handles[(round + 1) % 2], "dir/k").await?;
        let seen = seen.as_deref().map(String::from_utf8_lossy);
        let known = seen.as_deref().is_none_or(|text| ["start", "new"].contains(&text));
        ensure!(known, "after a dropped call the value is {seen:?}; seed {}", trial.seed());
    }
    for handle in handles {
        usable(&handle, "dir/k").await?;
        usable(&handle, "dir/k2").await?;
    }
    Ok(())
}

async fn a_dropped_stream_leaves_the_old_value(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    store.put("old", "old").await?;
    for key in ["old", "new/deep"] {
        for chunks in [0, 1, 5] {
            let begun = stream::repeat_with(|| Ok(Bytes::from(vec![1; 50_000]))).take(chunks);
            let body = Body::from_stream(begun.chain(stream::pending()).boxed(), None);
            let done = cut_off(store.put(key, body).into_future(), 50).await;
            ensure!(done.is_none(), "a put whose body never ended came to {done:?}");
        }
    }
    ensure_eq!(value(&other, "old").await?, Some("old".into()), "the value after dropped streams");
    ensure_eq!(other.list("").await?.len(), 1, "the keys after dropped streams");
    usable(&other, "old").await?;
    usable(&other, "new/deep").await
}

async fn a_dropped_increment_counts_once_or_not_at_all(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let mut random = trial.random();
    let (mut least, mut most) = (0, 0);
    for _ in 0..trial.rounds(100) {
        if let Some(done) = cut_off(store.increment("n", 1), random.u32(..4)).await {
            done?;
            least += 1;
        }
        most += 1;
    }
    // A last one that is awaited comes after whatever the dropped ones left under way on this key.
    let sum = other.increment("n", 1).await?;
    ensure!((least + 1..=most + 1).contains(&sum), "{least} to {most} increments came to {}", sum - 1);
    Ok(())
}

async fn a_dropped_batch_leaves_whole_entries(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let mut random = trial.random();
    for id in 0..trial.rounds(40) as u64 {
        let sizes = [random.usize(16..3000), 16, random.usize(16..50_000)];
        let values = ["a", "b/c", "d"].into_iter().zip(sizes).map(|(key, size)| (key, pattern(id, size)));
        cut_off(store.put_many(values), random.u32(..5)).await;
        for key in ["a", "b/c", "d"] {
            if let Some(bytes) = value(&other, key).await? {
                let seen = check_pattern(&bytes);
                ensure!(seen.is_ok(), "an entry of a dropped batch is torn: {seen:?}; seed {}", trial.seed());
            }
        }
    }
    for key in ["a", "b/c", "d"] {
        usable(&other, key).await?;
    }
    Ok(())
}
