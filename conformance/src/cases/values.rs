//! C2: what comes back is what was written, whole.

use leasehold_core::Bytes;

use crate::{
    Case, Check, Trial,
    case::case,
    race::race_all,
    trial::{ensure, ensure_eq, holds, value},
    values::{check_pattern, pattern},
};

pub(super) const CASES: &[Case] = &[
    case!(C2, an_empty_value_is_a_value),
    case!(C2, any_bytes_come_back_as_they_were_written),
    case!(C2, a_large_value_comes_back_whole),
    case!(C2, a_value_can_grow_and_shrink),
    case!(C2, racing_puts_leave_one_whole_value),
    case!(C2, many_keys_written_at_once_keep_their_own_values),
];

async fn an_empty_value_is_a_value(trial: Trial) -> Check {
    let store = trial.store();
    store.put("empty", "").await?;
    holds(store, "empty", Some(b"")).await?;
    let chunks = store.get("empty").await?.map(|object| object.range);
    ensure_eq!(chunks, Some(0..0), "the range of an empty value");
    store.put("empty", "filled").await?;
    store.put("empty", "").await?;
    holds(store, "empty", Some(b"")).await
}

async fn any_bytes_come_back_as_they_were_written(trial: Trial) -> Check {
    let store = trial.store();
    let every: Vec<u8> = (0..=255).collect();
    let mut random = trial.random();
    let drawn: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(10_000).collect();
    for bytes in [&every[..], &drawn, b"\0", b"\r\n\x1a", b"\xff\xfe", b"\n", &[0; 5000]] {
        store.put("k", bytes).await?;
        holds(store, "k", Some(bytes)).await?;
    }
    Ok(())
}

async fn a_large_value_comes_back_whole(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let written = pattern(1, 5 << 20);
    store.put("large", written.clone()).await?;
    let seen = value(&other, "large").await?;
    ensure!(seen == Some(written), "a value of 5 MiB came back changed");
    let size = other.head("large").await?.map(|metadata| metadata.size);
    ensure_eq!(size, Some(5 << 20), "the size of a value of 5 MiB");
    Ok(())
}

async fn a_value_can_grow_and_shrink(trial: Trial) -> Check {
    let store = trial.store();
    for (id, size) in [16, 100_000, 17, 70_000, 300_000, 16].into_iter().enumerate() {
        let written = pattern(id as u64, size);
        store.put("k", written.clone()).await?;
        holds(store, "k", Some(&written)).await?;
    }
    Ok(())
}

async fn racing_puts_leave_one_whole_value(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    for round in 0..trial.rounds(20) {
        race_all((0..8_u64).map(|writer| {
            let store = handles[writer as usize % 4].clone();
            async move {
                let size = 16 + (writer as usize * 7919 + round * 131) % 60_000;
                store.put("k", pattern(writer, size)).await?;
                Ok(())
            }
        }))
        .await?;
        let left = value(&handles[0], "k").await?;
        let id = left.as_deref().ok_or("nothing is left".to_owned()).and_then(check_pattern);
        ensure!(id.as_ref().is_ok_and(|id| *id < 8), "after racing puts: {id:?}");
    }
    Ok(())
}

async fn many_keys_written_at_once_keep_their_own_values(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    let writers = trial.rounds(40);
    race_all((0..writers as u64).map(|writer| {
        let store = handles[writer as usize % 4].clone();
        async move {
            for round in 0..5 {
                let written: Bytes = pattern(writer * 10 + round, 16 + (writer * round) as usize * 37);
                store.put(format!("d/{}/k{writer}", writer % 3), written.clone()).await?;
                let seen = value(&store, &format!("d/{}/k{writer}", writer % 3)).await?;
                ensure!(seen == Some(written), "key {writer} holds another's value in round {round}");
            }
            Ok(())
        }
    }))
    .await?;
    ensure_eq!(trial.store().list("d/").await?.len(), writers, "the number of keys");
    Ok(())
}
