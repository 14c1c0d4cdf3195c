//! Locks from the shell: `lock` and `semaphore` run a command under them, `locks` shows them.

mod show;
mod take;

use clap::Args;

pub(crate) use self::show::{Onlooker, ShowArguments, Shown, show, table};
use self::take::{Asked, Kind};
use crate::{
    failure::Failure,
    hold::{self, Options},
};

const LOCK_HELP: &str = "\
CMD learns what it holds: LEASEHOLD_LOCK is the name (the first one, of several), LEASEHOLD_TOKEN its token, and \
LEASEHOLD_LOCKS a JSON object of all names and tokens. The token grows with every holder: hand it to whatever CMD writes \
to, and let that refuse smaller ones.\n\n\
LEASEHOLD_OWNER lets a `leasehold lock` inside of CMD take part in the search for deadlocks: of those who wait for each \
other in a circle one exits with 1 after a second or two, and says which circle. What CMD starts and does not wait for \
(a daemon) had better not inherit it.";

const SEMAPHORE_HELP: &str = "\
All who use the name at a time must say the same N. CMD learns what it holds: LEASEHOLD_LOCK is the name, \
LEASEHOLD_TOKEN the token of its permit, which grows with every holder; LEASEHOLD_OWNER as for `leasehold lock`.";

/// `leasehold lock`.
#[derive(Args, Debug)]
#[command(
    override_usage = "leasehold lock [OPTIONS] <NAME>... -- <CMD>...",
    after_help = format!("{LOCK_HELP}\n\n{}", hold::HELP)
)]
pub(crate) struct LockArguments {
    /// The lock's name, a key; several are taken all at once, in an order that cannot lead to a deadlock
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Beside others who say the same: many readers, or one writer
    #[arg(long)]
    shared: bool,
    /// Wait in line: first come, first served
    #[arg(long)]
    fair: bool,
    #[command(flatten)]
    options: Options,
}

/// `leasehold semaphore`.
#[derive(Args, Debug)]
#[command(
    override_usage = "leasehold semaphore [OPTIONS] -n <N> <NAME> -- <CMD>...",
    after_help = format!("{SEMAPHORE_HELP}\n\n{}", hold::HELP)
)]
pub(crate) struct SemaphoreArguments {
    /// The semaphore's name, a key
    name: String,
    /// How many may hold it at once, from 1 to 1000
    #[arg(short = 'n', long, value_name = "N")]
    permits: u32,
    /// Wait in line: first come, first served
    #[arg(long)]
    fair: bool,
    #[command(flatten)]
    options: Options,
}

pub(crate) async fn lock(arguments: LockArguments, url: String) -> Result<u8, Failure> {
    let LockArguments { names, shared, fair, options } = arguments;
    if shared && names.len() > 1 {
        return Err(Failure::usage("several locks are taken alone; --shared goes with one name"));
    }
    let kind = if shared { Kind::Shared } else { Kind::Alone };
    take::run(Asked { names, kind, fair }, options, &url).await
}

pub(crate) async fn semaphore(arguments: SemaphoreArguments, url: String) -> Result<u8, Failure> {
    let SemaphoreArguments { name, permits, fair, options } = arguments;
    take::run(Asked { names: vec![name], kind: Kind::Semaphore(permits), fair }, options, &url).await
}
