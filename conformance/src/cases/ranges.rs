//! C11: parts of values and unchanged values are honoured, not ignored.

use leasehold_core::{ByteRange, ErrorKind, Lookup, Version};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    trial::{ensure, ensure_eq, refused},
    values::pattern,
};

pub(super) const CASES: &[Case] = &[
    case!(C11, a_range_yields_exactly_its_bytes),
    case!(C11, a_range_past_the_end_is_refused),
    case!(C11, a_range_of_a_large_value_yields_exactly_its_bytes),
    case!(C4, a_range_of_an_absent_key_finds_nothing),
    case!(C11, an_unchanged_value_is_not_sent_again),
    case!(C11, a_changed_value_is_sent),
];

async fn a_range_yields_exactly_its_bytes(trial: Trial) -> Check {
    let store = trial.store();
    let text = "0123456789";
    let version = store.put("k", text).await?;
    for (range, wanted) in [
        (ByteRange::Full, 0..10),
        (ByteRange::Bounded(0, 10), 0..10),
        (ByteRange::Bounded(0, 1), 0..1),
        (ByteRange::Bounded(3, 7), 3..7),
        (ByteRange::Bounded(3, 3), 3..3),
        (ByteRange::Bounded(0, 0), 0..0),
        (ByteRange::Bounded(9, 100), 9..10),
        (ByteRange::Bounded(10, 12), 10..10),
        (ByteRange::Bounded(2, u64::MAX), 2..10),
        (ByteRange::From(0), 0..10),
        (ByteRange::From(4), 4..10),
        (ByteRange::From(10), 10..10),
        (ByteRange::Last(3), 7..10),
        (ByteRange::Last(0), 10..10),
        (ByteRange::Last(10), 0..10),
        (ByteRange::Last(u64::MAX), 0..10),
    ] {
        let object = store.get("k").range(range).await?.ok_or_else(|| Stop::failed("nothing found"))?;
        ensure_eq!(object.range, wanted, "the offsets of {range:?}");
        ensure_eq!(object.metadata.size, 10, "the size of the whole value with {range:?}");
        ensure_eq!(object.metadata.version, version, "the version with {range:?}");
        let part = &text.as_bytes()[wanted.start as usize..wanted.end as usize];
        ensure_eq!(object.bytes().await?, part, "the bytes of {range:?}");
    }
    Ok(())
}

async fn a_range_past_the_end_is_refused(trial: Trial) -> Check {
    let store = trial.store();
    store.put("k", "0123456789").await?;
    store.put("empty", "").await?;
    for (key, range) in [
        ("k", ByteRange::From(11)),
        ("k", ByteRange::Bounded(11, 12)),
        ("k", ByteRange::Bounded(7, 3)),
        ("k", ByteRange::From(u64::MAX)),
        ("empty", ByteRange::From(1)),
    ] {
        refused(store.get(key).range(range).await, ErrorKind::Invalid, &format!("{range:?} of {key:?}"))?;
    }
    for range in [ByteRange::From(0), ByteRange::Last(5), ByteRange::Bounded(0, 9)] {
        let object = store.get("empty").range(range).await?;
        ensure_eq!(object.map(|object| object.range), Some(0..0), "{range:?} of an empty value");
    }
    Ok(())
}

async fn a_range_of_a_large_value_yields_exactly_its_bytes(trial: Trial) -> Check {
    let store = trial.store();
    let (size, mut random) = (2 << 20, trial.random());
    let written = pattern(1, size);
    store.put("k", written.clone()).await?;
    for _ in 0..trial.rounds(30) {
        let start = random.usize(..size);
        let end = random.usize(start..=size);
        let object = store.get("k").range(start as u64..end as u64).await?;
        let bytes = object.ok_or_else(|| Stop::failed("nothing found"))?.bytes().await?;
        ensure!(
            bytes == written.slice(start..end),
            "{start}..{end} yields other bytes; seed {}",
            trial.seed()
        );
    }
    Ok(())
}

async fn a_range_of_an_absent_key_finds_nothing(trial: Trial) -> Check {
    for range in [ByteRange::From(5), ByteRange::Bounded(0, 1), ByteRange::Last(2)] {
        ensure!(trial.store().get("k").range(range).await?.is_none(), "{range:?} finds something");
    }
    Ok(())
}

async fn an_unchanged_value_is_not_sent_again(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let version = store.put("k", "v").await?;
    for handle in [store, &other] {
        for range in [ByteRange::Full, ByteRange::From(0)] {
            let lookup = handle.get("k").range(range).if_changed_from(version.clone()).await?;
            ensure!(matches!(lookup, Lookup::Unchanged), "an unchanged value was answered with {lookup:?}");
        }
    }
    Ok(())
}

async fn a_changed_value_is_sent(trial: Trial) -> Check {
    let store = trial.store();
    let old = store.put("k", "old").await?;
    store.put("k", "new!").await?;
    for version in [old.clone(), Version::new("no-such-version")] {
        match store.get("k").if_changed_from(version).await? {
            Lookup::Found(object) => ensure_eq!(object.bytes().await?, "new!", "the changed value"),
            lookup => return Err(Stop::failed(format!("a changed value was answered with {lookup:?}"))),
        }
    }
    store.delete("k").await?;
    let lookup = store.get("k").if_changed_from(old).await?;
    ensure!(matches!(lookup, Lookup::Absent), "a deleted value was answered with {lookup:?}");
    Ok(())
}
