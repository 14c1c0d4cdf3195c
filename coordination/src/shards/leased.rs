//! Shards without a leader: a lease for each, and each node takes its share.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt,
    future::IntoFuture,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use leasehold_core::{Error, Result, Store, async_trait};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    Move, Owners, ShardCoordinator, ShardGuard, ShardId, ShardMap, ShardOwner,
    coordinator::{Tenure, lease_name},
    moves::Moves,
    quota::{Stake, quotas},
    rendezvous::Contender,
};
use crate::{
    Lease, LeaseState, Leases, Node, NodeName, Token, Ttl, Wait,
    call::listed,
    lease::driver::Driver,
    members::{Member, MemberView, Members, NodeMetadata, Role},
    watch::TimedWake,
};

/// How many leases are looked at at a time.
const LOOKS_MAX: usize = 16;

/// A request to take part, made by [`LeasedShards::join`]. Awaits to the coordinator.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct JoinLeased {
    store: Store,
    node: Node,
    count: u32,
    ttl: Ttl,
    metadata: NodeMetadata,
    takes_share: bool,
}

impl JoinLeased {
    /// How long a shard stays with a node that is gone; 30 s by default, renewed every 10 s at the latest.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }

    /// What others should know of the node; its weight decides how large its share is.
    pub fn metadata(mut self, metadata: NodeMetadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Takes no share: owns only what is asked for by [`acquire`](ShardCoordinator::acquire).
    pub fn on_request_only(mut self) -> Self {
        self.takes_share = false;
        self
    }
}

impl IntoFuture for JoinLeased {
    type Output = Result<LeasedShards>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { store, node, count, ttl, metadata, takes_share } = self;
            if !(1..=ShardMap::SHARDS_MAX as u32).contains(&count) {
                let message = format!("there can be 1 to {} shards, not {count}", ShardMap::SHARDS_MAX);
                return Err(Error::invalid(message));
            }
            let leases = Leases::connect(store.clone(), node.clone()).await?;
            let role = if takes_share { Role::Follower } else { Role::Observer };
            let member = Members::join(store, node).ttl(ttl).role(role).metadata(metadata);
            let member = member.on(leases.keeper()).await?;
            let inner = Arc::new(Inner {
                leases,
                count,
                ttl,
                held: Mutex::default(),
                changed: Arc::default(),
                moves: Moves::default(),
                members: member.members().clone(),
                member: Mutex::new(Some(member)),
            });
            if takes_share {
                let task = balance(Arc::downgrade(&inner));
                inner.leases.in_background(Box::pin(task))?;
            }
            Ok(LeasedShards { inner })
        })
    }
}

/// Shards owned by leases, `_locks/shard-<number>`, one each, without a leader.
///
/// Every node sees the same members, so every node knows its share: by weight, exact to within one. It takes free shards up to
/// that, first those it has the highest rendezvous score for, and gives back what it has too much of when a node joins, the
/// lowest scores first. What a dead node owned is taken after the time to live of its leases.
///
/// # Cost
/// A put every 10 s at most for each shard, by its owner, and what [membership](crate::members) costs. A node that lacks
/// shards looks at up to twice as many leases as it lacks, and 16, every tenth of the time to live.
///
/// ```
/// # use leasehold_coordination::{Node, shards::{LeasedShards, Move, ShardCoordinator}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let store = leasehold_core::Store::new(leasehold_memory::Memory::new());
/// let shards = LeasedShards::join(store.clone(), Node::new("node-1")?, 1).await?;
/// while let Some(moved) = shards.moves().await {
///     if let Move::Gained(guard) = moved {
///         guard.guard(store.namespace("results")?).put("last", "42").await?;
/// #       shards.leave().await?;
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LeasedShards {
    inner: Arc<Inner>,
}

struct Inner {
    leases: Leases,
    count: u32,
    ttl: Ttl,
    held: Mutex<BTreeMap<ShardId, Held>>,
    /// What is held changed.
    changed: Arc<Notify>,
    moves: Moves,
    members: Members,
    /// Until it left.
    member: Mutex<Option<Member>>,
}

/// A shard that this node owns.
struct Held {
    token: Token,
    revoke: watch::Sender<bool>,
    /// Asked for out of turn, and not given back for the sake of balance.
    asked_for: bool,
}

impl LeasedShards {
    /// Takes part in dividing `count` shards, numbers 0 to `count`. All nodes must say the same count.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for no shards or more than 65,536; otherwise as
    /// [`Leases::connect`].
    pub fn join(store: Store, node: Node, count: u32) -> JoinLeased {
        let ttl = Ttl::new(Duration::from_secs(30)).unwrap_or_default();
        JoinLeased { store, node, count, ttl, metadata: NodeMetadata::default(), takes_share: true }
    }

    /// Everybody that takes part.
    pub fn members(&self) -> &Members {
        &self.inner.members
    }

