//! What a node holds that takes part under a leader.

use std::{collections::BTreeMap, fmt, future::IntoFuture, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use leasehold_core::{Error, ErrorKind, Result, Store, async_trait};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot, watch};

use super::{
    super::{
        Move, Owners, PlanOptions, ShardCoordinator, ShardGuard, ShardId, ShardMap, ShardOwner, moves::Moves,
    },
    MAP, SESSION, TOPOLOGY, agent, leader,
    mailbox::{self, Answer, Ask},
};
use crate::{
    Elections, Guarded, Leases, Node, NodeName, Token, Ttl, Wait,
    lease::validity::Validity,
    locks::session::Session,
    members::{Member, MemberView, Members, NodeMetadata, Role},
    watch::TimedWake,
};

/// A request to take part, made by [`LedShards::join`]. Awaits to the coordinator.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct JoinLed {
    store: Store,
    node: Node,
    count: u32,
    ttl: Ttl,
    role: Role,
    metadata: NodeMetadata,
    options: PlanOptions,
}

impl JoinLed {
    /// How long a leader, and the owner of shards, is waited for when it is gone; 10 s by default.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }

    /// What others should know of the node; its weight decides how many shards it gets.
    pub fn metadata(mut self, metadata: NodeMetadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// How this node plans while it leads.
    pub fn options(mut self, options: PlanOptions) -> Self {
        self.options = options;
        self
    }

    /// Owns no shards and never leads: looks on, and may ask.
    pub fn observer(mut self) -> Self {
        self.role = Role::Observer;
        self
    }
}

impl IntoFuture for JoinLed {
    type Output = Result<LedShards>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { store, node, count, ttl, role, metadata, options } = self;
            if !(1..=ShardMap::SHARDS_MAX as u32).contains(&count) {
                let message = format!("there can be 1 to {} shards, not {count}", ShardMap::SHARDS_MAX);
                return Err(Error::invalid(message));
            }
            let leases = Leases::connect(store.clone(), node.clone()).await?;
            let session = Arc::new(Session::open(&leases, ttl).await?);
            let me = identity(&node, &session.id)?;
            let member = Members::join(store, node).ttl(ttl).role(role);
            let member = member.metadata(metadata.clone().label(SESSION, me.as_str()));
            let member = member.on(leases.keeper()).await?;
            let inner = Arc::new(Inner {
                elections: Elections::beside(&leases),
                leases,
                count,
                ttl,
                options,
                metadata,
                present: Mutex::new(Present { session, me }),
                held: Mutex::default(),
                changed: Arc::default(),
                moves: Moves::default(),
                wanted: Mutex::default(),
                members: member.members().clone(),
                member: tokio::sync::Mutex::new(Some(member)),
                left: watch::Sender::new(false),
            });
            let weak = Arc::downgrade(&inner);
            inner.leases.in_background(Box::pin(agent::follow(weak.clone())))?;
            if role != Role::Observer {
                inner.leases.in_background(Box::pin(leader::stand(weak)))?;
            }
            Ok(LedShards { inner })
        })
    }
}

/// The name of one session of a node, as the map has it: a restart is another owner.
pub(super) fn identity(node: &Node, session: &str) -> Result<NodeName> {
    NodeName::new(format!("{}~{session}", node.name())).map_err(|_| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "the name of a node that owns shards has at most 95 bytes, and {:?} has more",
                node.name()
            ),
        )
    })
}

/// The node and the session of a name in the map.
pub(super) fn parts(identity: &str) -> (&str, &str) {
    identity.rsplit_once('~').unwrap_or((identity, ""))
}

/// Shards that a leader plans in one map, `_cluster/shard-map`.
///
/// The nodes elect a leader (`_cluster/elections/shards`), which alone writes the map and the [`Topology`], guarded by its term.
/// Every node follows the map, and owns what it says for as long as its session lasts. A shard moves in three steps: the map
/// says that it shall; its owner finishes, releases its guard, and says so; the map says who owns it, under the next epoch. A
/// node that is gone loses its shards when its session is over, not before.
///
/// Plans are [sticky](super::super::plan()): the fewest moves, a bounded number at a time.
///
/// # Cost
/// One write of the map for each change, or several together. For each node, what [membership](crate::members) costs, one
/// session's renewals, and a read without content of the map each tenth of the time to live (every tenth of that where the store
/// tells of changes). A leader lists requests and members as often.
///
/// # Errors of the background
/// What fails is tried again; a node that cannot reach the store loses its session, and joins anew by itself.
#[derive(Clone)]
pub struct LedShards {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) leases: Leases,
    pub(super) elections: Elections,
    pub(super) count: u32,
    pub(super) ttl: Ttl,
    pub(super) options: PlanOptions,
    pub(super) metadata: NodeMetadata,
    pub(super) present: Mutex<Present>,
    pub(super) held: Mutex<BTreeMap<ShardId, Held>>,
    /// The agent has something to do.
    pub(super) changed: Arc<Notify>,
    pub(super) moves: Moves,
    /// Who waits for which shard.
    pub(super) wanted: Mutex<BTreeMap<ShardId, oneshot::Sender<ShardGuard>>>,
    pub(super) members: Members,
    pub(super) member: tokio::sync::Mutex<Option<Member>>,
    pub(super) left: watch::Sender<bool>,
}

