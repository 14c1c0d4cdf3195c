//! On whose behalf locks are held and waited for, also across processes.

use std::collections::BTreeMap;

use leasehold_core::{Error, Result};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::deadlock::LOCKS_MAX;

/// The format of what is handed down.
const FORMAT: u64 = 1;

/// How many owners may stand behind one.
const ELDERS_MAX: usize = 64;

/// One who holds locks and waits for others.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) id: String,
    /// Who waits for this one to end, outermost first.
    elders: Vec<String>,
    /// The names of the locks that they hold, by claim. They are given up by whoever holds them, and may be over by now.
    pub(super) inherited: BTreeMap<String, String>,
    /// The names of the locks it holds itself, by claim.
    pub(super) held: Mutex<BTreeMap<String, String>>,
}

/// What an owner hands down to those it starts and waits for.
#[derive(Serialize, Deserialize)]
struct Heritage {
    format: u64,
    /// Outermost first.
    owners: Vec<String>,
    /// The names of the locks they hold, by claim.
    held: BTreeMap<String, String>,
}

impl Owner {
    pub(super) fn new(id: String) -> Self {
        Self { id, elders: Vec::new(), inherited: BTreeMap::new(), held: Mutex::default() }
    }

    /// One who is waited for by those who handed `heritage` down.
    pub(super) fn heir(id: String, heritage: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid(
                "this is not what a lock hands down; hand on what it gave, unchanged, or nothing at all",
            )
        };
        let Heritage { format, owners, held } = serde_json::from_str(heritage).map_err(|_| refuse())?;
        if format != FORMAT || owners.len() > ELDERS_MAX || held.len() > LOCKS_MAX {
            return Err(refuse());
        }
        Ok(Self { elders: owners, inherited: held, ..Self::new(id) })
    }

    /// What [`heir`](Owner::heir) reads. Locks past those that a search looks at are left out.
    pub(super) fn heritage(&self) -> String {
        let held = self.held.lock().clone();
        let heritage = Heritage {
            format: FORMAT,
            owners: self.line().map(str::to_owned).collect(),
            held: self.inherited.clone().into_iter().chain(held).take(LOCKS_MAX).collect(),
        };
        serde_json::to_string(&heritage).unwrap_or_default()
    }

    /// Everybody who waits while this one waits, outermost first, itself last.
    pub(super) fn line(&self) -> impl Iterator<Item = &str> {
        let skipped = (self.elders.len() + 1).saturating_sub(ELDERS_MAX);
        self.elders.iter().skip(skipped).chain([&self.id]).map(String::as_str)
    }

    /// Whether anybody can wait for it.
    pub(super) fn holds_nothing(&self) -> bool {
        self.inherited.is_empty() && self.held.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_down_names_everybody_and_all_they_hold() {
        let parent = Owner::new("p".into());
        parent.held.lock().insert("claim-a".into(), "a".into());
        let child = Owner::heir("c".into(), &parent.heritage()).unwrap();
        child.held.lock().insert("claim-b".into(), "b".into());
        let grandchild = Owner::heir("g".into(), &child.heritage()).unwrap();
        assert_eq!(grandchild.line().collect::<Vec<_>>(), ["p", "c", "g"]);
        assert_eq!(grandchild.inherited.values().collect::<Vec<_>>(), ["a", "b"]);
        assert!(!grandchild.holds_nothing() && Owner::new("o".into()).holds_nothing());
    }

    #[test]
    fn a_long_line_and_many_locks_stay_bounded() {
        let mut owner = Owner::new("0".into());
        for claim in 0..2 * LOCKS_MAX {
            owner.held.lock().insert(claim.to_string(), "l".into());
        }
        for id in 1..2 * ELDERS_MAX {
            owner = Owner::heir(id.to_string(), &owner.heritage()).unwrap();
        }
        assert_eq!((owner.line().count(), owner.inherited.len()), (ELDERS_MAX, LOCKS_MAX));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "x", "{}", r#"{"format":2,"owners":[],"held":{}}"#] {
            assert!(Owner::heir("c".into(), text).is_err(), "{text}");
        }
    }
}
