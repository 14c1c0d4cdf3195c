//! Directory syncs, shared: of writers that need one at the same time, one does it for all.

use std::{
    collections::{HashMap, HashSet},
    os::fd::BorrowedFd,
    sync::Arc,
};

use parking_lot::{Condvar, Mutex};
use rustix::{
    fs::{self, AtFlags, StatxFlags},
    io::Errno,
};

use crate::root::{DIRECTORY, Root, above};

/// How many directories are remembered as known to be durable themselves.
const KNOWN_MAX: usize = 16_384;

/// A directory, told from a later one at the same path or with the same inode.
pub(crate) type Identity = (u64, u64);

#[derive(Debug, Default)]
pub(crate) struct Syncs {
    groups: Mutex<HashMap<Identity, Arc<Group>>>,
    /// Directories whose own entry, and those of all above, this handle has synced.
    known: Mutex<HashSet<Identity>>,
}

/// The writers that wait for one directory.
#[derive(Debug, Default)]
struct Group {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    started: u64,
    finished: u64,
    running: bool,
    failed: Option<(u64, Errno)>,
}

impl Syncs {
    /// Makes the names in `directory`, and the directory itself with all above it, survive a loss of power.
    ///
    /// What was renamed into it before the call is covered. `path` is its place below the root.
    pub(crate) fn sync(&self, root: &Root, directory: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
        let identity = identity(directory)?;
        let group = self.groups.lock().entry(identity).or_default().clone();
        let synced = group.sync(directory);
        let mut groups = self.groups.lock();
        // One reference is ours, one the map's: nobody else waits.
        if Arc::strong_count(&group) == 2 {
            groups.remove(&identity);
        }
        drop(groups);
        synced?;
        self.sync_ancestors(root, identity, path)
    }

    /// Once for each directory: another process may have made it and not have synced it yet.
    fn sync_ancestors(&self, root: &Root, identity: Identity, mut path: &str) -> Result<(), Errno> {
        if self.known.lock().contains(&identity) {
            return Ok(());
        }
        let mut whole = true;
        while !path.is_empty() {
            path = above(path);
            if path.is_empty() {
                fs::fsync(root.fd())?;
                break;
            }
            match root.open_beneath(path, DIRECTORY) {
                Ok(directory) => fs::fsync(directory)?,
                // Pruned meanwhile, and what we wrote with it: what is left to make durable is above.
                Err(Errno::NOENT) => whole = false,
                Err(errno) => return Err(errno),
            }
        }
        root.sync_entry()?;
        if whole {
            let mut known = self.known.lock();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(identity);
        }
        Ok(())
    }
}

impl Group {
    fn sync(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        // A sync that runs already may have begun before our rename: the next one is ours.
        let wanted = state.started + 1;
        loop {
            match state.failed {
                Some((failed, errno)) if failed >= wanted => return Err(errno),
                _ if state.finished >= wanted => return Ok(()),
                _ if state.running => self.finished.wait(&mut state),
                _ => {
                    state.running = true;
                    state.started += 1;
                    let number = state.started;
                    drop(state);
                    let result = fs::fsync(directory);
                    state = self.state.lock();
                    state.running = false;
                    state.finished = number;
                    if let Err(errno) = result {
                        state.failed = Some((number, errno));
                    }
                    self.finished.notify_all();
                }
            }
        }
    }
}

/// Inode and time of birth; on filesystems without the latter an inode may be taken for its predecessor, so the
/// time of the last change stands in and the directory is only synced once more often.
#[cfg(target_os = "linux")]
pub(crate) fn identity(directory: BorrowedFd<'_>) -> Result<Identity, Errno> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::CTIME;
    let stat = fs::statx(directory, "", AtFlags::EMPTY_PATH, wanted)?;
    let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let time = if has_birth { stat.stx_btime } else { stat.stx_ctime };
    Ok((stat.stx_ino, (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(u64::from(time.tv_nsec))))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn identity(directory: BorrowedFd<'_>) -> Result<Identity, Errno> {
    let stat = fs::fstat(directory)?;
    Ok((stat.st_ino as u64, stat.st_ctime as u64))
}
