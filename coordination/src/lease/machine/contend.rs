//! Acquiring: read, claim when free, otherwise watch one version for its whole time to live and take over.

use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Precondition, Result, Version};

use super::{Attempt, Command, Event, Resolution, Tick, backoff};
use crate::{
    LeaseState, Node, Token, Ttl,
    call::{CALL_WITHIN, is_transient},
    lease::record::Record,
};

/// How long transient failures in a row are ridden out.
const OUTAGE_MAX: Duration = Duration::from_secs(10);

/// How long a contender waits for a lease that is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Try,
    /// Up to this moment on the monotonic clock.
    Until(Duration),
    Forever,
}

/// The newest record that was seen, and since when: the monotonic clock after the first read that returned it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) record: Record,
    pub(crate) version: Version,
    pub(crate) since: Duration,
}

/// A lease that was won.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) record: Record,
    pub(crate) version: Version,
    /// The boot time before the winning write was sent.
    pub(crate) sent: Duration,
}

/// `None`: not acquired in the time there was.
pub(crate) type Verdict = Result<Option<Grant>>;

/// One try to become the holder.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    me: Node,
    ttl: Ttl,
    patience: Patience,
    known: Option<Known>,
    /// The highest token that was ever seen, in case a record is removed by hand.
    floor: Token,
    phase: Phase,
    failures: u32,
    failing_since: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Phase {
    Begun,
    /// A read is out; with it the claim whose outcome it is to settle.
    Reading(Option<Attempt>),
    Resting(Option<Attempt>),
    Claiming(Attempt),
}

impl Contender {
    /// A contender that may start from what was seen before.
    pub(crate) fn new(me: Node, ttl: Ttl, patience: Patience, known: Option<Known>) -> Self {
        let floor = known.as_ref().map_or(Token::new(0), |known| known.record.token);
        let phase = Phase::Begun;
        Self { me, ttl, patience, known, floor, phase, failures: 0, failing_since: None }
    }

    /// What was seen last, for the next contender of this process.
    pub(crate) fn into_known(self) -> Option<Known> {
        self.known
    }

    /// From now on takes the lease only if a write that is out turns out to have taken it, or it is free at once.
    pub(crate) fn give_up_waiting(&mut self) {
        self.patience = Patience::Try;
    }

    /// Whether a write is out whose outcome is not known.
    pub(crate) fn in_doubt(&self) -> bool {
        match &self.phase {
            Phase::Claiming(_) => true,
            Phase::Reading(pending) | Phase::Resting(pending) => {
                pending.as_ref().is_some_and(|attempt| attempt.unknown)
            }
            Phase::Begun => false,
        }
    }

    pub(crate) fn step(&mut self, tick: &Tick, event: Event) -> Command<Verdict> {
        match (std::mem::replace(&mut self.phase, Phase::Begun), event) {
            (Phase::Begun, _) => match &self.known {
                Some(known) if self.may_take(&known.record) => self.claim_known(tick),
                _ => self.read(None),
            },
            (Phase::Resting(None), _) => self.read(None),
            (Phase::Resting(Some(attempt)), _) => self.send(tick, attempt),
            (Phase::Reading(pending), event) => self.seen(tick, pending, event),
            (Phase::Claiming(attempt), event) => self.claimed(tick, attempt, event),
        }
    }

    fn read(&mut self, pending: Option<Attempt>) -> Command<Verdict> {
        // A claim in doubt needs the record itself, not the news that it is unchanged.
        let if_changed_from = match (&self.known, &pending) {
            (Some(known), None) => Some(known.version.clone()),
            _ => None,
        };
        self.phase = Phase::Reading(pending);
        Command::Read { if_changed_from, within: CALL_WITHIN }
    }

    fn seen(&mut self, tick: &Tick, pending: Option<Attempt>, event: Event) -> Command<Verdict> {
        match event {
            Event::Found(record, version) => {
                if let Some(attempt) = pending {
                    match attempt.resolve(Some((&record, &version))) {
                        // Not a recovery: a claim that is learnt of too late, again and again, must come to an end.
                        Resolution::Applied => return self.won(tick, attempt.first_sent, *record, version),
                        Resolution::Pending => return self.send(tick, attempt),
                        Resolution::Superseded => {}
                    }
                }
                self.recovered();
                self.note(tick, *record, version);
                self.consider(tick)
            }
            Event::Absent => {
                self.recovered();
                self.known = None;
                match pending.filter(|attempt| attempt.resolve(None) == Resolution::Pending) {
                    Some(attempt) => self.send(tick, attempt),
                    None => self.claim(tick, None),
                }
            }
            Event::Failed(error) if is_transient(&error) => self.rest(tick, pending, error),
            Event::Failed(error) => self.give_up(pending.as_ref(), error),
            Event::Unchanged | Event::Woke | Event::Written(_) => {
                self.recovered();
                self.consider(tick)
            }
        }
    }

    fn note(&mut self, tick: &Tick, record: Record, version: Version) {
        self.floor = self.floor.max(record.token);
        match &self.known {
            Some(known) if known.version == version => {}
            _ => self.known = Some(Known { record, version, since: tick.monotonic }),
        }
    }

