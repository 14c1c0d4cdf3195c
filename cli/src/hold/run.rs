//! The time between acquiring and giving up: the command runs, what is held is watched, and the group ends in time.

use std::{process::ExitStatus, time::Duration};

use leasehold::{Clock, ErrorKind, SystemClock};
use rustix::process::Signal;
use tokio::time;

use super::{Options, Tenure, group, group::Group, warden::Warden};
use crate::{
    failure::{Failure, LOST},
    output,
    signals::Signals,
};

/// How long what a command left behind may take to end after TERM.
const LEFTOVERS_MAX: Duration = Duration::from_secs(2);
/// How long KILL may take: a process in the middle of a system call on a dead disk cannot be killed.
const KILL_MAX: Duration = Duration::from_secs(5);
/// How often a group that is ending is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long giving up may take; after that it is left to expire.
const GIVE_UP_MAX: Duration = Duration::from_secs(30);

/// When what happens, in time that remains of what is held.
#[derive(Clone, Copy, Debug)]
struct Margins {
    /// TERM: it was not renewed for too long, start to stop.
    term: Duration,
    /// KILL: there is no more time to be polite.
    kill: Duration,
    /// The warden's KILL, a little later: it is for when this process does not get to it.
    warden: Duration,
    /// How often to look.
    tick: Duration,
}

impl Margins {
    fn of(ttl: Duration) -> Self {
        Self {
            term: ttl / 4,
            kill: ttl / 16,
            warden: ttl / 20,
            tick: (ttl / 20).clamp(Duration::from_millis(5), Duration::from_millis(250)),
        }
    }
}

struct Held {
    tenure: Tenure,
    group: Group,
    warden: Warden,
    margins: Margins,
}

/// Runs the command under what is held and gives it up, whatever happened.
pub(crate) async fn run(tenure: Tenure, options: &Options, signals: Signals) -> Result<u8, Failure> {
    let name = tenure.name();
    let (group, warden) = match start(&tenure, options).await {
        Ok(started) => started,
        Err(failure) => {
            give_up(tenure).await;
            return Err(failure);
        }
    };
    let mut held = Held { tenure, group, warden, margins: Margins::of(options.ttl) };
    held.inform_warden().await;
    held.warden.guard(held.group.id()).await;
    held.group.let_go();

    let end = held.watch(signals).await;
    let lost = matches!(end, Ok(None)) || !held.tenure.is_valid();
    // What is left after a command that ended by itself may take its time; after a loss there is only what is left of the ttl.
    let gone = held.wind_down(if lost { Duration::MAX } else { LEFTOVERS_MAX }).await;
    let Held { tenure, group, warden, .. } = held;
    if !gone {
        // The warden is left to itself: it will kill again what is still there.
        return Err(Failure::new(
            LOST,
            format!("some of what the command started cannot be killed; {name} is left to expire"),
        ));
    }
    warden.dismiss().await;
    let lost = lost || !tenure.is_valid();
    let lost = !give_up(tenure).await || lost;
    end?;
    match group.status() {
        Some(status) if lost && status.code().is_some() => {
            let code = group::exit_code(status);
            let message = format!(
                "{name} was over before the command's end (exit code {code}) was seen; look at what it \
                 did before running it again"
            );
            Err(Failure::new(LOST, message))
        }
        _ if lost => {
            Err(Failure::new(LOST, format!("{name} was lost, so the command was ended; run it again")))
        }
        Some(status) => Ok(group::exit_code(status)),
        None => Err(Failure::new(LOST, "the command ended without a status")),
    }
}

async fn start(tenure: &Tenure, options: &Options) -> Result<(Group, Warden), Failure> {
    let warden = Warden::start()?;
    match Group::prepare(&options.command, tenure.variables()).await {
        Ok(group) => Ok((group, warden)),
        Err(failure) => {
            warden.dismiss().await;
            Err(failure)
        }
    }
}

impl Held {
    /// Until the command has ended (its status), or what is held is as good as lost (`None`).
    async fn watch(&mut self, mut signals: Signals) -> Result<Option<ExitStatus>, Failure> {
        let mut tick = time::interval(self.margins.tick);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                status = self.group.ended() => return status.map(Some),
                signal = signals.next() => self.group.signal(signal),
                _ = tick.tick() => {
                    if self.tenure.remaining() <= self.margins.term {
                        return Ok(None);
                    }
                    self.inform_warden().await;
                }
            }
        }
    }

    /// Ends the group: TERM, and KILL after `patience` or when the time runs out. Whether all of it is gone.
    async fn wind_down(&mut self, patience: Duration) -> bool {
        let began = SystemClock.boottime();
        self.group.signal(Signal::TERM);
        // A stopped process would keep its TERM for later.
        self.group.signal(Signal::CONT);
        let mut killed = None;
        loop {
            if self.group.is_gone() {
                return true;
            }
            let now = SystemClock.boottime();
            let impatient = now.saturating_sub(began) >= patience;
            match killed {
                None if impatient || self.tenure.remaining() <= self.margins.kill => {
                    self.group.signal(Signal::KILL);
                    killed = Some(now);
                }
                Some(at) if now.saturating_sub(at) >= KILL_MAX => return false,
                _ => {}
            }
            self.inform_warden().await;
            time::sleep(LOOK_EVERY).await;
        }
    }

    async fn inform_warden(&mut self) {
        // The clock before what remains, so that the sum errs on the early side.
        let now = SystemClock.boottime();
        let left = self.tenure.remaining().saturating_sub(self.margins.warden);
        self.warden.trust_until(now + left).await;
    }
}

/// Gives up what is held. `false` when it turns out that somebody else has it.
async fn give_up(tenure: Tenure) -> bool {
    // What is over needs nothing: whoever takes over has removed it, or will.
    if !tenure.is_valid() {
        return true;
    }
    let name = tenure.name();
    // Who waits for it would have to wait for the whole ttl, so it is worth some patience; but none once that is over.
    let patience = tenure.remaining().min(GIVE_UP_MAX);
    let problem = match time::timeout(patience, tenure.give_up()).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) if error.kind() == ErrorKind::Fenced => return false,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the store does not answer".to_owned(),
    };
    output::complain(&format!("{name} could not be given up and is left to expire: {problem}"));
    true
}
