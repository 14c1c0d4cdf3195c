//! How a command ends: an exit code, and one sentence on stderr.

use std::{error::Error as _, fmt::Display};

use leasehold::{Error, ErrorKind};

/// The answer is no: a race was lost, a key is not there, a promise or a demo did not hold.
pub(crate) const NO: u8 = 1;
/// The call itself is wrong.
pub(crate) const USAGE: u8 = 2;
/// A write may or may not have been applied.
pub(crate) const UNKNOWN: u8 = 3;
/// The store, or this machine, failed or refused.
pub(crate) const FAILED: u8 = 4;
/// What a command ran under was lost, or a node was taken out (`EX_SOFTWARE`).
pub(crate) const LOST: u8 = 70;
/// What a command was to run under could not be had (`EX_TEMPFAIL`).
pub(crate) const NOT_ACQUIRED: u8 = 75;
/// A command was found but cannot be run.
pub(crate) const NOT_RUNNABLE: u8 = 126;
/// A command was not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// What `--help` says about them.
pub(crate) const HELP: &str = "\
Exit codes:
  0        done
  1        the answer is no: lost race or deadlock, no such key, lock, leader or node, a promise or
           a demo that did not hold
  2        the call is wrong: usage, unsound key, value that cannot be taken
  3        outcome unknown: the write may have been applied; read before deciding again
  4        the store or the machine failed: denied, full, unreachable, corrupt
  70       lock, semaphore, elect: what was held was lost while the command ran; cluster join: taken out
  75       lock, semaphore, elect: not to be had in time
  126,127  lock, semaphore, elect: the command cannot be run, or was not found
  128+N    ended by signal N
  lock, semaphore and elect otherwise exit with the code of their command.";

/// The end of a command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// Empty when everything has been said already.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Ends with `code` and says nothing more.
    pub(crate) fn silent(code: u8) -> Self {
        Self::new(code, "")
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// This machine did not do what it should.
    pub(crate) fn machine(what: impl Display, error: impl Display) -> Self {
        Self::new(FAILED, format!("{what}: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            _ if error.is_indeterminate() => UNKNOWN,
            ErrorKind::Conflict => NO,
            ErrorKind::Invalid => USAGE,
            ErrorKind::Fenced => LOST,
            _ => FAILED,
        };
        let mut message = error.to_string();
        if let Some(source) = error.source() {
            let cause = source.to_string();
            if !message.contains(&cause) {
                message = format!("{message} ({cause})");
            }
        }
        Self { code, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_of_a_write_has_a_code_of_its_own() {
        let code = |error: Error| Failure::from(error).code;
        assert_eq!(code(Error::conflict("x")), NO);
        assert_eq!(code(Error::conflict("x").indeterminate()), UNKNOWN);
        assert_eq!(code(Error::invalid("x")), USAGE);
        assert_eq!(code(Error::new(ErrorKind::Denied, "x")), FAILED);
    }

    #[test]
    fn a_cause_is_named_once() {
        let error = Error::new(ErrorKind::Full, "no room").because("disk full");
        assert_eq!(Failure::from(error).message, "no room (disk full)");
        let error = Error::new(ErrorKind::Full, "no room: disk full").because("disk full");
        assert_eq!(Failure::from(error).message, "no room: disk full");
    }
}
