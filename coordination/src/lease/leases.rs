//! All leases of one store, as one node sees them.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use leasehold_core::{Error, Key, Result, Store};

use super::{
    acquire::Acquire, cache::Cache, driver::Driver, keeper::Keeper, machine::Known, record::LeaseState,
};
use crate::{Node, Token, Ttl, certify, node::check_name};

/// Where leases are kept in a store.
pub(crate) const PREFIX: &str = "_locks";

/// The leases of a store, as one participant sees them. Cloning is cheap and shares everything.
///
/// Kept as one record each under `_locks/`, written by conditional writes only and never deleted; leave that prefix
/// alone, and let no lifecycle rule touch it.
///
/// ```
/// # use leasehold_coordination::{Leases, Node, Ttl, Wait};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let store = leasehold_core::Store::new(leasehold_memory::Memory::new());
/// let leases = Leases::connect(store.clone(), Node::new("node-1")?).await?;
/// if let Some(lease) = leases.acquire("nightly").ttl("10s".parse()?).wait(Wait::Try).await? {
///     let results = lease.guard(store.namespace("results")?);
///     results.put("report", "42 rows").await?; // refused once a newer holder has touched it
///     lease.release().await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    /// Before every name.
    prefix: &'static str,
    pub(crate) node: Node,
    pub(crate) cache: Arc<Cache>,
    pub(crate) keeper: Arc<Keeper>,
}

impl Inner {
    pub(crate) fn driver(&self, key: &Key) -> Driver {
        Driver::new(self.store.clone(), key.clone())
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.store, self.node)
    }
}

impl Leases {
    /// The leases kept in `store`, for `node`.
    ///
    /// The store is certified first: it must claim `linearizable` and `conditional-put`, and keep them in a probe that
    /// races conditional writes. The verdict is kept in the store.
    ///
    /// Renewals run on a thread and runtime of their own. An adapter whose connections are driven by the runtime that
    /// opened them should be opened for the leases alone, so that a blocked runtime does not block the renewals.
    ///
    /// # Cost
    /// One read where the store was certified before; otherwise about 25 small writes and reads.
    ///
    /// # Errors
    /// [`Unsupported`](leasehold_core::ErrorKind::Unsupported) when the store does not claim what leases need, or
    /// claims it and does not keep it; what the store fails with.
    pub async fn connect(store: Store, node: Node) -> Result<Self> {
        Self::connect_under(store, node, PREFIX).await
    }

    /// The same for records under another prefix.
    pub(crate) async fn connect_under(store: Store, node: Node, prefix: &'static str) -> Result<Self> {
        certify::certify(&store).await?;
        let inner = Inner { store, prefix, node, cache: Arc::default(), keeper: Arc::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Who asks.
    pub fn node(&self) -> &Node {
        &self.inner.node
    }

    /// Asks for a lease. `name` is a key of up to 128 bytes that does not begin with a dot.
    pub fn acquire(&self, name: impl AsRef<str>) -> Acquire {
        Acquire::new(self.inner.clone(), lease_key(self.inner.prefix, name.as_ref()))
    }

    /// The same for a name of our own, which may be long and begin with a dot.
    pub(crate) fn acquire_internal(&self, name: String) -> Acquire {
        let key = Key::new(format!("{}/{name}", self.inner.prefix)).map(|key| (name, key));
        Acquire::new(self.inner.clone(), key)
    }

    /// The leases under another prefix, of the same node on the same thread.
    pub(crate) fn under(&self, prefix: &'static str) -> Self {
        let Inner { store, node, keeper, .. } = &*self.inner;
        let (store, node, keeper) = (store.clone(), node.clone(), keeper.clone());
        Self { inner: Arc::new(Inner { store, prefix, node, cache: Arc::default(), keeper }) }
    }

    /// What this process saw last of a lease.
    pub(crate) fn known(&self, name: &str) -> Option<Known> {
        self.inner.cache.get(name)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The thread that renews.
    pub(crate) fn keeper(&self) -> &Arc<Keeper> {
        &self.inner.keeper
    }

    /// Runs `task` on the thread that renews.
    ///
    /// # Errors
    /// `Unavailable` when the system gives no thread.
    pub(crate) fn in_background(&self, task: BoxFuture<'static, ()>) -> Result<()> {
        self.inner.keeper.spawn(task)
    }

    /// What is known of a lease; `None` where nobody ever held it. For people and command lines: by the time anybody
    /// looks at it, it may be different. Costs one read.
    ///
    /// # Errors
    /// As for acquiring, save that transient failures are returned at once.
    pub async fn observe(&self, name: impl AsRef<str> + Send) -> Result<Option<LeaseView>> {
        let (name, key) = lease_key(self.inner.prefix, name.as_ref())?;
        let record = self.inner.driver(&key).record().await?;
        Ok(record.map(|record| LeaseView {
            name,
            token: record.token,
            holder: record.holder,
            state: record.state,
            sequence: record.sequence,
            ttl: record.ttl,
        }))
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leases({:?})", self.inner)
    }
}

fn lease_key(prefix: &str, name: &str) -> Result<(String, Key)> {
    check_name("a lease", name)?;
    if name.starts_with('.') {
        return Err(Error::invalid(format!(
            "{name:?} is not a lease: names that begin with a dot are reserved"
        )));
    }
    Ok((name.to_owned(), Key::new(format!("{prefix}/{name}"))?))
}

/// A lease as somebody looked at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseView {
    /// What it is called.
    pub name: String,
    /// The token of its last holder.
    pub token: Token,
    /// Its last holder.
    pub holder: Node,
    /// What it is in. A holder that died leaves it `Held`.
    pub state: LeaseState,
    /// How often its record was written.
    pub sequence: u64,
    /// How long its holder asked it to last without a renewal.
    pub ttl: Ttl,
}
