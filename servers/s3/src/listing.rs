//! Lists: keys in byte order, rolled up at a delimiter, in pages.
//!
//! [`RollUp`] is the pure part and decides what a key is; [`page`] reads the store.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::StreamExt;
use leasehold_core::{Entry, Key, ListOptions, Prefix, Store, list_with_sizes};
use s3s::{S3Result, s3_error};

use crate::errors::refusal;

/// The most entries of one page, as on S3.
pub(crate) const ENTRIES_MAX: usize = 1_000;

/// After how many keys of one common prefix it is cheaper to ask the store for what comes after all of them.
const KEYS_PASSED_MAX: usize = 256;

/// Sorts after everything that a key usually goes on with. Keys that do begin with it are passed one by one.
const LAST: char = char::MAX;

/// From where a page goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// After this text, which need not be a key.
    After(String),
    /// After every key that begins so.
    AfterPrefix(String),
}

impl Position {
    /// As a token that clients hand back.
    pub(crate) fn token(&self) -> String {
        let (kind, text) = match self {
            Self::After(text) => ("k", text),
            Self::AfterPrefix(text) => ("p", text),
        };
        URL_SAFE_NO_PAD.encode(format!("{kind}{text}"))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// `InvalidArgument` for one that this server never gave out.
    pub(crate) fn of_token(token: &str) -> S3Result<Self> {
        let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let position = text.and_then(|text| {
            let (kind, rest) = (text.get(..1)?, text.get(1..)?);
            match kind {
                "k" => Some(Self::After(rest.to_owned())),
                "p" => Some(Self::AfterPrefix(rest.to_owned())),
                _ => None,
            }
        });
        position.ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of this server"))
    }

    /// A list that goes on after a common prefix by its name does not say it again.
    fn past_common(self, prefix: &str, delimiter: &str) -> Self {
        match self {
            Self::After(text) if common_prefix(&text, prefix, delimiter) == Some(&text) => {
                Self::AfterPrefix(text)
            }
            start => start,
        }
    }

    fn is_past(&self, key: &str) -> bool {
        match self {
            Self::After(text) => key <= text.as_str(),
            Self::AfterPrefix(prefix) => key < prefix.as_str() || key.starts_with(prefix.as_str()),
        }
    }
}

/// What a key is in a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place<'k> {
    /// Itself.
    Key,
    /// The first that begins with this common prefix.
    Common(&'k str),
    /// Another of the last common prefix, or before the page.
    Passed,
}

/// Rolls keys up at a delimiter. Keys are given in ascending order.
#[derive(Debug)]
pub(crate) struct RollUp {
    prefix: String,
    delimiter: String,
    start: Option<Position>,
    common: Option<String>,
}

impl RollUp {
    /// Keys begin with `prefix`; an empty `delimiter` rolls nothing up.
    pub(crate) fn new(prefix: &str, delimiter: &str, start: Option<Position>) -> Self {
        Self { prefix: prefix.to_owned(), delimiter: delimiter.to_owned(), start, common: None }
    }

    /// What `key` is.
    pub(crate) fn place<'k>(&mut self, key: &'k str) -> Place<'k> {
        if self.start.as_ref().is_some_and(|start| start.is_past(key)) {
            return Place::Passed;
        }
        if self.common.as_ref().is_some_and(|common| key.starts_with(common.as_str())) {
            return Place::Passed;
        }
        let Some(common) = common_prefix(key, &self.prefix, &self.delimiter) else { return Place::Key };
        self.common = Some(common.to_owned());
        Place::Common(common)
    }

    /// The common prefix that keys are in at the moment.
    fn within(&self) -> Option<&str> {
        self.common.as_deref()
    }
}

/// What keys with the same beginning are rolled up to.
fn common_prefix<'k>(key: &'k str, prefix: &str, delimiter: &str) -> Option<&'k str> {
    if delimiter.is_empty() || !key.starts_with(prefix) {
        return None;
    }
    let at = key[prefix.len()..].find(delimiter)?;
    key.get(..prefix.len() + at + delimiter.len())
}

/// One entry of a page.
#[derive(Debug)]
pub(crate) enum Item {
    Object(String, leasehold_core::Metadata),
    Common(String),
}

impl Item {
    fn position(&self) -> Position {
        match self {
            Self::Object(key, _) => Position::After(key.clone()),
            Self::Common(prefix) => Position::AfterPrefix(prefix.clone()),
        }
    }
}

/// What to list.
#[derive(Debug)]
pub(crate) struct Request<'r> {
    pub(crate) bucket: &'r str,
    pub(crate) prefix: &'r str,
    pub(crate) delimiter: &'r str,
    pub(crate) start: Option<Position>,
    pub(crate) entries_max: usize,
}

/// A page, and where the next one begins if there is more.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    pub(crate) next: Option<Position>,
}

/// Reads one page. Memory is bounded by the page; keys under a common prefix are read up to a limit and then skipped.
pub(crate) async fn page(store: &Store, request: &Request<'_>) -> S3Result<Page> {
    let mut page = Page::default();
    let bucket = request.bucket;
    if request.entries_max == 0 {
        return Ok(page);
    }
    // Where no key can begin so, there are none.
    let Ok(prefix) = Prefix::new(format!("{bucket}/{}", request.prefix)) else { return Ok(page) };
    let start = request.start.clone().map(|start| start.past_common(request.prefix, request.delimiter));
    let mut roll_up = RollUp::new(request.prefix, request.delimiter, start.clone());
    let list = |start: Option<&Position>| {
        let mut options = ListOptions::prefix(prefix.clone());
        options.after =
            start.and_then(|start| just_before(bucket, start)).filter(|key| key.as_str() > prefix.as_str());
        list_with_sizes(store.adapter(), options)
    };
    let mut entries = list(start.as_ref());
    let mut passed = 0;
    while let Some(entry) = entries.next().await {
        let Entry { key, metadata, .. } = entry.map_err(refusal)?;
        let key = &key.as_str()[bucket.len() + 1..];
        let item = match roll_up.place(key) {
            Place::Key => Item::Object(key.to_owned(), metadata),
            Place::Common(common) => Item::Common(common.to_owned()),
            Place::Passed => {
                passed += 1;
                if passed == KEYS_PASSED_MAX
                    && let Some(common) = roll_up.within()
                {
                    entries = list(Some(&Position::AfterPrefix(common.to_owned())));
                }
                continue;
            }
        };
        passed = 0;
        if page.items.len() == request.entries_max {
            page.next = page.items.last().map(Item::position);
            return Ok(page);
        }
        page.items.push(item);
    }
    Ok(page)
}

/// The key after which to list, so that nothing after `position` is missed. Some keys before it may be listed too.
fn just_before(bucket: &str, position: &Position) -> Option<Key> {
    let mut text = match position {
        Position::After(text) => format!("{bucket}/{text}"),
        Position::AfterPrefix(prefix) => format!("{bucket}/{prefix}{LAST}"),
    };
    // What a text begins with is before it, and some start of it is a key.
    while text.len() > bucket.len() + 1 {
        if let Ok(key) = Key::new(&text) {
            return Some(key);
        }
        text.pop();
    }
    None
}

#[cfg(test)]
#[path = "listing/tests.rs"]
mod tests;
