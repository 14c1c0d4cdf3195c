//! C8: any sound key holds a value of its own.

use std::collections::BTreeSet;

use leasehold_core::{ErrorKind, Key, Operation};

use super::weird::WEIRD;
use crate::{
    Case, Check, Trial,
    case::case,
    trial::{counts, ensure, ensure_eq, holds, refused, value},
};

pub(super) const CASES: &[Case] = &[
    case!(C8, weird_keys_hold_values_of_their_own),
    case!(C8, keys_that_look_alike_are_different),
    case!(C8, a_key_and_keys_below_it_coexist_in_every_order),
    case!(C8, long_keys_and_long_segments_fit),
    case!(C8, deep_keys_fit),
    case!(C8, keys_around_a_slash_in_byte_order_coexist),
    case!(C8, unsound_keys_are_refused_by_every_verb),
    case!(C8, a_key_over_the_longest_is_refused),
    case!(C8, namespaces_see_nothing_of_each_other),
    case!(C8, a_namespace_and_the_keys_around_it_coexist),
];

async fn weird_keys_hold_values_of_their_own(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    for key in WEIRD {
        store.put(*key, format!("the value of {key}")).await?;
    }
    for key in WEIRD {
        let seen = value(&other, key).await?;
        ensure_eq!(seen, Some(format!("the value of {key}").into()), "the value of {key:?}");
        let head = other.head(*key).await?;
        ensure!(head.is_some(), "head does not find {key:?}");
    }
    let listed: Vec<String> = other.list("").await?.into_iter().map(|entry| entry.key.to_string()).collect();
    let wanted: BTreeSet<String> = WEIRD.iter().map(|key| key.to_string()).collect();
    ensure_eq!(listed, Vec::from_iter(wanted), "the list of weird keys");
    let listed_every = WEIRD.len() / trial.rounds(WEIRD.len());
    for (number, key) in WEIRD.iter().enumerate() {
        other.delete(*key).await?;
        ensure!(store.head(*key).await?.is_none(), "{key:?} is still there after its delete");
        let left = WEIRD.len() - number - 1;
        if left.is_multiple_of(listed_every) {
            ensure_eq!(store.list("").await?.len(), left, "the keys left after the delete of {key:?}");
        }
    }
    Ok(())
}

async fn keys_that_look_alike_are_different(trial: Trial) -> Check {
    let store = trial.store();
    for pair in [
        ["a", "A"],
        ["dir/k", "DIR/k"],
        ["%41", "A"],
        ["a%2Fb", "a/b"],
        ["%2e", "."],
        ["é", "e\u{301}"],
        ["ı", "i"],
        ["ẞ", "ß"],
        ["a", "a "],
        ["a.", "a"],
        ["x+y", "x y"],
        ["x%20y", "x y"],
        ["a\\b", "a/b"],
        ["\u{fb01}", "fi"],
    ] {
        let sound: Vec<&str> = pair.into_iter().filter(|key| *key != ".").collect();
        for key in &sound {
            store.delete(*key).await?;
        }
        for key in &sound {
            holds(store, key, None).await?;
            store.put(*key, format!("of {key}")).await?;
        }
        for key in &sound {
            holds(store, key, Some(format!("of {key}").as_bytes())).await?;
        }
        for key in &sound {
            store.delete(*key).await?;
        }
    }
    Ok(())
}

/// All orders of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let shorter = orders(count - 1);
    let inserted = shorter
        .iter()
        .flat_map(|order| (0..=order.len()).map(|at| [&order[..at], &[count - 1], &order[at..]].concat()));
    inserted.collect()
}

