//! Staged files, made durable together.
//!
//! A sync of the whole filesystem flushes the device once; a sync of each file does so once for each, also where the
//! first one's journal commit has covered them all. So the filesystem is synced once, where its word can be trusted and
//! little else would have to be written with it. Otherwise all files are sent to the device before the first of them is
//! waited for.

use crate::stage::Staged;

/// The fewest files for which a sync of the whole filesystem is considered.
const FILES_MIN: usize = 8;

/// How files became durable, or what is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    /// They are durable.
    Synced,
    /// Each is to be synced; they are on their way to the device.
    Sent,
    /// Something on this filesystem could not be written, perhaps one of them: each is to be sealed anew.
    Failed,
}

/// Makes files durable that were written and stamped after the first of them was opened.
pub(crate) fn sync(files: &[&Staged]) -> Together {
    if files.len() >= FILES_MIN
        && let Some(whole) = whole::sync(files)
    {
        return if whole.is_ok() { Together::Synced } else { Together::Failed };
    }
    if files.len() > 1 {
        files.iter().for_each(|file| file.send());
    }
    Together::Sent
}

#[cfg(target_os = "linux")]
mod whole {
    use std::{fs::read_to_string, sync::OnceLock};

    use rustix::{fs, io::Errno, system::uname};

    use crate::{root::is_written_in_place, stage::Staged};

    /// The most that may wait to be written, by anybody, for each file that a sync of all of it saves a flush: about what a
    /// disk writes meanwhile. Others that write all the time would otherwise hold up every batch.
    const DIRTY_KIB_PER_FILE: u64 = 64;
    /// The first Linux whose `syncfs` reports what files, metadata and journal failed with. From 5.8 it reports files.
    const LINUX_MIN: (u32, u32) = (5, 17);

    /// Syncs the filesystem that the files are in; `None` where that is not to be trusted, or would be too much.
    pub(super) fn sync(files: &[&Staged]) -> Option<Result<(), Errno>> {
        // Errors are told once to everyone who opened a file before they happened. This one nobody else asks through.
        let file = files.first()?.fd();
        // Stacked filesystems report no error of those below; those that copy on write have a shorter way for one file.
        (is_reported() && is_written_in_place(file) && is_little(files)).then(|| fs::syncfs(file))
    }

    fn is_reported() -> bool {
        static REPORTED: OnceLock<bool> = OnceLock::new();
        *REPORTED.get_or_init(|| {
            uname().release().to_str().ok().and_then(version).is_some_and(|version| version >= LINUX_MIN)
        })
    }

    /// Whether little but the files themselves would be written.
    fn is_little(files: &[&Staged]) -> bool {
        let allowed: u64 = files.iter().map(|file| DIRTY_KIB_PER_FILE + file.size().div_ceil(1024)).sum();
        let dirty = read_to_string("/proc/meminfo").ok().and_then(|text| dirty_kib(&text));
        dirty.is_some_and(|dirty| dirty <= allowed)
    }

    fn version(release: &str) -> Option<(u32, u32)> {
        let mut numbers = release.split(|character: char| !character.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// What is to be written, or being written, of the whole machine's memory.
    fn dirty_kib(text: &str) -> Option<u64> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        Some(field("Dirty:")? + field("Writeback:")?)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_kernel_says_what_it_is() {
            assert_eq!(version("6.18.44-amd64"), Some((6, 18)));
            assert_eq!(version("5.4"), Some((5, 4)));
            assert_eq!(version("unknown"), None);
        }

        #[test]
        fn what_waits_to_be_written_is_counted_and_nothing_else() {
            let text =
                "MemFree: 7 kB\nDirty:             108 kB\nWriteback:         5 kB\nWritebackTmp:    9 kB\n";
            assert_eq!(dirty_kib(text), Some(113));
            assert_eq!(dirty_kib("Dirty: 108 kB\n"), None);
            assert_eq!(dirty_kib(""), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod whole {
    use rustix::io::Errno;

    use crate::stage::Staged;

    pub(super) fn sync(_files: &[&Staged]) -> Option<Result<(), Errno>> {
        None
    }
}