/// The session that shards hang on, and the name it has in the map.
#[derive(Clone)]
pub(super) struct Present {
    pub(super) session: Arc<Session>,
    pub(super) me: NodeName,
}

/// A shard that this node owns.
pub(super) struct Held {
    pub(super) epoch: u64,
    pub(super) validity: Arc<Validity>,
    pub(super) revoke: watch::Sender<bool>,
    pub(super) state: HeldState,
}

/// Whose it is within this process.
pub(super) enum HeldState {
    /// The user's.
    Served,
    /// It came back, and the leader is to be told; and whoever waits for that.
    Returned(Option<oneshot::Sender<Result<()>>>),
    /// The leader knows, and the map will say so.
    Told,
}

/// Who takes part, as the leader tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Topology {
    /// The leader's term.
    pub term: Token,
    /// The name of the leader.
    pub leader: String,
    /// The names of all nodes that may own shards, with their weights; those that drain have none.
    pub nodes: BTreeMap<String, u32>,
}

impl LedShards {
    /// Takes part in dividing `count` shards, numbers 0 to `count`. The first leader makes the map with its count; all
    /// nodes must say the same.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for no shards or more than 65,536, and for a node whose name has more than 95 bytes;
    /// otherwise as [`Leases::connect`].
    pub fn join(store: Store, node: Node, count: u32) -> JoinLed {
        JoinLed {
            store,
            node,
            count,
            ttl: Ttl::default(),
            role: Role::Follower,
            metadata: NodeMetadata::default(),
            options: PlanOptions::default(),
        }
    }

    /// Everybody that takes part.
    pub fn members(&self) -> &Members {
        &self.inner.members
    }

    /// The map as it stands; `None` before the first leader wrote one. Costs one read.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) for what is none; what the store fails with.
    pub async fn map(store: &Store) -> Result<Option<ShardMap>> {
        let record = Guarded::read_unfenced(store, MAP).await?;
        record.and_then(|record| record.value).map(|bytes| ShardMap::decode(&bytes)).transpose()
    }

    /// Who takes part, as the leader told it last; `None` before the first did. Costs one read.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) for what is none; what the store fails with.
    pub async fn topology(store: &Store) -> Result<Option<Topology>> {
        let record = Guarded::read_unfenced(store, TOPOLOGY).await?;
        let decode = |bytes: leasehold_core::Bytes| {
            serde_json::from_slice(&bytes).map_err(|source| {
                Error::new(ErrorKind::Corrupt, "what is stored here is not a topology").because(source)
            })
        };
        record.and_then(|record| record.value).map(decode).transpose()
    }

    /// Asks the leader, through the store, under a key that makes it the same request however often it is asked: after a
    /// time-out, ask again under the same key.
    ///
    /// # Cost
    /// One put; a read each tenth of the time to live, or when the store tells of the answer; one delete.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout), indeterminate, when there was no answer in time; [`Invalid`](ErrorKind::Invalid) for a
    /// key that was used for another request; what the store fails with when that lasts.
    pub async fn request(&self, key: &str, ask: Ask, within: Duration) -> Result<Answer> {
        mailbox::ask(self.inner.leases.store(), key, ask, within, self.inner.ttl.poll()).await
    }

    pub(in crate::shards) fn owners_in(map: &ShardMap) -> Owners {
        let node = |name: &NodeName| parts(name.as_str()).0.to_owned();
        let owner = |shard: &super::super::Shard| {
            Some(ShardOwner {
                shard: shard.id(),
                node: node(shard.owner()?),
                token: Token::new(shard.epoch()),
                moving_to: shard.moving_to().map(node),
            })
        };
        Owners { shards: map.shards().iter().filter_map(owner).collect() }
    }
}

