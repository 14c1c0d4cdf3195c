//! Asking the leader through the store: one record for each request, answered in place.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, TryStreamExt};
use leasehold_core::{Error, ErrorKind, Key, Result, Store, Version};
use serde::{Deserialize, Serialize};

use super::super::ShardId;
use crate::{
    Wait,
    call::{listed, patiently, remove},
    node::check_name,
    register::{Next, Register, State},
    watch::TimedWake,
};

/// Where requests are kept.
pub(super) const PREFIX: &str = "_cluster/requests";

/// How many requests are kept; past it, none is taken.
const REQUESTS_MAX: usize = 10_000;

/// What the leader is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ask {
    /// To give a shard to a node.
    Acquire {
        /// Which shard.
        shard: ShardId,
        /// The node, as the map names it.
        to: String,
    },
    /// To take note that its owner gave a shard up: it is sealed, or not wanted.
    GiveUp {
        /// Which shard.
        shard: ShardId,
        /// The epoch that it was owned under.
        epoch: u64,
        /// The owner, as the map names it.
        owner: String,
    },
}

/// What the leader answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// It is in the map.
    Done,
    /// It was not done, for this reason.
    Refused(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) ask: Option<Ask>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Answer>,
}

impl State for Request {
    const KIND: &'static str = "request";

    fn check(&self) -> Result<(), &'static str> {
        if self.ask.is_none() { Err("it asks for nothing") } else { Ok(()) }
    }
}

fn register(store: &Store, id: &str) -> Result<Register<Request>> {
    check_name("a key of a request", id)?;
    Ok(Register::new(store.clone(), Key::new(format!("{PREFIX}/{id}"))?))
}

/// Asks, and waits for the answer, looking for it each `poll` where the store cannot tell. The same `id` asks the same thing once, however often it is called.
///
/// # Errors
/// `Timeout`, indeterminate, when there was no answer in time: the request stays, and may be answered yet.
pub(super) async fn ask(
    store: &Store,
    id: &str,
    ask: Ask,
    within: Duration,
    poll: Duration,
) -> Result<Answer> {
    let register = register(store, id)?;
    let mut wake = TimedWake::of_key(store, register.key(), Wait::For(within));
    loop {
        let standing = register
            .change(|request| match &request.ask {
                None => {
                    *request = Request { ask: Some(ask.clone()), answer: None };
                    Ok(Next::Write(request.clone()))
                }
                Some(asked) if *asked == ask => Ok(Next::Keep(request.clone())),
                Some(_) => Err(Error::invalid(format!("the key {id:?} was used to ask for something else"))),
            })
            .await?;
        if let Some(answer) = standing.answer {
            // Nobody asks again under this name: what is left is cleared away by the leader in time.
            let _ = remove(store, register.key()).await;
            return Ok(answer);
        }
        if !wake.pause(poll).await {
            let message =
                format!("the leader did not answer within {within:?}; ask again under the same key");
            return Err(register.told(Error::new(ErrorKind::Timeout, message)).indeterminate());
        }
    }
}

/// The requests, as the leader sees them.
pub(super) struct Mailbox {
    store: Store,
    /// What was answered, and since when it stands there.
    settled: BTreeMap<String, (Version, Duration)>,
}

impl Mailbox {
    pub(super) fn new(store: Store) -> Self {
        Self { store, settled: BTreeMap::new() }
    }

    /// The requests without an answer. Clears away answers that nobody fetched for `keep`.
    pub(super) async fn open(&mut self, keep: Duration) -> Result<Vec<(String, Ask)>> {
        let environment = self.store.environment().clone();
        let prefix = format!("{PREFIX}/");
        let listed = patiently(&environment, || {
            listed(&self.store, &prefix).take(REQUESTS_MAX).try_collect::<Vec<_>>()
        })
        .await?;
        let now = environment.clock.monotonic();
        let mut open = Vec::new();
        let mut settled = BTreeMap::new();
        for entry in listed {
            let Some(id) = entry.key.as_str().strip_prefix(&prefix) else { continue };
            let version = entry.metadata.version;
            if let Some((known, since)) = self.settled.get(id)
                && *known == version
            {
                if now.saturating_sub(*since) >= keep {
                    // Whoever asked is gone. A failure leaves it for the next time.
                    let _ = remove(&self.store, &entry.key).await;
                } else {
                    settled.insert(id.to_owned(), (version, *since));
                }
                continue;
            }
            // What is no request of ours is left alone.
            let Ok(request) = register(&self.store, id)?.read().await else { continue };
            match (request.ask, request.answer) {
                (Some(ask), None) => open.push((id.to_owned(), ask)),
                (Some(_), Some(_)) => drop(settled.insert(id.to_owned(), (version, now))),
                (None, _) => {}
            }
        }
        self.settled = settled;
        Ok(open)
    }

    /// Answers a request, unless it is answered or gone.
    pub(super) async fn answer(&self, id: &str, answer: Answer) -> Result<()> {
        register(&self.store, id)?
            .change(|request| {
                if request.ask.is_none() || request.answer.is_some() {
                    return Ok(Next::Keep(()));
                }
                request.answer = Some(answer.clone());
                Ok(Next::Write(()))
            })
            .await
    }
}
