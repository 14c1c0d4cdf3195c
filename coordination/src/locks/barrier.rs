//! A barrier: nobody goes on until all are there.

use std::{collections::BTreeMap, future::IntoFuture, sync::Arc};

use futures_util::future::BoxFuture;
use leasehold_core::{Error, Key, Result};
use serde::{Deserialize, Serialize};

use super::{
    handle::Inner,
    session::{self, Dead, Session},
    state::CLAIMS_MAX,
};
use crate::{
    Wait,
    call::is_transient,
    node::check_name,
    register::{Next, Register, State},
    watch::TimedWake,
};

/// Who has arrived, and how often all were there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct BarrierState {
    parties: u32,
    /// How often it opened.
    generation: u64,
    arrived: Vec<Arrival>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Arrival {
    id: String,
    node: String,
    session: String,
}

impl State for BarrierState {
    const KIND: &'static str = "barrier";

    fn check(&self) -> Result<(), &'static str> {
        let full = self.parties > 0 && self.arrived.len() >= self.parties as usize;
        if full { Err("all are there and it did not open") } else { Ok(()) }
    }
}

impl BarrierState {
    /// Arrives, unless it has; opens when all are there. Returns the generation that is waited for.
    fn arrive(&mut self, arrival: &Arrival, parties: u32) -> Result<u64> {
        if self.parties != parties {
            if !self.arrived.is_empty() {
                return Err(Error::invalid(format!(
                    "it is in use for {} parties and was asked for {parties}; use one number, or another name",
                    self.parties
                )));
            }
            self.parties = parties;
        }
        let awaited = self.generation + 1;
        if !self.arrived.iter().any(|there| there.id == arrival.id) {
            self.arrived.push(arrival.clone());
        }
        if self.arrived.len() >= parties as usize {
            self.generation = awaited;
            self.arrived.clear();
        }
        Ok(awaited)
    }
}

/// An arrival at a barrier, made by [`Locks::barrier`](crate::Locks::barrier). Awaits to the number of times the barrier has
/// opened, this time included; `None` when it did not in the time there was.
///
/// Who dies while it waits is taken out by those who wait beside it, as for a lock; one who was not watched for its whole time to live
/// when the last one arrives still counts. The same barrier can be used again and
/// again; kept as one record under `_cluster/barriers/`.
///
/// # Cost
/// One conditional put, and one read when others arrived meanwhile; while waiting one read without content each poll, and one
/// for each who arrived.
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for an unsound name, for fewer than 1 or more than 1,000 parties, and
/// for another number than it is in use for; what the store fails with when that lasts.
///
/// # Cancel safety
/// Who stops waiting has not arrived, unless the barrier has opened meanwhile.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct BarrierRequest {
    inner: Arc<Inner>,
    name: String,
    parties: u32,
    wait: Wait,
}

impl BarrierRequest {
    pub(super) fn new(inner: Arc<Inner>, name: &str, parties: u32) -> Self {
        Self { inner, name: name.to_owned(), parties, wait: Wait::default() }
    }

    /// How long to wait for the others; for ever by default.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }
}

impl IntoFuture for BarrierRequest {
    type Output = Result<Option<u64>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            check_name("a barrier", &self.name)?;
            if !(1..=CLAIMS_MAX as u32).contains(&self.parties) {
                let message = format!("a barrier is for 1 to {CLAIMS_MAX} parties, not {}", self.parties);
                return Err(Error::invalid(message));
            }
            let store = self.inner.leases.store().clone();
            let key = Key::new(format!("_cluster/barriers/{}", self.name))?;
            let mut wake = TimedWake::of_key(&store, &key, self.wait);
            let mut visit = Visit {
                session: self.inner.session().await?,
                arrival: Arrival {
                    id: String::new(),
                    node: self.inner.leases.node().name().to_owned(),
                    session: String::new(),
                },
                inner: self.inner,
                register: Arc::new(Register::new(store, key)),
                parties: self.parties,
                dead: BTreeMap::new(),
                gone: Vec::new(),
                waits: false,
            };
            loop {
                let awaited = visit.arrive().await?;
                let outcome = visit.wait(awaited, &mut wake).await?;
                if let Some(outcome) = outcome {
                    return Ok(outcome);
                }
            }
        })
    }
}

