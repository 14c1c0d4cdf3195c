//! Telling a value in a reused file from what the file was before, and will be.
//!
//! To follow a name and to open what it leads to is one call, but not one instant: in between, the file can be replaced and
//! written again ([`spare`](crate::spare)). Nor is a `stat` one instant; the kernel copies field after field while the file
//! changes. So of a file that may be reused only this is believed: that *it is open to be read, and the name leads to it
//! after that*. From then on nobody writes it, since it is a value until it is replaced and open when it is. And what the
//! second look tells, through the name, it tells of that value.
//!
//! Most files are not reused, and the first `fstat` tells. The kernel takes down the mode first, and the mode of a file that is
//! being written again is one that no value has: it is set before anybody can open the file, and reset when the file has its
//! new number, which is odd. What has an even number under another mode is a new file, or one whose mode was read before it
//! was written again, and then its number is one that the kernel gave it, the same as the time of its last change.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::fs::{Mode, Stat};

use crate::stamp::Stamp;

/// What a file has in its mode while it is written again, over what it had.
pub(crate) const IN_THE_MAKING: Mode = Mode::SVTX.union(Mode::XUSR).union(Mode::XGRP).union(Mode::XOTH);

/// Whether the file is, or may once have been, another value than the one it was found as.
pub(crate) fn may_be_reused(stat: &Stat) -> bool {
    let is_dated_by_the_kernel = (stat.st_mtime, stat.st_mtime_nsec) == (stat.st_ctime, stat.st_ctime_nsec);
    Stamp::of(stat).nanos % 2 == 1 || is_dated_by_the_kernel || is_in_the_making(stat)
}

/// Whether the file is being written again, or has been given a mode as if it were.
pub(crate) fn is_in_the_making(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).contains(IN_THE_MAKING)
}

/// Values in files that may be reused, as their names were seen to stand for them.
///
/// Whoever sees one of them again through its name, with all that a `stat` told of it, need not look a second time: no other
/// value of that file has its number, or changed it last at that time. Nothing ever needs to be taken out.
#[derive(Debug, Default)]
pub(crate) struct Confirmed {
    seed: RandomState,
    /// Of each value a hash, 64 bits of it, in the place that the hash says; none at first.
    seen: OnceLock<Box<[AtomicU64]>>,
}

impl Confirmed {
    /// How many values are remembered, at most.
    const VALUES: usize = 8192;

    pub(crate) fn contains(&self, path: &str, stat: &Stat) -> bool {
        let (place, hash) = self.place(path, stat);
        place.load(Relaxed) == hash
    }

    pub(crate) fn insert(&self, path: &str, stat: &Stat) {
        if !is_in_the_making(stat) {
            let (place, hash) = self.place(path, stat);
            place.store(hash, Relaxed);
        }
    }

    fn place(&self, path: &str, stat: &Stat) -> (&AtomicU64, u64) {
        let seen = self.seen.get_or_init(|| (0..Self::VALUES).map(|_| AtomicU64::new(0)).collect());
        let Stamp { nanos, inode } = Stamp::of(stat);
        let changed = (stat.st_ctime, stat.st_ctime_nsec);
        // Never the nothing that is there at first.
        let hash = self.seed.hash_one((path, inode, nanos, stat.st_size, stat.st_mode, changed)) | 1;
        (&seen[(hash >> 1) as usize % Self::VALUES], hash)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs;

    use super::*;
    use crate::stamp::times;

    #[test]
    fn only_a_new_file_with_the_number_that_it_was_given_is_believed_at_once() {
        let file = tempfile::tempfile().unwrap();
        let look = || fs::fstat(&file).unwrap();
        let mode = look().st_mode;
        // Until the clock gives an even number.
        while Stamp::of(&look()).nanos % 2 == 1 {
            fs::ftruncate(file.as_fd(), 1).unwrap();
        }
        assert!(may_be_reused(&look()), "dated by the kernel");
        for (nanos, reused) in [(1_000_000_000, false), (1_000_000_001, true)] {
            fs::futimens(&file, &times(nanos)).unwrap();
            assert_eq!(may_be_reused(&look()), reused, "{nanos}");
        }
        fs::futimens(&file, &times(1_000_000_000)).unwrap();
        fs::fchmod(&file, Mode::from_raw_mode(mode) | IN_THE_MAKING).unwrap();
        assert!(may_be_reused(&look()), "in the making");
    }
}