    async fn owners(&self) -> Result<Owners> {
        let looks = (0..self.inner.count).map(|number| self.owner(ShardId::new(number)));
        let owners: Vec<_> = stream::iter(looks).buffered(LOOKS_MAX).try_collect().await?;
        Ok(Owners { shards: owners.into_iter().flatten().collect() })
    }
}

#[async_trait]
impl ShardCoordinator for LeasedShards {
    fn node(&self) -> &Node {
        self.inner.leases.node()
    }

    fn count(&self) -> u32 {
        self.inner.count
    }

    async fn moves(&self) -> Option<Move> {
        self.inner.moves.next().await
    }

    async fn acquire(&self, shard: ShardId, wait: Wait) -> Result<Option<ShardGuard>> {
        let inner = &self.inner;
        inner.check(shard)?;
        if inner.held.lock().contains_key(&shard) {
            return Err(Error::invalid(format!("this node owns shard {shard} already")));
        }
        let lease = inner.leases.acquire(lease_name(shard)).ttl(inner.ttl).wait(wait).await?;
        Ok(lease.map(|lease| inner.hold(shard, lease, true)))
    }

    /// Costs one read.
    async fn owner(&self, shard: ShardId) -> Result<Option<ShardOwner>> {
        self.inner.check(shard)?;
        let view = self.inner.leases.observe(lease_name(shard)).await?;
        Ok(view.and_then(|view| owned(shard, view.holder.name(), view.token, view.state)))
    }

    /// Costs a read for each shard every third of the time to live, and at every change where the store tells of them.
    async fn watch(&self, known: Option<&Owners>, wait: Wait) -> Result<Option<Owners>> {
        let store = self.inner.leases.store();
        let mut wake = TimedWake::of_prefix(store, &format!("{}/shard-", crate::lease::PREFIX), wait)?;
        loop {
            let owners = self.owners().await?;
            if known != Some(&owners) {
                return Ok(Some(owners));
            }
            if !wake.pause(self.inner.ttl.renewal()).await {
                return Ok(None);
            }
        }
    }

    async fn leave(&self) -> Result<()> {
        let member = self.inner.member.lock().take();
        self.inner.revoke(usize::MAX, |_| 0.0, true);
        self.inner.moves.end();
        self.inner.changed.notify_one();
        match member {
            Some(member) => member.leave().await,
            None => Ok(()),
        }
    }
}

/// What the leases of shards in `store` say, for whoever takes no part.
pub(super) async fn owners(store: &Store) -> Result<Owners> {
    let prefix = format!("{}/shard-", crate::lease::PREFIX);
    let mut shards: Vec<_> = listed(store, &prefix)
        .try_filter_map(|entry| {
            let number = entry.key.as_str().strip_prefix(&prefix).and_then(|number| number.parse().ok());
            async move { Ok(number.map(|number| (ShardId::new(number), entry.key))) }
        })
        .map_ok(|(shard, key)| async move {
            let record = Driver::new(store.clone(), key).record().await?;
            Ok(record.and_then(|record| owned(shard, record.holder.name(), record.token, record.state)))
        })
        .try_buffered(LOOKS_MAX)
        .try_filter_map(|owner| async move { Ok(owner) })
        .try_collect()
        .await?;
    shards.sort_by_key(|owner: &ShardOwner| owner.shard);
    Ok(Owners { shards })
}

/// What the record of a shard's lease says of its owner.
fn owned(shard: ShardId, node: &str, token: Token, state: LeaseState) -> Option<ShardOwner> {
    let moving_to = match state {
        LeaseState::Released => return None,
        LeaseState::HandOver { to } => Some(to),
        LeaseState::Held => None,
    };
    Some(ShardOwner { shard, node: node.to_owned(), token, moving_to })
}

impl Inner {
    fn check(&self, shard: ShardId) -> Result<()> {
        if shard.get() < self.count {
            return Ok(());
        }
        Err(Error::invalid(format!("there is no shard {shard}: numbers go from 0 to {}", self.count - 1)))
    }

    /// Takes note of a shard that was got.
    fn hold(self: &Arc<Self>, shard: ShardId, lease: Lease, asked_for: bool) -> ShardGuard {
        let (revoke, revoked) = watch::channel(false);
        let (token, validity) = (lease.token(), lease.validity().clone());
        self.held.lock().insert(shard, Held { token, revoke, asked_for });
        let tenure = Leased { lease: Some(lease), shard, token, inner: Arc::downgrade(self) };
        ShardGuard::new(shard, token, validity, self.ttl.poll(), revoked, Box::new(tenure))
    }

