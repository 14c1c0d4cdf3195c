//! A command that runs only while something is held: locks, or the leadership of an election.

mod group;
mod run;
mod starter;
mod tenure;
mod warden;

use std::{ffi::OsString, time::Duration};

use clap::Args;
use leasehold::coordination::{Node, Ttl, Wait};

pub(crate) use self::{
    run::run,
    starter::{StarterArguments, run_starter},
    tenure::Tenure,
    warden::{WardenArguments, run_warden},
};
use crate::{failure::Failure, shared};

/// What `--help` of every such verb says about the command.
pub(crate) const HELP: &str = "\
CMD runs in a process group of its own. INT, TERM, HUP, QUIT, USR1 and USR2 are passed on to the whole group. CMD does \
not read from a terminal. When CMD has ended, what it left in its group is ended too (TERM, after 2 s KILL), and then \
what was held is given up. A process that moved to a session of its own (a daemon) is out of reach.\n\n\
When it can no longer be renewed, the group gets TERM with a quarter of the ttl left and KILL before anybody else can \
take over. A second process does that when this one was stopped or killed.";

/// How something is asked for, and what runs under it.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long others wait after this holder was last heard of
    #[arg(long, default_value = "10s", value_parser = leasehold::units::duration)]
    ttl: Duration,
    /// How long to wait for it; for ever when left out
    #[arg(long, value_parser = leasehold::units::duration, value_name = "DURATION", conflicts_with = "try")]
    wait: Option<Duration>,
    /// Do not wait: exit with 75 when it is not to be had
    #[arg(long)]
    r#try: bool,
    /// Who holds it, for others to see; host and process id when left out
    #[arg(long)]
    node: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Options {
    pub(crate) fn ttl(&self) -> Result<Ttl, Failure> {
        Ok(Ttl::new(self.ttl)?)
    }

    pub(crate) fn wait(&self) -> Wait {
        match self.wait {
            _ if self.r#try => Wait::Try,
            Some(longest) => Wait::For(longest),
            None => Wait::Forever,
        }
    }

    pub(crate) fn node(&self) -> Result<Node, Failure> {
        Ok(Node::new(self.node.clone().unwrap_or_else(shared::this_process))?)
    }
}
