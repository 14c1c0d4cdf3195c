//! C9: lists ascend in byte order, resume anywhere, and are exact for keys that nobody touches.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::stream::StreamExt;
use leasehold_core::{Key, Prefix, Store};

use super::weird::WEIRD;
use crate::{
    Case, Check, Stop, Trial,
    case::case,
    race::race_all,
    trial::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    case!(C9, a_list_of_nothing_is_empty),
    case!(C9, a_list_ascends_in_byte_order),
    case!(C9, a_list_tells_the_version),
    case!(C9, a_list_tells_the_size, [ListedSizes]),
    case!(C9, a_prefix_may_end_inside_a_segment),
    case!(C9, a_list_resumes_after_any_key),
    case!(C9, after_excludes_its_key_and_needs_none),
    case!(C9, three_thousand_keys_are_listed_once_each),
    case!(C9, a_list_while_others_write_shows_untouched_keys_once),
    case!(C9, a_list_that_is_dropped_half_way_leaves_the_store_usable),
    case!(C9, a_list_read_page_by_page_is_the_whole_list),
];

async fn listed(store: &Store, prefix: &str, after: Option<&str>) -> Check<Vec<String>> {
    let list = store.list(prefix);
    let list = match after {
        Some(key) => list.after(key),
        None => list,
    };
    Ok(list.await?.into_iter().map(|entry| entry.key.to_string()).collect())
}

/// Keys that are hard to sort and to nest, with some of their prefixes and neighbours.
fn nasty(random: &mut fastrand::Rng, count: usize) -> BTreeMap<String, usize> {
    let parts = [
        "a", "b", "ab", "a!", "a-", "a.", "a0", "~", "A", "ä", "日", "😀", "\u{ffff}", "%", "%2F", " ", ".a",
        "zz",
    ];
    let mut keys = BTreeMap::new();
    while keys.len() < count {
        let depth = random.usize(1..5);
        let segments: Vec<&str> = (0..depth).map(|_| parts[random.usize(..parts.len())]).collect();
        keys.insert(segments.join("/"), random.usize(..50));
        if random.bool() {
            keys.insert(WEIRD[random.usize(..WEIRD.len())].to_owned(), random.usize(..50));
        }
    }
    keys
}

async fn filled(trial: &Trial, count: usize) -> Check<BTreeMap<String, usize>> {
    let mut random = trial.random();
    let keys = nasty(&mut random, count);
    let mut order: Vec<_> = keys.iter().collect();
    random.shuffle(&mut order);
    for (key, size) in order {
        trial.store().put(key, vec![b'x'; *size]).await?;
    }
    Ok(keys)
}

async fn a_list_of_nothing_is_empty(trial: Trial) -> Check {
    let store = trial.store();
    for prefix in ["", "a", "a/", "a/b/", "."] {
        ensure!(
            listed(store, prefix, None).await?.is_empty(),
            "an empty store lists something for {prefix:?}"
        );
        ensure!(listed(store, prefix, Some("a/b")).await?.is_empty(), "an empty store lists something");
    }
    store.put("k/l", "v").await?;
    for prefix in ["a", "k/l/", "k/m", "l", "K"] {
        ensure!(listed(store, prefix, None).await?.is_empty(), "nothing starts with {prefix:?}");
    }
    for prefix in ["/", "a//", "a/../", "\n"] {
        ensure!(store.list(prefix).await.is_err(), "the prefix {prefix:?} was accepted");
    }
    Ok(())
}

async fn a_list_ascends_in_byte_order(trial: Trial) -> Check {
    for _ in 0..3 {
        let keys = filled(&trial, trial.rounds(60).max(20)).await?;
        let seen = listed(&trial.another().await?, "", None).await?;
        let wanted: Vec<String> = keys.keys().cloned().collect();
        ensure_eq!(seen, wanted, "the list of all keys, seed {}", trial.seed());
        for key in wanted {
            trial.store().delete(key).await?;
        }
    }
    Ok(())
}

