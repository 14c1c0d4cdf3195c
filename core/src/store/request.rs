//! One request each: options chain, `.await` sends.

use std::{future::IntoFuture, sync::Arc};

use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt, TryStreamExt},
};

use crate::{
    Attributes, Body, ByteRange, DeleteOptions, Entry, GetOptions, IntoKey, Key, ListOptions, Lookup, Object,
    Precondition, Prefix, PutOptions, Result, StorageAdapter, Version, list_with_sizes,
};

type Adapter<'a> = &'a dyn StorageAdapter;

/// A read, made by [`Store::get`](crate::Store::get). Awaits to the value, `None` where there is none.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct Get<'a> {
    adapter: Adapter<'a>,
    key: Result<Key>,
    options: GetOptions,
}

impl<'a> Get<'a> {
    pub(super) fn new(adapter: Adapter<'a>, key: Result<Key>) -> Self {
        Self { adapter, key, options: GetOptions::default() }
    }

    /// Reads only these bytes.
    pub fn range(mut self, range: impl Into<ByteRange>) -> Self {
        self.options.range = range.into();
        self
    }

    /// Reads only when the value no longer has `version`. Awaits to a [`Lookup`].
    pub fn if_changed_from(mut self, version: Version) -> GetIfChanged<'a> {
        self.options.if_changed_from = Some(version);
        GetIfChanged(self)
    }
}

impl<'a> IntoFuture for Get<'a> {
    type Output = Result<Option<Object>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.adapter.get(&self.key?, self.options).await?.found()) })
    }
}

/// A read that answers [`Lookup::Unchanged`] when there is nothing new.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct GetIfChanged<'a>(Get<'a>);

impl<'a> IntoFuture for GetIfChanged<'a> {
    type Output = Result<Lookup>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Get { adapter, key, options } = self.0;
        Box::pin(async move { adapter.get(&key?, options).await })
    }
}

/// A write, made by [`Store::put`](crate::Store::put). Awaits to the version that was written.
///
/// # Errors
/// [`Conflict`](crate::ErrorKind::Conflict) when the precondition does not hold; an error with
/// [`is_indeterminate`](crate::Error::is_indeterminate) when nobody can say whether it was applied.
///
/// # Cancel safety
/// A write whose future is dropped may or may not have happened; the value is never torn.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct Put<'a> {
    adapter: Adapter<'a>,
    key: Result<Key>,
    body: Result<Body>,
    options: PutOptions,
}

impl<'a> Put<'a> {
    pub(super) fn new(adapter: Adapter<'a>, key: Result<Key>, body: Result<Body>) -> Self {
        Self { adapter, key, body, options: PutOptions::default() }
    }

    /// Only when the key does not exist.
    pub fn if_absent(self) -> Self {
        self.precondition(Precondition::Absent)
    }

    /// Only when the value still has `version`.
    pub fn if_match(self, version: Version) -> Self {
        self.precondition(Precondition::Matches(version))
    }

    /// Only when `precondition` holds.
    pub fn precondition(mut self, precondition: Precondition) -> Self {
        self.options.precondition = precondition;
        self
    }

    /// Keeps `attributes` beside the value. Needs [`Attributes`](crate::Capability::Attributes).
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.options.attributes = attributes;
        self
    }
}

impl<'a> IntoFuture for Put<'a> {
    type Output = Result<Version>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let key = self.key?;
            let body = self.body.map_err(|error| error.on("put", &key))?;
            self.adapter.put(&key, body, self.options).await
        })
    }
}

/// A delete, made by [`Store::delete`](crate::Store::delete).
///
/// # Errors
/// [`Conflict`](crate::ErrorKind::Conflict) when `if_match` does not hold, also because the key is gone.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct Delete<'a> {
    adapter: Adapter<'a>,
    key: Result<Key>,
    options: DeleteOptions,
}

impl<'a> Delete<'a> {
    pub(super) fn new(adapter: Adapter<'a>, key: Result<Key>) -> Self {
        Self { adapter, key, options: DeleteOptions::default() }
    }

    /// Only when the value still has `version`.
    pub fn if_match(mut self, version: Version) -> Self {
        self.options.if_match = Some(version);
        self
    }
}

impl<'a> IntoFuture for Delete<'a> {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.adapter.delete(&self.key?, self.options).await })
    }
}

/// A list, made by [`Store::list`](crate::Store::list). Awaits to all entries, or streams them.
#[must_use = "nothing is sent before .await or .stream()"]
#[derive(Debug)]
pub struct List<'a> {
    adapter: &'a Arc<dyn StorageAdapter>,
    options: Result<ListOptions>,
    sized: bool,
}

impl<'a> List<'a> {
    pub(super) fn new(adapter: &'a Arc<dyn StorageAdapter>, prefix: Result<Prefix>) -> Self {
        Self { adapter, options: prefix.map(ListOptions::prefix), sized: false }
    }

    /// Tells the sizes of values also where the store does not claim [`ListedSizes`](crate::Capability::ListedSizes): there it
    /// costs a request for each entry.
    pub fn with_sizes(mut self) -> Self {
        self.sized = true;
        self
    }

    /// Begins after `key`, which is not listed itself and need not exist.
    pub fn after(mut self, key: impl IntoKey) -> Self {
        self.options = self.options.and_then(|options| Ok(options.after(key.into_key()?)));
        self
    }

    /// The entries one by one; memory stays bounded where the backend allows it.
    pub fn stream(self) -> BoxStream<'static, Result<Entry>> {
        match self.options {
            Ok(options) if self.sized => list_with_sizes(self.adapter, options),
            Ok(options) => self.adapter.list(options),
            Err(error) => stream::once(async { Err(error.during("list")) }).boxed(),
        }
    }
}

impl<'a> IntoFuture for List<'a> {
    type Output = Result<Vec<Entry>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.stream().try_collect())
    }
}
