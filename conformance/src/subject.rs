//! What the suite runs against: where fresh stores and further handles come from.

use std::{any::Any, fmt, future::Future, sync::Arc};

use leasehold_core::{
    BatchOptions, BoxFuture, DeleteOptions, Entry, Environment, IntoKey, Limits, Operation, Result, Store,
};
use leasehold_memory::Memory;

type Open = Arc<dyn Fn() -> BoxFuture<'static, Result<Store>> + Send + Sync>;
type OpenLimited = Arc<dyn Fn(u64) -> BoxFuture<'static, Result<Store>> + Send + Sync>;
type Prepare = Arc<dyn Fn() -> BoxFuture<'static, Result<Fixture>> + Send + Sync>;
pub(crate) type Clean = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;
type Wrap = Arc<dyn Fn(Store) -> Result<Store> + Send + Sync>;

/// Where cases put their values in a store that exists already.
const SHARED: &str = "_conformance";
/// How many values of a case are deleted in one call when it is over.
const DELETED_AT_ONCE: usize = 500;

/// An adapter, or a stack of layers on one, that the suite can be run against. Cloning is cheap.
///
/// ```
/// # use leasehold_conformance::{Fixture, Subject};
/// # use leasehold_core::Store;
/// # use leasehold_memory::Memory;
/// let subject = Subject::new("memory", || async {
///     let store = Store::new(Memory::new());
///     Ok(Fixture::new(move || std::future::ready(Ok(store.clone()))))
/// });
/// ```
#[derive(Clone)]
pub struct Subject {
    name: String,
    prepare: Prepare,
}

