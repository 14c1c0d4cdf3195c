//! A node that takes part.

use std::{fmt, future::IntoFuture, sync::Arc};

use futures_util::future::BoxFuture;
use leasehold_core::{Error, ErrorKind, Result, Store};
use tokio::sync::watch;

use super::{
    Members, NodeMetadata, Role,
    info::Info,
    members::{beat, info, remove},
};
use crate::{
    Node, Ttl,
    call::{CALL_WITHIN, write_within},
    lease::keeper::Keeper,
    register::{Next, Register},
};

/// A request to take part, made by [`Members::join`]. Awaits to the [`Member`].
///
/// Whoever took part under the same name before is replaced: a name stands for one machine, and a restart need not wait.
///
/// # Cost
/// Two puts and a read, beside certification.
///
/// # Errors
/// As [`Leases::connect`](crate::Leases::connect).
///
/// # Cancel safety
/// The node may have joined without beating; it is dead to others after its time to live.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct Join {
    store: Store,
    node: Node,
    role: Role,
    metadata: NodeMetadata,
    ttl: Ttl,
    keeper: Arc<Keeper>,
}

impl Join {
    pub(super) fn new(store: Store, node: Node) -> Self {
        let ttl = Ttl::new(std::time::Duration::from_secs(30)).unwrap_or_default();
        Self {
            store,
            node,
            role: Role::default(),
            metadata: NodeMetadata::default(),
            ttl,
            keeper: Arc::default(),
        }
    }

    /// What part it takes; a follower by default.
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// What others should know of it.
    pub fn metadata(mut self, metadata: NodeMetadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Beats on this thread.
    pub(crate) fn on(mut self, keeper: &Arc<Keeper>) -> Self {
        self.keeper = keeper.clone();
        self
    }

    /// How long it may be silent before others take it for dead; 30 s by default. It beats three times as often.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }
}

impl IntoFuture for Join {
    type Output = Result<Member>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { store, node, role, metadata, ttl, keeper } = self;
            let members = Members::observe(store.clone()).await?;
            let register = Arc::new(info(&store, node.name())?);
            let ttl_ms = u64::try_from(ttl.get().as_millis()).unwrap_or(u64::MAX);
            let incarnation = node.incarnation().to_owned();
            let ours = Info { incarnation, role, draining: false, ttl_ms, metadata };
            register
                .change(|info| {
                    ours.clone_into(info);
                    Ok(Next::Write(()))
                })
                .await?;
            let taking_part = watch::Sender::new(Standing { draining: false, over: None });
            let inner = Arc::new(Inner { node, ttl, register, members, taking_part, keeper });
            inner.beat().await?;
            let heart = Arc::downgrade(&inner);
            let stop = inner.taking_part.subscribe();
            inner.keeper.spawn(Box::pin(keep_beating(heart, stop)))?;
            Ok(Member { inner })
        })
    }
}

/// A node that takes part, and beats until it leaves or is dropped.
///
/// Dropped without [`leave`](Member::leave), it is dead to others after its time to live.
pub struct Member {
    inner: Arc<Inner>,
}

struct Inner {
    node: Node,
    ttl: Ttl,
    register: Arc<Register<Info>>,
    members: Members,
    taking_part: watch::Sender<Standing>,
    keeper: Arc<Keeper>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    draining: bool,
    over: Option<Departed>,
}

/// Why a node takes no part any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departed {
    /// It left, or was dropped.
    Left,
    /// Another start of it joined under the same name.
    Replaced,
    /// Its record was removed.
    Removed,
}

impl fmt::Display for Departed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "it left",
            Self::Replaced => "another start of it joined under the same name",
            Self::Removed => "its record was removed",
        })
    }
}

impl Member {
    /// Who it is.
    pub fn node(&self) -> &Node {
        &self.inner.node
    }

    /// How long it may be silent before others take it for dead.
    pub fn ttl(&self) -> Ttl {
        self.inner.ttl
    }

    /// Everybody, as this node sees them.
    pub fn members(&self) -> &Members {
        &self.inner.members
    }

    /// Whether it was asked to give up its work. Known within a third of the time to live.
    pub fn is_draining(&self) -> bool {
        self.inner.taking_part.borrow().draining
    }