async fn a_list_tells_the_version(trial: Trial) -> Check {
    let store = trial.store();
    filled(&trial, 40).await?;
    for entry in trial.another().await?.list("").await? {
        let key = entry.key.as_str();
        let head = store.head(key).await?;
        ensure_eq!(head.map(|head| head.version), Some(entry.metadata.version), "the version of {key:?}");
    }
    Ok(())
}

async fn a_list_tells_the_size(trial: Trial) -> Check {
    let keys = filled(&trial, 40).await?;
    for entry in trial.another().await?.list("").await? {
        let key = entry.key.as_str();
        ensure_eq!(Some(entry.metadata.size as usize), keys.get(key).copied(), "the size of {key:?}");
    }
    Ok(())
}

async fn a_prefix_may_end_inside_a_segment(trial: Trial) -> Check {
    let keys = filled(&trial, trial.rounds(50).max(15)).await?;
    for key in keys.keys() {
        for (end, _) in key.char_indices().skip(1).chain([(key.len(), ' ')]) {
            let prefix = &key[..end];
            if Prefix::new(prefix).is_err() {
                continue;
            }
            let wanted: Vec<String> = keys.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
            let seen = listed(trial.store(), prefix, None).await?;
            ensure_eq!(seen, wanted, "the list of {prefix:?}, seed {}", trial.seed());
        }
    }
    Ok(())
}

async fn a_list_resumes_after_any_key(trial: Trial) -> Check {
    let count = trial.rounds(40).max(15);
    let keys = filled(&trial, count).await?;
    let mut random = trial.random();
    let strangers = nasty(&mut random, count);
    for after in keys.keys().chain(strangers.keys()) {
        for prefix in ["", "a", "a/", "ä", "~"] {
            let wanted: Vec<String> =
                keys.keys().filter(|key| key.starts_with(prefix) && *key > after).cloned().collect();
            let seen = listed(trial.store(), prefix, Some(after)).await?;
            ensure_eq!(seen, wanted, "the list of {prefix:?} after {after:?}, seed {}", trial.seed());
        }
    }
    Ok(())
}

async fn after_excludes_its_key_and_needs_none(trial: Trial) -> Check {
    let store = trial.store();
    for key in ["a", "b/1", "b/2", "b/2/x", "b/3", "c"] {
        store.put(key, "v").await?;
    }
    for (prefix, after, wanted) in [
        ("", "a", &["b/1", "b/2", "b/2/x", "b/3", "c"][..]),
        ("", "b", &["b/1", "b/2", "b/2/x", "b/3", "c"]),
        ("", "b/2", &["b/2/x", "b/3", "c"]),
        ("", "b/2/x/y", &["b/3", "c"]),
        ("", "c", &[]),
        ("", "zzz", &[]),
        ("b/", "a", &["b/1", "b/2", "b/2/x", "b/3"]),
        ("b/", "b/1", &["b/2", "b/2/x", "b/3"]),
        ("b/", "b/20", &["b/3"]),
        ("b/2", "b/2", &["b/2/x"]),
        ("b/", "c", &[]),
        ("c", "b/9", &["c"]),
        ("b/3", "b/3", &[]),
    ] {
        let seen = listed(store, prefix, Some(after)).await?;
        ensure_eq!(seen, wanted, "the list of {prefix:?} after {after:?}");
    }
    Ok(())
}

async fn three_thousand_keys_are_listed_once_each(trial: Trial) -> Check {
    let store = trial.store();
    // More than a page of any backend, however little the effort.
    let count = trial.rounds(3000).max(1200);
    let mut keys: Vec<String> =
        (0..count).map(|number| format!("d{}/{:04}", number % 7, number * 7919 % 10_000)).collect();
    for chunk in keys.chunks(500) {
        for result in store.put_many(chunk.iter().map(|key| (key, "v"))).await {
            result?;
        }
    }
    keys.sort_unstable();
    let seen = listed(&trial.another().await?, "", None).await?;
    ensure_eq!(seen.len(), keys.len(), "the number of keys");
    ensure!(seen == keys, "three thousand keys are out of order");
    let tail = listed(store, "", Some(&keys[count / 2 - 1])).await?;
    ensure!(tail == keys[count / 2..], "the second half of three thousand keys is wrong");
    Ok(())
}

