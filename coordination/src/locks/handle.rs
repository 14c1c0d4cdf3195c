//! All locks of one store, as one participant sees them.

use std::{collections::HashMap, fmt, future::IntoFuture, sync::Arc};

use futures_util::{StreamExt, future::BoxFuture};
use leasehold_core::{BoxStream, Error, Key, Result, Store};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    barrier::BarrierRequest,
    owner::Owner,
    request::{AllRequest, LockRequest, Wanted},
    session::Session,
    state::{LockState, Standing},
};
use crate::{Leases, Node, Token, Ttl, call::listed, lease::PREFIX, node::check_name, register::Register};

/// How many locks are remembered; past it, all are forgotten, which costs one read each.
const LOCKS_MAX: usize = 4096;

/// The locks of a store, as one participant sees them. Cloning is cheap and shares everything.
///
/// Unlike a [`Lease`](crate::Lease), which one holder renews for itself, all locks of a participant hang on one
/// *session*: one lease under `_locks/.sessions/`, renewed for all of them. So a thousand locks cost no more renewals
/// than one, and a lock can be shared, waited for in line and counted. When the session is over, so are the locks; whoever
/// waits for one of them sees to that after the session's time to live, by watching and by no clock of day.
///
/// A lock is one record under `_locks/`, changed by conditional writes only and never deleted; leave that prefix alone,
/// and let no lifecycle rule touch it. A name is a lock or a lease, not both.
///
/// ```
/// # use leasehold_coordination::{Locks, Node, Wait};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let store = leasehold_core::Store::new(leasehold_memory::Memory::new());
/// let locks = Locks::connect(store.clone(), Node::new("node-1")?).await?;
/// let lock = locks.exclusive("nightly").await?.expect("waits for ever");
/// lock.guard(store.namespace("results")?)?.put("report", "42 rows").await?;
/// lock.release().await?;
///
/// let both = (locks.shared("index").await?, locks.shared("index").await?); // beside each other
/// assert!(locks.exclusive("index").wait(Wait::Try).await?.is_none());
/// # drop(both);
/// locks.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct Locks {
    pub(super) inner: Arc<Inner>,
    /// On whose behalf; nobody's in particular when there is none.
    owner: Option<Arc<Owner>>,
}

pub(super) struct Inner {
    pub(super) leases: Leases,
    pub(super) ttl: Ttl,
    /// The session that new claims hang on.
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    /// How many claims and sessions are being put to rest in the background.
    departures: Arc<watch::Sender<usize>>,
    registers: Mutex<HashMap<String, Arc<Register<LockState>>>>,
}

/// A request for the locks of a store, made by [`Locks::connect`]. Awaits to them.
///
/// # Cost
/// One read where the store was certified before, one read and one put for the session.
///
/// # Errors
/// As [`Leases::connect`].
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct Connect {
    store: Store,
    node: Node,
    ttl: Ttl,
    lazily: bool,
}

impl Connect {
    /// How long the locks last when their process is gone; 10 s by default.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }

    /// Opens no session before a lock is asked for: for whoever only looks. Costs one read where the store was certified
    /// before.
    pub fn lazily(mut self) -> Self {
        self.lazily = true;
        self
    }
}

impl IntoFuture for Connect {
    type Output = Result<Locks>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let leases = Leases::connect(self.store, self.node).await?;
            let session = match self.lazily {
                true => None,
                false => Some(Arc::new(Session::open(&leases, self.ttl).await?)),
            };
            let inner = Inner {
                leases,
                ttl: self.ttl,
                session: tokio::sync::Mutex::new(session),
                departures: Arc::default(),
                registers: Mutex::default(),
            };
            Ok(Locks { inner: Arc::new(inner), owner: None })
        })
    }
}

impl Locks {
    /// The locks kept in `store`, for `node`. The store is certified first, as for [`Leases`].
    pub fn connect(store: Store, node: Node) -> Connect {
        Connect { store, node, ttl: Ttl::default(), lazily: false }
    }

    /// Who asks.
    pub fn node(&self) -> &Node {
        self.inner.leases.node()
    }

    /// Asks for a lock that nobody else may hold at the same time. `name` is a key of up to 128 bytes that does not
    /// begin with a dot.
    pub fn exclusive(&self, name: impl AsRef<str>) -> LockRequest {
        self.request(name.as_ref(), Wanted { shared: false, permits: 0 })
    }

