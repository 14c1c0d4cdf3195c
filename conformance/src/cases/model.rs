//! C1–C10: any sequence of calls does what a sorted map would do.

use std::collections::BTreeMap;

use leasehold_core::{Capability, ErrorKind, Store, Version};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    trial::{counts, ensure, ensure_eq, refused, value},
};

pub(super) const CASES: &[Case] = &[case!(C1, any_sequence_of_calls_does_what_a_sorted_map_does)];

const KEYS: [&str; 9] = ["a", "a/b", "a/b/c", "a!", "a.", "a0", "b", "B", "ä/x"];

#[derive(Default)]
struct Model {
    values: BTreeMap<&'static str, (Vec<u8>, Version)>,
    /// A version that was valid once.
    old: Option<Version>,
}

async fn any_sequence_of_calls_does_what_a_sorted_map_does(trial: Trial) -> Check {
    let handles = trial.handles(3).await?;
    let (mut random, mut model, mut calls) = (trial.random(), Model::default(), Vec::new());
    for _ in 0..trial.rounds(600) {
        let store = &handles[random.usize(..3)];
        let key = KEYS[random.usize(..KEYS.len())];
        let call = random.u8(..12);
        calls.push(format!("{call}:{key}"));
        let checked = step(&trial, &mut model, store, key, call, &mut random).await;
        checked.map_err(|stop| match stop {
            Stop::Failed(why) => {
                let last = calls[calls.len().saturating_sub(8)..].join(" ");
                Stop::Failed(format!(
                    "{why}; after {} calls, the last {last}; seed {}",
                    calls.len(),
                    trial.seed()
                ))
            }
            skipped => skipped,
        })?;
    }
    Ok(())
}

async fn step(
    trial: &Trial,
    model: &mut Model,
    store: &Store,
    key: &'static str,
    call: u8,
    random: &mut fastrand::Rng,
) -> Check {
    let text = random.i64(-1000..1000).to_string();
    let current = model.values.get(key).cloned();
    let version = current.as_ref().map(|(_, version)| version.clone());
    let conditional = trial.claims(Capability::ConditionalPut);
    let conditional_delete = trial.claims(Capability::ConditionalDelete);
    match call {
        0 | 1 => {
            let written = store.put(key, text.as_str()).await?;
            model.old = version.or(model.old.take());
            model.values.insert(key, (text.into_bytes(), written));
        }
        2 if conditional => {
            let result = store.put(key, text.as_str()).if_absent().await;
            match current {
                Some(_) => refused(result, ErrorKind::Conflict, "a create of what is there")?,
                None => drop(model.values.insert(key, (text.into_bytes(), result?))),
            }
        }
        // A version that is not unique may well be the one that is there: what counts is whether it is.
        3 if conditional => {
            let stale = random.bool();
            let wanted = if stale { model.old.clone() } else { version.clone() };
            let Some(wanted) = wanted else { return Ok(()) };
            let result = store.put(key, text.as_str()).if_match(wanted.clone()).await;
            if version.as_ref() == Some(&wanted) {
                model.values.insert(key, (text.into_bytes(), result?));
                model.old = version;
            } else {
                refused(result, ErrorKind::Conflict, "an update of an old version")?;
            }
        }
        4 => {
            store.delete(key).await?;
            model.values.remove(key);
        }
        5 if conditional_delete => {
            let Some(wanted) = (if random.bool() { model.old.clone() } else { version.clone() }) else {
                return Ok(());
            };
            let result = store.delete(key).if_match(wanted.clone()).await;
            if version == Some(wanted) {
                result?;
                model.values.remove(key);
            } else {
                refused(result, ErrorKind::Conflict, "a delete of an old version")?;
            }
        }
        6 | 7 => {
            let delta = random.i64(-50..50);
            let wanted = leasehold_core::add_to(current.as_ref().map(|(bytes, _)| &bytes[..]), delta)?;
            ensure_eq!(store.increment(key, delta).await?, wanted, "the sum");
            counts(store, key, wanted).await?;
            let number = store.get(key).await?.ok_or_else(|| Stop::failed("the number is gone"))?;
            let version = number.version().clone();
            model.values.insert(key, (number.bytes().await?.to_vec(), version));
        }
        8 => {
            let prefix = ["", "a", "a/", "a/b", "b", "ä"][random.usize(..6)];
            let after = KEYS[random.usize(..KEYS.len())];
            let seen = store.list(prefix).after(after).await?;
            let wanted = model.values.iter().filter(|(key, _)| key.starts_with(prefix) && **key > after);
            let wanted: Vec<_> =
                wanted.map(|(key, (_, version))| (key.to_string(), version.clone())).collect();
            let seen: Vec<_> =
                seen.into_iter().map(|entry| (entry.key.to_string(), entry.metadata.version)).collect();
            ensure_eq!(seen, wanted, "the list of {prefix:?} after {after:?}");
        }
        9 => {
            for (number, result) in
                store.put_many([(key, "7"), ("a/b", "8"), (key, "9")]).await.into_iter().enumerate()
            {
                let (key, text) = [(key, "7"), ("a/b", "8"), (key, "9")][number];
                model.values.insert(key, (text.into(), result?));
            }
        }
        _ => {
            let seen = store.head(key).await?.map(|metadata| metadata.version);
            ensure_eq!(seen, version, "the version of {key:?}");
        }
    }
    let wanted = model.values.get(key).map(|(bytes, _)| bytes.clone());
    let seen = value(store, key).await?;
    ensure!(seen.as_deref() == wanted.as_deref(), "{key:?} holds {seen:?} instead of {wanted:?}");
    Ok(())
}
