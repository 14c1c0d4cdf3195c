//! What a command runs under.

use std::time::Duration;

use leasehold::coordination::{Leadership, Lock, Locks};

/// What is held: it is watched while the command runs, and given up after it.
#[derive(Debug)]
pub(crate) enum Tenure {
    /// Locks of one session; never none.
    Locks { locks: Locks, held: Vec<Lock> },
    /// The leadership of an election.
    Leadership(Box<Leadership>),
}

impl Tenure {
    /// What it is called in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Locks { held, .. } => match held.as_slice() {
                [lock] => format!("the lock {:?}", lock.name()),
                several => {
                    let names: Vec<String> =
                        several.iter().map(|lock| format!("{:?}", lock.name())).collect();
                    format!("the session of the locks {}", names.join(", "))
                }
            },
            Self::Leadership(leadership) => format!("the leadership of {:?}", leadership.name()),
        }
    }

    /// What the command learns of it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Locks { held, .. } => {
                let all: serde_json::Map<_, _> =
                    held.iter().map(|lock| (lock.name().to_owned(), lock.token().get().into())).collect();
                let first = held.iter().take(1).flat_map(|lock| {
                    [
                        ("LEASEHOLD_LOCK", lock.name().to_owned()),
                        ("LEASEHOLD_TOKEN", lock.token().to_string()),
                        ("LEASEHOLD_OWNER", lock.heritage()),
                    ]
                });
                first.chain([("LEASEHOLD_LOCKS", serde_json::Value::from(all).to_string())]).collect()
            }
            Self::Leadership(leadership) => {
                let term = leadership.term().to_string();
                vec![
                    ("LEASEHOLD_ELECTION", leadership.name().to_owned()),
                    ("LEASEHOLD_TERM", term.clone()),
                    ("LEASEHOLD_TOKEN", term),
                ]
            }
        }
    }

    /// How long it may be acted upon if no further renewal succeeds; zero when it is over.
    pub(crate) fn remaining(&self) -> Duration {
        match self {
            // All of them last as long as their session.
            Self::Locks { held, .. } => held.iter().map(Lock::remaining).min().unwrap_or_default(),
            Self::Leadership(leadership) => leadership.remaining(),
        }
    }

    /// Whether it may be acted upon at this moment.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::Locks { held, .. } => held.iter().all(Lock::is_valid),
            Self::Leadership(leadership) => leadership.is_valid(),
        }
    }

    /// Gives it up.
    ///
    /// # Errors
    /// `Fenced` when it was over already; what the store fails with.
    pub(crate) async fn give_up(self) -> leasehold::Result<()> {
        match self {
            Self::Locks { locks, held } => {
                let mut given_up = Ok(());
                for lock in held.into_iter().rev() {
                    given_up = given_up.and(lock.release().await);
                }
                let closed = locks.close().await;
                given_up.and(closed)
            }
            Self::Leadership(leadership) => leadership.resign().await,
        }
    }
}
