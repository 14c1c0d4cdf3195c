//! Certification: a store shows that it keeps its conditions before anything is coordinated on it.

use std::{future::IntoFuture, time::Duration};

use futures_util::future::join_all;
use leasehold_core::{Capability, Error, ErrorKind, Precondition, Result, Store, Version};
use serde::{Deserialize, Serialize};

use crate::{
    call::{CALL_WITHIN, is_transient, patiently, read_within, write_within},
    lease::PREFIX,
};

/// The number of the probe below: a verdict of another number does not count.
const PROBE: u32 = 1;

/// How many writers race.
const RACERS: usize = 8;

/// How long one attempt may take altogether.
const WITHIN: Duration = Duration::from_secs(60);

/// The verdict as it is kept in the store.
#[derive(Serialize, Deserialize, PartialEq)]
struct Verdict {
    probe: u32,
    certified: bool,
}

/// Refuses a store that cannot carry leases.
pub(crate) async fn certify(store: &Store) -> Result<()> {
    for capability in [Capability::Linearizable, Capability::ConditionalPut] {
        let capabilities = store.capabilities();
        if !capabilities.supports(capability) {
            let message = match capabilities.weakened_by(capability) {
                Some(layer) => format!(
                    "coordination needs a store that is {capability}, and {layer} in front of this one takes that away; \
                     coordinate through the store without it"
                ),
                None => format!(
                    "coordination needs a store that is {capability}, and this one does not claim to be; use another"
                ),
            };
            return Err(Error::new(ErrorKind::Unsupported(capability), message).during("certify").at(store));
        }
    }
    let environment = store.environment();
    // Each time on a key of its own, so that what was lost half-way does not count.
    // On the heap: whoever connects should not carry it around.
    let probe = || read_within(&*environment.clock, WITHIN, Box::pin(probe_once(store)));
    let probed = patiently(environment, probe);
    probed.await.map_err(|error| error.during("certify").at(store))
}

async fn probe_once(store: &Store) -> Result<()> {
    let verdict = Verdict { probe: PROBE, certified: true };
    let verdict_key = format!("{PREFIX}/.certification/verdict-{PROBE}");
    let clock = &*store.environment().clock;
    let kept = read_within(clock, CALL_WITHIN, async {
        let Some(object) = store.get(&verdict_key).await? else { return Ok(None) };
        // What is no verdict is none; what could not be read may be one.
        match object.json::<Verdict>().await {
            Err(error) if is_transient(&error) => Err(error),
            kept => Ok(kept.ok()),
        }
    });
    if kept.await?.as_ref() == Some(&verdict) {
        return Ok(());
    }
    // A key of its own for every attempt: what an earlier one left in flight cannot disturb it.
    let key = format!("{PREFIX}/.certification/probe-{}", store.environment().identifier());
    let result = probe(store, &key).await;
    let cleaned = write_within(clock, CALL_WITHIN, store.delete(&key).into_future()).await;
    result?;
    cleaned?;
    let noted = store.put(&verdict_key, leasehold_core::Json(verdict)).into_future();
    write_within(clock, CALL_WITHIN, noted).await.map(drop)
}

async fn probe(store: &Store, key: &str) -> Result<()> {
    let created = race(store, key, &Precondition::Absent).await?;
    let updated = race(store, key, &Precondition::Matches(created.clone())).await?;
    for (precondition, what) in [
        (Precondition::Absent, "a put that must create, on a key that exists"),
        (Precondition::Matches(created), "a put that must match, on a version that is gone"),
    ] {
        match put(store, key, "refuse me", &precondition).await {
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(ignores(&format!("it accepted {what}"))),
        }
    }
    // And what stands is still what the winner wrote.
    match read_within(&*store.environment().clock, CALL_WITHIN, store.head(key)).await? {
        Some(metadata) if metadata.version == updated => Ok(()),
        _ => Err(ignores("a read after an acknowledged write did not return it")),
    }
}

/// Lets several writers go for one precondition; exactly one must win, and be read afterwards.
async fn race(store: &Store, key: &str, precondition: &Precondition) -> Result<Version> {
    let bodies: Vec<_> = (0..RACERS).map(|_| store.environment().identifier()).collect();
    let results = join_all(bodies.iter().map(|body| put(store, key, body, precondition))).await;
    let mut winner = None;
    for (body, result) in bodies.iter().zip(results) {
        match result {
            Ok(version) if winner.is_none() => winner = Some((body, version)),
            Ok(_) => return Err(ignores(&format!("of {RACERS} racing puts more than one was accepted"))),
            Err(error) if error.is_conflict() && !error.is_indeterminate() => {}
            Err(error) => return Err(error),
        }
    }
    let Some((body, version)) = winner else {
        return Err(ignores(&format!("of {RACERS} racing puts none was accepted")));
    };
    let found = read_within(&*store.environment().clock, CALL_WITHIN, async {
        let Some(object) = store.get(key).await? else { return Ok(None) };
        Ok(Some((object.version().clone(), object.bytes().await?)))
    });
    match found.await? {
        Some((read, bytes)) if read == version && bytes == body.as_bytes() => Ok(version),
        _ => Err(ignores("a read after an acknowledged write did not return it")),
    }
}

/// One put; a store that asks for a slower pace is asked again.
async fn put(store: &Store, key: &str, body: &str, precondition: &Precondition) -> Result<Version> {
    let environment = store.environment();
    let clock = &*environment.clock;
    let send = || {
        let put = store.put(key, body).precondition(precondition.clone());
        write_within(clock, CALL_WITHIN, put.into_future())
    };
    for attempt in 0..6 {
        match send().await {
            Err(error) if error.is_retryable() => {
                clock.sleep(environment.jitter(Duration::from_millis(100 << attempt))).await;
            }
            settled => return settled,
        }
    }
    send().await
}

fn ignores(how: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported(Capability::ConditionalPut),
        format!(
            "this store does not keep conditional writes ({how}), so leases on it would not exclude anybody; use another store"
        ),
    )
}
