//! Looking who is there.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use leasehold_core::{Error, Key, Result, Store, async_trait};
use parking_lot::Mutex;

use super::{
    Join, MemberView, PREFIX,
    info::Info,
    roster::{Listed, Look, Roster},
};
use crate::{
    Node, NodeName, Wait,
    call::{self, listed, patiently},
    certify,
    node::check_node,
    register::{Next, Register},
    watch::TimedWake,
};

/// How many nodes are looked at; past it, looking fails.
const NODES_MAX: usize = 10_000;

/// How many records are read at a time.
const READS_MAX: usize = 16;

/// Who is there, from whatever source: the store, or one day by gossip, for nodes that share no store.
#[async_trait]
pub trait Membership: fmt::Debug + Send + Sync + 'static {
    /// Everybody that is known, by name.
    ///
    /// # Errors
    /// What the source fails with.
    async fn look(&self) -> Result<View>;

    /// Waits until who is there, how they are or what they say differs from what the view with this generation said;
    /// `None` when it did not in the time there was. Never misses the last state; may miss those between.
    ///
    /// # Errors
    /// What the source fails with.
    async fn changed(&self, generation: u64, wait: Wait) -> Result<Option<View>>;

    /// Tells what became of a call to a node, which makes it one to avoid or to trust again.
    fn report(&self, node: &NodeName, answered: bool);
}

/// Everybody, at one look.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct View {
    /// Grows with every change, in the eyes of one observer.
    pub generation: u64,
    /// Everybody, by name.
    pub members: Vec<MemberView>,
}

/// The nodes that take part, as one observer sees them. Cloning is cheap and shares what was seen.
///
/// ```
/// # use leasehold_coordination::{Node, members::{Members, NodeMetadata, Role}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let store = leasehold_core::Store::new(leasehold_memory::Memory::new());
/// let member = Members::join(store.clone(), Node::new("node-1")?)
///     .role(Role::Follower)
///     .metadata(NodeMetadata::default().address("10.0.0.7:8080").zone("a"))
///     .await?;
/// let seen = Members::observe(store).await?.look().await?;
/// assert_eq!(seen.members[0].node.name(), "node-1");
/// member.leave().await
/// # }
/// ```
#[derive(Clone)]
pub struct Members {
    store: Store,
    roster: Arc<Mutex<Roster>>,
}

impl Members {
    /// Joins as `node`; see [`Join`].
    pub fn join(store: Store, node: Node) -> Join {
        Join::new(store, node)
    }

    /// Looks on without taking part. The store is certified first, as for [`Leases`](crate::Leases).
    ///
    /// # Errors
    /// As [`Leases::connect`](crate::Leases::connect).
    pub async fn observe(store: Store) -> Result<Self> {
        certify::certify(&store).await?;
        Ok(Self { store, roster: Arc::default() })
    }

    /// Everybody that has joined and not left, by name; nobody is dead at a first look. Costs one list, and one read for each
    /// record that changed since the last look.
    ///
    /// # Errors
    /// [`Corrupt`](leasehold_core::ErrorKind::Corrupt) for a record that is none; [`Invalid`](leasehold_core::ErrorKind::Invalid)
    /// for a newer format, and past 10,000 nodes; what the store fails with when that lasts.
    pub async fn look(&self) -> Result<View> {
        let environment = self.store.environment();
        let clock = &*environment.clock;
        let look = patiently(environment, || self.list()).await?;
        let unread = self.roster.lock().unread(&look);
        let read = stream::iter(unread)
            .map(|name| async move { Ok((info(&self.store, &name)?.read().await?, name)) })
            .buffer_unordered(READS_MAX)
            // One that left between the list and the read has no incarnation.
            .try_filter_map(|(info, name)| async move {
                Ok::<_, Error>((info != Info::default()).then_some((name, info)))
            })
            .try_collect::<BTreeMap<_, _>>()
            .await?;
        let now = clock.monotonic();
        let mut roster = self.roster.lock();
        roster.note(look, read, now);
        Ok(View { generation: roster.generation, members: roster.view(now) })
    }

