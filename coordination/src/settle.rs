//! One conditional write, carried through lost replies until it is known what became of it.

use std::time::Duration;

use leasehold_core::{Bytes, Error, ErrorKind, Key, Precondition, Result, Store, Version};

use crate::{
    call::{is_transient, read_within, write_within},
    history::History,
};

/// How often a write is sent at most.
const SENDINGS_MAX: u32 = 12;

/// A conditional write of a whole record.
///
/// It is only ever sent again with the same bytes and the same precondition. So either a lost earlier sending lands
/// first, and the repetition is refused and finds the operation in the record; or the repetition lands first, and the
/// lost one is refused for ever, because its precondition never comes back.
pub(crate) struct Write<'a> {
    pub(crate) store: &'a Store,
    pub(crate) key: &'a Key,
    pub(crate) bytes: &'a Bytes,
    /// What it is based on: `None` where there was no record.
    pub(crate) base: Option<&'a Version>,
    /// The history that the record has once this is applied.
    pub(crate) history: &'a History,
}

/// What a record that stands says about a write.
pub(crate) enum Fate {
    /// It was applied; the version, when it still stands.
    Applied(Option<Version>),
    /// What it was based on still stands: send it again.
    Pending,
    /// It was refused, and can never be applied any more.
    Refused,
    /// The history does not reach back far enough.
    Untold,
}

impl Fate {
    /// What was found where a write with this base would have put this history.
    pub(crate) fn of(base: Option<&Version>, history: &History, found: Option<(History, Version)>) -> Self {
        match (found, base) {
            (None, None) => Self::Pending,
            (None, Some(_)) => Self::Untold,
            (Some((_, version)), Some(base)) if version == *base => Self::Pending,
            (Some((found, version)), _) => match found.mentions(history) {
                Some(true) => Self::Applied((found == *history).then_some(version)),
                Some(false) => Self::Refused,
                None => Self::Untold,
            },
        }
    }
}

impl Write<'_> {
    /// Sends it until it is known what became of it. Returns its version, `None` when it was applied and another write
    /// stands by now.
    ///
    /// `history_of` reads the history out of a record; `time_left` says how long a call may take, or why there is no
    /// time any more.
    ///
    /// # Errors
    /// A `Conflict` that is not indeterminate: it lost the race, and can never be applied. Everything else: see
    /// [`is_indeterminate`](Error::is_indeterminate).
    pub(crate) async fn settle(
        &self,
        time_left: impl Fn() -> Result<Duration>,
        history_of: impl Fn(&Bytes) -> Result<History>,
    ) -> Result<Option<Version>> {
        let environment = self.store.environment();
        let precondition = match self.base {
            Some(version) => Precondition::Matches(version.clone()),
            None => Precondition::Absent,
        };
        let mut unknown = false;
        let qualified = |error: Error, unknown| if unknown { error.indeterminate() } else { error };
        for sending in 0..SENDINGS_MAX {
            let limit = time_left().map_err(|error| qualified(error, unknown))?;
            let put = self.store.put(self.key, self.bytes.clone()).precondition(precondition.clone());
            let error = match write_within(&*environment.clock, limit, put.into_future()).await {
                Ok(version) => return Ok(Some(version)),
                Err(error) => error,
            };
            unknown |= error.is_indeterminate();
            if error.is_conflict() {
                if !unknown {
                    return Err(error);
                }
                match self.look(limit, &history_of).await {
                    Ok(Fate::Applied(version)) => return Ok(version),
                    Ok(Fate::Refused) => return Err(Error::conflict(error.message().to_owned())),
                    Ok(Fate::Untold) => return Err(error.indeterminate()),
                    Ok(Fate::Pending) => {}
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Err(error.indeterminate()),
                }
            } else if !is_transient(&error) || sending + 1 == SENDINGS_MAX {
                return Err(qualified(error, unknown));
            }
            let pause = Duration::from_millis(5) * (1 << sending.min(7));
            environment.clock.sleep(environment.jitter(pause).min(limit)).await;
        }
        let message = "the store settled nothing; try again later";
        Err(qualified(Error::new(ErrorKind::Unavailable, message), unknown))
    }

    /// After a refusal that may be our own doing: looks for our operation.
    async fn look(&self, limit: Duration, history_of: impl Fn(&Bytes) -> Result<History>) -> Result<Fate> {
        let clock = &*self.store.environment().clock;
        let found = read_within(clock, limit, async {
            let Some(object) = self.store.get(self.key).await? else { return Ok(None) };
            let version = object.version().clone();
            Ok(Some((history_of(&object.bytes().await?)?, version)))
        });
        Ok(Fate::of(self.base, self.history, found.await?))
    }
}
