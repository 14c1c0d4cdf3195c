//! What an error of `object_store` means: the kind, and whether a write may have been applied.

use std::{error, io, iter};

use leasehold_core::{Capability, Error, ErrorKind};
use object_store::Error as Theirs;

/// How a write ended that did not succeed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The store found that a precondition did not hold, or says so.
    Refused,
    /// Surely not applied, for another reason.
    Rejected(Error),
    /// It may have been applied, or may still be.
    Unknown(Error),
}

impl Failed {
    /// The error of a write without a precondition.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Refused => refused(),
            Self::Rejected(error) => error,
            Self::Unknown(error) => error.indeterminate(),
        }
    }
}

fn refused() -> Error {
    Error::new(
        ErrorKind::Unexpected,
        "the store refused a write that had no condition: a lease or a policy of its own may hold the object",
    )
}

/// What a failed write without a precondition means.
pub(crate) fn of_plain_write(source: Theirs, retries_below: bool) -> Failed {
    match of_write(source, retries_below) {
        // A send before the one that was refused may have been applied, and may be why it was.
        Failed::Refused if retries_below => Failed::Unknown(refused()),
        failed => failed,
    }
}

/// What a failed write means. Whatever is not known to have failed before it was applied may have been applied.
pub(crate) fn of_write(source: Theirs, retries_below: bool) -> Failed {
    if matches!(source, Theirs::AlreadyExists { .. } | Theirs::Precondition { .. }) {
        return Failed::Refused;
    }
    let never_sent = matches!(
        source,
        Theirs::InvalidPath { .. }
            | Theirs::NotSupported { .. }
            | Theirs::NotImplemented { .. }
            | Theirs::UnknownConfigurationKey { .. }
    );
    let meaning = meaning(&source);
    let error = meaning.error(source);
    match meaning.applied {
        Applied::No if !retries_below || never_sent => Failed::Rejected(error),
        // The last send was refused, but one before it may have been applied.
        Applied::No | Applied::Maybe => Failed::Unknown(error),
    }
}

/// What a failed read means.
pub(crate) fn of_read(source: Theirs) -> Error {
    meaning(&source).error(source)
}

/// Whether there is nothing of this name, in a bucket or container that is there. To a look a service does not say which of
/// the two is missing.
pub(crate) fn is_absence(error: &Theirs) -> bool {
    match error {
        Theirs::NotFound { source, .. } => !lacks_container(&**source),
        // A file where a directory would have to be, and the other way round.
        Theirs::Generic { .. } => {
            matches!(cause(error), Cause::Io(io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory))
        }
        _ => false,
    }
}

/// Whether a list failed because a file stands in place of the folder, so that there is nothing to list. A service lists
/// nothing without an error; what it does not find is its bucket or container.
pub(crate) fn is_no_folder(error: &Theirs) -> bool {
    matches!(error, Theirs::Generic { .. }) && matches!(cause(error), Cause::Io(io::ErrorKind::NotADirectory))
}

/// The codes of services for a bucket or container that is not there, as they stand in the answer's document, in which
/// names are escaped.
const NO_CONTAINER: [&str; 2] = ["<Code>NoSuchBucket</Code>", "<Code>ContainerNotFound</Code>"];

fn lacks_container(error: &(dyn error::Error + 'static)) -> bool {
    chain(error).any(|error| {
        let text = error.to_string();
        text.starts_with(STATUS) && NO_CONTAINER.iter().any(|code| text.contains(code))
    })
}

/// An error and what it came from.
fn chain<'a>(
    error: &'a (dyn error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn error::Error + 'static)> {
    iter::successors(Some(error), |error| error.source())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    No,
    Maybe,
}

struct Meaning {
    kind: ErrorKind,
    applied: Applied,
    message: &'static str,
}

impl Meaning {
    const fn rejected(kind: ErrorKind, message: &'static str) -> Self {
        Self { kind, applied: Applied::No, message }
    }

    const fn unclear(kind: ErrorKind, message: &'static str) -> Self {
        Self { kind, applied: Applied::Maybe, message }
    }

    fn error(&self, source: Theirs) -> Error {
        Error::new(self.kind, self.message).because(source)
    }
}

