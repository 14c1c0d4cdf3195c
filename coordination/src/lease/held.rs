//! A lease that is held: what its holder may ask of it, and how it gives it up.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use leasehold_core::{Result, Store};
use tokio::sync::oneshot;

use super::{
    driver::Driver,
    keeper::{Kept, Leave, over},
    leases::Inner,
    machine::{Grant, Holding},
    validity::{Lost, Validity},
};
use crate::{Guarded, LeaseState, Node, Token, Ttl, node::check_node};

/// A lease that this process holds, or held.
///
/// It is renewed in the background, at most a third of its time to live apart, until it is released, handed over or
/// dropped. It is over, whatever the network says, when its time to live has passed since the last acknowledged
/// renewal was *sent*, on a clock that counts suspend.
///
/// A lease alone excludes nobody: between [`is_valid`](Lease::is_valid) and the write that follows, this process may
/// be paused for longer than any time to live. Write through [`guard`](Lease::guard), and hand [`token`](Lease::token)
/// to everything else that can compare it.
///
/// Dropping it releases it, without waiting and without telling whether that worked. A process that ends right away
/// ends before that: await [`release`](Lease::release).
#[must_use = "a lease is released when it is dropped"]
pub struct Lease {
    name: String,
    node: Node,
    token: Token,
    ttl: Ttl,
    validity: Arc<Validity>,
    leave: Option<oneshot::Sender<Leave>>,
    /// Keeps the thread that renews.
    _inner: Arc<Inner>,
}

/// Makes a grant a lease that is renewed.
pub(super) fn start(inner: &Arc<Inner>, name: &str, driver: Driver, grant: Grant) -> Result<Lease> {
    let (token, ttl) = (grant.record.token, grant.record.ttl);
    let holding = Holding::new(grant);
    let clock = inner.store.environment().clock.clone();
    let validity = Arc::new(Validity::new(clock, holding.valid_until()));
    let (leave, asked) = oneshot::channel();
    let kept = Kept {
        driver,
        validity: validity.clone(),
        cache: inner.cache.clone(),
        name: name.to_owned(),
        leave: asked,
    };
    inner.keeper.spawn(Box::pin(kept.keep(holding)))?;
    let (name, node) = (name.to_owned(), inner.node.clone());
    Ok(Lease { name, node, token, ttl, validity, leave: Some(leave), _inner: inner.clone() })
}

impl Lease {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who holds it.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The fencing token: greater than that of every holder before.
    pub fn token(&self) -> Token {
        self.token
    }

    /// How long it lasts without a renewal.
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    pub(crate) fn validity(&self) -> &Arc<Validity> {
        &self.validity
    }

    /// How long its holder may act if no further renewal succeeds; zero when it is over.
    pub fn remaining(&self) -> Duration {
        self.validity.remaining()
    }

    /// Whether its holder may act at this moment. Says nothing about the next; see [`guard`](Lease::guard).
    pub fn is_valid(&self) -> bool {
        self.validity.over().is_none()
    }

    /// Resolves when the lease is over, for whatever reason, and says why. Independent of the lease's own life.
    ///
    /// It resolves by this process's own clock, before anybody else can take over, also when the store hangs and when
    /// the thread that renews is stuck in it. Its timer fires on the runtime that polls it: one that is blocked learns
    /// of it when it is not blocked any more.
    ///
    /// # Cancel safety
    /// Can be dropped and made again at any time.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + 'static {
        Arc::clone(&self.validity).lost(self.ttl.poll())
    }

    /// A view of `store` in which every write carries this lease's token and a precondition.
    ///
    /// The store need not be the one the lease is kept in; the records under the guard are what fences.
    pub fn guard(&self, store: Store) -> Guarded {
        Guarded::new(store, &self.name, self.token, Arc::clone(&self.validity))
    }

    /// Gives it up, so that the next contender need not wait for the time to live. Stop what you do under it first.
    ///
    /// From the moment this is called the lease is over here, whatever the store answers. It waits for the
    /// store for as long as the lease had left at most, and rides out transient errors meanwhile. Costs one conditional
    /// put.
    ///
    /// # Errors
    /// [`Fenced`](leasehold_core::ErrorKind::Fenced) when it was over already. What the store fails with: the lease
    /// is then free after its time to live.
    ///
    /// # Cancel safety
    /// A release whose future is dropped goes on in the background.
    pub async fn release(self) -> Result<()> {
        self.leave(LeaseState::Released, Lost::Released).await
    }

    /// Gives it up for one node: it may take it at once, everybody else after the time to live.
    ///
    /// # Errors
    /// As [`release`](Lease::release), and [`Invalid`](leasehold_core::ErrorKind::Invalid) when `to` is no name of a
    /// node; the lease is released then.
    ///
    /// # Cancel safety
    /// As [`release`](Lease::release).
    pub async fn hand_over(self, to: impl AsRef<str> + Send) -> Result<()> {
        let to = to.as_ref().to_owned();
        check_node(&to)?;
        self.leave(LeaseState::HandOver { to: to.clone() }, Lost::HandedOver { to }).await
    }

    async fn leave(mut self, state: LeaseState, reason: Lost) -> Result<()> {
        let known_over = self.validity.over();
        self.validity.end(reason);
        let (reply, answer) = oneshot::channel();
        let sent = self.leave.take().is_some_and(|leave| leave.send(Leave { state, reply }).is_ok());
        let late = || over(&known_over.unwrap_or(Lost::Expired)).during("release");
        if !sent {
            return Err(late());
        }
        answer.await.unwrap_or_else(|_| Err(late()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The keeper sees the end of the channel, and releases.
        self.validity.end(Lost::Released);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.name)
            .field("token", &self.token.get())
            .field("node", &self.node.to_string())
            .field("remaining", &self.remaining())
            .finish()
    }
}
