//! `leasehold serve`: a store for those who speak another protocol.

mod credentials;
mod s3;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// `leasehold serve`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Subcommand, Debug)]
enum Protocol {
    /// Serve the store as an S3 endpoint, until a signal ends it
    S3(s3::Arguments),
}

pub(crate) async fn run(arguments: Arguments, url: String) -> Result<u8, Failure> {
    match arguments.protocol {
        Protocol::S3(arguments) => s3::run(arguments, &url).await,
    }
}
