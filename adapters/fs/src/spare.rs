//! Spares: files of small values that were replaced, kept to be written again.
//!
//! To free a file's blocks and to find others for the next one is most of what a small durable write costs a filesystem. So
//! a durable write does not rename over the old file but exchanges it for the new one, and when that is durable the old
//! file is kept, to become a value once more.
//!
//! That must never be seen by those who read the old value. Two things see to it:
//!
//! - *A file that anybody has open is left alone.* The kernel is asked ([`while_alone`]), so this holds for other
//!   processes, and for programs that know nothing of this store. Links, other owners, modes and attributes keep a file from
//!   being written again, too.
//! - *Who found the old file by its name and opens it only now* looks at the name once more. What a read gets to see of every
//!   file by its `fstat` tells whether that is needed ([`may_be_reused`]): a file that is being written again has a mode
//!   that no other has, and when it has its new version, that is an odd number; all others are even. The mode is set while
//!   nobody has the file open. The numbers of one file grow, so the same number twice is the same value.

#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use rustix::fs::{Mode, Stat};
#[cfg(target_os = "linux")]
use rustix::{
    fs::{self, OFlags},
    io::Errno,
};

#[cfg(target_os = "linux")]
use crate::alone::while_alone;
use crate::stamp::Stamp;

/// The largest file that is kept.
const SPARE_BYTES_MAX: u64 = 64 << 10;
/// How many are kept: enough for a part of a batch and what is under way beside it.
const SPARES_MAX: usize = 512;
/// How much of the disk they may hold together.
const SPARES_BYTES_MAX: u64 = 8 << 20;
/// What a filesystem allocates at a time, about.
const BLOCK_BYTES: u64 = 4096;
/// What a file has in its mode while it is written again, over what it had.
pub(crate) const IN_THE_MAKING: Mode = Mode::SVTX.union(Mode::XUSR).union(Mode::XGRP).union(Mode::XOTH);

/// Whether the file is, or may once have been, another value than the one it was found as.
pub(crate) fn may_be_reused(stat: &Stat) -> bool {
    Stamp::of(stat).nanos % 2 == 1 || is_in_the_making(stat)
}

/// Whether the file is being written again, or has been given a mode as if it were.
pub(crate) fn is_in_the_making(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).contains(IN_THE_MAKING)
}

/// Whether two looks have seen the same value of one file.
///
/// If so, and if the later one was through the name, then what the earlier one saw is what the name stands for: the numbers that
/// one file is given grow, so there was no other value in between. While a file is in the making it may show one number twice, by
/// the kernel's clock.
pub(crate) fn is_same_value(one: &Stat, other: &Stat) -> bool {
    one.st_dev == other.st_dev && one.st_mode == other.st_mode && Stamp::of(one) == Stamp::of(other)
}

/// Values in reused files that their names were seen to stand for, so that the next read of one need not look again.
///
/// That stays true: a file that still has its number has not been anything else since, so a name that leads to it stood for
/// that value when it was followed. Numbers never come back, so nothing is ever to be taken out.
#[derive(Debug, Default)]
pub(crate) struct Confirmed {
    seed: RandomState,
    /// Of each value a hash, 64 bits of it, in the place that the hash says; none at first.
    seen: OnceLock<Box<[AtomicU64]>>,
}

impl Confirmed {
    /// How many values are remembered, at most.
    const VALUES: usize = 8192;

    /// Whether the value of `path` was confirmed, or is so now.
    pub(crate) fn or_confirm(&self, path: &str, stat: &Stat, confirm: impl FnOnce() -> bool) -> bool {
        let seen = self.seen.get_or_init(|| (0..Self::VALUES).map(|_| AtomicU64::new(0)).collect());
        let Stamp { nanos, inode } = Stamp::of(stat);
        // Never what no value has put there.
        let hash = self.seed.hash_one((path, nanos, inode)) | 1;
        let place = &seen[(hash >> 1) as usize % Self::VALUES];
        if place.load(Relaxed) == hash {
            return true;
        }
        let confirmed = confirm();
        if confirmed {
            place.store(hash, Relaxed);
        }
        confirmed
    }
}