    /// Asks for a lock that others may hold beside this one if they ask for it shared too: many readers, or one writer.
    ///
    /// A writer that waits keeps new readers out, so that it cannot starve.
    pub fn shared(&self, name: impl AsRef<str>) -> LockRequest {
        self.request(name.as_ref(), Wanted { shared: true, permits: 0 })
    }

    /// Asks for one of `permits` permits. All who use the name at a time must say the same number, from 1 to 1,000.
    pub fn semaphore(&self, name: impl AsRef<str>, permits: u32) -> LockRequest {
        self.request(name.as_ref(), Wanted { shared: false, permits }).counted()
    }

    /// Asks for several locks at once, each alone. They are taken in the order of their names, so that calls of this
    /// kind cannot wait for each other in a circle; with those of other kinds they can, as one [`owner`](Locks::owner).
    pub fn all<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> AllRequest {
        // Who holds some and waits for others is one owner, or nobody sees the circles that it is part of.
        let locks = if self.owner.is_some() { self.clone() } else { self.owner() };
        AllRequest::new(locks, names.into_iter().map(|name| name.as_ref().to_owned()).collect())
    }

    /// Arrives at a barrier and waits until `parties` are there, from 1 to 1,000. `name` is a key of up to 128 bytes.
    pub fn barrier(&self, name: impl AsRef<str>, parties: u32) -> BarrierRequest {
        BarrierRequest::new(self.inner.clone(), name.as_ref(), parties)
    }

    /// The same locks on behalf of one owner of its own: one task or transaction that holds some and waits for
    /// others, one at a time.
    ///
    /// Only what is done on behalf of one owner takes part in the search for deadlocks. After a second of
    /// waiting, an owner that holds locks notes in their records what it waits for, and looks along such notes for a
    /// circle that leads back to it. Of an unbreakable circle the owner with the greatest identifier gives way: its request
    /// fails with a [`Deadlock`](crate::Deadlock).
    pub fn owner(&self) -> Self {
        self.on_behalf_of(Owner::new(self.store().environment().identifier()))
    }

    /// The same locks on behalf of one owner that others wait for while they hold locks: a program that was started
    /// under a lock. `heritage` is what [`Lock::heritage`](crate::Lock::heritage) gave there.
    ///
    /// Whatever this one waits for, the others wait for too, so deadlocks are found across processes: two programs,
    /// each started under one lock and asking for the other's. Who is chosen to give way is the one that waits. Locks of
    /// another store, and those that are over by now, do no harm.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for a text that no lock gave.
    pub fn owner_from(&self, heritage: &str) -> Result<Self> {
        Ok(self.on_behalf_of(Owner::heir(self.store().environment().identifier(), heritage)?))
    }

    fn on_behalf_of(&self, owner: Owner) -> Self {
        Self { inner: self.inner.clone(), owner: Some(Arc::new(owner)) }
    }

    /// The names of all locks that anybody ever asked for, in byte order, and those of [`Leases`], which are kept beside
    /// them. Costs one list.
    ///
    /// # Errors
    /// What the store fails with.
    pub fn names(&self) -> BoxStream<'static, Result<String>> {
        let entries = listed(self.store(), &format!("{PREFIX}/"));
        let name = |entry: leasehold_core::Entry| {
            let name = entry.key.as_str().strip_prefix(PREFIX)?.strip_prefix('/')?;
            (!name.starts_with('.')).then(|| name.to_owned())
        };
        entries.filter_map(move |entry| std::future::ready(entry.map(name).transpose())).boxed()
    }

    /// Who holds a lock and who waits in line; `None` where nobody ever asked. For people and command lines: by the
    /// time anybody looks at it, it may be different. Costs one read.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for an unsound name or a lease; what the store fails with.
    pub async fn observe(&self, name: impl AsRef<str> + Send) -> Result<Option<LockView>> {
        let register = self.inner.register(name.as_ref())?;
        let state = register.read().await?;
        let holder = |claim: &super::state::Claim, token| Participant {
            node: claim.node.clone(),
            owner: claim.owner.clone(),
            shared: claim.shared,
            token,
        };
        Ok((state != LockState::default()).then(|| LockView {
            name: name.as_ref().to_owned(),
            permits: (state.permits > 0).then_some(state.permits),
            token: state.token,
            holders: state.holders.iter().map(|held| holder(&held.claim, Some(held.token))).collect(),
            queue: state.queue.iter().map(|claim| holder(claim, None)).collect(),
        }))
    }

    /// Ends the session: every lock is free at once, whoever still holds one. To be awaited before the process ends.
    ///
    /// What is being given up in the background is waited for, up to the time to live.
    ///
    /// Asking for a lock afterwards opens another session.
    ///
    /// # Errors
    /// What the store fails with; the locks are free after the time to live then.
    pub async fn close(&self) -> Result<()> {
        self.inner.departed().await;
        match self.inner.session.lock().await.take() {
            Some(session) => session.close().await,
            None => Ok(()),
        }
    }

    fn request(&self, name: &str, wanted: Wanted) -> LockRequest {
        let owner = self.owner.clone().unwrap_or_else(|| {
            // One that nobody else shares.
            Arc::new(Owner::new(self.store().environment().identifier()))
        });
        LockRequest::new(self.inner.clone(), name, wanted, owner)
    }

    pub(super) fn store(&self) -> &Store {
        self.inner.leases.store()
    }
}

