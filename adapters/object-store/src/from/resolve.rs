//! How a conditional write is brought to an end whose answer was lost, or may be about an earlier send of itself.
//!
//! The write carries an id. After an answer that leaves it open, the value is looked at: ours, and the write was applied;
//! still the base that it asked for, and the same write is sent again, which either wins or proves that an earlier send
//! did; another, and it is a conflict — for certain only where no earlier send can have been applied and overwritten.
//!
//! A pure machine: the driver sends and looks, and is told what to do next.

use leasehold_core::{Error, ErrorKind, Result, Version};

use crate::failure::Failed;

/// What a look at the value showed.
#[derive(Debug)]
pub(super) enum Seen {
    /// Our write.
    Ours(Version),
    /// What the precondition asks for.
    Base,
    /// Something else.
    Other,
    /// The look failed.
    Nothing(Error),
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Send the same write, after a wait if this is not the first send.
    Send,
    /// Look at the value, after a wait if the last look failed.
    Look,
    /// The outcome.
    Done(Result<Version>),
}

/// One conditional write on its way.
#[derive(Debug)]
pub(super) struct Resolution {
    attempts_left: u32,
    retries_below: bool,
    /// A send may have been applied, or may still be.
    open: bool,
    /// Why the last send did not succeed.
    last: Option<Error>,
}

impl Resolution {
    /// A write that may be sent, and looked for, so many times.
    pub(super) fn new(attempts_max: u32, retries_below: bool) -> Self {
        Self { attempts_left: attempts_max, retries_below, open: false, last: None }
    }

    /// What the answer to a send leads to.
    pub(super) fn answered(&mut self, answer: Result<Version, Failed>) -> Next {
        self.attempts_left = self.attempts_left.saturating_sub(1);
        match answer {
            Ok(version) => return Next::Done(Ok(version)),
            Err(Failed::Refused) => {
                self.open |= self.retries_below;
                self.last = None;
            }
            Err(Failed::Rejected(error))
                if error.kind() == ErrorKind::Throttled && self.attempts_left > 0 =>
            {
                self.last = Some(error);
                return Next::Send;
            }
            Err(Failed::Rejected(error)) => return Next::Done(Err(self.marked(error))),
            Err(Failed::Unknown(error)) => {
                self.open = true;
                self.last = Some(error);
            }
        }
        Next::Look
    }

    /// What a look leads to.
    pub(super) fn seen(&mut self, seen: Seen) -> Next {
        match seen {
            Seen::Ours(version) => Next::Done(Ok(version)),
            Seen::Other => Next::Done(Err(
                self.marked(Error::conflict("the value is another now; read it again and decide again"))
            )),
            Seen::Base if self.attempts_left > 0 => Next::Send,
            Seen::Base => {
                let refused =
                    || Error::conflict("the store goes on to refuse the condition although it holds");
                let error = self.last.take().unwrap_or_else(refused);
                Next::Done(Err(self.marked(error)))
            }
            Seen::Nothing(_) if self.attempts_left > 0 => {
                self.attempts_left -= 1;
                Next::Look
            }
            // Without a look even a refusal may be about an earlier send of this very write.
            Seen::Nothing(error) => Next::Done(Err(self.last.take().unwrap_or(error).indeterminate())),
        }
    }

