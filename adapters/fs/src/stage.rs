//! Staging: a value is written whole, where nobody looks, before it is published by a rename.
//!
//! Every open handle has an area of its own under `.leasehold/stage`, with a lock beside it that the kernel frees
//! when its process dies. Who opens the store later removes the areas whose lock is free.

#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use leasehold_core::{Attributes, Capability, Environment, Error, ErrorKind, Result};
use rustix::{
    fs::{self, AtFlags, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
};

use crate::{
    attributes,
    fault::{from_errno, removed},
    layout::{directory_at, own_directory, own_file},
    root::Root,
    spare::{Spare, Spares},
    stamp::{Stamp, times},
};

/// One handle's place for values in the making.
#[derive(Debug)]
pub(crate) struct Area {
    areas: OwnedFd,
    name: String,
    directory: OwnedFd,
    _alive: OwnedFd,
    next: AtomicU64,
    /// Unset where files are not written again.
    spares: OnceLock<Spares>,
}

impl Area {
    /// Makes an area, after removing those of the dead.
    pub(crate) fn create(root: &Root, environment: &Environment) -> Result<Arc<Self>> {
        let areas = own_directory(root, "stage")?;
        remove_dead(&areas);
        let (name, alive) = claim(&areas, environment)?;
        fs::mkdirat(&areas, name.as_str(), Mode::from_raw_mode(0o777)).map_err(from_errno)?;
        let directory = directory_at(&areas, &name).map_err(from_errno)?;
        let area = Arc::new(Self {
            areas,
            name,
            directory,
            _alive: alive,
            next: AtomicU64::new(0),
            spares: OnceLock::new(),
        });
        area.check_times()?;
        Ok(area)
    }

    /// From now on replaced files are kept and written again, where the filesystem and the kernel allow that.
    pub(crate) fn keep_spares(self: &Arc<Self>) -> Result<()> {
        #[cfg(target_os = "linux")]
        if crate::root::is_written_in_place(self.directory.as_fd()) {
            let probe = Staged::create(self, &Attributes::new())?;
            let stat = fs::fstat(&probe.file).map_err(from_errno)?;
            let spares = Spares::like(&stat);
            if spares.are_possible(probe.file.as_fd()) {
                let _ = self.spares.set(spares);
            }
        }
        Ok(())
    }

    /// The replaced files that it keeps; `None` where it keeps none.
    pub(crate) fn spares(&self) -> Option<&Spares> {
        self.spares.get()
    }

    fn unlink(&self, name: &str) {
        let _ = fs::unlinkat(&self.directory, name, AtFlags::empty());
    }

    /// Whether this filesystem finds a name by its capitals, too.
    pub(crate) fn folds_case(&self) -> bool {
        let capitals = lock_name(&self.name).to_ascii_uppercase();
        fs::statat(&self.areas, capitals.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Refuses filesystems whose modification times are too coarse to hold a version.
    fn check_times(self: &Arc<Self>) -> Result<()> {
        const FINE: u64 = 1_700_000_000_123_456_786;
        let probe = Staged::create(self, &Attributes::new())?;
        if probe.stamp(FINE)?.nanos == FINE {
            return Ok(());
        }
        Err(Error::unsupported(Capability::UniqueVersions).because(
            "this filesystem keeps modification times coarser than a nanosecond, which versions need",
        ))
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        remove(&self.areas, &self.name);
    }
}

/// How many names are tried: each loses only to a cleaner that looks at it in the very moment it is made.
const NAMES_MAX: usize = 100;

/// Makes and locks the lock file of a new area.
fn claim(areas: &OwnedFd, environment: &Environment) -> Result<(String, OwnedFd)> {
    for _ in 0..NAMES_MAX {
        let name = environment.identifier();
        let alive = own_file(areas, &lock_name(&name))?;
        match fs::flock(&alive, FlockOperation::NonBlockingLockExclusive) {
            // Between the two calls a cleaner may have taken it for a dead one's, and removed it.
            Ok(()) if fs::fstat(&alive).map_err(from_errno)?.st_nlink > 0 => return Ok((name, alive)),
            Ok(()) | Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(errno) => return Err(from_errno(errno)),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "no staging area could be made among so many others; try again"))
}

fn lock_name(area: &str) -> String {
    format!("{area}.lock")
}

/// Removes every area whose owner is no more. Best effort: what cannot be removed is tried again next time.
fn remove_dead(areas: &OwnedFd) {
    let Ok(entries) = fs::Dir::read_from(areas) else { return };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().ok().and_then(|name| name.strip_suffix(".lock")) else {
            continue;
        };
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(lock) = fs::openat(areas, entry.file_name(), flags, Mode::empty()) else { continue };
        if fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(areas, name);
        }
    }
}

/// Removes an area, its lock last: as long as something is left, the lock tells that it may be removed.
fn remove(areas: &OwnedFd, name: &str) {
    if let Ok(directory) = directory_at(areas, name)
        && let Ok(entries) = fs::Dir::read_from(&directory)
    {
        for entry in entries.flatten() {
            let _ = fs::unlinkat(&directory, entry.file_name(), AtFlags::empty());
        }
    }
    match fs::unlinkat(areas, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {
            let _ = fs::unlinkat(areas, lock_name(name).as_str(), AtFlags::empty());
        }
        Err(_) => {}
    }
}

/// A value in the making; dropping it removes it, unless it was published.
#[derive(Debug)]
pub(crate) struct Staged {
    area: Arc<Area>,
    name: String,
    file: OwnedFd,
    size: u64,
    published: bool,
    /// The value that the file held before, if it held one.
    reused: Option<Reused>,
}

/// A value whose file is written again.
#[derive(Debug)]
struct Reused {
    nanos: u64,
    bytes: u64,
}

/// How far ahead of the clock the number of a file may be that is written again, in nanoseconds: racing writers of one key draw
/// numbers that run ahead of it.
#[cfg(target_os = "linux")]
const AHEAD_MAX: u64 = 1_000_000_000;

impl Staged {
    /// An empty value with its attributes.
    pub(crate) fn create(area: &Arc<Area>, attributes: &Attributes) -> Result<Self> {
        let name = area.next.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666) | attributes::mark(attributes);
        let file = fs::openat(&area.directory, name.as_str(), flags, mode).map_err(|errno| match errno {
            Errno::NOENT => removed(),
            errno => from_errno(errno),
        })?;
        let staged = Self { area: area.clone(), name, file, size: 0, published: false, reused: None };
        attributes::write(staged.file.as_fd(), attributes)?;
        Ok(staged)
    }

    /// A value of `bytes` bytes without attributes, to be written over one that was replaced; `None` where there is none.
    ///
    /// One that is dated later than `now` is not taken: numbers of a file grow, so that date would come to values of other keys.
    #[cfg(target_os = "linux")]
    pub(crate) fn reuse(area: &Arc<Area>, bytes: u64, now: u64) -> Option<Self> {
        let spares = area.spares()?;
        let Spare { name, .. } = spares.find(bytes)?;
        let reopened = spares.reopen(area.directory.as_fd(), &name);
        match reopened.filter(|(_, before)| Stamp::of(before).nanos <= now.saturating_add(AHEAD_MAX)) {
            Some((file, before)) => {
                let reused = Some(Reused { nanos: Stamp::of(&before).nanos, bytes: before.st_size as u64 });
                Some(Self { area: area.clone(), name, file, size: 0, published: false, reused })
            }
            None => {
                area.unlink(&name);
                None
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn reuse(_area: &Arc<Area>, _bytes: u64, _now: u64) -> Option<Self> {
        None
    }

    /// Appends to the value.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.file, bytes) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.size += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(from_errno(errno)),
            }
        }
        Ok(())
    }

    /// How much was written so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Sets the version that the value will have: at least `nanos`, even for a new file and odd for one that is reused.
    pub(crate) fn stamp(&self, nanos: u64) -> Result<Stamp> {
        let Some(reused) = &self.reused else {
            return self.set_time(nanos.saturating_add(1) & !1);
        };
        // Not before it was written: a file that is read too early has the new length only with the new number, or with the mode
        // of none.
        if self.size < reused.bytes {
            fs::ftruncate(&self.file, self.size).map_err(from_errno)?;
        }
        let stamp = self.set_time(nanos.max(reused.nanos.saturating_add(1)) | 1)?;
        if let Some(spares) = self.area.spares() {
            fs::fchmod(&self.file, spares.mode()).map_err(from_errno)?;
        }
        Ok(stamp)
    }

    fn set_time(&self, nanos: u64) -> Result<Stamp> {
        fs::futimens(&self.file, &times(nanos)).map_err(from_errno)?;
        fs::fstat(&self.file).map(|stat| Stamp::of(&stat)).map_err(from_errno)
    }

    /// The open file.
    #[cfg(target_os = "linux")]
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Sends the first page of what was written to the device, without waiting for it; only a hint.
    ///
    /// Linux begins to write what is said not to be needed any more; of a page of which only a part is, it forgets nothing.
    #[cfg(target_os = "linux")]
    pub(crate) fn send(&self) {
        let _ = fs::fadvise(&self.file, 0, NonZeroU64::new(1), fs::Advice::DontNeed);
    }

    /// Sends the first page of what was written to the device, without waiting for it; only a hint.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn send(&self) {}

    /// Makes what was written, and its version, survive a loss of power.
    pub(crate) fn sync(&self) -> Result<()> {
        fs::fsync(&self.file).map_err(from_errno)
    }

    /// Renames the value to `name` in `directory`, over `old`, which is there. Returns the file of that if it can be
    /// written again.
    pub(crate) fn replace(
        &mut self,
        directory: impl AsFd,
        name: &str,
        old: &Stat,
    ) -> Result<Option<Retired>, Errno> {
        let retired = self.exchange(directory.as_fd(), name, old)?;
        if retired.is_none() {
            fs::renameat(&self.area.directory, self.name.as_str(), directory, name)?;
        }
        self.published = true;
        Ok(retired)
    }

    #[cfg(target_os = "linux")]
    fn exchange(&self, directory: BorrowedFd<'_>, name: &str, old: &Stat) -> Result<Option<Retired>, Errno> {
        let Some(spares) = self.area.spares() else { return Ok(None) };
        if !spares.suits(old) {
            return Ok(None);
        }
        match self.rename_with(directory, name, fs::RenameFlags::EXCHANGE) {
            Ok(()) => {
                let spare = Spare { name: self.name.clone(), bytes: old.st_size as u64 };
                Ok(Some(Retired { area: self.area.clone(), spare: Some(spare) }))
            }
            // Not every filesystem can, a policy may forbid the way back, and a name that went nobody need exchange. If a rename
            // cannot do it either, that says why.
            Err(
                Errno::INVAL
                | Errno::NOSYS
                | Errno::NOTSUP
                | Errno::NOENT
                | Errno::XDEV
                | Errno::PERM
                | Errno::ACCESS,
            ) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn exchange(
        &self,
        _directory: BorrowedFd<'_>,
        _name: &str,
        _old: &Stat,
    ) -> Result<Option<Retired>, Errno> {
        Ok(None)
    }

    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    fn rename_with(
        &self,
        directory: BorrowedFd<'_>,
        name: &str,
        flags: fs::RenameFlags,
    ) -> Result<(), Errno> {
        fs::renameat_with(&self.area.directory, self.name.as_str(), directory, name, flags)
    }

    /// Renames the value to `name` in `directory`, only if nothing is there: the filesystem decides, no lock is needed.
    pub(crate) fn create_at(&mut self, directory: impl AsFd, name: &str) -> Result<(), Errno> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        {
            match self.rename_with(directory.as_fd(), name, fs::RenameFlags::NOREPLACE) {
                // Not every filesystem can; each can link, and refuses to where a name is taken.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                Ok(()) => {
                    self.published = true;
                    return Ok(());
                }
                Err(errno) => return Err(errno),
            }
        }
        // The staged name goes when `self` is dropped.
        fs::linkat(&self.area.directory, self.name.as_str(), directory, name, AtFlags::empty())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            self.area.unlink(&self.name);
        }
    }
}

/// The file of a value that was replaced. Nobody may write it before its replacement is durable; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Retired {
    area: Arc<Area>,
    spare: Option<Spare>,
}

impl Retired {
    /// Keeps it to be written again.
    pub(crate) fn keep(mut self) {
        if let (Some(spares), Some(spare)) = (self.area.spares(), self.spare.take()) {
            for Spare { name, .. } in spares.keep(spare) {
                self.area.unlink(&name);
            }
        }
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        if let Some(Spare { name, .. }) = &self.spare {
            self.area.unlink(name);
        }
    }
}
