//! `leasehold serve s3`.

use std::path::PathBuf;

use clap::Args;
use leasehold_s3_server::S3Server;
use serde_json::json;

use super::credentials;
use crate::{
    failure::Failure,
    output,
    signals::{self, Signals},
};

const HELP: &str = "\
Clients sign with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, where it is set) of this \
command's environment, or with any profile of FILE, which looks as ~/.aws/credentials does:\n\n  \
[default]\n  aws_access_key_id = ...\n  aws_secret_access_key = ...\n\n\
Buckets are made and listed through the protocol. The object KEY of bucket B is the value at B/KEY of the store; what \
lies under B/ already shows up once the bucket is made. Conditional writes and deletes are as exact as the store.\n\n\
Requests are authenticated and not encrypted: put something that speaks TLS in front before listening on more than \
this machine. INT and TERM end the server after the requests in flight, at most 5 s; a second signal at once.";

/// `leasehold serve s3`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 for any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    listen: String,
    /// A file with the keys that clients sign with
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Make this bucket, unless it is there; may be given more than once
    #[arg(long = "bucket", value_name = "NAME")]
    buckets: Vec<String>,
    /// Refuse requests that are signed for another region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Print the address as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, url: &str) -> Result<u8, Failure> {
    let Arguments { listen, credentials: file, buckets, region, json } = arguments;
    // Before the store is opened, which may make it.
    let known = credentials::find(file.as_deref())?;
    let mut signals = Signals::receive()?;
    let store = signals.unless_ended(async { Ok(leasehold::open(url).await?) }).await?;
    let shown = store.to_string();
    let mut server = S3Server::new(store.clone());
    for credentials in known {
        server = server.credentials(credentials);
    }
    for bucket in buckets {
        server = server.bucket(bucket);
    }
    if let Some(region) = region {
        server = server.region(region);
    }
    let server = signals.unless_ended(async { Ok(server.bind(listen).await?) }).await?;
    let url = server.url();
    // A reader that went away does not end the server.
    if json {
        output::json(&json!({"url": url, "address": server.address().to_string()}))?;
    } else {
        output::line(&format!("{shown} is an S3 endpoint now; try: aws --endpoint-url {url} s3 ls"))?;
    }
    signals.ending().await;
    let stop = async {
        server.stop().await;
        // A layer may have put something off.
        store.flush().await
    };
    tokio::select! {
        stored = stop => stored.map(|()| 0).map_err(Failure::from),
        signal = signals.ending() => Err(Failure::silent(signals::exit_code(signal))),
    }
}
