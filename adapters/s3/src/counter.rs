//! Counters: read, add, write if nothing changed, and remember who added.

use std::time::Duration;

use http::Method;
use leasehold_core::{Attributes, COUNTER_BYTES_MAX, Error, Key, Precondition, Result, add_to, unique_sum};

use crate::{
    headers::{self, Writes},
    outcome::Unwritten,
    refusal::Reason,
    wire::{Call, Content, Wire},
    write::Sending,
};

/// How often a contended counter is tried.
const ROUNDS_MAX: u32 = 100;
/// How often it is tried while the server fails, each time as often as any call.
const FAILURES_MAX: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

struct Counter {
    sum: i64,
    base: Precondition,
    attributes: Attributes,
    writes: Writes,
}

/// Adds to a counter. One read and one conditional write when nobody else does.
///
/// Every text is unique, so that its ETag says that nothing was written since; and every value carries the ids of its last
/// writes, so that an addition whose reply was lost is found also when others have added on top of it.
pub(crate) async fn increment(wire: &Wire, key: &Key, delta: i64) -> Result<i64> {
    let mut counter = read(wire, key, delta).await?;
    let mut failures = 0;
    for round in 0..ROUNDS_MAX {
        let Counter { sum, base, attributes, writes } = &counter;
        // A number comes back and would bring its ETag back.
        let text = unique_sum(*sum, wire.environment.random.bits());
        let sending = Sending::put(wire, key, text.into(), base, attributes, writes)?;
        match sending.settle(wire).await {
            Ok(_) => return Ok(*sum),
            Err(Unwritten::Conflict) => {
                counter = read(wire, key, delta).await?;
            }
            // It cannot be applied any more. If all that was written since is known and ours is not among it, it was not.
            Err(Unwritten::Unknown { error, may_come: false }) => {
                let Ok(now) = read(wire, key, delta).await else { return Err(error.indeterminate()) };
                if now.writes.include(&sending.id) {
                    return Ok(*sum);
                }
                if !now.writes.reach_back_to(writes) {
                    return Err(error.indeterminate());
                }
                failures += 1;
                if failures == FAILURES_MAX {
                    return Err(error);
                }
                counter = now;
            }
            Err(unwritten) => return Err(unwritten.error(base)),
        }
        let wait = FIRST_WAIT.saturating_mul(1 << round.min(16)).min(LONGEST_WAIT);
        wire.environment.clock.sleep(wire.environment.jitter(wait)).await;
    }
    let message = format!("still contended after {ROUNDS_MAX} attempts; nothing was added, try again later");
    Err(Error::conflict(message))
}

async fn read(wire: &Wire, key: &Key, delta: i64) -> Result<Counter> {
    let answer = match wire.repeat(&Call::new(Method::GET, Some(key)), COUNTER_BYTES_MAX as u64).await {
        Ok(answer) => answer,
        Err(failed) if failed.reason() == Some(Reason::NoSuchKey) => {
            let (attributes, writes) = (Attributes::new(), Writes::default());
            return Ok(Counter { sum: add_to(None, delta)?, base: Precondition::Absent, attributes, writes });
        }
        Err(failed) => return Err(wire.error(failed)),
    };
    let text = match &answer.body {
        Content::Whole(text) => &text[..],
        // Too long for a number, which is what this says.
        Content::Flowing(_) => &[0; COUNTER_BYTES_MAX + 1],
    };
    let metadata = headers::metadata(&answer.parts.headers, text.len() as u64)?;
    Ok(Counter {
        sum: add_to(Some(text), delta)?,
        base: Precondition::Matches(metadata.version),
        attributes: metadata.attributes,
        writes: Writes::read(&answer.parts.headers),
    })
}