/// The files that one handle keeps.
#[derive(Debug)]
pub(crate) struct Spares {
    /// What a file of this handle looks like.
    like: Like,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The latest last: it is the one that the kernel most likely still has in memory.
    spares: VecDeque<Spare>,
    bytes: u64,
}

/// What is the same about all files that one handle makes without attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Like {
    device: u64,
    /// With the kind of file.
    mode: u32,
    user: u32,
    group: u32,
    links: u64,
}

impl Like {
    #[expect(clippy::useless_conversion, reason = "the widths of these numbers differ from system to system")]
    fn of(stat: &Stat) -> Self {
        Self {
            device: u64::from(stat.st_dev),
            mode: u32::from(stat.st_mode),
            user: stat.st_uid,
            group: stat.st_gid,
            links: u64::from(stat.st_nlink),
        }
    }
}

/// A file by its name in the area.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl Spares {
    /// For files that look like this one.
    pub(crate) fn like(stat: &Stat) -> Self {
        Self { like: Like::of(stat), kept: Mutex::default() }
    }

    /// What a file's mode is when it is a value.
    pub(crate) fn mode(&self) -> Mode {
        Mode::from_raw_mode(self.like.mode)
    }

    /// Whether a file can be written again, as far as its `fstat` tells.
    pub(crate) fn take(&self, stat: &Stat) -> bool {
        Like::of(stat) == self.like && stat.st_size as u64 <= SPARE_BYTES_MAX
    }

    /// Keeps a file whose replacement is durable. Returns those that there is no room for any more.
    pub(crate) fn keep(&self, spare: Spare) -> Vec<Spare> {
        let mut kept = self.kept.lock();
        kept.bytes += spare.bytes;
        kept.spares.push_back(spare);
        let mut out = Vec::new();
        while (kept.spares.len() > SPARES_MAX || kept.bytes > SPARES_BYTES_MAX)
            && let Some(oldest) = kept.spares.pop_front()
        {
            kept.bytes -= oldest.bytes;
            out.push(oldest);
        }
        out
    }

    /// The latest file that has as many blocks as a value of so many bytes needs.
    pub(crate) fn find(&self, bytes: u64) -> Option<Spare> {
        if bytes > SPARE_BYTES_MAX {
            return None;
        }
        let mut kept = self.kept.lock();
        let fits = |spare: &Spare| spare.bytes.div_ceil(BLOCK_BYTES) == bytes.div_ceil(BLOCK_BYTES);
        let index = kept.spares.iter().rposition(fits)?;
        let spare = kept.spares.remove(index)?;
        kept.bytes -= spare.bytes;
        Some(spare)
    }
}

#[cfg(target_os = "linux")]
impl Spares {
    /// Whether the kernel tells who has a file open, asked with one that nobody else has.
    pub(crate) fn are_possible(&self, file: BorrowedFd<'_>) -> bool {
        while_alone(file, || Ok(())).is_ok_and(|alone| alone) && has_no_attributes(file)
    }

    /// Opens a file that was kept, for a value of `bytes` bytes, if nobody else can see what becomes of it. Returns the
    /// number that it had, too.
    pub(crate) fn reopen(
        &self,
        directory: BorrowedFd<'_>,
        name: &str,
        bytes: u64,
    ) -> Option<(OwnedFd, Stamp)> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(directory, name, flags, Mode::empty()).ok()?;
        let stat = fs::fstat(&file).ok()?;
        if !self.take(&stat) || !has_no_attributes(file.as_fd()) {
            return None;
        }
        let mark = || fs::fchmod(&file, self.mode() | IN_THE_MAKING);
        if !while_alone(file.as_fd(), mark).ok()? {
            return None;
        }
        // The mode is asked for again: not every system sets all of it for everybody.
        if !is_in_the_making(&fs::fstat(&file).ok()?) {
            return None;
        }
        if stat.st_size as u64 > bytes {
            fs::ftruncate(&file, bytes).ok()?;
        }
        Some((file, Stamp::of(&stat)))
    }
}