    /// Asks back `count` shards that were not asked back yet, those with the lowest score first.
    fn revoke(&self, count: usize, score: impl Fn(ShardId) -> f64, all: bool) {
        let held = self.held.lock();
        let mut open: Vec<_> =
            held.iter().filter(|(_, held)| (all || !held.asked_for) && !*held.revoke.borrow()).collect();
        open.sort_by(|a, b| score(*a.0).total_cmp(&score(*b.0)));
        for (shard, held) in open.into_iter().take(count) {
            held.revoke.send_replace(true);
            self.moves.tell(Move::Revoked(*shard));
        }
    }

    /// One round of balance: asks back what is too much, takes what is missing. Returns whether shards are missing still.
    async fn round(self: &Arc<Self>, members: &[MemberView]) -> bool {
        let me = NodeName::from(self.leases.node());
        let takers: Vec<_> = members.iter().filter(|member| member.is_available()).collect();
        let weight = |member: &MemberView| member.metadata.weight.unwrap_or(1);
        // Everybody computes the same: who holds what now must not matter.
        let stakes: Vec<_> =
            takers.iter().map(|member| Stake { weight: weight(member), avoid: false, held: 0 }).collect();
        let shares = quotas(self.count as usize, &stakes, 0);
        let share = takers.iter().zip(shares).find(|(member, _)| member.node == *self.leases.node());
        let (my_weight, share) = share.map_or((1, 0), |(member, share)| (weight(member), share));
        let mine = Contender::new(&me, my_weight);
        let (held, revoked) = {
            let held = self.held.lock();
            (held.len(), held.values().filter(|held| *held.revoke.borrow()).count())
        };
        let kept = held - revoked;
        if kept > share {
            self.revoke(kept - share, |shard| mine.score(shard), false);
            return false;
        }
        let missing = share - kept;
        if missing == 0 {
            return false;
        }
        let others: Vec<_> = takers
            .iter()
            .filter(|member| member.node.name() != me.as_str())
            .filter_map(|member| {
                Some(Contender::new(&NodeName::new(member.node.name()).ok()?, weight(member)))
            })
            .collect();
        let mut open: Vec<_> = (0..self.count).map(ShardId::new).collect();
        open.retain(|shard| !self.held.lock().contains_key(shard));
        // First those that nobody else would begin with, then by chance, so that every one has its turn.
        let random = &self.leases.store().environment().random;
        open.sort_by_cached_key(|shard| {
            let score = mine.score(*shard);
            Reverse((others.iter().all(|other| other.score(*shard) < score), random.bits()))
        });
        open.truncate(missing * 2 + LOOKS_MAX);
        let mut got = 0;
        for shard in open {
            if got == missing || self.member.lock().is_none() {
                break;
            }
            let request = self.leases.acquire(lease_name(shard)).ttl(self.ttl).wait(Wait::Try);
            // What cannot be had now is looked at again.
            if let Ok(Some(lease)) = request.await {
                got += 1;
                let guard = self.hold(shard, lease, false);
                self.moves.tell(Move::Gained(guard));
            }
        }
        got < missing
    }
}

/// Takes part until the coordinator is dropped or left.
async fn balance(inner: Weak<Inner>) {
    let Some((members, changed, ttl)) =
        inner.upgrade().map(|inner| (inner.members.clone(), inner.changed.clone(), inner.ttl))
    else {
        return;
    };
    let environment = members.store().environment().clone();
    let mut seen = None;
    let mut lacks = false;
    loop {
        if let Some(generation) = seen {
            let pause = if lacks { ttl.poll() } else { ttl.renewal() };
            // Nothing is held while this waits, so that dropping the coordinator ends it.
            tokio::select! {
                biased;
                () = changed.notified() => {}
                _ = members.changed(generation, Wait::For(pause)) => {}
            }
        }
        let view = members.look().await;
        let Some(inner) = inner.upgrade().filter(|inner| inner.member.lock().is_some()) else { return };
        match view {
            Ok(view) => {
                seen = Some(view.generation);
                lacks = inner.round(&view.members).await;
            }
            Err(_) => {
                // What is held stays held; the next look may succeed.
                drop(inner);
                environment.clock.sleep(environment.jitter(ttl.poll())).await;
            }
        }
    }
}

/// A lease behind a guard.
struct Leased {
    lease: Option<Lease>,
    shard: ShardId,
    token: Token,
    inner: Weak<Inner>,
}

#[async_trait]
impl Tenure for Leased {
    async fn end(mut self: Box<Self>) -> Result<()> {
        match self.lease.take() {
            Some(lease) => lease.release().await,
            None => Ok(()),
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            let mut held = inner.held.lock();
            // One that was lost and taken again is another tenure.
            if held.get(&self.shard).is_some_and(|held| held.token == self.token) {
                held.remove(&self.shard);
            }
            drop(held);
            inner.changed.notify_one();
        }
    }
}

impl fmt::Debug for LeasedShards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.inner.held.lock().len();
        write!(f, "LeasedShards({} of {} in {:?})", held, self.inner.count, self.inner.leases)
    }
}
