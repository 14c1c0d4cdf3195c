//! One error type: a kind that tells the caller what to do, and the three outcomes of a write.

use std::{error, fmt, sync::Arc};

use crate::{Capability, Key};

/// The result of every fallible call in Leasehold.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A precondition did not hold: somebody else was faster. Read again and decide again.
    Conflict,
    /// What is stored cannot be what a writer stored. Repair or remove it by hand.
    Corrupt,
    /// The store refuses this caller. Fix permissions or credentials.
    Denied,
    /// The caller's lease is over: a newer token holds what it wanted to write. Stop working under it.
    Fenced,
    /// No room is left in the store. Free space, or go to another store.
    Full,
    /// The call itself is wrong. Fix the caller; sending it again cannot help.
    Invalid,
    /// The store asks for a slower pace. Send again later.
    Throttled,
    /// The store did not answer in time.
    Timeout,
    /// The store cannot be reached or used at the moment.
    Unavailable,
    /// This store cannot honour what was asked, and changed nothing.
    Unsupported(Capability),
    /// None of the others.
    Unexpected,
}

impl ErrorKind {
    /// The name in messages, measurements and machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Denied => "denied",
            Self::Fenced => "fenced",
            Self::Full => "full",
            Self::Invalid => "invalid",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Unsupported(_) => "unsupported",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a call failed, on which key and where, and whether it may have taken effect.
///
/// A write has three outcomes: it returns `Ok` (applied), an error with
/// [`is_indeterminate`](Error::is_indeterminate) `false` (refused: nothing changed), or one with
/// `true` (unknown: it may have been applied, or may still be). Secrets never appear in an error.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    operation: Option<&'static str>,
    key: Option<String>,
    store: Option<String>,
    retryable: Option<bool>,
    indeterminate: bool,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` says what is wrong and what to do next, in lower case, without
    /// the key and the store, which [`on`](Error::on) and [`at`](Error::at) add.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            key: None,
            store: None,
            retryable: None,
            indeterminate: false,
            source: None,
        }))
    }

    /// A refused precondition: somebody else wrote first.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// A call that can never succeed as it stands.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// An option that this store cannot honour; nothing was written.
    pub fn unsupported(capability: Capability) -> Self {
        Self::new(
            ErrorKind::Unsupported(capability),
            format!("this store does not offer {capability}; see its capabilities"),
        )
    }

    /// Adds the operation and the key, unless they are set already.
    #[must_use]
    pub fn on(mut self, operation: &'static str, key: &Key) -> Self {
        self.0.operation.get_or_insert(operation);
        self.0.key.get_or_insert_with(|| key.as_str().to_owned());
        self
    }

    /// Adds the operation, unless it is set already.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Replaces the operation, for layers that send one call as another on the way down.
    #[must_use]
    pub fn asked_as(mut self, operation: &'static str) -> Self {
        self.0.operation = Some(operation);
        self
    }

    /// Adds the store, unless it is set already.
    #[must_use]
    pub fn at(mut self, store: &(impl fmt::Display + ?Sized)) -> Self {
        self.0.store.get_or_insert_with(|| store.to_string());
        self
    }

    /// Replaces the key, for layers that rename keys on the way down.
    #[must_use]
    pub fn rekeyed(mut self, rename: impl FnOnce(&str) -> String) -> Self {
        if let Some(key) = &self.0.key {
            self.0.key = Some(rename(key));
        }
        self
    }

    /// Marks the outcome as unknown: the write may have been applied, or may still be.
    #[must_use]
    pub fn indeterminate(mut self) -> Self {
        self.0.indeterminate = true;
        self
    }

    /// Overrides whether the same call may be sent again.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = Some(retryable);
        self
    }

    /// Attaches the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether a precondition was refused because somebody else was faster.
    pub fn is_conflict(&self) -> bool {
        self.kind() == ErrorKind::Conflict
    }

    /// Whether the same call may be sent again as it is.
    ///
    /// By default: yes for throttling, time-outs and unavailability, unless the outcome is unknown.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable.unwrap_or(
            !self.0.indeterminate
                && matches!(self.0.kind, ErrorKind::Throttled | ErrorKind::Timeout | ErrorKind::Unavailable),
        )
    }

    /// Whether the write may have taken effect, or may still take effect.
    pub fn is_indeterminate(&self) -> bool {
        self.0.indeterminate
    }

    /// The key the call was about, where it was about one.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// The operation that failed: `get`, `put`, `list` …
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// What went wrong, without key and store.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { operation, key, store, message, indeterminate, .. } = &*self.0;
        match (operation, key) {
            (Some(operation), Some(key)) => write!(f, "{operation} {key:?}")?,
            (Some(operation), None) => f.write_str(operation)?,
            (None, Some(key)) => write!(f, "{key:?}")?,
            (None, None) => {}
        }
        if let Some(store) = store {
            let space = if operation.is_some() || key.is_some() { " " } else { "" };
            write!(f, "{space}in {store}")?;
        }
        if operation.is_some() || key.is_some() || store.is_some() {
            f.write_str(": ")?;
        }
        f.write_str(message)?;
        if *indeterminate {
            f.write_str(" (outcome unknown: it may have been applied)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Error");
        shown.field("kind", &self.0.kind).field("message", &self.to_string());
        if let Some(source) = &self.0.source {
            shown.field("source", source);
        }
        shown.finish()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_operation_key_store_and_an_unknown_outcome() {
        let key = Key::new("users/42").unwrap();
        let error = Error::new(ErrorKind::Timeout, "no answer within 5 s; try again")
            .on("put", &key)
            .at("fs:/data")
            .indeterminate();
        assert_eq!(
            error.to_string(),
            "put \"users/42\" in fs:/data: no answer within 5 s; try again (outcome unknown: it may have been applied)"
        );
    }

    #[test]
    fn an_unknown_outcome_is_not_sent_again_blindly() {
        let error = Error::new(ErrorKind::Timeout, "x");
        assert!(error.is_retryable());
        assert!(!error.indeterminate().is_retryable());
    }

    #[test]
    fn a_conflict_is_not_retryable_as_it_stands() {
        assert!(!Error::conflict("x").is_retryable());
    }
}