    fn marked(&self, error: Error) -> Error {
        if self.open { error.indeterminate() } else { error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> Result<Version, Failed> {
        Err(Failed::Unknown(Error::new(ErrorKind::Timeout, "no answer")))
    }

    fn rejected(kind: ErrorKind) -> Result<Version, Failed> {
        Err(Failed::Rejected(Error::new(kind, "no")))
    }

    fn ours() -> Seen {
        Seen::Ours(Version::new("7"))
    }

    fn failed(next: Next) -> Error {
        match next {
            Next::Done(Err(error)) => error,
            other => panic!("expected an error, got {other:?}"),
        }
    }

    #[test]
    fn an_answered_write_is_done_after_one_send() {
        let next = Resolution::new(6, false).answered(Ok(Version::new("7")));
        assert!(matches!(next, Next::Done(Ok(version)) if version == Version::new("7")));
    }

    #[test]
    fn a_refusal_of_our_own_earlier_send_is_a_success() {
        for answer in [unknown(), Err(Failed::Refused)] {
            let mut write = Resolution::new(6, false);
            assert!(matches!(write.answered(answer), Next::Look));
            assert!(matches!(write.seen(ours()), Next::Done(Ok(_))));
        }
    }

    #[test]
    fn a_refusal_of_the_only_send_is_a_conflict() {
        let mut write = Resolution::new(6, false);
        assert!(matches!(write.answered(Err(Failed::Refused)), Next::Look));
        let error = failed(write.seen(Seen::Other));
        assert!(error.is_conflict() && !error.is_indeterminate());
    }

    #[test]
    fn a_conflict_after_a_lost_answer_is_unknown() {
        let mut write = Resolution::new(6, false);
        assert!(matches!(write.answered(unknown()), Next::Look));
        let error = failed(write.seen(Seen::Other));
        assert!(error.is_conflict() && error.is_indeterminate());
    }

    #[test]
    fn with_retries_below_another_value_is_never_a_certain_conflict() {
        let mut write = Resolution::new(6, true);
        assert!(matches!(write.answered(Err(Failed::Refused)), Next::Look));
        assert!(failed(write.seen(Seen::Other)).is_indeterminate());
    }

    #[test]
    fn the_same_write_is_sent_again_while_its_base_is_there() {
        let mut write = Resolution::new(3, false);
        for _ in 0..2 {
            assert!(matches!(write.answered(unknown()), Next::Look));
            assert!(matches!(write.seen(Seen::Base), Next::Send));
        }
        assert!(matches!(write.answered(unknown()), Next::Look));
        let error = failed(write.seen(Seen::Base));
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.is_indeterminate());
    }

    #[test]
    fn a_conflict_that_was_not_decided_is_sent_again() {
        let mut write = Resolution::new(3, false);
        assert!(matches!(write.answered(Err(Failed::Refused)), Next::Look));
        assert!(matches!(write.seen(Seen::Base), Next::Send));
        // Refused to the end, and nothing was ever written: that is certain.
        for _ in 0..2 {
            assert!(matches!(write.answered(Err(Failed::Refused)), Next::Look));
            if let Next::Done(done) = write.seen(Seen::Base) {
                let error = done.unwrap_err();
                assert!(error.is_conflict() && !error.is_indeterminate());
                return;
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn a_look_that_fails_is_repeated_and_then_leaves_it_open() {
        for answer in [unknown(), Err(Failed::Refused)] {
            let mut write = Resolution::new(3, false);
            assert!(matches!(write.answered(answer), Next::Look));
            let nothing = || Seen::Nothing(Error::new(ErrorKind::Unavailable, "no answer"));
            assert!(matches!(write.seen(nothing()), Next::Look));
            assert!(matches!(write.seen(nothing()), Next::Look));
            assert!(failed(write.seen(nothing())).is_indeterminate());
        }
    }

    #[test]
    fn throttling_is_waited_out_and_then_told() {
        let mut write = Resolution::new(2, false);
        assert!(matches!(write.answered(rejected(ErrorKind::Throttled)), Next::Send));
        let error = failed(write.answered(rejected(ErrorKind::Throttled)));
        assert!(error.kind() == ErrorKind::Throttled && error.is_retryable());
    }

    #[test]
    fn a_rejection_after_a_lost_answer_does_not_settle_it() {
        let mut write = Resolution::new(6, false);
        assert!(matches!(write.answered(unknown()), Next::Look));
        assert!(matches!(write.seen(Seen::Base), Next::Send));
        let error = failed(write.answered(rejected(ErrorKind::Denied)));
        assert!(error.kind() == ErrorKind::Denied && error.is_indeterminate());
    }
}