/// One who arrived, and what becomes of it when it does not wait any more.
struct Visit {
    inner: Arc<Inner>,
    register: Arc<Register<BarrierState>>,
    session: Arc<Session>,
    arrival: Arrival,
    parties: u32,
    dead: BTreeMap<String, Dead>,
    /// Sessions that are over.
    gone: Vec<String>,
    /// Whether the record may say that we are there.
    waits: bool,
}

impl Visit {
    /// Arrives under a session that lasts.
    async fn arrive(&mut self) -> Result<u64> {
        if self.session.validity().over().is_some() {
            self.gone.push(self.session.id.clone());
            self.session = self.inner.session().await?;
        }
        self.arrival.session.clone_from(&self.session.id);
        self.arrival.id = self.inner.leases.store().environment().identifier();
        self.waits = true;
        let (arrival, parties, gone) = (&self.arrival, self.parties, &self.gone);
        self.register
            .change(|barrier| {
                barrier.arrived.retain(|there| !gone.contains(&there.session));
                barrier.arrive(arrival, parties).map(Next::Write)
            })
            .await
    }

    /// Waits for the others: opened or out of time, or `None` when this one must arrive anew.
    async fn wait(&mut self, awaited: u64, wake: &mut TimedWake) -> Result<Option<Option<u64>>> {
        loop {
            let gone = &self.gone;
            let barrier = self
                .register
                .change(|barrier| {
                    let before = barrier.arrived.len();
                    barrier.arrived.retain(|there| !gone.contains(&there.session));
                    let now = barrier.clone();
                    Ok(if barrier.arrived.len() == before { Next::Keep(now) } else { Next::Write(now) })
                })
                .await?;
            for dead in std::mem::take(&mut self.dead).into_values() {
                dead.bury(&self.inner.leases, self.inner.departure());
            }
            if barrier.generation >= awaited {
                self.waits = false;
                return Ok(Some(Some(awaited)));
            }
            if !barrier.arrived.contains(&self.arrival) {
                return Ok(None);
            }
            for there in &barrier.arrived {
                if there.session == self.session.id || self.dead.contains_key(&there.session) {
                    continue;
                }
                match session::fence(&self.inner.leases, &there.session, self.inner.ttl).await {
                    Ok(Some(dead)) => {
                        self.gone.push(there.session.clone());
                        self.dead.insert(there.session.clone(), dead);
                    }
                    Ok(None) => {}
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            if self.dead.is_empty() && !wake.pause(self.inner.ttl.poll()).await {
                return self.give_up(awaited).await.map(Some);
            }
        }
    }

    /// The time is up: takes the arrival back, unless the barrier has opened.
    async fn give_up(&mut self, awaited: u64) -> Result<Option<u64>> {
        let id = &self.arrival.id;
        let opened = self
            .register
            .change(|barrier| {
                let opened = barrier.generation >= awaited;
                barrier.arrived.retain(|there| there.id != *id);
                Ok(if opened { Next::Keep(true) } else { Next::Write(false) })
            })
            .await?;
        self.waits = false;
        Ok(opened.then_some(awaited))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        for dead in std::mem::take(&mut self.dead).into_values() {
            dead.bury(&self.inner.leases, self.inner.departure());
        }
        if !self.waits {
            return;
        }
        let (register, id, session) = (self.register.clone(), self.arrival.id.clone(), self.session.clone());
        let leases = self.inner.leases.clone();
        // Without a thread to do it on, the time to live takes the arrival back.
        let _ = leases.in_background(Box::pin(async move {
            while session.validity().over().is_none() {
                // Written even when there is nothing to take back: a write that is still on its way is refused then.
                let left = register.change(|barrier| {
                    barrier.arrived.retain(|there| there.id != id);
                    Ok(Next::Write(()))
                });
                match left.await {
                    Err(error) if is_transient(&error) || error.is_conflict() => {}
                    Ok(()) | Err(_) => break,
                }
            }
        }));
    }
}