fn meaning(error: &Theirs) -> Meaning {
    match error {
        Theirs::NotFound { .. } => Meaning::rejected(
            ErrorKind::Invalid,
            "there is no such bucket or container; create it, or name the one that there is",
        ),
        Theirs::PermissionDenied { .. } => Meaning::rejected(
            ErrorKind::Denied,
            "the store does not allow this; give these credentials the permission",
        ),
        Theirs::Unauthenticated { .. } => Meaning::rejected(
            ErrorKind::Denied,
            "the store does not accept these credentials; renew or correct them",
        ),
        Theirs::InvalidPath { .. } => Meaning::rejected(
            ErrorKind::Invalid,
            "the store cannot have an object of this name; use another key",
        ),
        Theirs::NotImplemented { operation, .. } => not_implemented(operation),
        Theirs::NotSupported { .. } => Meaning::rejected(
            ErrorKind::Unexpected,
            "the object store cannot do this; state less in its `Backend`",
        ),
        Theirs::UnknownConfigurationKey { .. } => {
            Meaning::rejected(ErrorKind::Invalid, "the object store does not know this setting")
        }
        Theirs::AlreadyExists { .. } | Theirs::Precondition { .. } | Theirs::NotModified { .. } => {
            Meaning::unclear(
                ErrorKind::Unexpected,
                "the object store answered with a condition that was not asked for",
            )
        }
        _ => of_cause(cause(error)),
    }
}

fn not_implemented(operation: &str) -> Meaning {
    let (kind, message) = if operation.contains("PutMode") {
        let kind = ErrorKind::Unsupported(Capability::ConditionalPut);
        (kind, "the object store has no conditional puts; do not claim them in its `Backend`")
    } else if operation.contains("attributes") {
        let kind = ErrorKind::Unsupported(Capability::Attributes);
        (kind, "the object store has no attributes; do not claim them in its `Backend`")
    } else {
        (ErrorKind::Unexpected, "the object store does not do this")
    };
    Meaning::rejected(kind, message)
}

/// What lies at the bottom of a generic error.
enum Cause {
    /// A store of ours, behind `AsObjectStore`.
    Ours(ErrorKind, Applied),
    Status(u16),
    Io(io::ErrorKind),
    #[cfg(any(feature = "azure", feature = "gcp"))]
    Http(object_store::client::HttpErrorKind),
    None,
}

/// How `object_store` begins the message of an answer that was no success. Its type cannot be named from outside. Should
/// the wording change, such answers count as unknown outcomes: less is known then, but nothing wrong is said.
const STATUS: &str = "Server returned non-2xx status code: ";

fn cause(error: &Theirs) -> Cause {
    let mut found = Cause::None;
    for error in chain(error) {
        if let Some(error) = error.downcast_ref::<Error>() {
            let applied = if error.is_indeterminate() { Applied::Maybe } else { Applied::No };
            return Cause::Ours(error.kind(), applied);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            found = Cause::Io(error.kind());
        }
        #[cfg(any(feature = "azure", feature = "gcp"))]
        if let Some(error) = error.downcast_ref::<object_store::client::HttpError>() {
            return Cause::Http(error.kind());
        }
        let text = error.to_string();
        if let Some(status) = text.strip_prefix(STATUS).and_then(|rest| rest.get(..3)?.parse().ok()) {
            return Cause::Status(status);
        }
    }
    found
}

/// What an operating system said, if that is the reason.
#[cfg(any(feature = "azure", feature = "gcp"))]
pub(crate) fn io_kind(error: &Theirs) -> Option<io::ErrorKind> {
    match cause(error) {
        Cause::Io(kind) => Some(kind),
        _ => None,
    }
}

fn of_cause(cause: Cause) -> Meaning {
    match cause {
        Cause::Ours(kind, applied) => {
            Meaning { kind, applied, message: "the store below the object store failed; see the cause" }
        }
        Cause::Status(status) => of_status(status),
        Cause::Io(kind) => of_io(kind),
        #[cfg(any(feature = "azure", feature = "gcp"))]
        Cause::Http(kind) => of_http(kind),
        Cause::None => Meaning::unclear(ErrorKind::Unexpected, "the object store failed; see the cause"),
    }
}