async fn a_key_and_keys_below_it_coexist_in_every_order(trial: Trial) -> Check {
    let store = trial.store();
    let keys = ["a", "a/b", "a/b/c", "a/d"];
    let orders = orders(keys.len());
    let every = orders.len() / trial.rounds(orders.len());
    for (number, created) in orders.iter().enumerate().step_by(every) {
        let deleted = &orders[(number * 7) % orders.len()];
        let mut there = BTreeSet::new();
        for (step, key) in
            created.iter().map(|at| (true, keys[*at])).chain(deleted.iter().map(|at| (false, keys[*at])))
        {
            if step {
                store.put(key, key).await?;
                there.insert(key);
            } else {
                store.delete(key).await?;
                there.remove(key);
            }
            let listed = store.list("").await?;
            let listed: Vec<&str> = listed.iter().map(|entry| entry.key.as_str()).collect();
            let wanted = Vec::from_iter(there.iter().copied());
            ensure_eq!(listed, wanted, "the list after {created:?} then {deleted:?}, at {key:?}");
            for key in keys {
                let seen = value(store, key).await?;
                let wanted = there.contains(key).then_some(key.as_bytes());
                ensure_eq!(seen.as_deref(), wanted, "{key:?} in {created:?} then {deleted:?}");
            }
        }
    }
    Ok(())
}

async fn long_keys_and_long_segments_fit(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let longest = trial.key_bytes_max();
    let mut keys = BTreeSet::new();
    for length in [100, 127, 128, 200, 240, 250, 254, 255, 256, 257, 300, 512, 600, 1000, longest] {
        for last in ["y", "z"] {
            keys.insert(format!("{}{last}", "x".repeat(length.min(longest) - 1)));
        }
    }
    // The same with characters of several bytes, and with several long segments.
    keys.insert("ä".repeat(longest / 2));
    keys.insert("日".repeat(longest / 3));
    keys.insert("😀".repeat(100));
    keys.insert("A".repeat(255));
    keys.insert("%".repeat(300));
    keys.insert(format!("{}/{}", "p".repeat(300), "q".repeat(600)));
    keys.insert(format!("{}/{}/r", "p".repeat(300), "q".repeat(600)));
    keys.retain(|key| key.len() <= longest);
    for key in &keys {
        store.put(key, format!("{} bytes", key.len())).await?;
    }
    for key in &keys {
        let seen = value(&other, key).await?;
        ensure_eq!(
            seen,
            Some(format!("{} bytes", key.len()).into()),
            "the key {:.20}… of {} bytes",
            key,
            key.len()
        );
    }
    let listed = other.list("").await?.into_iter().map(|entry| entry.key.to_string());
    ensure!(listed.eq(keys.iter().cloned()), "long keys are missing in the list, or out of order");
    for key in &keys {
        store.delete(key).await?;
    }
    ensure!(store.list("").await?.is_empty(), "long keys are left after their deletes");
    Ok(())
}

async fn deep_keys_fit(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let depth = (trial.key_bytes_max() / 2).min(500);
    let deep = vec!["d"; depth].join("/");
    store.put(&deep, "deepest").await?;
    let middle = vec!["d"; depth / 2].join("/");
    store.put(&middle, "middle").await?;
    store.put("d", "top").await?;
    for (key, wanted) in [(deep.as_str(), "deepest"), (&middle, "middle"), ("d", "top")] {
        let seen = value(&other, key).await?;
        ensure_eq!(seen, Some(wanted.into()), "a key of {} segments", key.split('/').count());
    }
    let listed: Vec<usize> =
        other.list("d").await?.iter().map(|entry| entry.key.segments().count()).collect();
    ensure_eq!(listed, vec![1, depth / 2, depth], "the depths that a list shows");
    store.delete(&deep).await?;
    ensure_eq!(other.list("d").await?.len(), 2, "the keys left without the deepest");
    Ok(())
}

async fn keys_around_a_slash_in_byte_order_coexist(trial: Trial) -> Check {
    let store = trial.store();
    let keys = ["a", "a!", "a-", "a.", "a/-", "a/0", "a/a", "a/a/b", "a/~", "a0", "aa", "a~"];
    let mut shuffled = keys;
    trial.random().shuffle(&mut shuffled);
    for key in shuffled {
        store.put(key, key).await?;
    }
    let listed = store.list("").await?;
    let listed: Vec<&str> = listed.iter().map(|entry| entry.key.as_str()).collect();
    ensure_eq!(listed, keys, "the list in byte order");
    for (number, key) in keys.iter().enumerate() {
        let after = store.list("").after(*key).await?;
        let after: Vec<&str> = after.iter().map(|entry| entry.key.as_str()).collect();
        ensure_eq!(after, keys[number + 1..], "the list after {key:?}");
    }
    Ok(())
}

