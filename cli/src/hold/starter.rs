//! What a command is before it is itself: a process that waits until it is guarded, and then becomes the command.
//!
//! Without it, a `leasehold` that is killed right after it started its command would leave one that nobody ends.

use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    os::unix::process::CommandExt,
    process::Command,
};

use clap::Args;
use rustix::process::{Signal, getpid, kill_process};

use crate::{
    failure::{Failure, NOT_FOUND, NOT_RUNNABLE},
    parent,
};

/// Not for people: started by `leasehold lock` and its kin.
#[derive(Args, Debug)]
pub(crate) struct StarterArguments {
    /// The process that started this one
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Stops; when it is let go on, becomes the command. Returns only when that cannot be run.
pub(crate) fn run_starter(arguments: StarterArguments) -> Result<u8, Failure> {
    let Some((program, rest)) = arguments.command.split_first() else {
        return Err(Failure::usage("no command is given; write it after --"));
    };
    // The order to die with the parent outlives the change into the command.
    if !parent::die_with(arguments.parent) {
        return Err(Failure::silent(NOT_RUNNABLE));
    }
    kill_process(getpid(), Signal::STOP)
        .map_err(|error| Failure::machine("the command cannot wait for its guard", error))?;
    Err(cannot_run(&program.to_string_lossy(), &Command::new(program).args(rest).exec()))
}

fn cannot_run(program: &str, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::new(
            NOT_FOUND,
            format!(
                "the command {program:?} was not found; check its name and the PATH (what was held is given up)"
            ),
        ),
        _ => Failure::new(
            NOT_RUNNABLE,
            format!("the command {program:?} cannot be run: {error} (what was held is given up)"),
        ),
    }
}