fn of_status(status: u16) -> Meaning {
    match status {
        400 | 411 | 414 | 431 => Meaning::rejected(
            ErrorKind::Invalid,
            "the service takes the request for malformed; see the cause",
        ),
        401 | 403 => {
            Meaning::rejected(ErrorKind::Denied, "the service refuses these credentials; see the cause")
        }
        404 => Meaning::rejected(
            ErrorKind::Invalid,
            "the service does not know what was asked for; see the cause",
        ),
        408 => Meaning::unclear(
            ErrorKind::Timeout,
            "the service gave up waiting for the request; try again later",
        ),
        413 => Meaning::rejected(ErrorKind::Invalid, "the value is larger than the service takes"),
        429 => {
            Meaning::rejected(ErrorKind::Throttled, "the service asks for a slower pace; send it again later")
        }
        503 => Meaning::unclear(ErrorKind::Throttled, "the service is too busy; send it again later"),
        507 => Meaning::unclear(ErrorKind::Full, "the service has no room left"),
        500..=599 => Meaning::unclear(ErrorKind::Unavailable, "the service failed; try again later"),
        400..=499 => {
            Meaning::rejected(ErrorKind::Unexpected, "the service refused the request; see the cause")
        }
        _ => Meaning::unclear(
            ErrorKind::Unexpected,
            "the service gave an answer that is not understood; see the cause",
        ),
    }
}

fn of_io(kind: io::ErrorKind) -> Meaning {
    match kind {
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::DirectoryNotEmpty => {
            Meaning::rejected(
                ErrorKind::Invalid,
                "a file system cannot hold both a key and keys below it; use another key, or another adapter",
            )
        }
        io::ErrorKind::InvalidFilename => Meaning::rejected(
            ErrorKind::Invalid,
            "the file system cannot have a file of this name; use another key",
        ),
        io::ErrorKind::ConnectionRefused => {
            Meaning::rejected(ErrorKind::Unavailable, "nobody answers at the store's address; is it right?")
        }
        // These may come from a directory that is synced after its file has been renamed into place.
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Meaning::unclear(ErrorKind::Denied, "the file system does not allow this; see the cause")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Meaning::unclear(ErrorKind::Full, "the file system has no room left; free some space")
        }
        io::ErrorKind::TimedOut => {
            Meaning::unclear(ErrorKind::Timeout, "the store did not answer in time; try again later")
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => {
            Meaning::unclear(ErrorKind::Unavailable, "the connection to the store broke; try again later")
        }
        _ => Meaning::unclear(ErrorKind::Unexpected, "the object store failed; see the cause"),
    }
}