async fn unsound_keys_are_refused_by_every_verb(trial: Trial) -> Check {
    let store = trial.store();
    let long = "k".repeat(1025);
    for key in [
        "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b", "a\nb", "\u{7f}", "\u{85}",
        &long,
    ] {
        let what = format!("the key {key:?}");
        refused(store.put(key, "v").await, ErrorKind::Invalid, &what)?;
        refused(store.get(key).await, ErrorKind::Invalid, &what)?;
        refused(store.head(key).await, ErrorKind::Invalid, &what)?;
        refused(store.delete(key).await, ErrorKind::Invalid, &what)?;
        refused(store.increment(key, 1).await, ErrorKind::Invalid, &what)?;
        refused(store.list("").after(key).await, ErrorKind::Invalid, &what)?;
        refused(store.update(key, Ok).await, ErrorKind::Invalid, &what)?;
    }
    ensure!(store.list("").await?.is_empty(), "an unsound key left something");
    Ok(())
}

async fn a_key_over_the_longest_is_refused(trial: Trial) -> Check {
    let store = trial.store();
    let over = "k".repeat(trial.key_bytes_max() + 1);
    refused(store.put(&over, "v").await, ErrorKind::Invalid, "a key over the longest")?;
    refused(store.get(&over).await, ErrorKind::Invalid, "a key over the longest")?;
    if let Ok(key) = Key::new(over) {
        let good = Operation::Put(Key::new("good")?, "v".into(), Default::default());
        let bad = Operation::Put(key, "v".into(), Default::default());
        let results = store.batch(vec![bad, good], Default::default()).await;
        ensure_eq!(results.len(), 2, "the results of a batch with one key over the longest");
        ensure!(results[0].is_err() && results[1].is_ok(), "the results are {results:?}");
        holds(store, "good", Some(b"v")).await?;
    }
    Ok(())
}

async fn namespaces_see_nothing_of_each_other(trial: Trial) -> Check {
    let store = trial.store();
    let names = ["t", "t1", "t/x", "T", "t%2Fx", "t!"];
    for name in names {
        let inside = store.namespace(name)?;
        inside.put("k", name).await?;
        inside.put(format!("only-{}", name.replace('/', "-")), "v").await?;
        inside.increment("n", 1).await?;
    }
    for name in names {
        let inside = store.namespace(name)?;
        holds(&inside, "k", Some(name.as_bytes())).await?;
        counts(&inside, "n", 1).await?;
        let own: Vec<_> = inside.list("only").await?.into_iter().map(|entry| entry.key.to_string()).collect();
        ensure_eq!(own, vec![format!("only-{}", name.replace('/', "-"))], "the keys of {name:?}");
        ensure!(inside.get("../k").await.is_err(), "a key left its namespace");
    }
    store.namespace("t1")?.delete("k").await?;
    holds(&store.namespace("t")?, "k", Some(b"t")).await
}

async fn a_namespace_and_the_keys_around_it_coexist(trial: Trial) -> Check {
    let store = trial.store();
    for key in ["s", "tenant", "tenant!", "tenant.", "tenant0", "u"] {
        store.put(key, "outside").await?;
    }
    let inside = store.namespace("tenant")?;
    for key in ["b", "a/b", "a", "~"] {
        inside.put(key, "inside").await?;
    }
    let keys: Vec<String> = inside.list("").await?.into_iter().map(|entry| entry.key.to_string()).collect();
    ensure_eq!(keys, ["a", "a/b", "b", "~"], "the keys inside");
    let keys: Vec<String> =
        inside.list("a").after("a").await?.into_iter().map(|entry| entry.key.to_string()).collect();
    ensure_eq!(keys, ["a/b"], "the keys inside after one");
    holds(store, "tenant/a/b", Some(b"inside")).await?;
    holds(store, "tenant", Some(b"outside")).await?;
    ensure_eq!(store.list("").await?.len(), 10, "all keys");
    Ok(())
}
