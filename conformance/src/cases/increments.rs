//! C3: increments are exact under any number of callers.

use leasehold_core::ErrorKind;

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    race::race_all,
    trial::{counts, ensure, ensure_eq, holds, refused, value},
};

pub(super) const CASES: &[Case] = &[
    case!(C3, an_absent_key_counts_as_zero),
    case!(C3, increments_and_plain_values_are_the_same_thing),
    case!(C3, concurrent_increments_are_all_counted),
    case!(C3, every_increment_gets_a_sum_of_its_own),
    case!(C3, increments_and_conditional_puts_lose_nothing_to_each_other, [ConditionalPut]),
    case!(C3, a_value_that_is_no_integer_is_refused_and_kept),
    case!(C3, a_sum_past_64_bits_is_refused_and_nothing_changes),
];

async fn an_absent_key_counts_as_zero(trial: Trial) -> Check {
    let store = trial.store();
    for (key, deltas) in [("up", [5, 1, 0]), ("down", [-3, -4, 7]), ("still", [0, 0, 0])] {
        let mut sum = 0;
        for delta in deltas {
            sum += delta;
            ensure_eq!(store.increment(key, delta).await?, sum, "the sum after adding {delta}");
            counts(store, key, sum).await?;
        }
    }
    store.delete("up").await?;
    ensure_eq!(store.increment("up", 2).await?, 2, "the sum after a delete");
    Ok(())
}

async fn increments_and_plain_values_are_the_same_thing(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    for (text, delta, sum) in
        [("41", 1, 42), ("-7", 2, -5), ("0", -1, -1), ("9223372036854775806", 1, i64::MAX)]
    {
        store.put("n", text).await?;
        ensure_eq!(other.increment("n", delta).await?, sum, "{text} plus {delta}");
        counts(store, "n", sum).await?;
    }
    store.put("n", "5").await?;
    other.increment("n", 1).await?;
    store.put("n", "10").await?;
    ensure_eq!(other.increment("n", 1).await?, 11, "the sum after a put in between");
    Ok(())
}

async fn concurrent_increments_are_all_counted(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    let steps = trial.rounds(25) as i64;
    race_all((0..16_i64).map(|client| {
        let store = handles[client as usize % 4].clone();
        async move {
            for step in 0..steps {
                store.increment(if step % 5 == 0 { "rare" } else { "often" }, client - 7).await?;
            }
            Ok(())
        }
    }))
    .await?;
    let total: i64 = (0..16).map(|client| client - 7).sum();
    let rare = (steps + 4) / 5;
    counts(&handles[1], "often", total * (steps - rare)).await?;
    counts(&handles[1], "rare", total * rare).await
}

async fn every_increment_gets_a_sum_of_its_own(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    let steps = trial.rounds(25);
    let sums = race_all((0..8_usize).map(|client| {
        let store = handles[client % 4].clone();
        async move {
            let mut sums = Vec::new();
            for _ in 0..steps {
                sums.push(store.increment("ticket", 1).await?);
            }
            ensure!(sums.is_sorted(), "one caller's sums went back: {sums:?}");
            Ok(sums)
        }
    }))
    .await?;
    let mut sums = sums.concat();
    sums.sort_unstable();
    ensure_eq!(sums, Vec::from_iter(1..=8 * steps as i64), "all sums together");
    Ok(())
}

async fn increments_and_conditional_puts_lose_nothing_to_each_other(trial: Trial) -> Check {
    let handles = trial.handles(4).await?;
    handles[0].put("n", "0").await?;
    let steps = trial.rounds(25);
    race_all((0..6_usize).map(|client| {
        let store = handles[client % 4].clone();
        async move {
            for _ in 0..steps {
                if client % 2 == 0 {
                    store.increment("n", 1).await?;
                    continue;
                }
                loop {
                    let object = store.get("n").await?.ok_or_else(|| Stop::failed("the number is gone"))?;
                    let version = object.version().clone();
                    let number: i64 = object.text().await?.trim_ascii().parse().map_err(Stop::failed)?;
                    match store.put("n", (number + 1).to_string()).if_match(version).await {
                        Ok(_) => break,
                        Err(error) if error.is_conflict() => tokio::task::yield_now().await,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Ok(())
        }
    }))
    .await?;
    counts(&handles[1], "n", 6 * steps as i64).await
}

async fn a_value_that_is_no_integer_is_refused_and_kept(trial: Trial) -> Check {
    let store = trial.store();
    for bytes in [
        &b""[..],
        b"x",
        b"1.5",
        b"1e3",
        b"0x10",
        b"1 2",
        b"--1",
        b"\xff",
        b"9223372036854775808",
        b"1_000",
        b"one",
    ] {
        store.put("n", bytes).await?;
        let version = store.head("n").await?.map(|metadata| metadata.version);
        let what = format!("an increment of {:?}", String::from_utf8_lossy(bytes));
        refused(store.increment("n", 1).await, ErrorKind::Invalid, &what)?;
        ensure_eq!(value(store, "n").await?.as_deref(), Some(bytes), "the value after {what}");
        let after = store.head("n").await?.map(|metadata| metadata.version);
        ensure_eq!(after, version, "the version after {what}");
    }
    Ok(())
}

async fn a_sum_past_64_bits_is_refused_and_nothing_changes(trial: Trial) -> Check {
    let store = trial.store();
    for (start, delta) in [(i64::MAX, 1), (i64::MIN, -1), (i64::MAX - 1, i64::MAX), (-2, i64::MIN)] {
        store.put("n", start.to_string()).await?;
        refused(store.increment("n", delta).await, ErrorKind::Invalid, &format!("{start} plus {delta}"))?;
        holds(store, "n", Some(start.to_string().as_bytes())).await?;
    }
    store.delete("n").await?;
    ensure_eq!(store.increment("n", i64::MIN).await?, i64::MIN, "the smallest number");
    ensure_eq!(store.increment("n", i64::MAX).await?, -1, "the smallest and the largest number");
    Ok(())
}