#[async_trait]
impl ShardCoordinator for LedShards {
    fn node(&self) -> &Node {
        self.inner.leases.node()
    }

    fn count(&self) -> u32 {
        self.inner.count
    }

    async fn moves(&self) -> Option<Move> {
        self.inner.moves.next().await
    }

    /// The leader is asked, and moves the shard here as any other move: once its owner released it.
    async fn acquire(&self, shard: ShardId, wait: Wait) -> Result<Option<ShardGuard>> {
        let inner = &self.inner;
        if shard.get() >= inner.count {
            let last = inner.count - 1;
            return Err(Error::invalid(format!("there is no shard {shard}: numbers go from 0 to {last}")));
        }
        if inner.held.lock().contains_key(&shard) {
            return Err(Error::invalid(format!("this node owns shard {shard} already")));
        }
        let environment = inner.leases.store().environment();
        let within = match wait {
            // Long enough for an answer.
            Wait::Try => inner.ttl.get(),
            Wait::For(duration) => duration,
            Wait::Forever => Duration::from_secs(100 * 365 * 24 * 3600),
        };
        let began = environment.clock.monotonic();
        let (sender, receiver) = oneshot::channel();
        inner.wanted.lock().insert(shard, sender);
        let wanted = Wanted { inner: inner.clone(), shard };
        let to = inner.present.lock().me.to_string();
        let answer = self.request(&environment.identifier(), Ask::Acquire { shard, to }, within).await?;
        if let Answer::Refused(_) = answer {
            return Ok(None);
        }
        let left = within.saturating_sub(environment.clock.monotonic().saturating_sub(began));
        tokio::select! {
            biased;
            guard = receiver => {
                drop(wanted);
                Ok(guard.ok())
            }
            () = environment.clock.sleep(left) => Ok(None),
        }
    }

    /// Costs one read.
    async fn owner(&self, shard: ShardId) -> Result<Option<ShardOwner>> {
        if shard.get() >= self.inner.count {
            let last = self.inner.count - 1;
            return Err(Error::invalid(format!("there is no shard {shard}: numbers go from 0 to {last}")));
        }
        let map = Self::map(self.inner.leases.store()).await?;
        Ok(map.and_then(|map| Self::owners_in(&map).shards.into_iter().find(|owner| owner.shard == shard)))
    }

    /// Costs a read of the map every tenth of the time to live, and at every change where the store tells of them.
    async fn watch(&self, known: Option<&Owners>, wait: Wait) -> Result<Option<Owners>> {
        let store = self.inner.leases.store();
        let mut wake = TimedWake::of_key(store, &leasehold_core::Key::new(MAP)?, wait);
        loop {
            let owners = Self::map(store).await?.map(|map| Self::owners_in(&map)).unwrap_or_default();
            if known != Some(&owners) {
                return Ok(Some(owners));
            }
            if !wake.pause(self.inner.ttl.poll()).await {
                return Ok(None);
            }
        }
    }

    /// The session stays open until every guard is given up, so that what is served can be finished.
    async fn leave(&self) -> Result<()> {
        let member = self.inner.member.lock().await.take();
        self.inner.left.send_replace(true);
        let asked_back: Vec<_> = {
            let held = self.inner.held.lock();
            let open = held.iter().filter(|(_, held)| !held.revoke.send_replace(true));
            open.map(|(shard, _)| *shard).collect()
        };
        for shard in asked_back {
            self.inner.moves.tell(Move::Revoked(shard));
        }
        self.inner.moves.end();
        self.inner.changed.notify_one();
        match member {
            Some(member) => member.leave().await,
            None => Ok(()),
        }
    }
}

/// Takes back that somebody waits for a shard.
struct Wanted {
    inner: Arc<Inner>,
    shard: ShardId,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.inner.wanted.lock().remove(&self.shard);
    }
}

impl Inner {
    pub(super) fn store(&self) -> &Store {
        self.leases.store()
    }

    pub(super) fn has_left(&self) -> bool {
        *self.left.borrow()
    }
}

/// The name that a member has in the map, if it may own shards.
pub(super) fn candidate(member: &MemberView) -> Option<NodeName> {
    let identity = member.metadata.labels.get(SESSION)?;
    NodeName::new(identity).ok().filter(|_| member.role != Role::Observer)
}

impl fmt::Debug for LedShards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.inner.held.lock().len();
        write!(f, "LedShards({} of {} in {:?})", held, self.inner.count, self.inner.leases)
    }
}
