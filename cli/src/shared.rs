//! Stores that other processes see too: without them there is nothing to coordinate.

use std::time::Duration;

use leasehold::{Stack, Store};
use tokio::time;

use crate::failure::Failure;

/// How long what is left to do at the end may take, when it is left to the time to live otherwise.
pub(crate) const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// The store, which is made where there is none.
pub(crate) async fn open(url: &str) -> Result<Store, Failure> {
    Ok(checked(url)?.open().await?.store)
}

/// The same for verbs that only look, and so must not make a store of a mistyped path.
pub(crate) async fn open_existing(url: &str) -> Result<Store, Failure> {
    Ok(checked(url)?.open_existing().await?.store)
}

fn checked(url: &str) -> Result<Stack, Failure> {
    let stack = Stack::of(url)?;
    if stack.store().starts_with("mem:") {
        return Err(Failure::usage(
            "processes cannot share mem:, so nothing can be coordinated over it; name a directory or a bucket",
        ));
    }
    Ok(stack)
}

/// The name of this machine, as far as it can be one of a node.
pub(crate) fn this_host() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).take(48).collect();
    if host.trim_matches('.').is_empty() { "host".to_owned() } else { host }
}

/// A name that tells people which process it is.
pub(crate) fn this_process() -> String {
    format!("{}-{}", this_host(), std::process::id())
}

/// Waits for something that may be left undone, and says why it was.
pub(crate) async fn farewell(work: impl Future<Output = leasehold::Result<()>>) -> Result<(), String> {
    match time::timeout(FAREWELL_MAX, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the store does not answer".to_owned()),
    }
}
