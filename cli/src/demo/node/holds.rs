//! How a node comes to hold a shard: by a lease that it takes, or because a leader gave it.

use leasehold::{
    ErrorKind, Result, Store,
    coordination::{
        Guarded, Lease, Leases, Node, Token, Ttl, Wait,
        shards::{LedShards, Move, ShardCoordinator, ShardGuard},
    },
};
use tokio::sync::{Mutex, mpsc};

use crate::demo::plan::Plan;

/// Where shards come from.
#[derive(Debug)]
pub(super) enum Holds {
    Leased {
        leases: Leases,
        ttl: Ttl,
    },
    /// What the leader gave, by shard.
    Led(Vec<Mutex<mpsc::UnboundedReceiver<ShardGuard>>>),
}

/// A shard that is held.
#[derive(Debug)]
pub(super) enum Hold {
    Leased(Lease),
    Led(ShardGuard),
}

impl Holds {
    pub(super) async fn leased(store: Store, node: Node, ttl: Ttl) -> Result<Self> {
        Ok(Self::Leased { leases: Leases::connect(store, node).await?, ttl })
    }

    pub(super) async fn led(store: Store, node: Node, ttl: Ttl, shards: usize) -> Result<Self> {
        let coordinator = LedShards::join(store, node, shards as u32).ttl(ttl).await?;
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
        tokio::spawn(async move {
            while let Some(moved) = coordinator.moves().await {
                let Move::Gained(guard) = moved else { continue };
                if let Err(unwanted) = senders[guard.shard().get() as usize].send(guard) {
                    // It is done, and somebody has to own it.
                    tokio::spawn(Hold::Led(unwanted.0).park());
                }
            }
        });
        Ok(Self::Led(receivers.into_iter().map(Mutex::new).collect()))
    }

    /// Waits for a shard. `None` for a failure that passes.
    pub(super) async fn acquire(&self, shard: usize) -> Result<Option<Hold>> {
        match self {
            Self::Leased { leases, ttl } => {
                let acquired = leases.acquire(Plan::lease(shard)).ttl(*ttl).wait(Wait::Forever).await;
                match acquired {
                    Ok(lease) => Ok(lease.map(Hold::Leased)),
                    Err(error) if passes(error.kind()) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Self::Led(receivers) => {
                let mut guards = receivers[shard].lock().await;
                match guards.recv().await {
                    Some(guard) => Ok(Some(Hold::Led(guard))),
                    // The coordinator lives as long as this process.
                    None => std::future::pending().await,
                }
            }
        }
    }
}

/// Whether a failure is one that a later try may not meet.
pub(super) fn passes(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Conflict | ErrorKind::Throttled | ErrorKind::Timeout | ErrorKind::Unavailable)
}

impl Hold {
    pub(super) fn token(&self) -> Token {
        match self {
            Self::Leased(lease) => lease.token(),
            Self::Led(guard) => guard.token(),
        }
    }

    pub(super) fn guard(&self, store: Store) -> Guarded {
        match self {
            Self::Leased(lease) => lease.guard(store),
            Self::Led(guard) => guard.guard(store),
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        match self {
            Self::Leased(lease) => lease.is_valid(),
            Self::Led(guard) => guard.is_valid(),
        }
    }

    /// Resolves when it is over, or asked back: work under it has to stop.
    pub(super) async fn ends(&self) {
        match self {
            Self::Leased(lease) => drop(lease.lost().await),
            Self::Led(guard) => tokio::select! {
                _ = guard.lost() => {}
                () = guard.revoked() => {}
            },
        }
    }

    /// Gives it up.
    pub(super) async fn release(self) -> Result<()> {
        match self {
            Self::Leased(lease) => lease.release().await,
            Self::Led(guard) => guard.release().await,
        }
    }

    /// Keeps what is done until it is asked back, so that a leader does not give it away again and again.
    pub(super) async fn park(self) {
        if matches!(self, Self::Led(_)) {
            self.ends().await;
        }
        // Others learn from the parent that nothing is left to do; nobody waits for this release.
        let _ = self.release().await;
    }
}
