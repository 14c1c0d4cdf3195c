//! A store whose word on changes cannot be relied on, and that counts who reads.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use leasehold_core::{
    BatchOptions, Body, BoxFuture, BoxStream, Capabilities, Capability, Changes, Clock, DeleteOptions, Entry,
    GetOptions, Key, ListOptions, Lookup, Metadata, Operation, Outcome, PutOptions, Result, Scope,
    StorageAdapter, Store, SystemClock, Version, async_trait,
};
use parking_lot::Mutex;

/// What becomes of what the store below tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hints {
    /// It is passed on.
    Kept,
    /// The watch is there, and never wakes.
    Lost,
    /// The watch is over as soon as it is there.
    Ended,
    /// There is none, although that is claimed.
    None,
}

type Meanwhile = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Counts and distorts. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<Inside>);

#[derive(Default)]
struct Inside {
    reads: AtomicUsize,
    watches: AtomicUsize,
    alive: Arc<()>,
    /// What happens after a watch was asked for, and before it is there.
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl Counted {
    /// `store` through this.
    pub(crate) fn around(&self, store: Store, hints: Hints) -> Store {
        let counted = self.clone();
        store.layer(move |inner| -> Arc<dyn StorageAdapter> { Arc::new(Distorted { inner, counted, hints }) })
    }

    /// How many gets and lists there were since the last call.
    pub(crate) fn reads(&self) -> usize {
        self.0.reads.swap(0, Ordering::SeqCst)
    }

    /// How often a watch was asked for.
    pub(crate) fn watches(&self) -> usize {
        self.0.watches.load(Ordering::SeqCst)
    }

    /// Waits until a watch was asked for so often.
    pub(crate) async fn until_watched(&self, times: usize) {
        while self.watches() < times {
            tokio::task::yield_now().await;
        }
    }

    /// How many watches there are.
    pub(crate) fn alive(&self) -> usize {
        Arc::strong_count(&self.0.alive) - 1
    }

    pub(crate) fn meanwhile<F: Future<Output = ()> + Send + 'static>(
        &self,
        run: impl FnOnce() -> F + Send + 'static,
    ) {
        *self.0.meanwhile.lock() = Some(Box::new(|| Box::pin(run())));
    }
}

/// What comes in time by the clock on the wall: for what must come without any other clock being moved.
pub(crate) async fn soon<T>(future: impl Future<Output = T>, what: &str) -> T {
    match select(Box::pin(future), SystemClock.sleep(Duration::from_secs(20))).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => panic!("not in time: {what}"),
    }
}

struct Distorted {
    inner: Arc<dyn StorageAdapter>,
    counted: Counted,
    hints: Hints,
}

impl Distorted {
    fn count(&self) {
        self.counted.0.reads.fetch_add(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Distorted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.hints)
    }
}

impl fmt::Display for Distorted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl StorageAdapter for Distorted {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities().with(Capability::Changes)
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        self.inner.head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        self.count();
        self.inner.get(key, options).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.inner.put(key, body, options).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.inner.delete(key, options).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        self.count();
        self.inner.list(options)
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.inner.increment(key, delta).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        self.inner.batch(operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        self.counted.0.watches.fetch_add(1, Ordering::SeqCst);
        let meanwhile = self.counted.0.meanwhile.lock().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        let (notifier, silent) = Changes::channel();
        let changes = match self.hints {
            Hints::Kept => self.inner.changes(scope).await?,
            Hints::Lost => Some(silent.guarded_by(notifier)),
            Hints::Ended => {
                drop(notifier);
                Some(silent)
            }
            Hints::None => None,
        };
        Ok(changes.map(|changes| changes.guarded_by(self.counted.0.alive.clone())))
    }
}
