//! What to do next about a write whose reply may be lost: a pure machine.
//!
//! A write that was sent again blindly would report a conflict with itself, or be applied twice. So each carries an id that
//! can be read back, and after every doubt this decides between sending the *same* write again, looking at what is stored,
//! and giving up honestly:
//!
//! - Our id is there: it was applied.
//! - The precondition still holds: the same write is sent again. If the first one arrives after all, one of the two is
//!   refused, so it is applied once, as long as nobody brings the base back meanwhile: a key that was made and deleted
//!   again, or a content that returns, looks like the base and cannot be told from it. Where that matters a value carries
//!   something that never comes back, as counters and leases do.
//! - Anything else: it may have been applied and replaced since. Nobody can say, and nobody is told otherwise.
//!
//! A refused precondition is looked into as well, also the first: something between here and the server may have sent the
//! write twice, and then the refusal answers the second copy of a write that was applied. That nothing was written is
//! believed of a 409, and of a 412 when another's value is there and no earlier copy was in doubt.
//!
//! An unconditional write is sent again only if the server has answered that it did not do it: an earlier copy that arrives
//! late would undo what others wrote meanwhile.

use leasehold_core::{Error, ErrorKind, Precondition, Version};

/// What became of sending a write once.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It was applied.
    Applied(Version),
    /// The precondition did not hold.
    Precondition,
    /// Certainly not applied, now and later; the next try may go better.
    NotApplied(Error),
    /// The server asked for a slower pace. It should not have applied it; something in between may have.
    Throttled(Error),
    /// The server answered that it failed. It may have been applied before that, but will not be later.
    Failed(Error),
    /// There was no answer. It may have been applied, and may still be.
    Lost(Error),
    /// It will never be accepted as it stands.
    Refused(Error),
}

/// What a look at the key showed.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Our write, which has this version.
    Ours(Version),
    /// What the precondition asks for.
    Base,
    /// Something else.
    Other,
    /// The look itself failed.
    Nothing(Error),
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send the same write, after a wait when it is not the first time.
    Send { pause: Option<Pause> },
    /// Look at the key.
    Look { pause: Option<Pause> },
    /// It is over.
    Done(Result<Version, Unwritten>),
}

/// How long to wait before the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The usual back-off.
    Usual,
    /// The server asked for a slower pace.
    Throttled,
}

/// Why a write did not succeed.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// The precondition did not hold, for certain.
    Conflict,
    /// Refused or not applied, for certain.
    Error(Error),
    /// Nobody can say. `may_come` tells whether it may still be applied.
    Unknown { error: Error, may_come: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// Every copy so far was certainly not applied.
    None,
    /// A copy should not have been applied, but may.
    Weak,
    /// A copy may have been applied, but will not be later.
    Answered,
    /// A copy may have been applied, and may still be.
    Open,
}

/// One write on its way to an outcome.
#[derive(Debug)]
pub(crate) struct Write {
    conditional: bool,
    attempts_max: u32,
    attempts: u32,
    looks: u32,
    doubt: Doubt,
    /// Whether what is under way takes its time, so that looking once says little.
    patient: bool,
    last: Option<Error>,
}

impl Write {
    pub(crate) fn new(precondition: &Precondition, attempts_max: u32) -> Self {
        let conditional = *precondition != Precondition::None;
        Self {
            conditional,
            attempts_max,
            attempts: 0,
            looks: 0,
            doubt: Doubt::None,
            patient: false,
            last: None,
        }
    }

    /// The same for a write that a server may work on for long: it is looked for several times before anything else is
    /// done about a lost reply.
    pub(crate) fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// The next step after the write was sent.
    pub(crate) fn sent(&mut self, sent: Sent) -> Next {
        self.attempts += 1;
        match sent {
            Sent::Applied(version) => Next::Done(Ok(version)),
            Sent::Precondition => Next::Look { pause: None },
            Sent::Refused(error) => self.give_up(error),
            Sent::NotApplied(error) => self.send_again(error, Pause::Usual),
            Sent::Throttled(error) => {
                self.doubt = self.doubt.max(Doubt::Weak);
                // Most likely it was not applied. A condition makes sending it again harmless; without one, look first.
                if self.conditional {
                    self.send_again(error, Pause::Throttled)
                } else {
                    self.last = Some(error);
                    Next::Look { pause: Some(Pause::Throttled) }
                }
            }
            Sent::Failed(error) => {
                self.doubt = self.doubt.max(Doubt::Answered);
                self.last = Some(error);
                Next::Look { pause: None }
            }
            Sent::Lost(error) => {
                self.doubt = Doubt::Open;
                self.last = Some(error);
                Next::Look { pause: None }
            }
        }
    }