/// One empty store of a subject, for one case. What guards it is dropped with it.
pub struct Fixture {
    open: Open,
    open_limited: Option<OpenLimited>,
    key_bytes_taken: usize,
    cleaned: Option<Clean>,
    guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Subject {
    /// A subject; `prepare` makes an empty store that nobody else uses.
    pub fn new<F>(name: impl Into<String>, prepare: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Fixture>> + Send + 'static,
    {
        Self { name: name.into(), prepare: Arc::new(move || Box::pin(prepare())) }
    }

    /// The store in memory: what all others are compared with.
    pub fn memory() -> Self {
        Self::new("memory", || async {
            let memory = Memory::new();
            let limited = memory.clone();
            let store = Store::new(memory);
            Ok(Fixture::new(move || std::future::ready(Ok(store.clone()))).limited(move |value_bytes_max| {
                let limits = Limits { value_bytes_max, ..Limits::default() };
                std::future::ready(Ok(Store::new(limited.clone().limits(limits))))
            }))
        })
    }

    /// A store that exists already: each case gets a namespace of its own in it, emptied afterwards. Everybody has the same
    /// handle.
    pub fn shared(store: Store) -> Self {
        Self::shared_by(store.to_string(), move || std::future::ready(Ok(store.clone())))
    }

    /// The same with handles that `open` opens, each anew.
    pub fn shared_by<F>(name: impl Into<String>, open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Store>> + Send + 'static,
    {
        let open = Arc::new(open);
        Self::new(name, move || {
            let open = open.clone();
            async move {
                let name = format!("{SHARED}/{}", Environment::default().identifier());
                let emptied = open().await?.namespace(name.as_str())?;
                let fixture = Fixture::new(move || {
                    let (opened, name) = (open(), name.clone());
                    async move { opened.await?.namespace(name) }
                });
                Ok(fixture.cleaned_by(move || empty(emptied.clone())))
            }
        })
    }

    /// The same with a layer around every handle.
    #[must_use]
    pub fn layered(
        self,
        name: impl fmt::Display,
        wrap: impl Fn(Store) -> Result<Store> + Send + Sync + 'static,
    ) -> Self {
        let (prepare, wrap): (_, Wrap) = (self.prepare, Arc::new(wrap));
        Self::new(format!("{name} over {}", self.name), move || {
            let (prepared, wrap) = (prepare(), wrap.clone());
            async move { Ok(prepared.await?.wrapped(wrap)) }
        })
    }

    /// The same with one handle for everybody: for layers that keep their promises only to those who share them.
    #[must_use]
    pub fn with_one_handle(self) -> Self {
        let prepare = self.prepare;
        Self::new(format!("{}, one handle", self.name), move || {
            let prepared = prepare();
            async move {
                let fixture = prepared.await?;
                let store = fixture.open().await?;
                let open: Open = Arc::new(move || Box::pin(std::future::ready(Ok(store.clone()))));
                Ok(Fixture { open, ..fixture })
            }
        })
    }

    /// The same inside a namespace.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) when `name` is not a sound key.
    pub fn namespaced(self, name: &str) -> Result<Self> {
        let name = name.into_key()?;
        Ok(self.layered("namespace", move |store| store.namespace(name.clone())))
    }

    /// What it is called in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An empty store that nobody else uses.
    ///
    /// # Errors
    /// What making it fails with.
    pub async fn prepare(&self) -> Result<Fixture> {
        (self.prepare)().await
    }
}

/// Deletes all that there is.
async fn empty(store: Store) -> Result<()> {
    let entries = store.list("").await?;
    let mut all = Ok(());
    for entries in entries.chunks(DELETED_AT_ONCE) {
        let delete = |entry: &Entry| Operation::Delete(entry.key.clone(), DeleteOptions::default());
        let deletes = entries.iter().map(delete).collect();
        for result in store.batch(deletes, BatchOptions::default()).await {
            all = all.and(result.map(drop));
        }
    }
    // A layer may put deletes off, and the process may end now.
    all.and(store.flush().await)
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.name)
    }
}

impl Fixture {
    /// A fixture; each call of `open` yields a handle on the same store, as independent of the others as possible.
    pub fn new<F>(open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Store>> + Send + 'static,
    {
        Self {
            open: Arc::new(move || Box::pin(open())),
            open_limited: None,
            key_bytes_taken: 0,
            cleaned: None,
            guard: None,
        }
    }

    /// The same with handles that refuse values over a given number of bytes; without, such cases are skipped.
    #[must_use]
    pub fn limited<F>(mut self, open: impl Fn(u64) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Store>> + Send + 'static,
    {
        self.open_limited = Some(Arc::new(move |value_bytes_max| Box::pin(open(value_bytes_max))));
        self
    }

    /// The same where what is behind the adapter takes so many bytes of each key for itself, and the adapter cannot know.
    #[must_use]
    pub fn key_bytes_taken(mut self, bytes: usize) -> Self {
        self.key_bytes_taken = bytes;
        self
    }

    /// The same with something that is dropped with it: a temporary directory, a server.
    #[must_use]
    pub fn guarded_by(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }

    /// The same with something to do when its case is over; again at the end of the run, where calls of the case may have gone on
    /// that nobody waited for.
    #[must_use]
    pub fn cleaned_by<F>(mut self, clean: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.cleaned = Some(Arc::new(move || Box::pin(clean())));
        self
    }

    fn wrapped(mut self, wrap: Wrap) -> Self {
        let (open, around) = (self.open, wrap.clone());
        self.open = Arc::new(move || {
            let (opened, wrap) = (open(), around.clone());
            Box::pin(async move { wrap(opened.await?) })
        });
        self.open_limited = self.open_limited.map(|open| -> OpenLimited {
            Arc::new(move |bytes| {
                let (opened, wrap) = (open(bytes), wrap.clone());
                Box::pin(async move { wrap(opened.await?) })
            })
        });
        self
    }

    pub(crate) async fn open(&self) -> Result<Store> {
        (self.open)().await
    }

    pub(crate) async fn open_limited(&self, value_bytes_max: u64) -> Result<Option<Store>> {
        match &self.open_limited {
            Some(open) => open(value_bytes_max).await.map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn taken(&self) -> usize {
        self.key_bytes_taken
    }

    pub(crate) fn cleaning(&self) -> Option<Clean> {
        self.cleaned.clone()
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fixture(guarded: {})", self.guard.is_some())
    }
}
