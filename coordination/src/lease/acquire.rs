//! Asking for a lease: the options, and the loop that performs what the contender commands.

use std::{future::IntoFuture, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use leasehold_core::{Error, ErrorKind, Key, Result};

use super::{
    held::{self, Lease},
    leases::Inner,
    machine::{Command, Contender, Event, Holding, Patience, Verdict},
};
use crate::{LeaseState, Ttl};

/// How long to wait for a lease that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wait {
    /// Not at all: one look, and the lease is acquired or it is not.
    Try,
    /// Up to this long.
    For(Duration),
    /// Until it is acquired.
    #[default]
    Forever,
}

/// A request for a lease, made by [`Leases::acquire`](crate::Leases::acquire). Awaits to the lease, `None` when it
/// was not acquired in the time there was.
///
/// A free lease is taken at once. One that is held is watched: it is taken when its holder releases it, or when its
/// record did not change for its whole time to live, plus what clocks may differ by, on this process's own clock.
/// Nobody's wall clock is ever asked.
///
/// # Cost
/// One conditional put when this process released the lease last; otherwise one read more. While waiting, one
/// conditional read (not changed: no content) every tenth of the time to live of the lease, at most every 10 ms and at
/// least every second. Where the store tells of [changes](leasehold_core::Capability::Changes), as memory and directories do, one
/// more to begin with and one for each renewal, and a release is seen at once.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for an unsound name, or for a record of a newer format;
/// [`Corrupt`](ErrorKind::Corrupt) for a record that is none: neither is overwritten. What the store fails with when
/// that lasts: transient failures are ridden out for 10 s, with
/// [`Wait::Try`] for five tries. An error with
/// [`is_indeterminate`](Error::is_indeterminate): the lease may have been acquired in this node's name without anybody
/// using it; it is over after its time to live.
///
/// # Cancel safety
/// A request that is dropped while its write is out is finished in the background, and the lease is released if
/// it turns out to be acquired.
#[must_use = "nothing is sent before .await"]
#[derive(Debug)]
pub struct Acquire {
    inner: Arc<Inner>,
    key: Result<(String, Key)>,
    ttl: Ttl,
    wait: Wait,
}

impl Acquire {
    pub(super) fn new(inner: Arc<Inner>, key: Result<(String, Key)>) -> Self {
        Self { inner, key, ttl: Ttl::default(), wait: Wait::default() }
    }

    /// How long the lease lasts without a renewal; 10 s by default.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long to wait for it; for ever by default.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }
}

impl IntoFuture for Acquire {
    type Output = Result<Option<Lease>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { inner, key, ttl, wait } = self;
            let (name, key) = key?;
            let mut campaign = Campaign::new(&inner, name, key, ttl, wait);
            let verdict = campaign.run().await;
            campaign.conclude(verdict)
        })
    }
}

/// One contender at work, and what becomes of it when nobody waits for it any more.
struct Campaign {
    inner: Arc<Inner>,
    name: String,
    key: Key,
    contender: Option<Contender>,
}

impl Campaign {
    fn new(inner: &Arc<Inner>, name: String, key: Key, ttl: Ttl, wait: Wait) -> Self {
        let patience = match wait {
            Wait::Try => Patience::Try,
            Wait::Forever => Patience::Forever,
            Wait::For(duration) => {
                let now = inner.driver(&key).clock().monotonic();
                now.checked_add(duration).map_or(Patience::Forever, Patience::Until)
            }
        };
        let contender = Contender::new(inner.node.clone(), ttl, patience, inner.cache.get(&name));
        Self { inner: inner.clone(), name, key, contender: Some(contender) }
    }

    async fn run(&mut self) -> Verdict {
        let driver = self.inner.driver(&self.key);
        let mut wake = driver.wake();
        let mut event = Event::Woke;
        loop {
            let Some(contender) = &mut self.contender else { return Ok(None) };
            let command = contender.step(&driver.tick(), event);
            if let Command::Watch(longest) = command {
                wake.pause(longest).await;
                event = Event::Woke;
                continue;
            }
            event = match driver.perform(command).await {
                Ok(happened) => happened,
                Err(verdict) => return verdict,
            };
        }
    }

    fn conclude(mut self, verdict: Verdict) -> Result<Option<Lease>> {
        let driver = self.inner.driver(&self.key);
        match verdict {
            Ok(Some(grant)) => {
                self.contender = None;
                self.inner.cache.put(&self.name, None);
                held::start(&self.inner, &self.name, driver, grant).map(Some)
            }
            Ok(None) => {
                self.remember();
                Ok(None)
            }
            Err(error) => {
                self.remember();
                Err(driver.told(error))
            }
        }
    }
}

impl Campaign {
    /// Keeps what was watched, so that whoever asks again goes on watching instead of starting anew.
    fn remember(&mut self) {
        if let Some(known) = self.contender.take().and_then(Contender::into_known) {
            self.inner.cache.put(&self.name, Some(known));
        }
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        if !self.contender.as_ref().is_some_and(Contender::in_doubt) {
            return self.remember();
        }
        let Some(mut contender) = self.contender.take() else { return };
        let driver = self.inner.driver(&self.key);
        // Without a thread to do it on, the time to live frees the lease.
        let _ = self.inner.keeper.spawn(Box::pin(async move {
            let abandoned = Error::new(ErrorKind::Timeout, "nobody waited for the answer").indeterminate();
            contender.give_up_waiting();
            let mut event = Event::Failed(abandoned);
            let grant = loop {
                match driver.perform(contender.step(&driver.tick(), event)).await {
                    Ok(happened) => event = happened,
                    Err(Ok(Some(grant))) => break grant,
                    Err(_) => return,
                }
            };
            let mut holding = Holding::new(grant);
            holding.leave(LeaseState::Released);
            let mut event = Event::Woke;
            while let Ok(happened) = driver.perform(holding.step(&driver.tick(), event)).await {
                event = happened;
            }
        }));
    }
}
