//! Tests of the machines, one step at a time.

use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Precondition, Version};

use super::*;
use crate::{LeaseState, Node, Token, Ttl, call::CALL_WITHIN};

const TTL: Duration = Duration::from_secs(10);

fn at(seconds: f64, nonce: u128) -> Tick {
    let now = Duration::from_secs_f64(1000.0 + seconds);
    Tick { monotonic: now, boottime: now, nonce }
}

fn unknown() -> Event {
    Event::Failed(Error::new(ErrorKind::Timeout, "lost").indeterminate())
}

fn conflict() -> Event {
    Event::Failed(Error::conflict("another version"))
}

fn record(token: u64, state: LeaseState, operation: &str) -> Box<Record> {
    Box::new(Record {
        token: Token::new(token),
        holder: Node::recorded("other".into(), "1".into()),
        state,
        sequence: token,
        ttl: Ttl::new(TTL).unwrap(),
        operation: operation.into(),
        recent: Vec::new(),
    })
}

fn contender(patience: Patience) -> Contender {
    Contender::new(Node::new("me").unwrap(), Ttl::new(TTL).unwrap(), patience, None)
}

/// The record in a command that must be a write, and its precondition.
fn written<T: std::fmt::Debug>(command: Command<T>) -> (Record, Precondition) {
    match command {
        Command::Write { bytes, precondition, .. } => (Record::decode(&bytes).unwrap(), precondition),
        other => panic!("not a write: {other:?}"),
    }
}

