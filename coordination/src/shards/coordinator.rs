//! What every coordinator of shards offers, and what one who owns a shard gets.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use leasehold_core::{Result, Store, async_trait};
use tokio::sync::watch;

use super::ShardId;
use crate::{Guarded, Lost, Node, Token, Wait, lease::validity::Validity};

/// Divides shards among nodes. One node's handle on it; what it is made of can be swapped.
///
/// - [`LeasedShards`](super::LeasedShards): a lease for each shard, each node takes its share. No leader, nothing to fail over.
/// - [`LedShards`](super::LedShards): a leader plans in one map. The fewest moves, one writer.
///
/// All of them promise the same: no two nodes hold a valid guard of one shard at a time while clock rates are within the bound,
/// tokens of a shard only grow, and what is written through a guard is refused once a newer owner has touched the key.
#[async_trait]
pub trait ShardCoordinator: fmt::Debug + Send + Sync + 'static {
    /// Who this is.
    fn node(&self) -> &Node;

    /// How many shards there are: numbers 0 to this.
    fn count(&self) -> u32;

    /// The next shard that this node shall serve or stop serving; `None` after [`leave`](ShardCoordinator::leave).
    ///
    /// Every move is returned once, to one caller.
    ///
    /// # Cancel safety
    /// Can be dropped and called again at any time; no move is lost.
    async fn moves(&self) -> Option<Move>;

    /// Asks for a shard out of turn. `None` when it was not to be had in the time there was.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for a number that there is not and a shard that this node owns
    /// already; what the store fails with when that lasts.
    async fn acquire(&self, shard: ShardId, wait: Wait) -> Result<Option<ShardGuard>>;

    /// Gives a shard up, so that another node may own it. Stop serving it first. The same as [`ShardGuard::release`].
    ///
    /// # Errors
    /// As [`ShardGuard::release`].
    async fn release(&self, guard: ShardGuard) -> Result<()> {
        guard.release().await
    }

    /// Who owns a shard, as far as the store knows; `None` when nobody does. For routing requests: it may be out of
    /// date, so whoever is asked answers for what it owns by its guard.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for a number that there is not; what the store fails with.
    async fn owner(&self, shard: ShardId) -> Result<Option<ShardOwner>>;

    /// Waits until ownership differs from what `known` says, and returns it all; `None` when it did not in the time there
    /// was. Never misses the last state; may miss those between.
    ///
    /// # Errors
    /// What the store fails with when that lasts.
    ///
    /// # Cancel safety
    /// Waiting can be given up and begun again at any time.
    async fn watch(&self, known: Option<&Owners>, wait: Wait) -> Result<Option<Owners>>;

    /// Takes part no more: no shard is taken, all are asked back, and [`moves`](ShardCoordinator::moves) ends once
    /// that was told. Guards that it returned stay valid until they are released; those that nobody took are given back.
    ///
    /// # Errors
    /// What the store fails with: others take the node for dead after its time to live then.
    async fn leave(&self) -> Result<()>;
}

/// What this node shall do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Move {
    /// Serve a shard, for as long as the guard is valid.
    Gained(ShardGuard),
    /// Stop serving a shard and release its guard, so that another node can begin. Also told by
    /// [`ShardGuard::revoked`].
    Revoked(ShardId),
}

/// Who owns a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardOwner {
    /// Which shard.
    pub shard: ShardId,
    /// The name of the node.
    pub node: String,
    /// The token it owns it under.
    pub token: Token,
    /// The name of the node it moves to, where that is known.
    pub moving_to: Option<String>,
}

/// Who owns which shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owners {
    /// By number; those that nobody owns are left out.
    pub shards: Vec<ShardOwner>,
}

impl Owners {
    /// How many shards each node owns, by name.
    pub fn per_node(&self) -> std::collections::BTreeMap<&str, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for owner in &self.shards {
            *counts.entry(owner.node.as_str()).or_default() += 1;
        }
        counts
    }
}

/// How a shard is given back to whoever gave it.
#[async_trait]
pub(super) trait Tenure: Send + Sync {
    /// Ends it, and tells when it has ended.
    async fn end(self: Box<Self>) -> Result<()>;
}

/// A shard that this node owns, or owned.
///
/// It is kept in the background, until it is lost, released or dropped. Write what belongs to the shard through
/// [`guard`](ShardGuard::guard): a node that was paused may still believe to own it.
#[must_use = "a shard is given up when its guard is dropped"]
pub struct ShardGuard {
    shard: ShardId,
    token: Token,
    validity: Arc<Validity>,
    poll: Duration,
    revoked: watch::Receiver<bool>,
    tenure: Option<Box<dyn Tenure>>,
}

impl ShardGuard {
    pub(super) fn new(
        shard: ShardId,
        token: Token,
        validity: Arc<Validity>,
        poll: Duration,
        revoked: watch::Receiver<bool>,
        tenure: Box<dyn Tenure>,
    ) -> Self {
        Self { shard, token, validity, poll, revoked, tenure: Some(tenure) }
    }

    /// Which shard.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The fencing token: greater than that of every owner before.
    pub fn token(&self) -> Token {
        self.token
    }

    /// How long it may be served if nothing more is heard of the store; zero when it is over.
    pub fn remaining(&self) -> Duration {
        self.validity.remaining()
    }

    /// Whether it may be served at this moment. Says nothing about the next; see [`guard`](ShardGuard::guard).
    pub fn is_valid(&self) -> bool {
        self.validity.over().is_none()
    }

    /// Resolves when it is over, for whatever reason, and says why.
    ///
    /// # Cancel safety
    /// Can be dropped and made again at any time.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + 'static {
        Arc::clone(&self.validity).lost(self.poll)
    }

    /// Resolves when the shard shall be given up: finish what is under way, then [`release`](ShardGuard::release) it. Until
    /// then it stays owned.
    ///
    /// # Cancel safety
    /// Can be dropped and made again at any time.
    pub fn revoked(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut revoked = self.revoked.clone();
        async move {
            if revoked.wait_for(|revoked| *revoked).await.is_err() {
                // Nobody can ask for it any more.
                std::future::pending().await
            }
        }
    }

    /// A view of `store` in which every write carries this shard's token and a precondition.
    pub fn guard(&self, store: Store) -> Guarded {
        Guarded::new(store, &lease_name(self.shard), self.token, Arc::clone(&self.validity))
    }

    /// Gives it up. Stop serving it first: from the moment this is called it is over here. After
    /// [`leave`](ShardCoordinator::leave) it waits for no leader: the end of the node's part, with its last guard, says the same.
    ///
    /// # Errors
    /// [`Fenced`](leasehold_core::ErrorKind::Fenced) when it was over already. What the store fails with when that lasts: it
    /// is free after the time to live then.
    ///
    /// # Cancel safety
    /// It goes on in the background.
    pub async fn release(mut self) -> Result<()> {
        match self.tenure.take() {
            Some(tenure) => tenure.end().await,
            None => Ok(()),
        }
    }
}

impl Drop for ShardGuard {
    fn drop(&mut self) {
        if self.tenure.is_some() {
            self.validity.end(Lost::Released);
        }
    }
}

impl fmt::Debug for ShardGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardGuard")
            .field("shard", &self.shard.get())
            .field("token", &self.token.get())
            .field("remaining", &self.remaining())
            .finish()
    }
}

/// What the lease of a shard is called, and what its guarded records name.
pub(super) fn lease_name(shard: ShardId) -> String {
    format!("shard-{shard}")
}
