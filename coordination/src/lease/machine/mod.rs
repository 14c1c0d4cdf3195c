//! The algorithm of leases, pure: events and the time go in, commands come out.
//!
//! No input or output, no clock and no randomness in here: the driver in `driver.rs` performs the commands, and the
//! simulation in `simulation.rs` performs them against a store that loses replies and delivers writes late.

mod attempt;
mod contend;
mod hold;

use std::time::Duration;

pub(crate) use attempt::{Attempt, Resolution};
pub(crate) use contend::{Contender, Grant, Known, Patience, Verdict};
pub(crate) use hold::{End, Holding};
use leasehold_core::{Bytes, Error, Precondition, Version};

use super::record::Record;

/// What the driver hands in with every event: both clocks, and a number that was never handed in before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) monotonic: Duration,
    pub(crate) boottime: Duration,
    pub(crate) nonce: u128,
}

impl Tick {
    /// The identifier of an operation.
    pub(crate) fn operation(&self) -> String {
        format!("{:032x}", self.nonce)
    }

    /// A duration from half of `whole` up to all of it.
    pub(crate) fn jitter(&self, whole: Duration) -> Duration {
        let fraction = f64::from(self.nonce as u32) / f64::from(u32::MAX);
        whole.mul_f64(0.5 + fraction / 2.0)
    }
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A machine was started, or its sleep is over.
    Woke,
    /// A read found nothing.
    Absent,
    /// A read found the version that was named in it.
    Unchanged,
    /// A read found a record.
    Found(Box<Record>, Version),
    /// A write was acknowledged.
    Written(Version),
    /// A read or a write failed, or was not answered within its time.
    Failed(Error),
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Command<T> {
    /// Read the record.
    Read { if_changed_from: Option<Version>, within: Duration },
    /// Write it. Not being answered within the time is an unknown outcome.
    Write { bytes: Bytes, precondition: Precondition, within: Duration },
    /// Do nothing for a while.
    Sleep(Duration),
    /// The same, or less, when the record may have changed meanwhile.
    Watch(Duration),
    /// The machine is done and must not be stepped again.
    Done(T),
}

/// The wait after `failures` failures in a row: 10 ms doubling up to `longest`.
fn backoff(tick: &Tick, failures: u32, longest: Duration) -> Duration {
    tick.jitter((Duration::from_millis(10) * (1 << failures.min(16))).min(longest))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
