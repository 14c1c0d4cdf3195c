//! The directory itself: found once, and never left through a name or a symbolic link.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use leasehold_core::{Error, ErrorKind, Result};
use rustix::{
    fs::{self, AtFlags, CWD, Mode, OFlags, Stat},
    io::Errno,
};

use crate::{
    attributes,
    fault::{from_errno, removed},
    reused::{Confirmed, may_be_reused},
};

pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `NONBLOCK` so that a named pipe, put there by somebody else, cannot hold a reader.
pub(crate) const VALUE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// To look at a value without reading it.
#[cfg(target_os = "linux")]
pub(crate) const HEAD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
pub(crate) const HEAD: OFlags = VALUE;

/// How often a write starts over because its directory was pruned meanwhile.
pub(crate) const RACES_MAX: usize = 1000;

/// Every one of [`RACES_MAX`] attempts lost.
pub(crate) fn pruned_for_ever() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "its directory was removed again and again while it was written; try again",
    )
}

/// An open root directory.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
    /// Whether values live in memory, where a read never waits for a device.
    pub(crate) in_memory: bool,
    /// Whether the filesystem keeps attributes beside a value.
    pub(crate) keeps_attributes: bool,
    /// Cleared once the kernel turns out not to know `openat2`.
    can_resolve: AtomicBool,
    /// Cleared once the filesystem turns out not to know reads that refuse to wait.
    can_peek: AtomicBool,
    /// Set once the root's own name is durable.
    entry_synced: AtomicBool,
    confirmed: Confirmed,
}

