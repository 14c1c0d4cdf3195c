//! Watches on a directory: who waits for a change is woken by the kernel, whichever process made it.
//!
//! An opened store has one inotify instance and one thread, from its first watch to its last. The thread alone knows which
//! directories are watched for whom; everybody else sends it commands. Why not by a crate: `docs/decisions/0016-watch.md`.

#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod thread;

#[cfg(target_os = "linux")]
pub(crate) use thread::Watches;

/// Whether this system can tell of changes.
pub(crate) const IS_TOLD: bool = cfg!(target_os = "linux");

/// None: there is no inotify here, so whoever waits polls.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Default)]
pub(crate) struct Watches;

#[cfg(not(target_os = "linux"))]
impl Watches {
    pub(crate) async fn changes(
        &self,
        _root: &std::sync::Arc<crate::root::Root>,
        _names: crate::name::Names,
        _scope: &leasehold_core::Scope,
    ) -> Option<leasehold_core::Changes> {
        None
    }
}
