//! Errors of a store as those of `object_store`.

use leasehold_core::{Capability, Error, ErrorKind};
use object_store::{Error as Theirs, path::Path};

pub(super) const STORE: &str = "Leasehold";

/// What a conflict means to the caller.
#[derive(Clone, Copy)]
pub(super) enum Conflict {
    /// Something is there that was not to be there.
    Exists,
    /// A condition did not hold.
    Condition,
}

/// An error about `location`.
///
/// `AlreadyExists` and `Precondition` say that nothing was written, so a conflict that may be one with the write itself is
/// neither: it becomes `Generic`, with the error of the store as its source.
pub(super) fn error(error: Error, location: &Path, conflict: Conflict) -> Theirs {
    let path = location.to_string();
    if error.is_indeterminate() {
        return generic(error);
    }
    match error.kind() {
        ErrorKind::Conflict => match conflict {
            Conflict::Exists => Theirs::AlreadyExists { path, source: error.into() },
            Conflict::Condition => Theirs::Precondition { path, source: error.into() },
        },
        ErrorKind::Denied | ErrorKind::Fenced => Theirs::PermissionDenied { path, source: error.into() },
        ErrorKind::Unsupported(Capability::ConditionalPut) => not_implemented("conditional puts"),
        ErrorKind::Unsupported(Capability::Attributes) => not_implemented("attributes"),
        ErrorKind::Unsupported(_) => Theirs::NotSupported { source: error.into() },
        _ => generic(error),
    }
}

pub(super) fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Theirs {
    Theirs::Generic { store: STORE, source: source.into() }
}

pub(super) fn not_implemented(what: &str) -> Theirs {
    Theirs::NotImplemented { operation: what.into(), implementer: STORE.into() }
}

pub(super) fn not_found(location: &Path) -> Theirs {
    Theirs::NotFound { path: location.to_string(), source: "there is no value at this location".into() }
}
