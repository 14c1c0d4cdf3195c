//! Sessions: what keeps the claims of a process alive, one lease for all of them, and how a dead one is put to rest.

use std::{sync::Arc, time::Duration};

use leasehold_core::{Result, Store};
use parking_lot::Mutex;

use crate::{Lease, Leases, Ttl, Wait, call::remove, lease::validity::Validity};

/// How often it is tried to remove what is left of a session, for ten seconds each time.
const REMOVALS_MAX: usize = 30;

/// Before the names of sessions, among those of leases.
const SESSIONS: &str = ".sessions";

/// One session: a lease under a name that is never used again.
pub(crate) struct Session {
    pub(crate) id: String,
    lease: Mutex<Option<Lease>>,
    validity: Arc<Validity>,
    leases: Leases,
}

impl Session {
    /// Opens a session. Costs one read and one put.
    pub(crate) async fn open(leases: &Leases, ttl: Ttl) -> Result<Self> {
        loop {
            let id = leases.store().environment().identifier();
            // Nobody else knows the name, so it is free; if not, the generator is at fault, and the next will do.
            if let Some(lease) = leases.acquire_internal(name(&id)).ttl(ttl).wait(Wait::Try).await? {
                let validity = lease.validity().clone();
                return Ok(Self { id, lease: Mutex::new(Some(lease)), validity, leases: leases.clone() });
            }
        }
    }

    pub(crate) fn validity(&self) -> &Arc<Validity> {
        &self.validity
    }

    /// Ends it. Everything that it kept alive is free at once.
    pub(crate) async fn close(&self) -> Result<()> {
        let lease = self.lease.lock().take();
        match lease {
            Some(lease) => bury(lease, self.leases.store().clone()).await,
            None => Ok(()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.lock().take() {
            bury_in_background(lease, &self.leases, ());
        }
    }
}

/// A session of somebody else that is over for good.
pub(crate) struct Dead(Lease);

/// Sees whether a session is over, and makes sure that it stays so. `None` while its process may be alive.
///
/// To be asked again and again: it is over when its record did not change for its whole time to live, counted
/// from the first time that this process asked. Costs one read without content, and one put for the last time.
///
/// `ttl` is how long others have to wait when this process is gone before it is done with it.
pub(crate) async fn fence(leases: &Leases, id: &str, ttl: Ttl) -> Result<Option<Dead>> {
    // Whoever can take the lease has ended the session: no renewal can succeed any more.
    let taken = leases.acquire_internal(name(id)).ttl(ttl).wait(Wait::Try).await?;
    Ok(taken.map(Dead))
}

/// When a session will be over unless its record changes, on the monotonic clock; `None` before anybody asked whether it is.
pub(crate) fn dies_at(leases: &Leases, id: &str) -> Option<Duration> {
    let known = leases.known(&name(id))?;
    Some(known.since + known.record.ttl.patience())
}

impl Dead {
    /// Removes what is left of it, while nobody waits for that. Nothing refers to it any more, or will find it absent,
    /// which says the same. `witness` is dropped when it is done, or could not be at first.
    pub(crate) fn bury(self, leases: &Leases, witness: impl Send + 'static) {
        bury_in_background(self.0, leases, witness);
    }
}

/// Gives a session up and removes its record: its name is never used again, so nothing can be taken for it.
async fn bury(lease: Lease, store: Store) -> Result<()> {
    let key = format!("{}/{}", crate::lease::PREFIX, lease.name());
    let released = lease.release().await;
    remove(&store, &*key).await?;
    released
}

fn bury_in_background(lease: Lease, leases: &Leases, witness: impl Send + 'static) {
    let store = leases.store().clone();
    let key = format!("{}/{}", crate::lease::PREFIX, lease.name());
    // Without a thread to do it on, the time to live frees what it kept.
    let _ = leases.in_background(Box::pin(async move {
        let mut buried = bury(lease, store.clone()).await;
        // Nobody has to wait for an outage to end.
        drop(witness);
        // An outage of some minutes leaves nothing behind; a record that is left does no harm.
        for _ in 0..REMOVALS_MAX {
            if buried.is_ok() {
                return;
            }
            buried = remove(&store, &*key).await;
        }
    }));
}

fn name(id: &str) -> String {
    format!("{SESSIONS}/{id}")
}
