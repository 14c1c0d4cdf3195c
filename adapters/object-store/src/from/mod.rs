//! Any `object_store::ObjectStore` as an adapter.

mod batch;
mod body;
mod list;
mod read;
mod resolve;
mod write;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use leasehold_core::{
    Attributes, Backoff, BatchOptions, Body, Capabilities, Capability, Changes, DeleteOptions, Entry,
    Environment, Error, GetOptions, Key, Limits, ListOptions, Lookup, Metadata, Operation, Outcome,
    Precondition, PutOptions, Result, Scope, StorageAdapter, Version, increment_by_swap,
};
use object_store::{ObjectMeta, ObjectStore, path::Path};

use crate::{
    Backend,
    attributes::WRITE_ID_BYTES,
    backend::{Names, Order},
};

/// The size of the parts in which long streams are sent: 8 MiB.
const PART_BYTES: usize = 8 << 20;

/// The most parts of one value that services take.
const PARTS_MAX: u64 = 10_000;

/// What is sent in one request, and so what a conditional put can write, unless said otherwise: 64 MiB.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// Any [`ObjectStore`](object_store::ObjectStore) as a [`StorageAdapter`]. Cloning is cheap and shares the store.
///
/// ```
/// # use std::sync::Arc;
/// # use leasehold_core::Store;
/// # use leasehold_object_store::{Backend, FromObjectStore};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let objects = Arc::new(object_store::memory::InMemory::new());
/// let store = Store::new(FromObjectStore::new(objects, Backend::in_memory()));
/// let first = store.put("users/42", "ada").if_absent().await?;
/// store.put("users/42", "grace").if_match(first).await?;
/// # Ok(()) }
/// ```
///
/// # What holds
///
/// What its [`Backend`] claims, and the common part of the contract. Keys are names as they are: every key is a sound
/// path, so nothing is rewritten. Lists are checked to ascend while they stream; one that does not ends in an error.
/// Objects whose names are no keys, as other tools may leave them, are not listed.
///
/// # Retries
///
/// The store should send each request once: build it with `RetryConfig { max_retries: 0, .. }`, as `Google::bucket` and
/// `Azure::container` do, and say so with [`Backend::sends_once`]. A store that sends a conditional write again after a lost
/// answer is refused by its own first send and reports a conflict with itself. Here every write carries its id, where the
/// store keeps attributes; after an answer that leaves the outcome open, and after every conflict, the value is read back
/// and the write is sent again for as long as its base is still there. A conflict thus costs one more request, a conditional
/// write that is answered costs none. Where the store keeps no attributes, an outcome that is unknown stays unknown unless
/// the base is found unchanged.
///
/// # Limits
///
/// A value has at most 10,000 parts of 8 MiB. Streams longer than one part are sent as a multipart upload, four parts at a
/// time; that needs about 48 MiB. A conditional put is one request: its value is collected in memory and has at most
/// [`whole_bytes_max`](Self::whole_bytes_max) bytes, past which it is refused before anything is written. Increments are
/// compare-and-swap loops and need [`ConditionalPut`](Capability::ConditionalPut). There are no conditional deletes.
///
/// # Cancel safety
///
/// A put that is dropped has happened whole or not at all. An upload that is dropped half-way is aborted by a task on the
/// current tokio runtime; where there is none, or the process dies, its parts stay until the service's lifecycle rule for
/// incomplete uploads removes them.
#[derive(Clone)]
pub struct FromObjectStore {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    store: Arc<dyn ObjectStore>,
    backend: Backend,
    limits: Limits,
    whole_bytes_max: u64,
    /// How often, and how patiently, a conditional write is sent and looked for.
    resolving: Backoff,
    /// The same for the loop of an increment.
    counting: Backoff,
    environment: Environment,
}

impl FromObjectStore {
    /// An adapter over `store`, which does what `backend` says.
    pub fn new(store: Arc<dyn ObjectStore>, backend: Backend) -> Self {
        let limits = Limits {
            value_bytes_max: PARTS_MAX * PART_BYTES as u64,
            attributes_bytes_max: backend
                .metadata_bytes_max
                .saturating_sub(WRITE_ID_BYTES)
                .min(Attributes::BYTES_MAX),
            ..backend.capabilities().limits()
        };
        Self {
            inner: Arc::new(Inner {
                store,
                backend,
                limits,
                whole_bytes_max: WHOLE_BYTES_MAX,
                resolving: Backoff {
                    attempts_max: 6,
                    first: std::time::Duration::from_millis(50),
                    longest: std::time::Duration::from_secs(2),
                },
                counting: Backoff::default(),
                environment: Environment::default(),
            }),
        }
    }

    /// The same with a smaller largest value.
    #[must_use]
    pub fn value_bytes_max(mut self, bytes: u64) -> Self {
        let inner = Arc::make_mut(&mut self.inner);
        inner.limits.value_bytes_max = bytes.min(PARTS_MAX * PART_BYTES as u64);
        self
    }

