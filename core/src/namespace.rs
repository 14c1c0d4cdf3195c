//! The `Namespace` layer: a store inside a store, which keys cannot leave.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt};

use crate::{
    BatchOptions, Body, Capabilities, Changes, DeleteOptions, Entry, Error, GetOptions, IntoKey, Key, Layer,
    Limits, ListOptions, Lookup, Metadata, Operation, Outcome, Prefix, PutOptions, Result, Scope,
    StorageAdapter, Version,
};

/// Puts every key under a name of its own: `k` is stored as `name/k`.
///
/// Promises what is below, key for key. Costs one allocation a call, for the longer key. A key that no longer
/// fits into 1,024 bytes with its namespace is [`Invalid`](crate::ErrorKind::Invalid): the limits tell how long one may be.
#[derive(Clone, Debug)]
pub struct Namespace(Key);

impl Namespace {
    /// A namespace; `name` follows the rules of keys and may have several segments.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it does not.
    pub fn new(name: impl IntoKey) -> Result<Self> {
        name.into_key().map(Self)
    }
}

impl Layer for Namespace {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        Arc::new(Namespaced { name: self.0, inner })
    }
}

#[derive(Debug)]
struct Namespaced {
    name: Key,
    inner: Arc<dyn StorageAdapter>,
}

impl fmt::Display for Namespaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.inner, self.name)
    }
}

impl Namespaced {
    fn outer(&self, key: &Key) -> Result<Key> {
        let mut full = String::with_capacity(self.name.len() + 1 + key.len());
        full.push_str(&self.name);
        full.push('/');
        full.push_str(key);
        Key::new(full).map_err(|_| {
            Error::invalid(format!("with its namespace {} the key is over 1,024 bytes", self.name))
                .on("use", key)
        })
    }

    /// An error about the caller's key, not about the one below.
    fn inner_error(&self, error: Error) -> Error {
        strip(&self.name, error)
    }
}

fn strip(name: &Key, error: Error) -> Error {
    error.rekeyed(|key| {
        key.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key).to_owned()
    })
}

#[async_trait]
impl StorageAdapter for Namespaced {
    fn capabilities(&self) -> Capabilities {
        let below = self.inner.capabilities();
        let key_bytes_max = below.limits().key_bytes_max.saturating_sub(self.name.len() + 1);
        below.limited(Limits { key_bytes_max, ..below.limits() })
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.inner.head(&self.outer(key)?).await.map_err(|error| self.inner_error(error))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.inner.get(&self.outer(key)?, options).await.map_err(|error| self.inner_error(error))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.inner.put(&self.outer(key)?, body, options).await.map_err(|error| self.inner_error(error))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.inner.delete(&self.outer(key)?, options).await.map_err(|error| self.inner_error(error))
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let Ok(prefix) = Prefix::new(format!("{}/{}", self.name, options.prefix)) else {
            // Too long for any key in here to start so.
            return futures_util::stream::empty().boxed();
        };
        // A key that is too long for this namespace can still be listed after: the store below lists from the start then.
        let after = options.after.as_ref().and_then(|key| self.outer(key).ok());
        let skipped = options.after.filter(|_| after.is_none());
        let name = self.name.clone();
        let entries = self.inner.list(ListOptions { prefix, after }).map(move |entry| {
            let Entry { key, metadata } = entry.map_err(|error| strip(&name, error))?;
            Ok(Entry::new(Key::new(&key[name.len() + 1..])?, metadata))
        });
        match skipped {
            None => entries.boxed(),
            Some(after) => entries
                .filter(move |entry| std::future::ready(!matches!(entry, Ok(entry) if entry.key <= after)))
                .boxed(),
        }
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.inner.increment(&self.outer(key)?, delta).await.map_err(|error| self.inner_error(error))
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        let mut results: Vec<Option<Result<Outcome>>> = Vec::with_capacity(operations.len());
        let mut below = Vec::with_capacity(operations.len());
        for operation in operations {
            match self.outer(operation.key()) {
                Ok(key) => {
                    below.push(match operation {
                        Operation::Get(_, options) => Operation::Get(key, options),
                        Operation::Put(_, body, options) => Operation::Put(key, body, options),
                        Operation::Delete(_, options) => Operation::Delete(key, options),
                    });
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        if options.atomic && results.iter().any(Option::is_some) {
            let spoiled =
                || Err(Error::conflict("another entry of this atomic batch was refused; nothing was done"));
            return results.into_iter().map(|result| result.unwrap_or_else(spoiled)).collect();
        }
        let mut done = self.inner.batch(below, options).await.into_iter();
        let short =
            || Err(Error::new(crate::ErrorKind::Unexpected, "the store below returned too few results"));
        results
            .into_iter()
            .map(|result| {
                result.unwrap_or_else(|| {
                    done.next().unwrap_or_else(short).map_err(|error| self.inner_error(error))
                })
            })
            .collect()
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await.map_err(|error| self.inner_error(error))
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        let outer = match scope {
            Scope::Key(key) => Scope::Key(self.outer(key)?),
            Scope::Prefix(prefix) => match Prefix::new(format!("{}/{prefix}", self.name)) {
                Ok(prefix) => Scope::Prefix(prefix),
                // Too long for any key in here to start so: nothing will ever change. Who polls learns that, too.
                Err(_) => return Ok(None),
            },
        };
        self.inner.changes(&outer).await.map_err(|error| self.inner_error(error))
    }
}
