//! `leasehold lock NAME -- CMD`: a command that runs only while a lease is held.

mod group;
mod held;
mod starter;
mod warden;

use std::{ffi::OsString, time::Duration};

use clap::Args;
use leasehold::{
    Stack, Store,
    coordination::{Lease, Leases, Node, Ttl, Wait},
};

pub(crate) use self::{
    starter::{StarterArguments, run_starter},
    warden::{WardenArguments, run_warden},
};
use crate::{
    failure::{Failure, NOT_ACQUIRED},
    signals::{self, Signals},
};

const HELP: &str = "\
CMD runs in a process group of its own, with LEASEHOLD_LOCK and LEASEHOLD_TOKEN set. The token grows \
with every holder: hand it to whatever CMD writes to, and let that refuse smaller ones.\n\n\
INT, TERM, HUP, QUIT, USR1 and USR2 are passed on to the whole group. CMD does not read from a \
terminal. When CMD has ended, what it left in its group is ended too (TERM, after 2 s KILL), and \
then the lease is released. A process that moved to a session of its own (a daemon) is out of reach.\n\n\
When the lease can no longer be renewed, the group gets TERM with a quarter of the ttl left and KILL \
before anybody else can take the lease. A second process does that when this one was stopped or \
killed.";

/// `leasehold lock`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The lock's name, a key
    name: String,
    /// How long others wait after this holder was last heard of
    #[arg(long, default_value = "10s", value_parser = leasehold::units::duration)]
    ttl: Duration,
    /// How long to wait for the lease; for ever when left out
    #[arg(long, value_parser = leasehold::units::duration, value_name = "DURATION", conflicts_with = "try")]
    wait: Option<Duration>,
    /// Do not wait: exit with 75 when somebody holds it
    #[arg(long)]
    r#try: bool,
    /// Who holds it, for others to see; host and process id when left out
    #[arg(long)]
    node: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) async fn run(arguments: Arguments, url: String) -> Result<u8, Failure> {
    let stack = Stack::of(&url)?;
    if stack.store().starts_with("mem:") {
        return Err(Failure::usage("processes cannot share mem:, so it locks nothing; name a directory"));
    }
    let store = stack.open().await?.store;
    let node = Node::new(arguments.node.clone().unwrap_or_else(this_process))?;
    let ttl = Ttl::new(arguments.ttl)?;
    let mut signals = Signals::receive()?;
    let acquired = tokio::select! {
        acquired = acquire(&arguments, store, node, ttl) => acquired?,
        signal = signals.ending() => return Err(Failure::silent(signals::exit_code(signal))),
    };
    match acquired {
        Acquired::Held(lease) => held::run(*lease, &arguments, signals).await,
        Acquired::By(holder) => {
            let lock = &arguments.name;
            Err(Failure::new(
                NOT_ACQUIRED,
                format!("the lock {lock:?} is held by {holder}; try again, or wait with --wait"),
            ))
        }
    }
}

enum Acquired {
    Held(Box<Lease>),
    By(String),
}

async fn acquire(arguments: &Arguments, store: Store, node: Node, ttl: Ttl) -> Result<Acquired, Failure> {
    let wait = match arguments.wait {
        _ if arguments.r#try => Wait::Try,
        Some(longest) => Wait::For(longest),
        None => Wait::Forever,
    };
    let leases = Leases::connect(store, node).await?;
    if let Some(lease) = leases.acquire(&arguments.name).ttl(ttl).wait(wait).await? {
        return Ok(Acquired::Held(Box::new(lease)));
    }
    let view = leases.observe(&arguments.name).await?;
    Ok(Acquired::By(
        view.map_or_else(|| "somebody else".to_owned(), |view| format!("{:?}", view.holder.name())),
    ))
}

/// A name that tells people which process it is.
fn this_process() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).take(48).collect();
    let host = if host.is_empty() { "host".to_owned() } else { host };
    format!("{host}-{}", std::process::id())
}
