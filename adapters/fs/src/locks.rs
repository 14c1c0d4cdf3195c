//! Locks that hold across processes and die with theirs.
//!
//! A fixed number of lock files, one for each stripe of keys. Threads of one handle queue at a mutex, its processes
//! at `flock`, which the kernel lets go when a process ends, however it ends. Held for a `stat` and a rename.

use std::{os::fd::OwnedFd, sync::OnceLock, time::Duration};

use leasehold_core::{Clock, Error, ErrorKind, Key, Result};
use parking_lot::{Mutex, MutexGuard};
use rustix::{
    fs::{self, FlockOperation},
    io::Errno,
};

use crate::{
    fault::{from_errno, removed},
    layout::{own_directory, own_file},
    root::Root,
    stamp::{Stamp, times},
};

/// Where the lock files are, below the store's own directory.
const DIRECTORY_NAME: &str = "locks";

#[derive(Debug)]
pub(crate) struct Locks {
    directory: OnceLock<OwnedFd>,
    stripes: Box<[Stripe]>,
    timeout: Duration,
}

#[derive(Debug, Default)]
struct Stripe {
    queue: Mutex<()>,
    file: OnceLock<OwnedFd>,
}

/// What to do when somebody else holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Give up at once.
    Never,
    /// Wait for the store's time-out.
    Bounded,
}

/// Times past this one, the year 2200, are no version of ours but somebody's `touch`: they are not remembered, or no
/// value could be created any more.
const MARK_MAX: u64 = 7_258_118_400_000_000_000;

/// A held stripe; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    file: &'a OwnedFd,
    mark: u64,
    _turn: MutexGuard<'a, ()>,
}

impl Held<'_> {
    /// The highest version that a delete in this stripe has taken away.
    pub(crate) fn deleted_up_to(&self) -> u64 {
        self.mark
    }

    /// Records that a delete is about to take away version `nanos`, so that a new value gets a higher one.
    pub(crate) fn record_delete(&self, nanos: u64) -> Result<()> {
        if (self.mark + 1..=MARK_MAX).contains(&nanos) {
            fs::futimens(self.file, &times(nanos)).map_err(from_errno)?;
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Cannot fail for a descriptor that holds the lock, and would be let go with it anyway.
        let _ = fs::flock(self.file, FlockOperation::Unlock);
    }
}

impl Locks {
    pub(crate) fn new(stripes: u32, timeout: Duration) -> Self {
        Self {
            directory: OnceLock::new(),
            stripes: (0..stripes).map(|_| Stripe::default()).collect(),
            timeout,
        }
    }

    /// Takes the stripe of `key`. `None`: somebody has it, and the caller does not wait.
    ///
    /// A process that was stopped while it held a lock keeps it; after the time-out the others are told so.
    pub(crate) fn lock(
        &self,
        root: &Root,
        key: &Key,
        patience: Patience,
        clock: &dyn Clock,
    ) -> Result<Option<Held<'_>>> {
        let number = self.number(key);
        let stripe = &self.stripes[number];
        let turn = match (stripe.queue.try_lock(), patience) {
            (Some(turn), _) => turn,
            (None, Patience::Never) => return Ok(None),
            (None, Patience::Bounded) => {
                stripe.queue.try_lock_for(self.timeout).ok_or_else(|| self.timed_out(number))?
            }
        };
        let file = self.file(root, number)?;
        if !try_flock(file)? {
            match patience {
                Patience::Never => return Ok(None),
                Patience::Bounded => self.wait_for_processes(file, number, clock)?,
            }
        }
        let mut held = Held { file, mark: 0, _turn: turn };
        let stat = fs::fstat(file).map_err(from_errno)?;
        // A lock on a file that was removed excludes nobody who opens the store now.
        if stat.st_nlink == 0 {
            return Err(removed());
        }
        held.mark = Stamp::of(&stat).nanos;
        Ok(Some(held))
    }

    fn wait_for_processes(&self, file: &OwnedFd, number: usize, clock: &dyn Clock) -> Result<()> {
        let started = clock.monotonic();
        let mut pause = Duration::from_micros(20);
        // Asked again and again rather than waited for in the kernel, where no time-out reaches. The lock is held for
        // some ten microseconds, so the first pauses are of that size.
        while !try_flock(file)? {
            if clock.monotonic().saturating_sub(started) >= self.timeout {
                return Err(self.timed_out(number));
            }
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The highest version that a delete in this key's stripe has taken away.
    ///
    /// Kept as the lock file's modification time: a full filesystem has no room for a byte, but always for a time.
    pub(crate) fn deleted_up_to(&self, root: &Root, key: &Key) -> Result<u64> {
        let file = self.file(root, self.number(key))?;
        fs::fstat(file).map(|stat| Stamp::of(&stat).nanos).map_err(from_errno)
    }

    fn file(&self, root: &Root, number: usize) -> Result<&OwnedFd> {
        let stripe = &self.stripes[number];
        if let Some(file) = stripe.file.get() {
            return Ok(file);
        }
        let directory = match self.directory.get() {
            Some(directory) => directory,
            None => {
                let opened = own_directory(root, DIRECTORY_NAME)?;
                self.directory.get_or_init(|| opened)
            }
        };
        let opened = own_file(directory, &name(number))?;
        Ok(stripe.file.get_or_init(|| opened))
    }

    /// Which stripe `key` is in.
    pub(crate) fn number(&self, key: &Key) -> usize {
        // FNV-1a: every process, now and later, must find the same stripe.
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        ((hash ^ (hash >> 32)) % self.stripes.len() as u64) as usize
    }

    /// The error of who waited in vain.
    pub(crate) fn timed_out(&self, number: usize) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!(
                "lock file .leasehold/locks/{number:02x} was held for {:?}, perhaps by a stopped process \
                 (fuser names it); nothing was written, try again",
                self.timeout
            ),
        )
    }
}

/// Makes every lock file of a new store, so that none needs room when the filesystem is full.
pub(crate) fn create_all(root: &Root, stripes: u32) -> Result<()> {
    let directory = own_directory(root, DIRECTORY_NAME)?;
    (0..stripes).try_for_each(|number| own_file(&directory, &name(number as usize)).map(drop))
}

fn name(number: usize) -> String {
    format!("{number:02x}")
}

fn try_flock(file: &OwnedFd) -> Result<bool> {
    loop {
        match fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(from_errno(errno)),
        }
    }
}
