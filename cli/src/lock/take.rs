//! Asking for locks, for a command to run under them.

use leasehold::coordination::{Lock, Locks, Wait, locks::LockView};

use crate::{
    failure::{Failure, NOT_ACQUIRED},
    hold::{self, Options, Tenure},
    output, shared,
    signals::{self, Signals},
};

/// Where an outer `leasehold lock` says what it holds.
const OWNER: &str = "LEASEHOLD_OWNER";

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) names: Vec<String>,
    pub(super) kind: Kind,
    pub(super) fair: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Alone,
    Shared,
    Semaphore(u32),
}

pub(super) async fn run(asked: Asked, options: Options, url: &str) -> Result<u8, Failure> {
    let (node, ttl) = (options.node()?, options.ttl()?);
    let store = shared::open(url).await?;
    let mut signals = Signals::receive()?;
    let locks = connect(Locks::connect(store, node).ttl(ttl).into_future(), &mut signals).await?;
    let taken = tokio::select! {
        taken = asked.take(&locks, options.wait()) => taken,
        signal = signals.ending() => Err(Failure::silent(signals::exit_code(signal))),
    };
    match taken {
        Ok(held) => hold::run(Tenure::Locks { locks, held }, &options, signals).await,
        Err(failure) => {
            close(&locks).await;
            Err(failure)
        }
    }
}

/// Opens the session. A signal meanwhile ends it again: nobody would look for one that nothing hangs on.
async fn connect(
    connecting: impl Future<Output = leasehold::Result<Locks>>,
    signals: &mut Signals,
) -> Result<Locks, Failure> {
    let mut connecting = std::pin::pin!(connecting);
    let signal = tokio::select! {
        connected = &mut connecting => return Ok(connected?),
        signal = signals.ending() => signal,
    };
    // What cannot be undone in time stays behind, and does no harm.
    let _ = shared::farewell(async { connecting.await?.close().await }).await;
    Err(Failure::silent(signals::exit_code(signal)))
}

async fn close(locks: &Locks) {
    if let Err(problem) = shared::farewell(locks.close()).await {
        output::complain(&format!("the session could not be ended and is left to expire: {problem}"));
    }
}

impl Asked {
    /// Takes what is asked for, or says who has it.
    async fn take(&self, locks: &Locks, wait: Wait) -> Result<Vec<Lock>, Failure> {
        let locks = match std::env::var(OWNER) {
            Ok(heritage) if !heritage.is_empty() => locks.owner_from(&heritage).map_err(|error| {
                Failure::usage(format!(
                    "the variable {OWNER} is not what a `leasehold lock` around this one set ({error}); unset it"
                ))
            })?,
            _ => locks.owner(),
        };
        let request = match (self.names.as_slice(), self.kind) {
            ([name], Kind::Alone) => locks.exclusive(name),
            ([name], Kind::Shared) => locks.shared(name),
            ([name], Kind::Semaphore(permits)) => locks.semaphore(name, permits),
            (names, _) => {
                let all = locks.all(names).wait(wait);
                let all = if self.fair { all.fair() } else { all };
                return match all.await? {
                    Some(held) => Ok(held),
                    None => Err(self.busy(&locks).await?),
                };
            }
        };
        let request = request.wait(wait);
        let request = if self.fair { request.fair() } else { request };
        match request.await? {
            Some(lock) => Ok(vec![lock]),
            None => Err(self.busy(&locks).await?),
        }
    }

    /// Says who has it, as far as can be told by now.
    async fn busy(&self, locks: &Locks) -> Result<Failure, Failure> {
        let mut busy = None;
        for name in &self.names {
            busy = locks.observe(name).await?.filter(|view| !view.is_free());
            if busy.is_some() {
                break;
            }
        }
        let message = match busy {
            Some(view) => {
                format!("{} is {}; try again, or wait longer with --wait", what(&view), held_by(&view))
            }
            // Nobody is there any more.
            None => {
                format!("{:?} was held by somebody; try again, or wait longer with --wait", self.names[0])
            }
        };
        Ok(Failure::new(NOT_ACQUIRED, message))
    }
}

fn what(view: &LockView) -> String {
    match view.permits {
        None => format!("the lock {:?}", view.name),
        Some(permits) => format!("the semaphore {:?} of {permits}", view.name),
    }
}

/// The first few, and how many more.
fn held_by(view: &LockView) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> =
        view.holders.iter().take(SHOWN).map(|holder| format!("{:?}", holder.node)).collect();
    let more = match view.holders.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match shown.as_slice() {
        [] => "kept for those in line".to_owned(),
        shown => format!("held by {}{more}", shown.join(", ")),
    }
}