#[cfg(any(feature = "azure", feature = "gcp"))]
fn of_http(kind: object_store::client::HttpErrorKind) -> Meaning {
    use object_store::client::HttpErrorKind;
    match kind {
        HttpErrorKind::Connect => {
            Meaning::rejected(ErrorKind::Unavailable, "the service cannot be reached; try again later")
        }
        HttpErrorKind::Timeout => {
            Meaning::unclear(ErrorKind::Timeout, "the service did not answer in time; try again later")
        }
        HttpErrorKind::Request | HttpErrorKind::Interrupted => {
            Meaning::unclear(ErrorKind::Unavailable, "the connection to the service broke; try again later")
        }
        _ => Meaning::unclear(
            ErrorKind::Unexpected,
            "the answer of the service is not understood; see the cause",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Theirs {
        Theirs::Generic { store: "test", source: source.into() }
    }

    fn status(status: &str) -> Theirs {
        generic(format!("{STATUS}{status}: no"))
    }

    #[test]
    fn a_refused_precondition_is_neither_applied_nor_unknown() {
        let path = String::new;
        for error in [
            Theirs::AlreadyExists { path: path(), source: "x".into() },
            Theirs::Precondition { path: path(), source: "x".into() },
        ] {
            assert!(matches!(of_write(error, true), Failed::Refused));
        }
    }

    #[test]
    fn a_refusal_of_a_plain_write_is_certain_only_without_retries_below() {
        let refusal = || Theirs::AlreadyExists { path: String::new(), source: "409".into() };
        assert!(matches!(of_plain_write(refusal(), false), Failed::Refused));
        assert!(matches!(of_plain_write(refusal(), true), Failed::Unknown(_)));
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_key() {
        let not_found = |text: String| Theirs::NotFound { path: String::new(), source: text.into() };
        for (document, absent) in [
            ("<Error><Code>NoSuchKey</Code><Key>&lt;Code&gt;NoSuchBucket&lt;/Code&gt;</Key></Error>", true),
            ("", true),
            ("<Error><Code>NoSuchBucket</Code><Message>no</Message></Error>", false),
            ("<Error><Code>ContainerNotFound</Code></Error>", false),
        ] {
            let error = not_found(format!("{STATUS}404 Not Found: {document}"));
            assert_eq!(is_absence(&error), absent, "{document}");
            assert!(!is_no_folder(&error));
            assert_eq!(of_read(error).kind(), ErrorKind::Invalid);
        }
        // What stands in a name says nothing.
        assert!(is_absence(&not_found("no such key: <Code>NoSuchBucket</Code>".into())));
    }

    #[test]
    fn an_answer_tells_the_kind_and_whether_it_was_applied() {
        for (code, kind, applied) in [
            ("400 Bad Request", ErrorKind::Invalid, false),
            ("403 Forbidden", ErrorKind::Denied, false),
            ("413 Content Too Large", ErrorKind::Invalid, false),
            ("429 Too Many Requests", ErrorKind::Throttled, false),
            ("408 Request Timeout", ErrorKind::Timeout, true),
            ("500 Internal Server Error", ErrorKind::Unavailable, true),
            ("503 Service Unavailable", ErrorKind::Throttled, true),
            ("504 Gateway Timeout", ErrorKind::Unavailable, true),
        ] {
            let (failed, error) = match of_write(status(code), false) {
                Failed::Rejected(error) => (false, error),
                Failed::Unknown(error) => (true, error),
                Failed::Refused => panic!("{code} is no refusal"),
            };
            assert_eq!((error.kind(), failed), (kind, applied), "{code}");
        }
    }

    #[test]
    fn what_is_not_understood_may_have_been_applied() {
        for error in [generic("eh?"), generic("a 429 in other words"), status("xyz")] {
            let Failed::Unknown(error) = of_write(error, false) else { panic!("it was taken for decided") };
            assert_eq!(error.kind(), ErrorKind::Unexpected);
        }
    }

    #[test]
    fn with_retries_below_only_what_was_never_sent_is_surely_not_applied() {
        assert!(matches!(of_write(status("429 "), true), Failed::Unknown(_)));
        let refused =
            Theirs::NotImplemented { operation: "`PutMode::Update`".into(), implementer: "x".into() };
        let Failed::Rejected(error) = of_write(refused, true) else { panic!("it was taken for sent") };
        assert_eq!(error.kind(), ErrorKind::Unsupported(Capability::ConditionalPut));
    }

    #[test]
    fn an_error_of_our_own_below_keeps_its_meaning() {
        let Failed::Rejected(error) = of_write(generic(Error::invalid("no")), false) else {
            panic!("it was decided below")
        };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let lost = Error::new(ErrorKind::Timeout, "no answer").indeterminate();
        let Failed::Unknown(error) = of_write(generic(lost), false) else { panic!("it was open below") };
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }

    #[test]
    fn a_cause_is_found_below_others() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("outer")
            }
        }
        impl error::Error for Outer {
            fn source(&self) -> Option<&(dyn error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let error = |kind: io::ErrorKind| generic(Outer(kind.into()));
        assert!(is_absence(&error(io::ErrorKind::NotADirectory)));
        assert!(!is_absence(&error(io::ErrorKind::TimedOut)));
        assert!(is_no_folder(&error(io::ErrorKind::NotADirectory)));
        assert!(!is_no_folder(&error(io::ErrorKind::PermissionDenied)));
        let Failed::Rejected(refused) = of_write(error(io::ErrorKind::IsADirectory), false) else {
            panic!("nothing can have been written over a directory")
        };
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
}
