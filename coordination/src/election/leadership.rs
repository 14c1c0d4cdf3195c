//! What the one who won an election may do.

use std::{fmt, future::Future, time::Duration};

use leasehold_core::{IntoBody, Key, Result, Store};

use crate::{Guarded, Lease, Lost, Node, Token};

/// The leadership of an election, for one term.
///
/// It is renewed in the background, and lasts until it is lost, resigned, handed over or dropped; see [`Lease`]. Dropping it
/// resigns, without waiting and without telling whether that worked.
#[must_use = "a leadership is resigned when it is dropped"]
pub struct Leadership {
    name: String,
    key: Key,
    lease: Lease,
    proclamations: Guarded,
}

impl Leadership {
    pub(super) fn new(store: Store, name: String, key: Key, lease: Lease) -> Self {
        let proclamations = lease.guard(store);
        Self { name, key, lease, proclamations }
    }

    /// What the election is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who leads.
    pub fn node(&self) -> &Node {
        self.lease.node()
    }

    /// The term: greater than that of every leader before. It is the fencing token of [`guard`](Leadership::guard).
    pub fn term(&self) -> Token {
        self.lease.token()
    }

    /// How long this node leads if no further renewal succeeds; zero when it is over.
    pub fn remaining(&self) -> Duration {
        self.lease.remaining()
    }

    /// Whether this node leads at this moment. Says nothing about the next; see [`guard`](Leadership::guard).
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// Resolves when the leadership is over, for whatever reason, and says why.
    ///
    /// # Cancel safety
    /// Can be dropped and made again at any time.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + 'static {
        self.lease.lost()
    }

    /// A view of `store` in which every write carries the term and a precondition: what a leader that was deposed still
    /// sends is refused once its successor has touched the key.
    pub fn guard(&self, store: Store) -> Guarded {
        self.lease.guard(store)
    }

    /// Tells everybody who observes the election: an address, a plan. Replaces what was proclaimed before in this
    /// term. Costs one guarded write.
    ///
    /// # Errors
    /// As [`Guarded::put`].
    ///
    /// # Cancel safety
    /// As [`Guarded::put`].
    pub async fn proclaim(&self, value: impl IntoBody + Send) -> Result<()> {
        self.proclamations.put(&self.key, value).await
    }

    /// Gives the leadership up; the next candidate need not wait. Stop what you do as a leader first.
    ///
    /// # Errors
    /// As [`Lease::release`].
    ///
    /// # Cancel safety
    /// It goes on in the background.
    pub async fn resign(self) -> Result<()> {
        self.lease.release().await
    }

    /// Gives the leadership up for one node: it leads as soon as it stands, everybody else after the time to live.
    ///
    /// # Errors
    /// As [`Lease::hand_over`].
    ///
    /// # Cancel safety
    /// It goes on in the background.
    pub async fn hand_over(self, to: impl AsRef<str> + Send) -> Result<()> {
        self.lease.hand_over(to).await
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("name", &self.name)
            .field("term", &self.term().get())
            .field("node", &self.node().to_string())
            .field("remaining", &self.remaining())
            .finish()
    }
}