    /// Resolves when it was asked to give up its work.
    ///
    /// # Cancel safety
    /// Can be dropped and made again at any time.
    pub async fn drained(&self) {
        let mut standing = self.inner.taking_part.subscribe();
        // The sender lives as long as this.
        let _ = standing.wait_for(|standing| standing.draining).await;
    }

    /// Resolves when it takes no part any more, and says why: it stops beating then. Known within a third of the time to
    /// live.
    ///
    /// # Cancel safety
    /// Can be dropped and made again at any time.
    pub async fn departed(&self) -> Departed {
        let mut standing = self.inner.taking_part.subscribe();
        match standing.wait_for(|standing| standing.over.is_some()).await {
            Ok(standing) => standing.over.clone().unwrap_or(Departed::Left),
            Err(_) => Departed::Left,
        }
    }

    /// Takes another part. Costs one conditional put.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) when it takes no part any more; what the store fails with when that lasts.
    pub async fn set_role(&self, role: Role) -> Result<()> {
        self.inner.say(|info| info.role = role).await
    }

    /// Says something else of itself. Costs one conditional put.
    ///
    /// # Errors
    /// As [`set_role`](Member::set_role).
    pub async fn set_metadata(&self, metadata: NodeMetadata) -> Result<()> {
        self.inner.say(|info| metadata.clone_into(&mut info.metadata)).await
    }

    /// Takes no part any more: others see it gone at once. Costs a conditional put and two deletes.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) when it took no part any more; what the store fails with: it is dead to others after
    /// its time to live then.
    ///
    /// # Cancel safety
    /// It stops beating, and may still be seen for its time to live.
    pub async fn leave(self) -> Result<()> {
        let inner = &self.inner;
        // First the heart: nothing may be written after the records are gone.
        inner.end(Departed::Left);
        // One more write of our own, so that nobody else's record is removed.
        inner.say(|info| info.draining = true).await?;
        remove(inner.members.store(), inner.node.name()).await
    }
}

impl Inner {
    /// Writes that it is alive.
    async fn beat(&self) -> Result<()> {
        let store = self.members.store();
        let nonce = store.environment().identifier();
        // One that comes late says no less, and one that does not come is followed by the next.
        let limit = CALL_WITHIN.min(self.ttl.renewal());
        let put = store.put(beat(self.node.name())?, nonce).into_future();
        write_within(&*store.environment().clock, limit, put).await.map(drop)
    }

    /// Changes its own record.
    async fn say(&self, mut change: impl FnMut(&mut Info)) -> Result<()> {
        self.register
            .change(|info| {
                if info.incarnation != self.node.incarnation() {
                    let message = format!("{} takes no part any more: {}", self.node, departed(info));
                    return Err(Error::new(ErrorKind::Fenced, message));
                }
                change(info);
                Ok(Next::Write(()))
            })
            .await
    }

    /// Ends its part, unless it has ended.
    fn end(&self, reason: Departed) {
        self.taking_part.send_if_modified(|standing| {
            let ends = standing.over.is_none();
            if ends {
                standing.over = Some(reason);
            }
            ends
        });
    }

    /// Beats, and looks what became of its record meanwhile.
    async fn attend(&self) {
        // What fails is tried again in time; silence tells the rest.
        if self.taking_part.borrow().over.is_some() || self.beat().await.is_err() {
            return;
        }
        let Ok(info) = self.register.read().await else { return };
        if info.incarnation != self.node.incarnation() {
            return self.end(departed(&info));
        }
        self.taking_part.send_if_modified(|standing| {
            let changes = standing.draining != info.draining;
            standing.draining = info.draining;
            changes
        });
    }
}

fn departed(found: &Info) -> Departed {
    if *found == Info::default() { Departed::Removed } else { Departed::Replaced }
}

/// Beats three times in a time to live, until the member is dropped or takes no part any more.
async fn keep_beating(heart: std::sync::Weak<Inner>, mut standing: watch::Receiver<Standing>) {
    loop {
        let sleep = {
            let Some(inner) = heart.upgrade() else { return };
            let environment = inner.members.store().environment();
            environment.clock.sleep(environment.jitter(inner.ttl.renewal()))
        };
        tokio::select! {
            biased;
            ended = standing.wait_for(|standing| standing.over.is_some()) => {
                drop(ended);
                return;
            }
            () = sleep => {}
        }
        let Some(inner) = heart.upgrade() else { return };
        inner.attend().await;
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({} in {})", self.inner.node, self.inner.members.store())
    }
}
