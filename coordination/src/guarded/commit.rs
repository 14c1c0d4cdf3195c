//! One guarded write, carried through lost replies until it is known what became of it.

use std::time::Duration;

use leasehold_core::{Body, Bytes, Error, ErrorKind, Key, Precondition, Result, Version};

use super::{
    Guarded, Touched,
    frame::{HEADER_BYTES_MAX, Header},
};
use crate::call::{is_transient, read_within, write_within};

/// How often a write is sent at most.
const SENDINGS_MAX: u32 = 12;

impl Guarded {
    /// Refuses a value that would not leave room for the longest line before it: a later holder could not seal it.
    fn check_size(&self, key: &Key, value: Option<&Bytes>) -> Result<()> {
        let limit = Body::COLLECT_BYTES_MAX.min(self.store.capabilities().limits().value_bytes_max);
        let room = limit.saturating_sub(HEADER_BYTES_MAX as u64);
        match value {
            Some(value) if value.len() as u64 > room => Err(self.told(
                Error::invalid(format!(
                    "a guarded value of {} bytes is over the limit of {room} bytes",
                    value.len()
                )),
                key,
            )),
            _ => Ok(()),
        }
    }

    /// Replaces the record that was read by one with our token.
    ///
    /// # Errors
    /// A `Conflict` that is not indeterminate when the record has changed: look again.
    pub(super) async fn commit(&self, key: &Key, base: Option<Touched>, value: Option<&Bytes>) -> Result<()> {
        self.check_size(key, value)?;
        let environment = self.store.environment();
        let operation = environment.identifier();
        let (header, precondition, number) = match base {
            Some(Touched { header, version }) => (
                header.successor(&self.lease, self.token, operation),
                Precondition::Matches(version),
                header.sequence,
            ),
            None => (Header::first(&self.lease, self.token, operation), Precondition::Absent, 0),
        };
        let bytes = header.encode(value);
        let mut unknown = false;
        let qualified = |error: Error, unknown: bool| {
            self.forget(key);
            self.told(if unknown { error.indeterminate() } else { error }, key)
        };
        for sending in 0..SENDINGS_MAX {
            let limit = self.time_left().map_err(|error| qualified(error, unknown))?;
            let put = self.store.put(key, bytes.clone()).precondition(precondition.clone());
            let error = match write_within(&*environment.clock, limit, put.into_future()).await {
                Ok(version) => {
                    self.remember(key, Touched { header, version });
                    return Ok(());
                }
                Err(error) => error,
            };
            unknown |= error.is_indeterminate();
            if error.is_conflict() {
                if !unknown {
                    return Err(qualified(error, false));
                }
                match self.resolve(key, &header, &precondition, number).await {
                    Ok(Fate::Applied(version)) => {
                        match version {
                            Some(version) => self.remember(key, Touched { header, version }),
                            None => self.forget(key),
                        }
                        return Ok(());
                    }
                    Ok(Fate::Refused) => return Err(qualified(error.settled(), false)),
                    Ok(Fate::Untold) => return Err(qualified(error, true)),
                    Ok(Fate::Pending) => {}
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Err(qualified(error, true)),
                }
            } else if !is_transient(&error) || sending + 1 == SENDINGS_MAX {
                return Err(qualified(error, unknown));
            }
            let pause = Duration::from_millis(5) * (1 << sending.min(7));
            environment.clock.sleep(environment.jitter(pause).min(limit)).await;
        }
        Err(qualified(
            Error::new(ErrorKind::Unavailable, "the store settled nothing; try again later"),
            unknown,
        ))
    }

    /// After a refusal that may be our own doing: looks for our operation.
    async fn resolve(&self, key: &Key, ours: &Header, base: &Precondition, number: u64) -> Result<Fate> {
        let limit = self.time_left()?;
        let clock = &*self.store.environment().clock;
        let found = read_within(clock, limit, self.read(key)).await?;
        Ok(match (found, base) {
            (None, Precondition::Absent) => Fate::Pending,
            (None, _) => Fate::Untold,
            (Some((_, _, version)), Precondition::Matches(base)) if version == *base => Fate::Pending,
            (Some((header, _, version)), _) => match header.mentions(&ours.operation, number) {
                Some(true) => Fate::Applied((header == *ours).then_some(version)),
                Some(false) => Fate::Refused,
                None => Fate::Untold,
            },
        })
    }
}

/// What became of a write.
enum Fate {
    /// It was applied; the version, when it still stands.
    Applied(Option<Version>),
    /// What it was based on still stands: send it again.
    Pending,
    /// It was refused, and can never be applied any more.
    Refused,
    /// The history does not reach back far enough.
    Untold,
}

trait Settled {
    /// The same refusal, known to be one.
    fn settled(self) -> Error;
}

impl Settled for Error {
    fn settled(self) -> Error {
        Error::conflict(self.message().to_owned())
    }
}