    /// The next step after a look.
    pub(crate) fn seen(&mut self, seen: Seen) -> Next {
        match seen {
            Seen::Ours(version) => Next::Done(Ok(version)),
            Seen::Base | Seen::Other
                if self.patient && self.doubt == Doubt::Open && self.looks + 1 < self.attempts_max =>
            {
                self.looks += 1;
                Next::Look { pause: Some(Pause::Usual) }
            }
            // It is not there and no copy is on its way, so it was not applied.
            Seen::Base if self.attempts == self.attempts_max && self.doubt != Doubt::Open => {
                let refused =
                    || Error::new(ErrorKind::Unexpected, "the server refuses a condition that holds");
                Next::Done(Err(Unwritten::Error(self.last.take().unwrap_or_else(refused))))
            }
            Seen::Base => self.send_again_as_before(),
            // Without a condition there is no base; what should not have been applied and is not there may be sent again.
            Seen::Other if !self.conditional && self.doubt == Doubt::Weak => self.send_again_as_before(),
            Seen::Other if self.conditional && self.doubt == Doubt::None => {
                Next::Done(Err(Unwritten::Conflict))
            }
            Seen::Other if self.conditional => {
                self.unknown(Some(Error::conflict("another value is there now")))
            }
            Seen::Other => self.unknown(None),
            Seen::Nothing(error) => {
                self.looks += 1;
                if self.looks < self.attempts_max {
                    Next::Look { pause: Some(Pause::Usual) }
                } else {
                    self.unknown(Some(error))
                }
            }
        }
    }

    fn send_again_as_before(&mut self) -> Next {
        if self.attempts < self.attempts_max {
            Next::Send { pause: Some(Pause::Usual) }
        } else {
            self.unknown(None)
        }
    }

    fn send_again(&mut self, error: Error, pause: Pause) -> Next {
        if self.attempts < self.attempts_max {
            self.last = Some(error);
            Next::Send { pause: Some(pause) }
        } else if self.doubt == Doubt::None {
            self.give_up(error)
        } else {
            self.last = Some(error);
            Next::Look { pause: None }
        }
    }

    fn give_up(&mut self, error: Error) -> Next {
        match self.doubt {
            Doubt::None => Next::Done(Err(Unwritten::Error(error))),
            _ => self.unknown(Some(error)),
        }
    }

