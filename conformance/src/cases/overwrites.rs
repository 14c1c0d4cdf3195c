//! C2: readers while writers overwrite.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use leasehold_core::{ByteRange, Clock, Store, SystemClock};

use crate::{
    Case, Check, Trial,
    case::case,
    race::race_all,
    trial::{ensure, value},
    values::{check_pattern, pattern},
};

pub(super) const CASES: &[Case] = &[
    case!(C2, readers_see_whole_values_while_writers_overwrite),
    case!(C2, an_overwritten_key_never_seems_absent),
    case!(C2, a_range_read_while_writers_overwrite_comes_from_one_value),
    case!(C2, readers_see_whole_values_while_they_come_and_go),
];

/// How long the writers go on at most.
const LONGEST: Duration = Duration::from_secs(4);

/// How often the readers look at least, all together.
const LOOKS: usize = 300;

/// How often each writer writes at least.
const WRITES: usize = 120;

type Task = BoxFuture<'static, Check>;

/// Two writers that overwrite with different sizes, and readers that look until these are done.
async fn overwritten(
    trial: &Trial,
    sizes: &'static [usize],
    deletes: bool,
    look: fn(Store) -> BoxFuture<'static, Check>,
) -> Check {
    let handles = trial.handles(4).await?;
    let (rounds, looks_min) = (trial.rounds(WRITES) as u64, trial.rounds(LOOKS) as u64);
    handles[0].put("k", pattern(0, sizes[0])).await?;
    let done = Arc::new(AtomicBool::new(false));
    let looks = Arc::new(AtomicU64::new(0));
    let writers = (0..2_u64).map(|writer| -> Task {
        let (store, done, looks) = (handles[writer as usize].clone(), done.clone(), looks.clone());
        Box::pin(async move {
            let started = SystemClock.monotonic();
            for round in 0.. {
                let enough = round >= rounds && looks.load(Ordering::SeqCst) >= looks_min;
                if enough || done.load(Ordering::SeqCst) {
                    break;
                }
                // A busy disk can take a tenth of a second for each write; a few writes show as much.
                if SystemClock.monotonic() - started > LONGEST {
                    break;
                }
                let id = writer * 1000 + round;
                store.put("k", pattern(id, sizes[id as usize % sizes.len()])).await?;
                if deletes && round % 3 == 2 {
                    store.delete("k").await?;
                }
                tokio::task::yield_now().await;
            }
            done.store(true, Ordering::SeqCst);
            Ok(())
        })
    });
    let readers = (0..3).map(|reader| -> Task {
        let (store, done, looks) = (handles[1 + reader % 3].clone(), done.clone(), looks.clone());
        Box::pin(async move {
            while !done.load(Ordering::SeqCst) {
                let looked = look(store.clone()).await;
                done.fetch_or(looked.is_err(), Ordering::SeqCst);
                looked?;
                looks.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    });
    race_all(writers.chain(readers)).await?;
    Ok(())
}

async fn readers_see_whole_values_while_writers_overwrite(trial: Trial) -> Check {
    overwritten(&trial, &[16, 60_000, 300, 250_000, 4096], false, |store| {
        Box::pin(async move {
            if let Some(bytes) = value(&store, "k").await? {
                let seen = check_pattern(&bytes);
                ensure!(seen.is_ok(), "a torn value was read: {seen:?}");
            }
            Ok(())
        })
    })
    .await
}

async fn an_overwritten_key_never_seems_absent(trial: Trial) -> Check {
    overwritten(&trial, &[16, 30_000], false, |store| {
        Box::pin(async move {
            ensure!(store.head("k").await?.is_some(), "head finds nothing while the key is overwritten");
            ensure!(store.get("k").await?.is_some(), "get finds nothing while the key is overwritten");
            ensure!(store.list("k").await?.len() == 1, "list shows nothing while the key is overwritten");
            Ok(())
        })
    })
    .await
}

async fn a_range_read_while_writers_overwrite_comes_from_one_value(trial: Trial) -> Check {
    overwritten(&trial, &[60_000, 100_000], false, |store| {
        Box::pin(async move {
            // The header says how long the value is that it came from; the metadata must agree.
            if let Some(object) = store.get("k").range(ByteRange::Bounded(8, 16)).await? {
                let size = object.metadata.size;
                let bytes = object.bytes().await?;
                ensure!(*bytes == size.to_le_bytes(), "a range of a value of {size} bytes says {bytes:?}");
            }
            Ok(())
        })
    })
    .await
}

async fn readers_see_whole_values_while_they_come_and_go(trial: Trial) -> Check {
    overwritten(&trial, &[16, 60_000, 5000], true, |store| {
        Box::pin(async move {
            if let Some(bytes) = value(&store, "k").await? {
                let seen = check_pattern(&bytes);
                ensure!(seen.is_ok(), "a torn value was read: {seen:?}");
            }
            Ok(())
        })
    })
    .await
}
