//! Watching: the present state of a key or of a prefix, and then every later one that differs from what was seen last.
//!
//! `key` and `prefix` are what users hold, `looking` is the loop behind both, and `wake` is how to wait: until the store says
//! that something changed, or until it is time to look anyhow; `timed` the same with an end.

mod key;
mod looking;
mod prefix;
mod timed;
mod wake;

use leasehold_core::{IntoKey, Prefix, Result, Store};

pub use key::KeyWatch;
pub use prefix::{Difference, PrefixWatch};
pub(crate) use timed::TimedWake;
pub(crate) use wake::Wake;

/// Watches keys of a store.
///
/// The last state is never missed: once writers stop, it is what a watch yields last. States in between may be skipped. A watch
/// looks whenever the store tells of a change ([`Changes`](leasehold_core::Capability::Changes): in memory, on a directory) and,
/// in case that was lost, every 10 s; where the store does not tell, every second. [`interval`](KeyWatch::interval) sets
/// the second, and tenfold is the 10 s; both are shortened at random by up to a half, so that many watchers spread. However often
/// it is told, it looks at most 80 times in a second.
///
/// **Failures** that may pass are ridden out, with pauses that grow from 0.1 to 10 s. When they last for longer than
/// [`patience`](KeyWatch::patience), 30 s by default, the last one is yielded, and again whenever it has passed once more. Other
/// failures, such as a missing permission, are yielded at once. Either way the watch goes on.
///
/// What a version does not tell is not seen: where versions derive from content, a value that was changed and changed back
/// between two looks, and a change of attributes alone. What a layer answers from memory for a while, such as a cache with
/// bounded staleness, is seen when it answers otherwise.
///
/// ```
/// # use leasehold_coordination::Watch;
/// # use leasehold_core::Store;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let store = Store::new(leasehold_memory::Memory::new());
/// let mut config = Watch::key(&store, "config")?;
/// assert!(config.next().await?.is_none()); // what is there now: nothing
/// store.put("config", "blue").await?;
/// assert_eq!(config.next().await?.unwrap().text().await?, "blue");
///
/// let mut jobs = Watch::prefix(&store, "jobs/")?;
/// assert!(jobs.next().await?.is_empty());
/// store.put("jobs/1", "sweep").await?;
/// assert_eq!(jobs.next().await?.added[0].key.as_str(), "jobs/1");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Watch {}

impl Watch {
    /// Watches one key, whether it exists or not.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) when `key` is not sound.
    pub fn key(store: &Store, key: impl IntoKey) -> Result<KeyWatch> {
        Ok(KeyWatch::new(store.clone(), key.into_key()?))
    }

    /// Watches all keys that start with `prefix`; `""` for all there are.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) when no key can start so.
    pub fn prefix(store: &Store, prefix: impl AsRef<str>) -> Result<PrefixWatch> {
        Ok(PrefixWatch::new(store.clone(), Prefix::new(prefix.as_ref())?))
    }
}
