//! Spares: files of small values that were replaced, kept to be written again.
//!
//! To free a file's blocks and to find others for the next one is most of what a small durable write costs a filesystem. So
//! a durable write does not rename over the old file but exchanges it for the new one, and when that is durable the old
//! file is kept, to become a value once more.
//!
//! Who reads the old value must not see that:
//!
//! - *A file that anybody has open is left alone.* The kernel is asked ([`while_alone`]), so this holds for other
//!   processes, and for programs that know nothing of this store. Links, other owners and modes, and extended attributes keep a
//!   file from being written again, too.
//! - *Who found the old file by its name and opens it only now* can tell: while nobody has the file open it is given a mode that
//!   no value has, and keeps it until it has its new version, which is an odd number; a new file's is even. What a reader makes of
//!   that is in [`reused`](crate::reused).
//!
//! The kernel does not tell who has the pages of a file and not the file, as `sendfile` leaves them in a socket, or a handle of
//! its inode, as NFS does. So no file is written again unless the store is opened so.

use std::collections::VecDeque;
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::{Mode, RawMode, Stat};
#[cfg(target_os = "linux")]
use rustix::{
    fs::{self, OFlags},
    io::Errno,
};

#[cfg(target_os = "linux")]
use crate::{
    alone::while_alone,
    reused::{IN_THE_MAKING, is_in_the_making},
};

/// The largest file that is kept.
const SPARE_BYTES_MAX: u64 = 64 << 10;
/// How many are kept: enough for a part of a batch and what is under way beside it.
const SPARES_MAX: usize = 512;
/// How much of the disk they may hold together.
const SPARES_BYTES_MAX: u64 = 8 << 20;
/// What a filesystem allocates at a time, about.
const BLOCK_BYTES: u64 = 4096;

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
    #[cfg_attr(
        target_os = "linux",
        expect(clippy::unnecessary_cast, reason = "other systems have other widths")
    )]
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            mode: stat.st_mode as u32,
            user: stat.st_uid,
            group: stat.st_gid,
            links: stat.st_nlink as u64,
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
        Mode::from_raw_mode(self.like.mode as RawMode)
    }

    /// Whether a file can be written again, as far as its `fstat` tells.
    pub(crate) fn suits(&self, stat: &Stat) -> bool {
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

    /// Opens a file that was kept, if nobody else can see what becomes of it. Returns what it was like, too.
    pub(crate) fn reopen(&self, directory: BorrowedFd<'_>, name: &str) -> Option<(OwnedFd, Stat)> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(directory, name, flags, Mode::empty()).ok()?;
        let before = fs::fstat(&file).ok()?;
        if !self.suits(&before) || !has_no_attributes(file.as_fd()) {
            return None;
        }
        let mark = || fs::fchmod(&file, self.mode() | IN_THE_MAKING);
        if !while_alone(file.as_fd(), mark).ok()? {
            return None;
        }
        // The mode is asked for again: not every system sets all of it for everybody.
        is_in_the_making(&fs::fstat(&file).ok()?).then_some((file, before))
    }
}

/// Whether a file has no extended attributes. Where every file is labelled with one, none is written again.
#[cfg(target_os = "linux")]
fn has_no_attributes(file: BorrowedFd<'_>) -> bool {
    // Too short for any name.
    matches!(fs::flistxattr(file, &mut [0_u8; 1]), Ok(0) | Err(Errno::NOTSUP))
}

#[cfg(all(test, target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use leasehold_core::{Attributes, Bytes, Key, Precondition, PutOptions, Store};

    use super::*;
    use crate::{
        Fs,
        locks::Patience,
        reused::may_be_reused,
        root::{HEAD, VALUE, read_at},
        stage::Staged,
        stamp::Stamp,
        store::Inner,
        touched::{Parent, Touched},
    };

    /// A store on a disk; `None` where its files are not written again.
    async fn store() -> Option<(tempfile::TempDir, Fs)> {
        // Beside this program: what is kept in memory, as a directory for temporary files may be, is not synced.
        let program = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let fs = Fs::open(directory.path()).reuse_files(true).await.unwrap();
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

        /// Whether what is opened now is taken for the value of `name`, or what is looked at now is believed to be.
        fn is_taken_for(&self, inner: &Inner, name: &str) -> bool {
            let looked = inner.root.is_settled(name, &self.look());
            let file = self.open();
            let opened = inner.root.settled(name, fs::fstat(&file).unwrap());
            if let Some(settled) = &opened {
                assert_eq!(Stamp::of(settled), Stamp::of(&fs::fstat(&file).unwrap()));
            }
            assert!(opened.is_some() || !looked, "a look is believed no sooner than an open file");
            opened.is_some()
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

            let mut staged = Staged::reuse(&inner.area().unwrap(), 5, u64::MAX).expect("one was replaced");
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
        assert!(Staged::reuse(&area, 3, u64::MAX).is_none(), "visible, and perhaps not for long");
        inner.settle(touched.unwrap().unwrap()).unwrap();
        assert_eq!(
            fs::fstat(Staged::reuse(&area, 3, u64::MAX).unwrap().fd()).unwrap().st_ino,
            old.look().st_ino
        );
        drop(stamped);

        let mut stamped = inner.stage_checked(&key("k"), b"new", &options).unwrap();
        let touched = inner.publish_stamped(&key("k"), &mut stamped, &Precondition::None, Patience::Bounded);
        // A descriptor that nothing can be synced through.
        let failing = Parent::Below(inner.root.open_beneath(".", HEAD).unwrap());
        inner.settle(Touched { parent: failing, ..touched.unwrap().unwrap() }).unwrap_err();
        assert!(
            Staged::reuse(&area, 3, u64::MAX).is_none(),
            "nobody knows which of the two a loss of power leaves"
        );
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
            Staged::reuse(&inner.area().unwrap(), 1, u64::MAX).is_none(),
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
