//! Lists: from any text on, checked to ascend.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use leasehold_core::{Entry, Error, ErrorKind, Key, ListOptions, Metadata, Result};
use object_store::{ObjectMeta, path::Path};

use super::{FromObjectStore, Inner, Order};
use crate::{Versions, failure};

/// How many versions that a list did not tell are asked for at once.
const VERSIONS_AT_ONCE: usize = 16;

pub(super) fn list(adapter: &FromObjectStore, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
    let (inner, shown) = (adapter.inner.clone(), adapter.clone());
    let objects = match inner.backend.order {
        Order::Ascending | Order::Checked => ascending(&inner, options),
        Order::Sorted(entries_max) => sorted(&inner, options, entries_max),
    };
    let (versions, with_version) = (inner.backend.versions, inner.clone());
    let entries = objects.map_ok(move |(key, object)| {
        let inner = with_version.clone();
        async move { inner.entry(key, object).await }
    });
    // Only where lists do not tell versions is there anything to wait for.
    let at_once = if versions == Versions::ObjectVersion { VERSIONS_AT_ONCE } else { 1 };
    entries
        .try_buffered(at_once)
        .try_filter_map(|entry| std::future::ready(Ok(entry)))
        .map_err(move |error| error.during("list").at(&shown))
        .boxed()
}

impl Inner {
    /// One entry; `None` when the key has been deleted since it was listed.
    async fn entry(&self, key: Key, object: ObjectMeta) -> Result<Option<Entry>> {
        if self.backend.versions == Versions::ObjectVersion && object.version.is_none() {
            let head = self.look(&object.location).await?;
            return Ok(head.map(|head| Entry::new(key, head.metadata.attributes(Default::default()))));
        }
        let metadata =
            Metadata::new(self.version(&object)?, object.size).modified_at(object.last_modified.into());
        Ok(Some(Entry::new(key, metadata)))
    }
}

type Objects = BoxStream<'static, Result<(Key, ObjectMeta)>>;

/// All objects of the folder that the prefix is in, from the first one that may belong to the list.
fn objects(inner: &Inner, options: &ListOptions) -> BoxStream<'static, Result<ObjectMeta>> {
    let prefix = options.prefix.as_str();
    let folder = prefix.rsplit_once('/').map(|(folder, _)| folder);
    let folder = match folder.map(Path::parse).transpose() {
        Ok(folder) => folder,
        Err(source) => return stream::once(async { Err(failure::of_read(source.into())) }).boxed(),
    };
    let before =
        before(prefix).filter(|before| options.after.as_ref().is_none_or(|after| **after < **before));
    let offset = match before.or_else(|| options.after.as_ref().map(|after| after.to_string())) {
        None => None,
        Some(offset) => Path::parse(&offset).ok().filter(|path| path.as_ref() == offset),
    };
    match offset {
        None => inner.store.list(folder.as_ref()),
        Some(offset) => inner.store.list_with_offset(folder.as_ref(), &offset),
    }
    .filter(|object| std::future::ready(!object.as_ref().is_err_and(failure::is_no_folder)))
    .map_err(failure::of_read)
    .boxed()
}

/// A text below all that start with `prefix`, and not far below: lists begin after it. None where there is no simple one.
fn before(prefix: &str) -> Option<String> {
    let last = prefix.chars().next_back()?;
    let lower = char::from_u32(u32::from(last) - 1)?;
    (lower.is_ascii_alphanumeric()).then(|| format!("{}{lower}", &prefix[..prefix.len() - last.len_utf8()]))
}

/// The key of an object that belongs to the list. What is stored under a name that is no key does not.
fn belongs(options: &ListOptions, object: &ObjectMeta) -> Option<Key> {
    let name = object.location.as_ref();
    let wanted = name.starts_with(options.prefix.as_str())
        && options.after.as_ref().is_none_or(|after| name > after.as_str());
    if wanted { Key::new(name).ok() } else { None }
}

fn ascending(inner: &Arc<Inner>, options: ListOptions) -> Objects {
    let begun =
        Ascending { inner: inner.clone(), objects: objects(inner, &options), options, shown: Vec::new() };
    stream::try_unfold(begun, |mut list| async move { Ok(list.next().await?.map(|object| (object, list))) })
        .boxed()
}

/// A list on its way, with what it last showed, below those before it that this one starts with.
struct Ascending {
    inner: Arc<Inner>,
    objects: BoxStream<'static, Result<ObjectMeta>>,
    options: ListOptions,
    shown: Vec<Path>,
}

impl Ascending {
    async fn next(&mut self) -> Result<Option<(Key, ObjectMeta)>> {
        while let Some(object) = self.objects.try_next().await? {
            if let Some(last) = self.shown.last().filter(|last| **last >= object.location) {
                if !self.shown.contains(&object.location) {
                    check_folder(&self.inner, last, &object.location).await?;
                }
                continue;
            }
            let (name, prefix) = (object.location.as_ref(), self.options.prefix.as_str());
            let beyond = name > prefix && !name.starts_with(prefix);
            if beyond && self.inner.backend.order == Order::Ascending {
                return Ok(None);
            }
            while self.shown.pop_if(|shown| !name.starts_with(shown.as_ref())).is_some() {}
            self.shown.push(object.location.clone());
            if let Some(key) = belongs(&self.options, &object) {
                return Ok(Some((key, object)));
            }
        }
        Ok(None)
    }
}

/// Consoles mark folders by empty objects with a slash at the end, `a/`, which `object_store` shows as `a` although
/// they stand where `a/` does. Anything else that steps back to what was not shown before is a broken promise.
async fn check_folder(inner: &Inner, last: &Path, location: &Path) -> Result<()> {
    let in_its_place = *last.as_ref() < *format!("{location}/");
    if in_its_place && inner.look(location).await?.is_none() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unexpected,
        format!(
            "the store lists {:?} after {:?}, which is out of order; state it with `Backend::lists_unordered`",
            location.as_ref(),
            last.as_ref()
        ),
    ))
}

fn sorted(inner: &Inner, options: ListOptions, entries_max: usize) -> Objects {
    let mut objects = objects(inner, &options);
    let collected = async move {
        let mut entries = Vec::new();
        while let Some(object) = objects.try_next().await? {
            if let Some(key) = belongs(&options, &object) {
                if entries.len() == entries_max {
                    return Err(Error::invalid(format!(
                        "the store lists in no order and has more than {entries_max} such keys to sort; name a longer prefix"
                    )));
                }
                entries.push((key, object));
            }
        }
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(stream::iter(entries.into_iter().map(Ok)))
    };
    stream::once(collected).try_flatten().boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_begins_after_is_below_all_of_it() {
        for (prefix, wanted) in [
            ("dir/ab", Some("dir/aa")),
            ("b", Some("a")),
            ("a", None),
            ("dir/", None),
            ("", None),
            ("0", None),
            ("1", Some("0")),
            ("B", Some("A")),
            ("ä", None),
        ] {
            assert_eq!(before(prefix).as_deref(), wanted, "{prefix:?}");
            if let Some(before) = before(prefix) {
                assert!(*before < *prefix);
            }
        }
    }
}