impl Inner {
    /// The session that claims hang on, a new one if the last is over.
    pub(super) async fn session(&self) -> Result<Arc<Session>> {
        let mut session = self.session.lock().await;
        match &*session {
            Some(open) if open.validity().over().is_none() => Ok(open.clone()),
            _ => {
                let opened = Arc::new(Session::open(&self.leases, self.ttl).await?);
                *session = Some(opened.clone());
                Ok(opened)
            }
        }
    }

    /// To be held while a claim is taken back in the background.
    pub(super) fn departure(&self) -> Departure {
        self.departures.send_modify(|count| *count += 1);
        Departure(self.departures.clone())
    }

    /// Waits until nothing is taken back any more.
    async fn departed(&self) {
        let mut departures = self.departures.subscribe();
        if *departures.borrow_and_update() == 0 {
            return;
        }
        tokio::select! {
            biased;
            // The sender lives as long as this.
            _ = departures.wait_for(|count| *count == 0) => {}
            () = self.leases.store().environment().clock.sleep(self.ttl.get()) => {}
        }
    }

    /// The record of a lock.
    pub(super) fn register(&self, name: &str) -> Result<Arc<Register<LockState>>> {
        let mut registers = self.registers.lock();
        if let Some(register) = registers.get(name) {
            return Ok(register.clone());
        }
        let register = Arc::new(Register::new(self.leases.store().clone(), lock_key(name)?));
        if registers.len() >= LOCKS_MAX {
            registers.clear();
        }
        registers.insert(name.to_owned(), register.clone());
        Ok(register)
    }
}

fn lock_key(name: &str) -> Result<Key> {
    check_name("a lock", name)?;
    if name.starts_with('.') {
        return Err(Error::invalid(format!(
            "{name:?} is not a lock: names that begin with a dot are reserved"
        )));
    }
    Key::new(format!("{PREFIX}/{name}"))
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locks({} as {})", self.store(), self.node())
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.leases, f)
    }
}

/// A claim that is being taken back.
pub(super) struct Departure(Arc<watch::Sender<usize>>);

impl Drop for Departure {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A lock as somebody looked at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockView {
    /// What it is called.
    pub name: String,
    /// Of a semaphore: how many may hold it at once.
    pub permits: Option<u32>,
    /// The last token that was granted.
    pub token: Token,
    /// Who holds it. One that died stays until somebody waited for its time to live.
    pub holders: Vec<Participant>,
    /// Who waits in line, first come first. Who waits without being in line is not known to the store.
    pub queue: Vec<Participant>,
}

/// One who holds a lock or waits in its line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// The name of its node.
    pub node: String,
    /// On whose behalf; see [`Locks::owner`].
    pub owner: String,
    /// Whether it shares the lock.
    pub shared: bool,
    /// The token of one that holds it.
    pub token: Option<Token>,
}

impl LockView {
    /// Whether anybody could take it without waiting.
    pub fn is_free(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }
}

impl Standing {
    pub(super) fn token(self) -> Option<Token> {
        match self {
            Self::Held(token) => Some(token),
            Self::Queued(_) | Self::Out => None,
        }
    }
}
