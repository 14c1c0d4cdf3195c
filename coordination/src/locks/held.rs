//! A lock that is held.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use leasehold_core::{Error, ErrorKind, Result, Store};

use super::{
    handle::{Departure, Inner},
    owner::Owner,
    session::Session,
    state::{LockState, Standing},
};
use crate::{
    Guarded, Lost, Token,
    call::is_transient,
    lease::validity::Validity,
    register::{Next, Register},
};

/// A lock that this process holds, or held: alone, shared, or one permit of a semaphore.
///
/// It lasts as long as the session of its [`Locks`](crate::Locks), which is renewed in the background on a thread of its
/// own, until it is released or dropped. What is said of a [`Lease`](crate::Lease) holds for it: holding it excludes
/// nobody, so write through [`guard`](Lock::guard) and hand [`token`](Lock::token) to whatever can compare it.
///
/// Dropping it releases it, without waiting and without telling whether that worked. A process that ends right away
/// ends before that: await [`release`](Lock::release).
#[must_use = "a lock is released when it is dropped"]
pub struct Lock {
    held: Option<Held>,
    name: String,
    token: Token,
    alone: bool,
    validity: Arc<Validity>,
    poll: Duration,
}

/// What it takes to give a lock up.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) inner: Arc<Inner>,
    pub(super) owner: Arc<Owner>,
    pub(super) session: Arc<Session>,
    pub(super) register: Arc<Register<LockState>>,
    pub(super) claim: String,
}

impl Lock {
    pub(super) fn new(held: Held, name: &str, token: Token, alone: bool) -> Self {
        held.owner.held.lock().insert(held.claim.clone(), name.to_owned());
        Self {
            name: name.to_owned(),
            token,
            alone,
            validity: Arc::new(Validity::within(held.session.validity().clone())),
            poll: held.inner.ttl.poll(),
            held: Some(held),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fencing token: greater than that of everybody who was let in before.
    pub fn token(&self) -> Token {
        self.token
    }

    /// On whose behalf it is held; see [`Locks::owner`](crate::Locks::owner).
    pub fn owner(&self) -> &str {
        self.held.as_ref().map_or("", |held| &held.owner.id)
    }

    /// What a program that is started under this lock, and waited for, takes part in the search for deadlocks with:
    /// hand it over, in an environment variable say, and let it ask by
    /// [`Locks::owner_from`](crate::Locks::owner_from). It names the locks that the owner holds at this moment, and is no
    /// secret.
    pub fn heritage(&self) -> String {
        self.held.as_ref().map_or_else(String::new, |held| held.owner.heritage())
    }

    /// How long its holder may act if no further renewal of the session succeeds; zero when it is over.
    pub fn remaining(&self) -> Duration {
        self.validity.remaining()
    }

    /// Whether its holder may act at this moment. Says nothing about the next; see [`guard`](Lock::guard).
    pub fn is_valid(&self) -> bool {
        self.validity.over().is_none()
    }

    /// Resolves when the lock is over, for whatever reason, and says why. Independent of the lock's own life.
    ///
    /// # Cancel safety
    /// Can be dropped and made again at any time.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + 'static {
        Arc::clone(&self.validity).lost(self.poll)
    }

    /// A view of `store` in which every write carries this lock's token and a precondition.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a lock that is shared and for a semaphore: its holders would fence each other.
    pub fn guard(&self, store: Store) -> Result<Guarded> {
        if !self.alone {
            return Err(Error::invalid(format!(
                "the lock {:?} is held beside others, who would fence each other; guard by an exclusive lock",
                self.name
            )));
        }
        Ok(Guarded::new(store, &self.name, self.token, Arc::clone(&self.validity)))
    }

    /// Gives it up; whoever is next in line holds it at once. Stop what you do under it first.
    ///
    /// From the moment this is called the lock is over here, whatever the store answers. Rides out transient errors for as
    /// long as the session lasts. Costs one conditional put when nobody else touched the record, and one read more
    /// otherwise.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) when it was over already. What the store fails with: the lock is then free
    /// after the session's time to live.
    ///
    /// # Cancel safety
    /// A release whose future is dropped goes on in the background.
    pub async fn release(mut self) -> Result<()> {
        self.validity.end(Lost::Released);
        match self.held.take() {
            Some(held) => held.leaving().await,
            None => Ok(()),
        }
    }
}

/// Gives a lock up where it is awaited, without a change of thread; when nobody awaits it any more, on the thread that renews.
struct Leaving {
    /// `None` when it is done.
    parting: Option<Arc<Parting>>,
    left: BoxFuture<'static, Result<()>>,
}

struct Parting {
    held: Held,
    /// Whoever closes waits for it.
    _departure: Departure,
}

impl Future for Leaving {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.left.as_mut().poll(context));
        self.parting = None;
        Poll::Ready(result)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Some(parting) = self.parting.take() else { return };
        let leases = parting.held.inner.leases.clone();
        // From the beginning: what is under way hangs on the runtime that it was begun on. Who is out already is told so, and
        // without a thread to do it on, the time to live frees the lock.
        let _ = leases.in_background(Box::pin(async move { drop(parting.held.leave().await) }));
    }
}

impl Held {
    /// Leaves when awaited, and in the background when dropped.
    fn leaving(self) -> Leaving {
        self.owner.held.lock().remove(&self.claim);
        let parting = Arc::new(Parting { _departure: self.inner.departure(), held: self });
        let leaves = parting.clone();
        Leaving { parting: Some(parting), left: Box::pin(async move { leaves.held.leave().await }) }
    }

    async fn leave(&self) -> Result<()> {
        let mut in_doubt = false;
        loop {
            let left = self.register.change(|state| {
                Ok(match state.leave(&self.claim) {
                    Standing::Held(_) | Standing::Queued(_) => Next::Write(true),
                    Standing::Out => Next::Keep(false),
                })
            });
            let lasts = || self.session.validity().over().is_none();
            match left.await {
                Ok(left) if left || in_doubt => return Ok(()),
                Ok(_) => {
                    let message =
                        "the lock was over before it was given up: its session could not be renewed in time";
                    return Err(self.register.told(Error::new(ErrorKind::Fenced, message)));
                }
                // Outlasts what a change rides out by itself.
                Err(error) if (is_transient(&error) || error.is_conflict()) && lasts() => {
                    in_doubt |= error.is_indeterminate();
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.validity.end(Lost::Released);
        if let Some(held) = self.held.take() {
            drop(held.leaving());
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("name", &self.name)
            .field("token", &self.token.get())
            .field("alone", &self.alone)
            .field("remaining", &self.remaining())
            .finish()
    }
}
