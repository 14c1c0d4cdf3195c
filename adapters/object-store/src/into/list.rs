//! Lists: everything under a prefix, one level of it, page by page.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use leasehold_core::{Entry, KEY_BYTES_MAX, Key, ListOptions, Prefix, StorageAdapter, list_with_sizes};
use object_store::{
    Error, ListResult, ObjectMeta, Result,
    list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore},
    path::Path,
};

use super::{AsObjectStore, failure::generic, read, stage};

/// After so many keys of one common prefix in a row, a list begins anew behind it.
const KEYS_BEFORE_SKIP: usize = 1000;

/// What a page holds when the caller does not say.
const PAGE_KEYS: usize = 1000;

/// Everything under `prefix`, after `offset`.
pub(super) fn all(
    store: &AsObjectStore,
    prefix: Option<&Path>,
    offset: Option<&Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let entries = entries(store.adapter(), &folder(prefix), offset.map(Path::as_ref));
    entries.map(|entry| shown(&entry?)).boxed()
}

/// What keys under `prefix` start with.
fn folder(prefix: Option<&Path>) -> String {
    match prefix.map(Path::as_ref) {
        None | Some("") => String::new(),
        Some(prefix) => format!("{prefix}/"),
    }
}

/// The entries whose keys start with `prefix` and come after `after`, without those of uploads.
fn entries(
    adapter: &Arc<dyn StorageAdapter>,
    prefix: &str,
    after: Option<&str>,
) -> BoxStream<'static, Result<Entry>> {
    // What no key can start with no key starts with.
    let Ok(prefix) = Prefix::new(prefix) else { return stream::empty().boxed() };
    let mut options = ListOptions::prefix(prefix);
    // Not every text to begin after is a key; then the list begins at its start.
    let skipped = match after.map(Key::new) {
        Some(Ok(key)) => {
            options = options.after(key);
            None
        }
        _ => after.map(str::to_owned),
    };
    let wanted = move |entry: &Entry| {
        !stage::is_staged(&entry.key) && skipped.as_ref().is_none_or(|after| **after < *entry.key)
    };
    let entries =
        list_with_sizes(adapter, options).try_filter(move |entry| std::future::ready(wanted(entry)));
    entries.map_err(generic).boxed()
}

fn shown(entry: &Entry) -> Result<ObjectMeta> {
    let location = Path::parse(&*entry.key)?;
    Ok(read::meta(location, &entry.metadata))
}

/// One level: objects, and the prefixes that have others under them.
pub(super) async fn level(store: &AsObjectStore, prefix: Option<&Path>) -> Result<ListResult> {
    Ok(walk(store, &folder(prefix), true, None, usize::MAX).await?.result)
}

/// What is after every key under `prefix/` and before the next one that is not under it.
fn past(prefix: &str) -> Option<Key> {
    let room = KEY_BYTES_MAX.checked_sub(prefix.len() + 1)? / 4;
    // Keys beyond this one that are still under the prefix only show it once more, if anybody ever had one.
    Key::new(format!("{prefix}/{}", "\u{10ffff}".repeat(room))).ok()
}

/// Lists from `after` on, until `keys_max` objects and prefixes are found.
async fn walk(
    store: &AsObjectStore,
    prefix: &str,
    delimited: bool,
    after: Option<&str>,
    keys_max: usize,
) -> Result<PaginatedListResult> {
    let mut found = ListResult { common_prefixes: vec![], objects: vec![], extensions: Default::default() };
    let done = |result, page_token| Ok(PaginatedListResult { result, page_token });
    let mut entries = entries(store.adapter(), prefix, after);
    // The prefix that the last key had, and for how many keys.
    let (mut common, mut seen) = (String::new(), 0);
    let mut last: Option<Key> = None;
    while let Some(entry) = entries.try_next().await? {
        let below = &entry.key[prefix.len()..];
        let folder = below.find('/').filter(|_| delimited).map(|end| &entry.key[..prefix.len() + end]);
        if folder.is_some_and(|folder| folder == common) {
            seen += 1;
            if seen % KEYS_BEFORE_SKIP == 0
                && let Some(past) = past(&common).filter(|past| *past > entry.key)
            {
                entries = self::entries(store.adapter(), prefix, Some(&past));
                last = Some(past);
                continue;
            }
            last = Some(entry.key);
            continue;
        }
        if found.objects.len() + found.common_prefixes.len() == keys_max {
            return done(found, last.map(|key| key.to_string()));
        }
        match folder {
            Some(folder) => {
                (common, seen) = (folder.to_owned(), 1);
                found.common_prefixes.push(Path::parse(folder)?);
            }
            None => found.objects.push(shown(&entry)?),
        }
        last = Some(entry.key);
    }
    done(found, None)
}

#[async_trait]
impl PaginatedListStore for AsObjectStore {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        opts: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        let delimited = match opts.delimiter.as_deref() {
            None | Some("") => false,
            Some("/") => true,
            Some(_) => {
                return Err(Error::NotSupported { source: "the only delimiter of keys is \"/\"".into() });
            }
        };
        let after = opts.page_token.as_deref().max(opts.offset.as_deref());
        let keys_max = opts.max_keys.unwrap_or(PAGE_KEYS);
        if keys_max == 0 {
            // There would be no key to go on from, and no token means that there is no more.
            return Err(generic("a page holds at least one key"));
        }
        walk(self, prefix.unwrap_or(""), delimited, after, keys_max).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_a_prefix_is_behind_its_keys_and_before_all_others() {
        for prefix in ["a", "a/b", &"x".repeat(1000), &"x".repeat(1019)] {
            let past = past(prefix).unwrap();
            for below in ["a", "~~~", "日本"] {
                assert!(*format!("{prefix}/{below}") < *past, "{prefix:?}");
            }
            assert!(*past < *format!("{prefix}0"));
        }
        for length in [1020, 1023, 1024] {
            assert!(past(&"x".repeat(length)).is_none());
        }
    }
}