fn grant(seconds: f64) -> Grant {
    let mut contender = contender(Patience::Forever);
    contender.step(&at(seconds, 1), Event::Woke);
    contender.step(&at(seconds, 2), Event::Absent);
    match contender.step(&at(seconds + 0.5, 3), Event::Written(Version::new("v1"))) {
        Command::Done(Ok(Some(grant))) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

#[test]
fn validity_counts_from_before_the_write_was_sent() {
    let mut holding = Holding::new(grant(0.0));
    assert_eq!(holding.valid_until(), at(9.9, 0).boottime);
    assert!(matches!(holding.step(&at(4.0, 4), Event::Woke), Command::Write { .. }));
    assert!(matches!(holding.step(&at(6.0, 5), Event::Written(Version::new("v2"))), Command::Sleep(_)));
    assert_eq!(holding.valid_until(), at(13.9, 0).boottime, "sent at 4, acknowledged at 6");
}

#[test]
fn a_renewal_found_by_reading_counts_from_its_first_sending() {
    let mut holding = Holding::new(grant(0.0));
    let (renewal, _) = written(holding.step(&at(3.5, 4), Event::Woke));
    assert!(matches!(holding.step(&at(4.0, 5), unknown()), Command::Sleep(_)));
    let (again, _) = written(holding.step(&at(5.0, 6), Event::Woke));
    assert_eq!(again, renewal, "the same bytes");
    assert!(matches!(holding.step(&at(5.5, 7), conflict()), Command::Read { .. }));
    holding.step(&at(6.0, 8), Event::Found(Box::new(renewal), Version::new("v2")));
    assert_eq!(holding.valid_until(), at(13.4, 0).boottime);
}

#[test]
fn a_tenure_ends_at_its_deadline_even_when_the_renewal_arrives_just_after() {
    let mut holding = Holding::new(grant(0.0));
    holding.step(&at(9.0, 4), Event::Woke);
    let command = holding.step(&at(9.9, 5), Event::Written(Version::new("v2")));
    assert!(matches!(command, Command::Done(End::Expired)), "{command:?}");
}

#[test]
fn only_another_token_ends_a_tenure_early() {
    let mut holding = Holding::new(grant(0.0));
    holding.step(&at(3.5, 4), Event::Woke);
    for (second, kind) in
        [(4.0, ErrorKind::Unavailable), (5.0, ErrorKind::Denied), (6.0, ErrorKind::Throttled)]
    {
        let command = holding.step(&at(second, 5), Event::Failed(Error::new(kind, "x")));
        assert!(matches!(command, Command::Sleep(_)), "{kind}: {command:?}");
        assert!(matches!(holding.step(&at(second + 0.1, 6), Event::Woke), Command::Write { .. }));
    }
    assert!(matches!(holding.step(&at(7.0, 7), conflict()), Command::Read { .. }));
    let theirs = record(2, LeaseState::Held, "theirs");
    let command = holding.step(&at(7.1, 8), Event::Found(theirs, Version::new("v9")));
    assert!(
        matches!(command, Command::Done(End::Superseded(token)) if token == Token::new(2)),
        "{command:?}"
    );
}

#[test]
fn a_release_waits_for_the_renewal_that_is_out_and_keeps_the_token() {
    let mut holding = Holding::new(grant(0.0));
    holding.step(&at(3.5, 4), Event::Woke);
    holding.leave(LeaseState::Released);
    let (released, base) = written(holding.step(&at(3.6, 5), Event::Written(Version::new("v2"))));
    assert_eq!((released.state, released.token.get()), (LeaseState::Released, 1));
    assert_eq!(base, Precondition::Matches(Version::new("v2")));
    let command = holding.step(&at(3.7, 6), Event::Written(Version::new("v3")));
    assert!(matches!(command, Command::Done(End::Left(..))), "{command:?}");
}

#[test]
fn a_waiter_counts_from_after_its_read_and_starts_again_with_every_new_version() {
    let mut contender = contender(Patience::Forever);
    contender.step(&at(0.0, 1), Event::Woke);
    let held = |operation| record(7, LeaseState::Held, operation);
    // The read was sent at 0 and returned at 5: 10.6 s from then, not from 0.
    assert!(matches!(
        contender.step(&at(5.0, 2), Event::Found(held("a"), Version::new("v1"))),
        Command::Watch(_)
    ));
    contender.step(&at(15.5, 3), Event::Woke);
    assert!(matches!(contender.step(&at(15.5, 4), Event::Unchanged), Command::Watch(_)));
    // Renewed just before: all over again.
    contender.step(&at(15.7, 5), Event::Woke);
    assert!(matches!(
        contender.step(&at(15.7, 6), Event::Found(held("b"), Version::new("v2"))),
        Command::Watch(_)
    ));
    contender.step(&at(26.2, 7), Event::Woke);
    assert!(matches!(contender.step(&at(26.2, 8), Event::Unchanged), Command::Watch(_)));
    contender.step(&at(26.4, 9), Event::Woke);
    let (claim, base) = written(contender.step(&at(26.4, 10), Event::Unchanged));
    assert_eq!((claim.token.get(), base), (8, Precondition::Matches(Version::new("v2"))));
    assert_eq!(claim.recent, ["b"]);
}

#[test]
fn a_lost_claim_that_landed_is_recognised_and_never_doubled() {
    let mut contender = contender(Patience::Forever);
    contender.step(&at(0.0, 1), Event::Woke);
    let (claim, base) = written(contender.step(&at(0.0, 2), Event::Absent));
    assert!(matches!(contender.step(&at(1.0, 3), unknown()), Command::Sleep(_)));
    assert_eq!(written(contender.step(&at(1.1, 4), Event::Woke)), (claim.clone(), base));
    assert!(matches!(contender.step(&at(1.2, 5), conflict()), Command::Read { if_changed_from: None, .. }));
    match contender.step(&at(1.3, 6), Event::Found(Box::new(claim.clone()), Version::new("v1"))) {
        Command::Done(Ok(Some(grant))) => {
            assert_eq!((grant.record, grant.sent), (claim, at(0.0, 0).boottime), "from the first sending");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn not_found_after_an_unknown_outcome_proves_nothing_and_the_write_is_sent_again() {
    let mut contender = contender(Patience::Forever);
    contender.step(&at(0.0, 1), Event::Woke);
    let claim = written(contender.step(&at(0.0, 2), Event::Absent));
    contender.step(&at(1.0, 3), unknown());
    contender.step(&at(1.1, 4), Event::Woke);
    contender.step(&at(1.2, 5), conflict());
    assert_eq!(written(contender.step(&at(1.3, 6), Event::Absent)), claim);
}

#[test]
fn an_outcome_that_stays_unknown_is_reported_as_unknown() {
    let mut contender = contender(Patience::Try);
    contender.step(&at(0.0, 1), Event::Woke);
    let mut command = contender.step(&at(0.0, 2), Event::Absent);
    for second in 1..50 {
        let event = match command {
            Command::Write { .. } => unknown(),
            Command::Sleep(_) => Event::Woke,
            Command::Done(Err(error)) => return assert!(error.is_indeterminate(), "{error}"),
            other => panic!("{other:?}"),
        };
        command = contender.step(&at(f64::from(second) / 10.0, 100 + second as u128), event);
    }
    panic!("it never gave up");
}

#[test]
fn every_write_has_an_operation_of_its_own() {
    let mut holding = Holding::new(grant(0.0));
    let (first, _) = written(holding.step(&at(3.5, 4), Event::Woke));
    holding.step(&at(3.6, 5), Event::Written(Version::new("v2")));
    let (second, _) = written(holding.step(&at(7.0, 6), Event::Woke));
    assert_ne!(first.operation, second.operation);
    assert_eq!(second.recent[0], first.operation);
}

#[test]
fn tokens_go_on_when_a_record_known_before_has_been_removed() {
    let known = Known {
        record: *record(41, LeaseState::Released, "a"),
        version: Version::new("v1"),
        since: Duration::ZERO,
    };
    let me = Node::new("me").unwrap();
    let mut contender = Contender::new(me, Ttl::new(TTL).unwrap(), Patience::Forever, Some(known));
    assert_eq!(written(contender.step(&at(0.0, 1), Event::Woke)).0.token.get(), 42);
    contender.step(&at(0.1, 2), conflict());
    let (claim, base) = written(contender.step(&at(0.2, 3), Event::Absent));
    assert_eq!((claim.token.get(), base), (42, Precondition::Absent));
}

#[test]
fn a_release_that_landed_is_a_release_though_the_next_one_holds_it_already() {
    let mut holding = Holding::new(grant(0.0));
    holding.leave(LeaseState::Released);
    let (release, _) = written(holding.step(&at(1.0, 4), Event::Woke));
    assert!(matches!(holding.step(&at(1.5, 5), unknown()), Command::Sleep(_)));
    written(holding.step(&at(2.0, 6), Event::Woke));
    assert!(matches!(holding.step(&at(2.5, 7), conflict()), Command::Read { .. }));
    let mut next = record(2, LeaseState::Held, "theirs");
    next.recent = vec![release.operation];
    let ended = holding.step(&at(3.0, 8), Event::Found(next, Version::new("v3")));
    assert!(matches!(ended, Command::Done(End::Left(..))), "{ended:?}");
}

#[test]
fn a_claim_that_is_always_learnt_of_too_late_comes_to_an_end() {
    let short = Ttl::new(Duration::from_secs(1)).unwrap();
    let mut contender = Contender::new(Node::new("me").unwrap(), short, Patience::Try, None);
    let (mut now, mut event) = (0.0, Event::Woke);
    let mut stored: Option<(Record, Version)> = None;
    for step in 1..10_000_u128 {
        now += 0.1;
        match contender.step(&at(now, step), std::mem::replace(&mut event, Event::Woke)) {
            Command::Read { .. } => {
                event = match &stored {
                    Some((record, version)) => Event::Found(Box::new(record.clone()), version.clone()),
                    None => Event::Absent,
                };
            }
            Command::Write { bytes, .. } => {
                let sent = Record::decode(&bytes).unwrap();
                if stored.as_ref().is_some_and(|(stored, _)| *stored == sent) {
                    event = conflict();
                } else {
                    // Applied, and not answered before the lease is over.
                    now += 1.0;
                    stored = Some((sent, Version::new(format!("v{step}"))));
                    event = unknown();
                }
            }
            Command::Sleep(_) | Command::Watch(_) => {}
            Command::Done(Ok(None) | Err(_)) => return,
            Command::Done(Ok(Some(grant))) => panic!("a lease that is over was granted: {grant:?}"),
        }
    }
    panic!("it claims for ever");
}

#[test]
fn no_call_is_waited_for_as_long_as_a_long_time_to_live() {
    let day = Ttl::new(Duration::from_secs(86_400)).unwrap();
    let mut contender = Contender::new(Node::new("me").unwrap(), day, Patience::Try, None);
    contender.step(&at(0.0, 1), Event::Woke);
    let Command::Write { within, .. } = contender.step(&at(0.0, 2), Event::Absent) else {
        panic!("not a claim");
    };
    assert!(within <= CALL_WITHIN);
    let Command::Done(Ok(Some(grant))) = contender.step(&at(0.5, 3), Event::Written(Version::new("v1")))
    else {
        panic!("not granted");
    };
    let Command::Write { within, .. } = Holding::new(grant).step(&at(40_000.0, 4), Event::Woke) else {
        panic!("not a renewal");
    };
    assert!(within <= CALL_WITHIN);
}
