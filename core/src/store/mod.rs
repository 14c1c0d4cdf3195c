//! The handle that users hold.

mod many;
mod request;
mod swap;

use std::{fmt, sync::Arc};

pub use request::{Delete, Get, GetIfChanged, List, Put};
pub use swap::{Backoff, Value};

use crate::{
    Capabilities, Environment, IntoBody, IntoKey, Layer, Metadata, Namespace, Prefix, Result, StorageAdapter,
};

/// A store: any adapter under any layers, behind one handle. Cloning is cheap and shares the store.
///
/// Requests are built and then awaited; nothing is sent before.
///
/// ```
/// # use leasehold_core::{Json, Store};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let users = Store::new(leasehold_memory::Memory::new());
/// let first = users.put("42", "ada").if_absent().await?;
/// users.put("42", "grace").if_match(first).await?; // a Conflict if someone was faster
/// assert!(users.compare_and_swap("42", Some("grace"), Some("linus")).await?);
/// assert_eq!(users.increment("visits", 2).await?, 2);
///
/// let tenant = users.namespace("acme")?; // a Store again; keys cannot leave it
/// tenant.put("config", Json(["a", "b"])).await?;
/// assert_eq!(users.get("acme/config").await?.unwrap().text().await?, r#"["a","b"]"#);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Store {
    adapter: Arc<dyn StorageAdapter>,
    environment: Environment,
}

impl Store {
    /// A store on `adapter`.
    pub fn new(adapter: impl StorageAdapter) -> Self {
        Self::from_adapter(Arc::new(adapter))
    }

    /// A store on an adapter that is shared already.
    pub fn from_adapter(adapter: Arc<dyn StorageAdapter>) -> Self {
        Self { adapter, environment: Environment::default() }
    }

    /// The same store with another clock and generator, for tests and simulations.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// The same store with `layer` around what it has.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.adapter = layer.layer(self.adapter);
        self
    }

    /// A store that holds only what is under `name`; its keys cannot leave it.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when `name` is not a sound key.
    pub fn namespace(&self, name: impl IntoKey) -> Result<Self> {
        Ok(self.clone().layer(Namespace::new(name)?))
    }

    /// The adapter underneath, for layers and composites.
    pub fn adapter(&self) -> &Arc<dyn StorageAdapter> {
        &self.adapter
    }

    /// The clock and generator in use.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What this store offers.
    pub fn capabilities(&self) -> Capabilities {
        self.adapter.capabilities()
    }

    /// What is known of a value; `None` where there is none.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for an unsound key, and what the adapter fails with.
    pub async fn head(&self, key: impl IntoKey + Send) -> Result<Option<Metadata>> {
        self.adapter.head(&key.into_key()?).await
    }

    /// Reads a value.
    pub fn get(&self, key: impl IntoKey) -> Get<'_> {
        Get::new(&*self.adapter, key.into_key())
    }

    /// Writes a value.
    pub fn put(&self, key: impl IntoKey, body: impl IntoBody) -> Put<'_> {
        Put::new(&*self.adapter, key.into_key(), body.into_body())
    }

    /// Deletes a value. An absent key is a success.
    pub fn delete(&self, key: impl IntoKey) -> Delete<'_> {
        Delete::new(&*self.adapter, key.into_key())
    }

    /// Lists all keys that start with `prefix`, ascending in byte order; `""` for all keys.
    pub fn list(&self, prefix: impl AsRef<str>) -> List<'_> {
        List::new(&self.adapter, Prefix::new(prefix.as_ref()))
    }

    /// Adds `delta` to a decimal integer (absent counts as 0) and returns the sum.
    ///
    /// The value stays text that a JSON reader takes for the number. On stores whose versions derive from content, such as
    /// S3, white space stands behind it: trim it before parsing it by other means.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the value is no integer or the sum does not fit into 64 bits;
    /// nothing is changed then. An error with [`is_indeterminate`](crate::Error::is_indeterminate) may have counted.
    pub async fn increment(&self, key: impl IntoKey + Send, delta: i64) -> Result<i64> {
        self.adapter.increment(&key.into_key()?, delta).await
    }

    /// Returns once everything that was acknowledged before is stored. Has something to do only where a layer writes later
    /// than it answers; call it before the program ends then.
    ///
    /// # Errors
    /// What could not be stored since the last flush.
    pub async fn flush(&self) -> Result<()> {
        self.adapter.flush().await
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({:?})", self.adapter)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.adapter, f)
    }
}