    /// Waits until who is there, how they are or what they say differs from the view with this generation of this
    /// observer; `None` when it did not in the time there was. Costs a look three times in the shortest time to live, and one
    /// for each change that the store tells of.
    ///
    /// # Errors
    /// As [`look`](Members::look).
    ///
    /// # Cancel safety
    /// Waiting can be given up and begun again at any time.
    pub async fn changed(&self, generation: u64, wait: Wait) -> Result<Option<View>> {
        let clock = self.store.environment().clock.clone();
        let mut wake = TimedWake::of_prefix(&self.store, &format!("{PREFIX}/info/"), wait)?;
        loop {
            let view = self.look().await?;
            if view.generation != generation {
                return Ok(Some(view));
            }
            let beats = view.members.iter().map(|member| member.ttl.renewal()).min();
            let mut pause = beats.unwrap_or(Duration::from_secs(10));
            if let Some(death) = self.roster.lock().next_death() {
                pause = pause.min(death.saturating_sub(clock.monotonic()).max(Duration::from_millis(10)));
            }
            if !wake.pause(pause).await {
                return Ok(None);
            }
        }
    }

    /// Tells what became of a call to a node; see [`Reliability`](super::Reliability).
    pub fn report(&self, node: &NodeName, answered: bool) {
        let now = self.store.environment().clock.monotonic();
        self.roster.lock().report(node.as_str(), answered, now);
    }

    /// Asks a node to give up its work, or not to any more. It stays asked until it leaves or starts anew. `false` when
    /// there is no such node. Costs one read and one conditional put.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for an unsound name; what the store fails with when that lasts.
    pub async fn drain(&self, node: impl AsRef<str> + Send, draining: bool) -> Result<bool> {
        let node = node.as_ref();
        check_node(node)?;
        info(&self.store, node)?
            .change(|info| {
                if *info == Info::default() {
                    return Ok(Next::Keep(false));
                }
                let changes = info.draining != draining;
                info.draining = draining;
                Ok(if changes { Next::Write(true) } else { Next::Keep(true) })
            })
            .await
    }

    /// Removes what is left of a node that died. One that turns out to be alive stops taking part, and learns
    /// of it. Costs two deletes.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for an unsound name; what the store fails with.
    pub async fn forget(&self, node: impl AsRef<str> + Send) -> Result<()> {
        let node = node.as_ref();
        check_node(node)?;
        remove(&self.store, node).await
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// One list of everything.
    async fn list(&self) -> Result<Look> {
        let prefix = format!("{PREFIX}/");
        let mut entries = listed(&self.store, &prefix);
        let (mut infos, mut beats) = (BTreeMap::new(), BTreeMap::new());
        while let Some(entry) = entries.try_next().await? {
            let version = entry.metadata.version;
            let path = entry.key.as_str().strip_prefix(&prefix).unwrap_or_default();
            match path.split_once('/') {
                Some(("info", name)) if !name.contains('/') => drop(infos.insert(name.to_owned(), version)),
                Some(("beats", name)) => drop(beats.insert(name.to_owned(), version)),
                _ => {}
            }
            if infos.len().max(beats.len()) > NODES_MAX {
                let message = format!("there are more than {NODES_MAX} nodes; forget those that are dead");
                return Err(Error::invalid(message).during("look").at(&self.store));
            }
        }
        let listed = |(name, info)| {
            let beat = beats.remove(&name);
            (name, Listed { info, beat })
        };
        Ok(infos.into_iter().map(listed).collect())
    }
}

#[async_trait]
impl Membership for Members {
    async fn look(&self) -> Result<View> {
        Self::look(self).await
    }

    async fn changed(&self, generation: u64, wait: Wait) -> Result<Option<View>> {
        Self::changed(self, generation, wait).await
    }

    fn report(&self, node: &NodeName, answered: bool) {
        Self::report(self, node, answered);
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({})", self.store)
    }
}

/// The record of a node.
pub(super) fn info(store: &Store, node: &str) -> Result<Register<Info>> {
    Ok(Register::new(store.clone(), Key::new(format!("{PREFIX}/info/{node}"))?))
}

/// Where a node beats.
pub(super) fn beat(node: &str) -> Result<Key> {
    Key::new(format!("{PREFIX}/beats/{node}"))
}

/// Removes the records of a node: nothing depends on a name that takes no part.
pub(super) async fn remove(store: &Store, node: &str) -> Result<()> {
    call::remove(store, format!("{PREFIX}/info/{node}")).await?;
    call::remove(store, beat(node)?).await
}
