//! What an error of the operating system means to a caller.

use leasehold_core::{Error, ErrorKind};
use rustix::io::Errno;

/// Translates an `errno` into a kind and a sentence with the next step.
pub(crate) fn from_errno(errno: Errno) -> Error {
    use ErrorKind::{Corrupt, Denied, Full, Invalid, Timeout, Unavailable, Unexpected};
    let (kind, sentence) = match errno {
        Errno::NOSPC => (Full, "no space is left on the device; free some and try again"),
        Errno::DQUOT => (Full, "the disk quota is used up; free some space and try again"),
        Errno::ROFS => (Denied, "the filesystem is read-only; mount it writable"),
        Errno::ACCESS | Errno::PERM => (Denied, "permission denied; check the directory's owner and mode"),
        Errno::LOOP => (Corrupt, "a symbolic link stands in the way, which a store never follows; remove it"),
        Errno::NOTDIR => (Corrupt, "a file stands where a directory of the store should be; move it away"),
        Errno::ISDIR => (Corrupt, "a directory stands where a value should be; move it away"),
        Errno::NAMETOOLONG => {
            (Invalid, "the path is too long for this filesystem; shorten the key or the root")
        }
        Errno::XDEV => (Invalid, "another filesystem is mounted inside the store, which cannot span two"),
        Errno::MFILE | Errno::NFILE => (Unavailable, "too many files are open; raise the limit (ulimit -n)"),
        Errno::FBIG => (Invalid, "the value is larger than the filesystem allows"),
        Errno::TIMEDOUT => (Timeout, "the filesystem did not answer in time"),
        Errno::IO | Errno::STALE | Errno::NOMEM | Errno::NODEV => {
            (Unavailable, "the filesystem failed; check the system log")
        }
        _ => (Unexpected, "the operating system refused"),
    };
    // A medium that failed once, or an open-file limit, may well answer the next time; the others need a person.
    Error::new(kind, format!("{sentence} ({errno})")).because(std::io::Error::from(errno))
}

/// As [`from_errno`], of the call that publishes or removes a value: when the medium fails, or stops answering, nobody
/// knows whether it did so before or after.
pub(crate) fn from_publishing(errno: Errno) -> Error {
    let error = from_errno(errno);
    match errno {
        Errno::IO | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT => error.indeterminate(),
        _ => error,
    }
}

/// The same error once more, for another entry that it befell.
pub(crate) fn again(error: &Error) -> Error {
    let again = Error::new(error.kind(), error.message()).retryable(error.is_retryable());
    if error.is_indeterminate() { again.indeterminate() } else { again }
}

/// The store's own directory has gone while it was open.
pub(crate) fn removed() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the store's directory was removed or replaced underneath; open it again",
    )
    .retryable(false)
}