    /// The same with another limit to what is sent in one request and held in memory for it: 64 MiB unless said otherwise,
    /// and at least 8 MiB.
    #[must_use]
    pub fn whole_bytes_max(mut self, bytes: u64) -> Self {
        Arc::make_mut(&mut self.inner).whole_bytes_max = bytes.max(PART_BYTES as u64);
        self
    }

    /// The same with another patience for conditional writes whose outcome is open: by default 6 sends and failed looks, 50
    /// ms apart at first, then up to 2 s.
    #[must_use]
    pub fn resolving(mut self, backoff: Backoff) -> Self {
        Arc::make_mut(&mut self.inner).resolving = backoff;
        self
    }

    /// The same with another clock and generator, for tests and simulations.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        Arc::make_mut(&mut self.inner).environment = environment;
        self
    }

    /// The object store underneath.
    pub fn object_store(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.store
    }
}

impl Inner {
    /// The name of a key.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for keys that the store cannot have.
    fn path(&self, key: &Key) -> Result<Path> {
        if self.backend.names == Names::Files {
            check_file_names(key)?;
        }
        let path = Path::parse(key.as_str()).map_err(|source| crate::failure::of_read(source.into()))?;
        if path.as_ref() != key.as_str() {
            return Err(Error::invalid("object_store would change this key; use another one"));
        }
        Ok(path)
    }

    fn version(&self, meta: &ObjectMeta) -> Result<Version> {
        self.backend.versions.read(meta.e_tag.as_deref(), meta.version.as_deref())
    }

    /// Refuses what the store does not offer, before anything is sent.
    fn check_offered(&self, options: &PutOptions) -> Result<()> {
        let needed = [
            (Capability::ConditionalPut, options.precondition != Precondition::None),
            (Capability::Attributes, !options.attributes.is_empty()),
        ];
        if let Some((capability, _)) =
            needed.into_iter().find(|(capability, needed)| *needed && !self.backend.supports(*capability))
        {
            return Err(Error::unsupported(capability));
        }
        let limit = self.limits.attributes_bytes_max;
        match options.attributes.bytes() {
            bytes if bytes > limit => Err(Error::invalid(format!(
                "attributes of {bytes} bytes are over this store's limit of {limit} bytes; put more into the value"
            ))),
            _ => Ok(()),
        }
    }
}

/// What `LocalFileSystem` cannot have as a file: its own names for files in the making, and what file systems refuse.
fn check_file_names(key: &Key) -> Result<()> {
    let staged = |name: &str| {
        name.split_once('#')
            .is_some_and(|(_, rest)| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if key.segments().any(|segment| segment.len() > 255) {
        return Err(Error::invalid("a file system takes 255 bytes between slashes; use a shorter key"));
    }
    if key.segments().next_back().is_some_and(staged) {
        return Err(Error::invalid(
            "names that end in \"#\" and digits are LocalFileSystem's own; use another key",
        ));
    }
    Ok(())
}

impl fmt::Debug for FromObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FromObjectStore({})", self.inner.store)
    }
}

impl fmt::Display for FromObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner.store, f)
    }
}

#[async_trait]
impl StorageAdapter for FromObjectStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.backend.capabilities().limited(self.inner.limits)
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.inner.head(key).await.map_err(|error| error.on("head", key).at(self))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.inner.get(key, options).await.map_err(|error| error.on("get", key).at(self))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.inner.put(key, body, options).await.map_err(|error| error.on("put", key).at(self))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.inner.delete(key, options).await.map_err(|error| error.on("delete", key).at(self))
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        list::list(self, options)
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        let Inner { counting, environment, .. } = &*self.inner;
        increment_by_swap(self, key, delta, counting, environment)
            .await
            .map_err(|error| error.on("increment", key).at(self))
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        batch::batch(self, operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn changes(&self, _: &Scope) -> Result<Option<Changes>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_a_path_as_it_is() {
        let inner =
            FromObjectStore::new(Arc::new(object_store::memory::InMemory::new()), Backend::in_memory()).inner;
        let long = "k".repeat(1024);
        for text in
            ["a", "a/b", "..a", "a%2Fb", "%", "a\\b", "#1", "~", " ", "ä/日本語", "a*?[]{}^|`\"<>", &long]
        {
            let key = Key::new(text).unwrap();
            assert_eq!(inner.path(&key).unwrap().as_ref(), text);
        }
    }

    #[test]
    fn keys_that_a_file_system_cannot_have_are_refused() {
        let inner =
            FromObjectStore::new(Arc::new(object_store::memory::InMemory::new()), Backend::local()).inner;
        for text in ["#1", "a#1", "a/b#42", "x".repeat(256).as_str()] {
            let error = inner.path(&Key::new(text).unwrap()).unwrap_err();
            assert_eq!(error.kind(), leasehold_core::ErrorKind::Invalid, "{text}");
        }
        for text in ["#", "a#", "#a", "a#1b", "a#1#2", "a#1/b", "x".repeat(255).as_str()] {
            inner.path(&Key::new(text).unwrap()).unwrap();
        }
    }
}
