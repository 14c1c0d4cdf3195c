//! Holding: renew in time, ride out failures until the deadline, leave in order.

use std::time::Duration;

use leasehold_core::{Error, Precondition, Version};

use super::{Attempt, Command, Event, Grant, Resolution, Tick, backoff};
use crate::{
    LeaseState, Token, Ttl,
    call::{CALL_WITHIN, is_transient},
    lease::record::Record,
};

/// How a tenure ended.
#[derive(Debug)]
pub(crate) enum End {
    /// No renewal was acknowledged in time.
    Expired,
    /// Another token is in the record.
    Superseded(Token),
    /// The record is gone from the store.
    Removed,
    /// It was released or handed over; this is what is stored now.
    Left(Record, Version),
    /// It could not be released or handed over.
    Stuck(Error),
}

/// The tenure of one token.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    ttl: Ttl,
    record: Record,
    version: Version,
    /// On the boot-time clock, as the next.
    valid_until: Duration,
    renew_at: Duration,
    leaving: Option<LeaseState>,
    phase: Phase,
    failures: u32,
    last_error: Option<Error>,
}

#[derive(Clone, Debug)]
enum Phase {
    Idle,
    Writing(Attempt),
    /// A read is out that is to settle the write.
    Reading(Attempt),
    /// Waiting before the write is sent again.
    Resting(Attempt),
}

impl Holding {
    pub(crate) fn new(grant: Grant) -> Self {
        let ttl = grant.record.ttl;
        Self {
            ttl,
            record: grant.record,
            version: grant.version,
            valid_until: grant.sent + ttl.validity(),
            renew_at: grant.sent + ttl.renewal(),
            leaving: None,
            phase: Phase::Idle,
            failures: 0,
            last_error: None,
        }
    }

    /// Until when the holder may act, on the boot-time clock.
    pub(crate) fn valid_until(&self) -> Duration {
        self.valid_until
    }

    /// Asks to end the tenure in `state` instead of renewing it. A write that is out is settled first.
    pub(crate) fn leave(&mut self, state: LeaseState) {
        self.leaving = Some(state);
    }

    pub(crate) fn step(&mut self, tick: &Tick, event: Event) -> Command<End> {
        if tick.boottime >= self.valid_until {
            return self.expired();
        }
        match (std::mem::replace(&mut self.phase, Phase::Idle), event) {
            (Phase::Idle, _) => self.proceed(tick),
            (Phase::Resting(attempt), _) => self.send(tick, attempt),
            (Phase::Writing(attempt), event) => self.answered(tick, attempt, event),
            (Phase::Reading(attempt), event) => self.read(tick, attempt, event),
        }
    }

    /// Nothing is out: leave, renew, or wait until it is time to.
    fn proceed(&mut self, tick: &Tick) -> Command<End> {
        if let Some(state) = self.leaving.clone() {
            return self.write(tick, state);
        }
        match self.renew_at.checked_sub(tick.boottime).filter(|left| !left.is_zero()) {
            // In slices: a sleep does not count the time that the machine is suspended, the deadline does.
            Some(left) => Command::Sleep(left.min(self.ttl.poll())),
            None => self.write(tick, LeaseState::Held),
        }
    }

    fn write(&mut self, tick: &Tick, state: LeaseState) -> Command<End> {
        let record = Record { state, ..self.record.successor(tick.operation()) };
        self.send(tick, Attempt::new(record, Precondition::Matches(self.version.clone()), tick))
    }

    fn send(&mut self, tick: &Tick, mut attempt: Attempt) -> Command<End> {
        // No longer than a third of the time to live, so that a call that hangs leaves time for another.
        let within = (self.valid_until - tick.boottime).min(self.ttl.renewal()).min(CALL_WITHIN);
        let command = attempt.send(tick, within);
        self.phase = Phase::Writing(attempt);
        command
    }

    fn answered(&mut self, tick: &Tick, mut attempt: Attempt, event: Event) -> Command<End> {
        match event {
            Event::Written(version) => {
                let sent = attempt.last_sent;
                self.applied(tick, attempt, version, sent)
            }
            Event::Failed(error) => {
                attempt.failed(&error);
                if error.is_conflict() {
                    let within = CALL_WITHIN.min(self.ttl.renewal());
                    self.phase = Phase::Reading(attempt);
                    return Command::Read { if_changed_from: None, within };
                }
                self.rest(tick, attempt, error)
            }
            Event::Woke | Event::Absent | Event::Unchanged | Event::Found(..) => self.send(tick, attempt),
        }
    }

    /// A write was refused: who is in the record?
    fn read(&mut self, tick: &Tick, attempt: Attempt, event: Event) -> Command<End> {
        match event {
            Event::Found(record, version) => match attempt.resolve(Some((&record, &version))) {
                Resolution::Applied => {
                    // It is not known which of the sendings was applied: count from the first.
                    let sent = attempt.first_sent;
                    self.applied(tick, attempt, version, sent)
                }
                Resolution::Pending => self.send(tick, attempt),
                // Given up as asked, and taken by the next one before the reply was settled.
                Resolution::Superseded
                    if attempt.record.state != LeaseState::Held
                        && record.recent.contains(&attempt.record.operation) =>
                {
                    Command::Done(End::Left(*record, version))
                }
                Resolution::Superseded => Command::Done(End::Superseded(record.token)),
            },
            Event::Absent => Command::Done(End::Removed),
            Event::Failed(error) => self.rest(tick, attempt, error),
            Event::Woke | Event::Unchanged | Event::Written(_) => self.send(tick, attempt),
        }
    }

    fn applied(&mut self, tick: &Tick, attempt: Attempt, version: Version, sent: Duration) -> Command<End> {
        self.failures = 0;
        self.last_error = None;
        if attempt.record.state != LeaseState::Held {
            return Command::Done(End::Left(attempt.record, version));
        }
        self.record = attempt.record;
        self.version = version;
        self.valid_until = self.valid_until.max(sent + self.ttl.validity());
        // A little early, so that leases acquired together do not renew together for ever.
        self.renew_at = sent + self.ttl.renewal() / 2 + tick.jitter(self.ttl.renewal()) / 2;
        self.proceed(tick)
    }

    fn rest(&mut self, tick: &Tick, attempt: Attempt, error: Error) -> Command<End> {
        let error = attempt.qualify(error);
        if self.leaving.is_some() && attempt.record.state != LeaseState::Held && !is_transient(&error) {
            return Command::Done(End::Stuck(error));
        }
        self.failures += 1;
        self.last_error = Some(error);
        self.phase = Phase::Resting(attempt);
        let left = self.valid_until - tick.boottime;
        Command::Sleep(backoff(tick, self.failures, self.ttl.poll()).min(left))
    }

    fn expired(&mut self) -> Command<End> {
        match (self.leaving.take(), self.last_error.take()) {
            (Some(_), Some(error)) => Command::Done(End::Stuck(error)),
            _ => Command::Done(End::Expired),
        }
    }
}