impl Root {
    /// Opens the directory at `path`, making it when `create` is set and its parent exists.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self> {
        if create {
            match fs::mkdirat(CWD, path, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST | Errno::ROFS | Errno::ACCESS) => {}
                Err(Errno::NOENT) => {
                    return Err(Error::invalid("its parent directory does not exist; make that first"));
                }
                Err(errno) => return Err(from_errno(errno)),
            }
        }
        let directory = fs::openat(CWD, path, DIRECTORY, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Error::invalid("there is no such directory; make it, or check the path"),
            Errno::NOTDIR => Error::invalid("that is a file; a store needs a directory"),
            errno => from_errno(errno),
        })?;
        let in_memory = is_in_memory(directory.as_fd());
        Ok(Self {
            keeps_attributes: attributes::are_kept(directory.as_fd()),
            directory,
            in_memory,
            can_resolve: true.into(),
            can_peek: (!in_memory).into(),
            entry_synced: false.into(),
            confirmed: Confirmed::default(),
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Opens `path`, following no symbolic link and leaving the root by no way.
    pub(crate) fn open_beneath(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        #[cfg(target_os = "linux")]
        if self.can_resolve.load(Ordering::Relaxed) {
            match fs::openat2(self.fd(), path, flags, Mode::empty(), RESOLVE) {
                // EPERM is what a seccomp filter from before openat2 answers.
                Err(Errno::NOSYS | Errno::PERM) => self.can_resolve.store(false, Ordering::Relaxed),
                // A rename elsewhere in the tree raced with the walk: the kernel asks for another try.
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        self.walk(path, flags)
    }

    /// What is at `path`, following no symbolic link and leaving the root by no way.
    pub(crate) fn stat_beneath(&self, path: &str) -> Result<Stat, Errno> {
        self.open_beneath(path, HEAD).and_then(fs::fstat)
    }

    /// What a file is like that was opened through `path` to be read, and then had this `stat`; `None` if it is not, or may not
    /// have been, what `path` stands for. See [`reused`](crate::reused).
    ///
    /// Costs nothing but for files that may be reused, and for each value of such once.
    pub(crate) fn settled(&self, path: &str, stat: Stat) -> Option<Stat> {
        if self.is_settled(path, &stat) {
            return Some(stat);
        }
        // A link on the way to another place does not lead to this file.
        let now = fs::statat(self.fd(), path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if (now.st_dev, now.st_ino) != (stat.st_dev, stat.st_ino) {
            return None;
        }
        self.confirmed.insert(path, &now);
        Some(now)
    }

    /// Whether what was found through `path`, and then had this `stat`, is known to be what `path` stands for.
    pub(crate) fn is_settled(&self, path: &str, stat: &Stat) -> bool {
        !may_be_reused(stat) || self.confirmed.contains(path, stat)
    }

    /// Opens name by name, for kernels without `openat2`.
    fn walk(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (directories, file) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at: Option<OwnedFd> = None;
        for name in directories.split('/').filter(|name| !name.is_empty()) {
            let next = fs::openat(
                at.as_ref().map_or(self.fd(), AsFd::as_fd),
                name,
                DIRECTORY | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
            at = Some(next);
        }
        fs::openat(at.as_ref().map_or(self.fd(), AsFd::as_fd), file, flags | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Opens `path` only if the kernel has the whole way to it in memory; `None` when it might have to wait.
    #[cfg(target_os = "linux")]
    pub(crate) fn open_cached(&self, path: &str, flags: OFlags) -> Option<Result<OwnedFd, Errno>> {
        if !self.can_resolve.load(Ordering::Relaxed) {
            return None;
        }
        match fs::openat2(self.fd(), path, flags, Mode::empty(), RESOLVE | fs::ResolveFlags::CACHED) {
            Err(Errno::AGAIN | Errno::NOSYS | Errno::PERM | Errno::INVAL) => None,
            result => Some(result),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn open_cached(&self, _path: &str, _flags: OFlags) -> Option<Result<OwnedFd, Errno>> {
        None
    }

    /// Reads `size` bytes only if they are in memory; `None` when the device would have to be asked.
    pub(crate) fn read_cached(&self, file: BorrowedFd<'_>, offset: u64, size: usize) -> Option<Vec<u8>> {
        if self.in_memory {
            return read_at(file, offset, size).ok().filter(|bytes| bytes.len() == size);
        }
        self.peek(file, offset, size)
    }

    #[cfg(target_os = "linux")]
    fn peek(&self, file: BorrowedFd<'_>, offset: u64, size: usize) -> Option<Vec<u8>> {
        use rustix::io::ReadWriteFlags;
        if !self.can_peek.load(Ordering::Relaxed) {
            return None;
        }
        let mut bytes = vec![0; size];
        let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
        match rustix::io::preadv2(file, &mut parts, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == size => Some(bytes),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.can_peek.store(false, Ordering::Relaxed);
                None
            }
            _ => None,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn peek(&self, _file: BorrowedFd<'_>, _offset: u64, _size: usize) -> Option<Vec<u8>> {
        None
    }

    /// Makes the root's own name survive a loss of power, once: this process or another may just have made it.
    pub(crate) fn sync_entry(&self) -> Result<(), Errno> {
        if self.entry_synced.load(Ordering::Relaxed) {
            return Ok(());
        }
        match fs::openat(self.fd(), "..", DIRECTORY, Mode::empty()).and_then(fs::fsync) {
            // Who may not read the directory above did not make this one in it.
            Ok(()) | Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
        self.entry_synced.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Tells a missing name from a missing store.
    pub(crate) fn check_present(&self) -> Result<()> {
        match fs::fstat(self.fd()) {
            Ok(stat) if stat.st_nlink == 0 => Err(removed()),
            Ok(_) => Ok(()),
            Err(errno) => Err(from_errno(errno)),
        }
    }

    /// Opens a directory of the store, making it and those above it where they are missing.
    pub(crate) fn make_directory(&self, path: &str) -> Result<OwnedFd> {
        for _ in 0..RACES_MAX {
            match self.try_make_directory(path) {
                // Somebody pruned a directory while we stood in it: walk again, unless it was the root.
                Err(Errno::NOENT) => self.check_present()?,
                result => return result.map_err(from_errno),
            }
        }
        Err(pruned_for_ever())
    }

    fn try_make_directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        let mut at =
            self.directory.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = loop {
                match fs::openat(&at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                    Err(Errno::NOENT) => match fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno),
                    },
                    result => break result?,
                }
            };
        }
        Ok(at)
    }

    /// Removes the directory at `path`, and those above it, as far as they are empty.
    pub(crate) fn prune(&self, mut path: &str) {
        while !path.is_empty() {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let removed = if parent.is_empty() {
                fs::unlinkat(self.fd(), name, AtFlags::REMOVEDIR)
            } else {
                self.open_beneath(parent, DIRECTORY).and_then(|at| fs::unlinkat(at, name, AtFlags::REMOVEDIR))
            };
            if removed.is_err() {
                return;
            }
            path = parent;
        }
    }
}

#[cfg(target_os = "linux")]
const RESOLVE: fs::ResolveFlags = fs::ResolveFlags::BENEATH.union(fs::ResolveFlags::NO_SYMLINKS);

/// The directory above the one at `path`; empty for the root.
pub(crate) fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

/// Reads up to `size` bytes at `offset`; fewer only at the end of the file.
pub(crate) fn read_at(file: BorrowedFd<'_>, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    bytes.truncate(size);
    Ok(bytes)
}

#[cfg(target_os = "linux")]
fn is_in_memory(directory: BorrowedFd<'_>) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    fs::fstatfs(directory).is_ok_and(|stat| [TMPFS, RAMFS].contains(&(stat.f_type as u64)))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_directory: BorrowedFd<'_>) -> bool {
    false
}

/// Whether a filesystem writes a file's blocks where they are and itself, without another below it: ext2 to ext4, XFS.
#[cfg(target_os = "linux")]
pub(crate) fn is_written_in_place(file: BorrowedFd<'_>) -> bool {
    const IN_PLACE: [u64; 2] = [0xef53, 0x5846_5342];
    fs::fstatfs(file).is_ok_and(|stat| IN_PLACE.contains(&(stat.f_type as u64)))
}

/// Refuses anything but a regular file.
pub(crate) fn check_regular(stat: &Stat) -> Result<()> {
    match fs::FileType::from_raw_mode(stat.st_mode) {
        fs::FileType::RegularFile => Ok(()),
        fs::FileType::Directory => Err(from_errno(Errno::ISDIR)),
        fs::FileType::Symlink => Err(from_errno(Errno::LOOP)),
        _ => Err(Error::new(
            ErrorKind::Corrupt,
            "a device or a pipe stands where a value should be; move it away",
        )),
    }
}
