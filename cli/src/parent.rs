//! A process that is nothing without the one that started it.

use rustix::process::getppid;

/// Makes the kernel kill this process when its parent dies, also while it is stopped, where the kernel can do that.
/// Whether the parent is still `parent`: one that died before could not be noticed.
pub(crate) fn die_with(parent: i32) -> bool {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent)
}
