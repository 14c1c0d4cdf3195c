//! Stores by URL.

use leasehold_core::{Error, Result, Store};
use leasehold_fs::Fs;
use leasehold_memory::Memory;

/// Opens the store that `url` names.
///
/// | URL | store |
/// |---|---|
/// | `mem:` | in memory, gone with its last handle |
/// | `fs:PATH`, or a bare path | the directory at `PATH`, made if its parent exists |
/// | `fs:PATH?durable=false` | the same, acknowledging before anything is synced |
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for a scheme or a parameter that is not known, naming those that
/// are; what opening the store fails with.
pub async fn open(url: &str) -> Result<Store> {
    open_or(url, true).await
}

/// Opens the store that `url` names, if there is one: nothing is made, so that a mistyped path does not look like an empty
/// store.
///
/// # Errors
/// As [`open`], and [`Invalid`](leasehold_core::ErrorKind::Invalid) where there is no store.
pub async fn open_existing(url: &str) -> Result<Store> {
    open_or(url, false).await
}

async fn open_or(url: &str, create: bool) -> Result<Store> {
    match scheme(url) {
        Some("mem") if url == "mem:" => Ok(Store::new(Memory::new())),
        Some("mem") => Err(Error::invalid("a store in memory has no name: write \"mem:\"")),
        Some("fs") => directory(&url["fs:".len()..], create).await,
        Some(other) => Err(Error::invalid(format!(
            "no store is known by \"{other}:\"; use \"fs:PATH\", a path, or \"mem:\" (a path with a colon needs \"fs:\" in front)"
        ))),
        None => directory(url, create).await,
    }
}

/// What stands before the first colon, if it can be a scheme rather than part of a path.
fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once(':')?;
    let sound = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    sound.then_some(scheme)
}

async fn directory(rest: &str, create: bool) -> Result<Store> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.is_empty() {
        return Err(Error::invalid("a directory store needs a path: \"fs:/var/lib/app\""));
    }
    // Both "fs:/path" and the form with an empty authority, "fs:///path".
    let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let mut open = Fs::open(path).create(create);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        open = match parameter.split_once('=') {
            Some(("durable", "true")) => open.durable(true),
            Some(("durable", "false")) => open.durable(false),
            Some(("durable", other)) => {
                return Err(Error::invalid(format!("durable={other}: it is either true or false")));
            }
            _ => {
                let name = parameter.split('=').next().unwrap_or(parameter);
                return Err(Error::invalid(format!(
                    "{name:?} is no parameter of a directory store; known: durable"
                )));
            }
        };
    }
    Ok(Store::new(open.await?))
}