async fn a_list_while_others_write_shows_untouched_keys_once(trial: Trial) -> Check {
    let handles = trial.handles(3).await?;
    let mut still: Vec<String> =
        (0..150).map(|number| format!("d/{}/still-{number:03}", number % 5)).collect();
    still.sort_unstable();
    for result in handles[0].put_many(still.iter().map(|key| (key, "v"))).await {
        result?;
    }
    let (done, looks) = (Arc::new(AtomicBool::new(false)), trial.rounds(15));
    race_all((0..3).map(|client| {
        let (store, done, still) = (handles[client].clone(), done.clone(), still.clone());
        async move {
            if client > 0 {
                for round in 0.. {
                    if done.load(Ordering::SeqCst) {
                        break;
                    }
                    let key = format!("d/{}/moving-{client}-{:02}", round % 5, round % 20);
                    store.put(&key, "v").await?;
                    store
                        .delete(format!("d/{}/moving-{client}-{:02}", (round + 2) % 5, (round + 7) % 20))
                        .await?;
                    store.put(format!("d/{}", round % 7), "v").await?;
                    tokio::task::yield_now().await;
                }
                return Ok(());
            }
            let checked = watch(&store, &still, looks).await;
            done.store(true, Ordering::SeqCst);
            checked
        }
    }))
    .await?;
    Ok(())
}

async fn watch(store: &Store, still: &[String], looks: usize) -> Check {
    for _ in 0..looks {
        let seen = listed(store, "d/", None).await?;
        ensure!(seen.is_sorted_by(|one, next| one < next), "a list while others write is not ascending");
        let untouched: Vec<&String> = seen.iter().filter(|key| key.contains("still")).collect();
        ensure!(
            untouched.len() == still.len(),
            "{} of {} untouched keys were listed",
            untouched.len(),
            still.len()
        );
        ensure!(untouched.into_iter().eq(still), "untouched keys are listed wrongly while others write");
    }
    Ok(())
}

async fn a_list_that_is_dropped_half_way_leaves_the_store_usable(trial: Trial) -> Check {
    let store = trial.store();
    for number in 0..30 {
        store.put(format!("d/{number:02}"), "v").await?;
    }
    for taken in [0, 1, 15] {
        let mut entries = store.list("").stream();
        for _ in 0..taken {
            entries.next().await.transpose()?;
        }
        drop(entries);
        store.put("d/00", "w").await?;
        store.delete(format!("d/{:02}", 29 - taken)).await?;
    }
    ensure_eq!(listed(store, "", None).await?.len(), 27, "the keys left");
    Ok(())
}

async fn a_list_read_page_by_page_is_the_whole_list(trial: Trial) -> Check {
    let keys = filled(&trial, 60).await?;
    let mut seen: Vec<String> = Vec::new();
    loop {
        let mut list = trial.store().list("");
        if let Some(last) = seen.last() {
            list = list.after(Key::new(last.as_str())?);
        }
        let page: Vec<_> = list.stream().take(7).collect().await;
        if page.is_empty() {
            break;
        }
        for entry in page {
            seen.push(entry?.key.to_string());
        }
        ensure!(seen.len() <= keys.len(), "pages repeat keys: {:?}", seen.last());
    }
    let wanted: Vec<String> = keys.into_keys().collect();
    if seen != wanted {
        return Err(Stop::failed(format!("pages make {seen:?} of {wanted:?}; seed {}", trial.seed())));
    }
    Ok(())
}