/// Whether a file has no extended attributes, but for the label that some systems put on all.
#[cfg(target_os = "linux")]
fn has_no_attributes(file: BorrowedFd<'_>) -> bool {
    const LABEL: &[u8] = b"security.selinux\0";
    let mut names = [0; LABEL.len()];
    match fs::flistxattr(file, &mut names[..]) {
        Ok(length) => length == 0 || names[..length] == *LABEL,
        Err(errno) => errno == Errno::NOTSUP,
    }
}

#[cfg(all(test, target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use leasehold_core::{Attributes, Bytes, Key, Precondition, PutOptions, Store};

    use super::*;
    use crate::{
        Fs,
        locks::Patience,
        root::{HEAD, VALUE, read_at},
        stage::Staged,
        store::Inner,
        write::{Parent, Touched},
    };

    /// A store on a disk; `None` where its files are not written again.
    async fn store() -> Option<(tempfile::TempDir, Fs)> {
        // Beside this program: what is kept in memory, as a directory for temporary files may be, is not synced.
        let program = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let fs = Fs::open(directory.path()).await.unwrap();
        if fs.0.area().unwrap().spares().is_none() {
            eprintln!("SKIPPED: this filesystem does not write files again");
            return None;
        }
        Some((directory, fs))
    }

    fn key(name: &str) -> Key {
        Key::new(name).unwrap()
    }

    /// A name whose file was found, and that is opened later: what the kernel does in one call, interrupted.
    struct Found(OwnedFd);

    impl Found {
        fn at(inner: &Inner, name: &str) -> Self {
            Self(inner.root.open_beneath(name, HEAD).unwrap())
        }

        fn look(&self) -> Stat {
            fs::fstat(&self.0).unwrap()
        }

        fn open(&self) -> OwnedFd {
            use std::os::fd::AsRawFd;
            let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
            fs::openat(fs::CWD, path, VALUE, Mode::empty()).unwrap()
        }

        /// Whether what is opened or looked at now is taken for the value of `name`.
        fn is_taken_for(&self, inner: &Inner, name: &str) -> bool {
            let opened = inner.root.is_current(name, VALUE, &fs::fstat(self.open()).unwrap());
            let looked = inner.root.is_current(name, HEAD, &self.look());
            assert_eq!(opened, looked);
            opened
        }
    }

    #[tokio::test]
    async fn who_opens_late_what_was_found_early_is_not_told_another_value() {
        let Some((_directory, fs)) = store().await else { return };
        let (inner, store) = (&*fs.0, Store::new(fs.clone()));
        for published in ["other", "k", "k", "other", "k", "other"] {
            store.put("k", "old").await.unwrap();
            let found = Found::at(inner, "k");
            store.put("k", "new").await.unwrap();
            // Not written again yet: the old value, which the name stood for when it was found. To be asked again is no harm.
            assert!(may_be_reused(&found.look()) || found.is_taken_for(inner, "k"));

            let mut staged = Staged::reuse(&inner.area().unwrap(), 5).expect("one was replaced");
            assert_eq!(found.look().st_ino, fs::fstat(staged.fd()).unwrap().st_ino);
            assert!(!found.is_taken_for(inner, "k"), "about to be written");
            staged.write(b"third").unwrap();
            assert!(!found.is_taken_for(inner, "k"), "written");
            let mut stamped = inner.stamp(&key(published), staged, &Precondition::None).unwrap();
            assert!(!found.is_taken_for(inner, "k"), "whole, and nobody's");
            let touched =
                inner.publish_stamped(&key(published), &mut stamped, &Precondition::None, Patience::Bounded);
            inner.settle(touched.unwrap().unwrap()).unwrap();
            assert_eq!(found.is_taken_for(inner, "k"), published == "k");
            assert!(found.is_taken_for(inner, published));
            assert_eq!(read_at(found.open().as_fd(), 0, 9).unwrap(), b"third");
        }
    }

    #[tokio::test]
    async fn a_file_is_not_written_again_before_its_replacement_is_durable() {
        let Some((_directory, fs)) = store().await else { return };
        let inner = &*fs.0;
        let area = inner.area().unwrap();
        let options = PutOptions::default();
        inner.put(&key("k"), &Bytes::from("old"), &options, Patience::Bounded).unwrap();
        let old = Found::at(inner, "k");

        let mut stamped = inner.stage_checked(&key("k"), b"new", &options).unwrap();
        inner.sync(&stamped).unwrap();
        let touched = inner.publish_stamped(&key("k"), &mut stamped, &Precondition::None, Patience::Bounded);
        assert!(Staged::reuse(&area, 3).is_none(), "visible, and perhaps not for long");
        inner.settle(touched.unwrap().unwrap()).unwrap();
        assert_eq!(fs::fstat(Staged::reuse(&area, 3).unwrap().fd()).unwrap().st_ino, old.look().st_ino);
        drop(stamped);

        let mut stamped = inner.stage_checked(&key("k"), b"new", &options).unwrap();
        let touched = inner.publish_stamped(&key("k"), &mut stamped, &Precondition::None, Patience::Bounded);
        // A descriptor that nothing can be synced through.
        let failing = Parent::Below(inner.root.open_beneath(".", HEAD).unwrap());
        inner.settle(Touched { parent: failing, ..touched.unwrap().unwrap() }).unwrap_err();
        assert!(Staged::reuse(&area, 3).is_none(), "nobody knows which of the two a loss of power leaves");
    }

    #[tokio::test]
    async fn a_lost_race_frees_no_file() {
        let Some((_directory, fs)) = store().await else { return };
        let (inner, store) = (&*fs.0, Store::new(fs.clone()));
        let old = store.put("k", "1").await.unwrap();
        store.put("k", "2").await.unwrap();
        let inode = |staged: Option<Staged>| fs::fstat(staged.unwrap().fd()).unwrap().st_ino;
        let area = inner.area().unwrap();
        let mut inodes = Vec::new();
        for _ in 0..3 {
            let mut staged = Staged::reuse(&area, 1).unwrap();
            staged.write(b"3").unwrap();
            staged.stamp(0).unwrap();
            inodes.push(inode(Some(staged)));
            assert!(store.put("k", "3").if_match(old.clone()).await.unwrap_err().is_conflict());
        }
        assert_eq!(inodes, [inodes[0]; 3]);
    }

    #[tokio::test]
    async fn a_file_with_attributes_is_never_one_that_had_none() {
        let Some((_directory, fs)) = store().await else { return };
        let inner = &*fs.0;
        let options = PutOptions::default();
        for value in ["1", "2"] {
            inner.put(&key("k"), &Bytes::from(value), &options, Patience::Bounded).unwrap();
        }
        let with = options.attributes(Attributes::new().with("content-type", "x").unwrap());
        inner.put(&key("l"), &Bytes::from("3"), &with, Patience::Bounded).unwrap();
        let stat = fs::fstat(inner.root.open_beneath("l", HEAD).unwrap()).unwrap();
        assert!(!may_be_reused(&stat), "it is new");
        inner.put(&key("l"), &Bytes::from("4"), &PutOptions::default(), Patience::Bounded).unwrap();
        assert!(
            Staged::reuse(&inner.area().unwrap(), 1).is_none(),
            "the one of k is used, that of l is gone"
        );
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large_ones() {
        let directory = tempfile::tempdir().unwrap();
        let stat = fs::stat(directory.path()).unwrap();
        let spare = |number: u64, bytes| Spare { name: number.to_string(), bytes };
        let kept = Spares::like(&stat);
        for number in 0..SPARES_MAX as u64 {
            assert_eq!(kept.keep(spare(number, 1)), []);
        }
        assert_eq!(kept.keep(spare(1_000, 1)), [spare(0, 1)]);
        assert_eq!(kept.find(4_096).unwrap().name, "1000", "the latest is the first to go");
        assert_eq!(kept.find(4_097), None, "it would have to grow");
        assert_eq!(kept.find(0), None);
        let kept = Spares::like(&stat);
        let fit = SPARES_BYTES_MAX / SPARE_BYTES_MAX;
        for number in 0..fit {
            assert_eq!(kept.keep(spare(number, SPARE_BYTES_MAX)), []);
        }
        assert_eq!(kept.keep(spare(fit, 1)), [spare(0, SPARE_BYTES_MAX)]);
    }
}
