//! Campaigning for an election, and watching one.

use std::{fmt, future::IntoFuture};

use futures_util::{StreamExt, future::BoxFuture};
use leasehold_core::{BoxStream, Bytes, Entry, Error, Key, Result, Store};

use super::{LEADER, Leadership, PREFIX, PROCLAMATION};
use crate::{
    Acquire, Guarded, LeaseState, LeaseView, Leases, Node, Token, Ttl, Wait, call::listed, node::check_name,
    watch::TimedWake,
};

/// The elections of a store, as one candidate sees them. Cloning is cheap and shares everything.
///
/// An election is a [`Lease`](crate::Lease) under `_cluster/elections/<name>/`, whose token is the term: it grows with
/// every leader and never comes back. What is said of leases holds: a leader that was deposed may not know it yet, so
/// everything that matters goes through [`Leadership::guard`], where its writes are refused.
///
/// ```
/// # use leasehold_coordination::{Elections, Node};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let store = leasehold_core::Store::new(leasehold_memory::Memory::new());
/// let elections = Elections::connect(store.clone(), Node::new("node-1")?).await?;
/// let leadership = elections.campaign("scheduler").await?.expect("waits for ever");
/// leadership.proclaim("http://10.0.0.7:8080").await?;
///
/// let leader = elections.observe("scheduler").await?.expect("somebody leads");
/// assert_eq!((leader.node.name(), leader.term), ("node-1", leadership.term()));
/// leadership.resign().await
/// # }
/// ```
#[derive(Clone)]
pub struct Elections {
    leases: Leases,
}

impl Elections {
    /// The elections kept in `store`, for `node`. The store is certified first, and costs and errors are those of
    /// [`Leases::connect`].
    ///
    /// # Errors
    /// As [`Leases::connect`].
    pub async fn connect(store: Store, node: Node) -> Result<Self> {
        Ok(Self { leases: Leases::connect_under(store, node, PREFIX).await? })
    }

    /// The elections beside leases that are connected already.
    pub(crate) fn beside(leases: &Leases) -> Self {
        Self { leases: leases.under(PREFIX) }
    }

    /// Who stands.
    pub fn node(&self) -> &Node {
        self.leases.node()
    }

    /// Stands for election. `name` is one segment of a key of up to 100 bytes.
    pub fn campaign(&self, name: impl AsRef<str>) -> Campaign {
        let name = name.as_ref().to_owned();
        let acquire = election(&name).map(|lease| self.leases.acquire(lease));
        Campaign { store: self.leases.store().clone(), name, acquire }
    }

    /// The names of all elections that anybody ever stood for, in byte order. Costs one list.
    ///
    /// # Errors
    /// What the store fails with.
    pub fn names(&self) -> BoxStream<'static, Result<String>> {
        let entries = listed(self.leases.store(), &format!("{PREFIX}/"));
        let name = |entry: Entry| {
            let path = entry.key.as_str().strip_prefix(PREFIX)?.strip_prefix('/')?;
            let (name, record) = path.split_once('/')?;
            (record == LEADER).then(|| name.to_owned())
        };
        entries.filter_map(move |entry| std::future::ready(entry.map(name).transpose())).boxed()
    }

    /// Who leads, as far as the store knows; `None` where nobody ever did. Costs two reads.
    ///
    /// A leader that died is still shown, until somebody took over: what counts is what its guarded writes are
    /// allowed to do.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for an unsound name; what the store fails with.
    pub async fn observe(&self, name: impl AsRef<str> + Send) -> Result<Option<LeaderView>> {
        let name = name.as_ref();
        let Some(view) = self.leases.observe(election(name)?).await? else { return Ok(None) };
        let LeaseView { token: term, holder: node, state, ttl, .. } = view;
        let store = self.leases.store();
        let kept = Guarded::read_unfenced(store, proclamation(name)?).await?;
        // What an earlier leader said is not the word of this one.
        let proclaimed = kept.filter(|record| record.token == term).and_then(|record| record.value);
        Ok(Some(LeaderView { name: name.to_owned(), term, node, state, ttl, proclaimed }))
    }

    /// Waits until the election is different from `known`: another leader, term, state or proclamation. Returns at once
    /// when it is; `None` when it was not in the time there was.
    ///
    /// Woken by the store where it can tell, and looks once a second otherwise. Never misses the last state; may
    /// miss those between.
    ///
    /// # Errors
    /// As [`observe`](Elections::observe).
    ///
    /// # Cancel safety
    /// Waiting can be given up and begun again at any time.
    pub async fn changed(
        &self,
        name: impl AsRef<str> + Send,
        known: Option<&LeaderView>,
        wait: Wait,
    ) -> Result<Option<LeaderView>> {
        let name = name.as_ref();
        let store = self.leases.store();
        let mut wake = TimedWake::of_prefix(store, &format!("{PREFIX}/{name}/"), wait)?;
        loop {
            if let Some(view) = self.observe(name).await?
                && known != Some(&view)
            {
                return Ok(Some(view));
            }
            if !wake.pause(Ttl::default().poll()).await {
                return Ok(None);
            }
        }
    }
}

/// A campaign, made by [`Elections::campaign`]. Awaits to the leadership, `None` when it was not won in the time there was.
///
/// Costs, errors and cancel safety are those of [`Acquire`].
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct Campaign {
    store: Store,
    name: String,
    acquire: Result<Acquire>,
}

impl Campaign {
    /// How long the leadership lasts without a renewal; 10 s by default.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.acquire = self.acquire.map(|acquire| acquire.ttl(ttl));
        self
    }

    /// How long to stand; for ever by default.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.acquire = self.acquire.map(|acquire| acquire.wait(wait));
        self
    }
}

impl IntoFuture for Campaign {
    type Output = Result<Option<Leadership>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { store, name, acquire } = self;
            let key = proclamation(&name)?;
            Ok(acquire?.await?.map(|lease| Leadership::new(store, name, key, lease)))
        })
    }
}

/// The name of the lease of an election.
fn election(name: &str) -> Result<String> {
    check_name("an election", name)?;
    if name.contains('/') || name.starts_with('.') || name.len() > 100 {
        return Err(Error::invalid(format!(
            "{name:?} is not an election: it is one segment of at most 100 bytes, without \"/\", and does not begin \
             with a dot"
        )));
    }
    Ok(format!("{name}/{LEADER}"))
}

fn proclamation(name: &str) -> Result<Key> {
    Key::new(format!("{PREFIX}/{name}/{PROCLAMATION}"))
}

impl fmt::Debug for Elections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Elections({} as {})", self.leases.store(), self.node())
    }
}

/// An election as somebody looked at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaderView {
    /// What it is called.
    pub name: String,
    /// The term of the last leader.
    pub term: Token,
    /// The last leader.
    pub node: Node,
    /// Whether it leads, resigned, or handed over. One that died is shown as holding.
    pub state: LeaseState,
    /// How long it leads without a renewal.
    pub ttl: Ttl,
    /// What it proclaimed, if it did.
    pub proclaimed: Option<Bytes>,
}

impl LeaderView {
    /// Whether somebody leads, as far as the store knows.
    pub fn is_led(&self) -> bool {
        self.state == LeaseState::Held
    }
}