    fn unknown(&mut self, error: Option<Error>) -> Next {
        let error = error.or(self.last.take());
        let error = error.unwrap_or_else(|| Error::conflict("nobody can say what became of it"));
        Next::Done(Err(Unwritten::Unknown { error, may_come: self.doubt == Doubt::Open }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> Error {
        Error::new(ErrorKind::Unavailable, "x")
    }

    fn conditional() -> Write {
        Write::new(&Precondition::Absent, 3)
    }

    fn plain() -> Write {
        Write::new(&Precondition::None, 3)
    }

    fn unknown(next: Next) -> bool {
        match next {
            Next::Done(Err(Unwritten::Unknown { may_come, .. })) => may_come,
            next => panic!("not unknown: {next:?}"),
        }
    }

    #[test]
    fn a_conflict_without_doubt_is_one() {
        for first in [None, Some(Sent::NotApplied(error()))] {
            let mut write = conditional();
            if let Some(first) = first {
                write.sent(first);
            }
            assert!(matches!(write.sent(Sent::Precondition), Next::Look { .. }));
            assert!(matches!(write.seen(Seen::Other), Next::Done(Err(Unwritten::Conflict))));
        }
    }

    #[test]
    fn a_conflict_with_itself_is_none() {
        let mut write = conditional();
        write.sent(Sent::Precondition);
        assert!(matches!(write.seen(Seen::Ours(Version::new("v"))), Next::Done(Ok(_))));
    }

    #[test]
    fn a_conflict_after_any_doubt_is_looked_into() {
        for doubt in [Sent::Throttled(error()), Sent::Failed(error()), Sent::Lost(error())] {
            let mut write = conditional();
            if let Next::Look { .. } = write.sent(doubt) {
                write.seen(Seen::Base);
            }
            assert!(matches!(write.sent(Sent::Precondition), Next::Look { .. }));
            assert!(matches!(write.seen(Seen::Ours(Version::new("v"))), Next::Done(Ok(_))));
        }
    }

    #[test]
    fn a_lost_write_is_sent_again_only_over_its_base() {
        let mut write = conditional();
        assert!(matches!(write.sent(Sent::Lost(error())), Next::Look { .. }));
        assert!(matches!(write.seen(Seen::Base), Next::Send { pause: Some(Pause::Usual) }));
        assert!(matches!(write.sent(Sent::Applied(Version::new("v"))), Next::Done(Ok(_))));

        let mut write = conditional();
        write.sent(Sent::Lost(error()));
        assert!(unknown(write.seen(Seen::Other)));
    }

    #[test]
    fn an_answered_failure_cannot_come_later() {
        let mut write = conditional();
        write.sent(Sent::Failed(error()));
        assert!(!unknown(write.seen(Seen::Other)));
    }

    #[test]
    fn an_unconditional_write_is_not_sent_again_after_a_lost_reply() {
        for lost in [Sent::Lost(error()), Sent::Failed(error())] {
            let mut write = plain();
            assert!(matches!(write.sent(lost), Next::Look { .. }));
            unknown(write.seen(Seen::Other));
        }
        let mut write = plain();
        assert!(matches!(write.sent(Sent::Throttled(error())), Next::Look { pause: Some(Pause::Throttled) }));
        assert!(matches!(write.seen(Seen::Other), Next::Send { .. }));
    }

    #[test]
    fn a_refusal_after_a_doubt_stays_unknown() {
        let mut write = conditional();
        write.sent(Sent::Throttled(error()));
        unknown(write.sent(Sent::Refused(error())));
        assert!(matches!(conditional().sent(Sent::Refused(error())), Next::Done(Err(Unwritten::Error(_)))));
    }

    #[test]
    fn what_takes_its_time_is_looked_for_several_times() {
        for seen in [|| Seen::Base, || Seen::Other] {
            let mut write = plain().patient();
            assert!(matches!(write.sent(Sent::Lost(error())), Next::Look { pause: None }));
            for _ in 0..2 {
                assert!(matches!(write.seen(seen()), Next::Look { pause: Some(Pause::Usual) }));
            }
            assert!(!matches!(write.seen(seen()), Next::Look { .. }));
        }
        // What was answered is decided.
        let mut write = conditional().patient();
        write.sent(Sent::Precondition);
        assert!(matches!(write.seen(Seen::Other), Next::Done(Err(Unwritten::Conflict))));
    }

    #[test]
    fn a_refused_condition_that_nobody_could_look_into_is_unknown() {
        let mut write = conditional();
        write.sent(Sent::Precondition);
        assert!(matches!(write.seen(Seen::Nothing(error())), Next::Look { .. }));
        assert!(matches!(write.seen(Seen::Nothing(error())), Next::Look { .. }));
        // It may have been the second copy that was refused.
        assert!(!unknown(write.seen(Seen::Nothing(error()))));
    }

    #[test]
    fn throttling_to_the_end_is_certain_when_the_base_is_still_there() {
        let throttled = |mut write: Write| {
            for _ in 0..2 {
                assert!(matches!(write.sent(Sent::Throttled(error())), Next::Send { .. }));
            }
            assert!(matches!(write.sent(Sent::Throttled(error())), Next::Look { .. }));
            write
        };
        assert!(matches!(throttled(conditional()).seen(Seen::Base), Next::Done(Err(Unwritten::Error(_)))));
        assert!(!unknown(throttled(conditional()).seen(Seen::Other)));
        let ours = throttled(conditional()).seen(Seen::Ours(Version::new("v")));
        assert!(matches!(ours, Next::Done(Ok(_))));
        // A copy that was lost may still come.
        let mut write = conditional();
        write.sent(Sent::Lost(error()));
        assert!(unknown(throttled_after(write).seen(Seen::Base)));
    }

    fn throttled_after(mut write: Write) -> Write {
        write.seen(Seen::Base);
        write.sent(Sent::Throttled(error()));
        write.sent(Sent::Throttled(error()));
        write
    }

    #[test]
    fn a_server_that_never_takes_the_base_for_the_base_has_written_nothing() {
        let mut write = conditional();
        for _ in 0..2 {
            write.sent(Sent::Precondition);
            assert!(matches!(write.seen(Seen::Base), Next::Send { .. }));
        }
        write.sent(Sent::Precondition);
        let Next::Done(Err(Unwritten::Error(error))) = write.seen(Seen::Base) else { panic!("not over") };
        assert_eq!(error.kind(), ErrorKind::Unexpected, "a conflict would have its caller try for ever");
    }

    #[test]
    fn attempts_and_looks_are_bounded() {
        let mut write = conditional();
        write.sent(Sent::NotApplied(error()));
        write.sent(Sent::NotApplied(error()));
        assert!(matches!(write.sent(Sent::NotApplied(error())), Next::Done(Err(Unwritten::Error(_)))));

        let mut write = conditional();
        write.sent(Sent::Lost(error()));
        assert!(matches!(write.seen(Seen::Nothing(error())), Next::Look { .. }));
        assert!(matches!(write.seen(Seen::Nothing(error())), Next::Look { .. }));
        assert!(unknown(write.seen(Seen::Nothing(error()))));

        let mut write = conditional();
        for _ in 0..2 {
            write.sent(Sent::Lost(error()));
            assert!(matches!(write.seen(Seen::Base), Next::Send { .. }));
        }
        write.sent(Sent::Lost(error()));
        assert!(unknown(write.seen(Seen::Base)));
    }
}
