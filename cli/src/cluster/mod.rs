//! `leasehold cluster`: who takes part, who leads, what is held.

mod join;
mod members;
mod picture;
mod shards;
mod watch;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// `leasehold cluster`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// One screen: the nodes, the elections and their leaders, the locks that are held
    Status(picture::StatusArguments),
    /// List the nodes that take part
    Members(members::ListArguments),
    /// List the shards that somebody owns, whoever divides them
    Shards(shards::Arguments),
    /// Show nodes and leaders as they change: a live table on a terminal, a line for each change elsewhere
    Watch(watch::Arguments),
    /// Ask a node to give up its work, and tell everybody to give it no more
    Drain(members::DrainArguments),
    /// Remove what is left of a node that died
    Forget(members::ForgetArguments),
    /// Take part as a node until interrupted
    Join(join::Arguments),
}

pub(crate) async fn run(arguments: Arguments, url: String) -> Result<u8, Failure> {
    match arguments.verb {
        Verb::Status(arguments) => picture::status(arguments, url).await,
        Verb::Members(arguments) => members::list(arguments, url).await,
        Verb::Shards(arguments) => shards::run(arguments, url).await,
        Verb::Watch(arguments) => watch::run(arguments, url).await,
        Verb::Drain(arguments) => members::drain(arguments, url).await,
        Verb::Forget(arguments) => members::forget(arguments, url).await,
        Verb::Join(arguments) => join::run(arguments, url).await,
    }
}
