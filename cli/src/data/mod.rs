//! The verbs of a store.

mod read;
mod write;

use clap::Subcommand;
use leasehold::Store;

use crate::failure::Failure;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Write a value to stdout, byte for byte
    Get(read::Get),
    /// Store a value and print its version
    Put(write::Put),
    /// Replace one value by another, if it is still the one expected
    Cas(write::Cas),
    /// Add to a decimal integer (absent counts as 0) and print the sum
    Incr(write::Incr),
    /// Delete a value; one that is not there is deleted already
    Del(write::Del),
    /// List keys in byte order
    Ls(read::Ls),
    /// Print what is known of a value without reading it
    Head(read::Head),
}

impl Command {
    /// Whether it makes no value, and so has no business with a store that does not exist.
    pub(crate) fn needs_a_store(&self) -> bool {
        matches!(self, Self::Get(_) | Self::Ls(_) | Self::Head(_) | Self::Del(_))
    }
}

pub(crate) async fn run(command: Command, store: &Store) -> Result<(), Failure> {
    match command {
        Command::Get(verb) => verb.run(store).await,
        Command::Put(verb) => verb.run(store).await,
        Command::Cas(verb) => verb.run(store).await,
        Command::Incr(verb) => verb.run(store).await,
        Command::Del(verb) => verb.run(store).await,
        Command::Ls(verb) => verb.run(store).await,
        Command::Head(verb) => verb.run(store).await,
    }
}