    fn may_take(&self, record: &Record) -> bool {
        match &record.state {
            LeaseState::Released => true,
            LeaseState::HandOver { to } => to == self.me.name(),
            LeaseState::Held => false,
        }
    }

    /// Decides on the record that was just read.
    fn consider(&mut self, tick: &Tick) -> Command<Verdict> {
        let Some(known) = &self.known else { return self.read(None) };
        let watched = tick.monotonic.saturating_sub(known.since);
        let left = known.record.ttl.patience().saturating_sub(watched);
        if self.may_take(&known.record) || left.is_zero() {
            return self.claim_known(tick);
        }
        let pause = tick.jitter(known.record.ttl.poll()).min(left);
        let pause = match self.patience {
            Patience::Forever => pause,
            Patience::Until(end) if tick.monotonic < end => pause.min(end - tick.monotonic),
            Patience::Try | Patience::Until(_) => return Command::Done(Ok(None)),
        };
        self.phase = Phase::Resting(None);
        Command::Watch(pause)
    }

    fn claim_known(&mut self, tick: &Tick) -> Command<Verdict> {
        let known = self.known.take();
        self.claim(tick, known)
    }

    fn claim(&mut self, tick: &Tick, over: Option<Known>) -> Command<Verdict> {
        let operation = tick.operation();
        let (record, base) = match over {
            Some(known) => (known.record.successor(operation), Precondition::Matches(known.version)),
            None => (self.first_record(operation), Precondition::Absent),
        };
        let record = Record {
            token: self.floor.max(record.token).next(),
            holder: self.me.clone(),
            state: LeaseState::Held,
            ttl: self.ttl,
            ..record
        };
        self.send(tick, Attempt::new(record, base, tick))
    }

    fn first_record(&self, operation: String) -> Record {
        Record {
            token: self.floor,
            holder: self.me.clone(),
            state: LeaseState::Held,
            sequence: 0,
            ttl: self.ttl,
            operation,
            recent: Vec::new(),
        }
    }

    fn send(&mut self, tick: &Tick, mut attempt: Attempt) -> Command<Verdict> {
        // A call that hangs is given up long before a long time to live is over; it is sent again as it was.
        let command = attempt.send(tick, self.ttl.validity().min(CALL_WITHIN));
        self.phase = Phase::Claiming(attempt);
        command
    }

    fn claimed(&mut self, tick: &Tick, mut attempt: Attempt, event: Event) -> Command<Verdict> {
        match event {
            Event::Written(version) => self.won(tick, attempt.last_sent, attempt.record, version),
            Event::Failed(error) => {
                let refused = attempt.failed(&error);
                if refused {
                    self.read(None)
                } else if error.is_conflict() {
                    self.read(Some(attempt))
                } else if is_transient(&error) {
                    self.rest(tick, Some(attempt), error)
                } else {
                    self.give_up(Some(&attempt), error)
                }
            }
            Event::Woke | Event::Absent | Event::Unchanged | Event::Found(..) => self.send(tick, attempt),
        }
    }

    fn won(&mut self, tick: &Tick, sent: Duration, record: Record, version: Version) -> Command<Verdict> {
        self.floor = self.floor.max(record.token);
        if tick.boottime < sent + self.ttl.validity() {
            return Command::Done(Ok(Some(Grant { record, version, sent })));
        }
        // It took so long to learn of it that it is over. Nobody used this token: claim the record anew.
        self.known = Some(Known { record, version, since: tick.monotonic });
        let late = Error::new(
            ErrorKind::Timeout,
            format!(
                "the store takes longer than the time to live of {} to answer; use a longer one",
                self.ttl
            ),
        );
        if self.exhausted(tick) { Command::Done(Err(late)) } else { self.claim_known(tick) }
    }

    /// Waits before the next try after a failure, or gives up.
    fn rest(&mut self, tick: &Tick, pending: Option<Attempt>, error: Error) -> Command<Verdict> {
        if self.exhausted(tick) {
            return self.give_up(pending.as_ref(), error);
        }
        self.phase = Phase::Resting(pending);
        Command::Sleep(backoff(tick, self.failures, Duration::from_secs(1)))
    }

    /// Counts a failure; whether there were too many for too long.
    fn exhausted(&mut self, tick: &Tick) -> bool {
        self.failures += 1;
        let since = *self.failing_since.get_or_insert(tick.monotonic);
        let out_of_patience = match self.patience {
            Patience::Until(end) => self.failures > 3 && tick.monotonic >= end,
            Patience::Try => self.failures > 5,
            Patience::Forever => false,
        };
        out_of_patience || tick.monotonic.saturating_sub(since) >= OUTAGE_MAX
    }

    fn recovered(&mut self) {
        self.failures = 0;
        self.failing_since = None;
    }

    fn give_up(&mut self, pending: Option<&Attempt>, error: Error) -> Command<Verdict> {
        Command::Done(Err(match pending {
            Some(attempt) => attempt.qualify(error),
            None => error,
        }))
    }
}
