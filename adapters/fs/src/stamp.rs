//! Versions: the modification time that every write is given, and the file it was given to.
//!
//! Each write is a file of its own whose modification time is set, before it is published, to a number of nanoseconds that
//! no earlier write of the key had. It travels with the rename, so value and version change at one instant, and a
//! read gets it from the `fstat` that tells the size. The inode tells two writers apart that drew one number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasehold_core::{Metadata, Version};
use rustix::fs::{Stat, Timespec, Timestamps, UTIME_OMIT};

/// What makes a write of a key different from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The modification time in nanoseconds since 1970; grows from one write of a key to the next.
    pub(crate) nanos: u64,
    /// The inode.
    pub(crate) inode: u64,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
        Self {
            nanos: seconds.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec),
            inode: stat.st_ino,
        }
    }

    pub(crate) fn version(self) -> Version {
        // Every read and every entry of a list makes one: a formatter would cost as much as a system call.
        let (nanos, inode) = (hex(self.nanos), hex(self.inode));
        let (nanos, inode) = (&nanos[leading_zeros(self.nanos)..], &inode[leading_zeros(self.inode)..]);
        let mut text = [b'-'; 33];
        text[..nanos.len()].copy_from_slice(nanos);
        let length = nanos.len() + 1 + inode.len();
        text[nanos.len() + 1..length].copy_from_slice(inode);
        Version::new(std::str::from_utf8(&text[..length]).expect("hexadecimal digits are text"))
    }

    /// Reads a version back; none that this store could have written otherwise.
    pub(crate) fn parse(version: &Version) -> Option<Self> {
        let (nanos, inode) = version.as_str().split_once('-')?;
        let stamp =
            Self { nanos: u64::from_str_radix(nanos, 16).ok()?, inode: u64::from_str_radix(inode, 16).ok()? };
        (stamp.version() == *version).then_some(stamp)
    }

    pub(crate) fn modified(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.nanos)
    }
}

/// How many of the sixteen hexadecimal digits of `number` need not be written.
fn leading_zeros(number: u64) -> usize {
    (number.leading_zeros() as usize / 4).min(15)
}

/// The sixteen hexadecimal digits of `number`.
fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    digits[..8].copy_from_slice(&eight_digits((number >> 32) as u32));
    digits[8..].copy_from_slice(&eight_digits(number as u32));
    digits
}

/// Eight digits at once: spreads the halves, then the bytes, then the nibbles over a word, the first digit lowest, and
/// adds what makes each a character.
fn eight_digits(number: u32) -> [u8; 8] {
    let word = u64::from(number);
    let word = (word >> 16) | ((word & 0xffff) << 32);
    let word = ((word >> 8) & 0x0000_00ff_0000_00ff) | ((word & 0x0000_00ff_0000_00ff) << 16);
    let word = ((word >> 4) & 0x000f_000f_000f_000f) | ((word & 0x000f_000f_000f_000f) << 8);
    let is_letter = ((word + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (word + 0x3030_3030_3030_3030 + is_letter * u64::from(b'a' - b'0' - 10)).to_le_bytes()
}

/// The metadata of a value's file.
pub(crate) fn metadata(stat: &Stat) -> Metadata {
    let stamp = Stamp::of(stat);
    Metadata::new(stamp.version(), stat.st_size as u64).modified_at(stamp.modified())
}

/// The times that put `nanos` on a file.
pub(crate) fn times(nanos: u64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: (nanos / 1_000_000_000) as i64,
            tv_nsec: (nanos % 1_000_000_000) as i64,
        },
    }
}

/// A moment as nanoseconds since 1970.
pub(crate) fn nanos(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_back_and_a_strange_one_does_not() {
        let stamp = Stamp { nanos: 1_700_000_000_123_456_789, inode: 42 };
        let edge = |number| Stamp { nanos: number, inode: number };
        for stamp in [stamp, edge(0), edge(9), edge(10), edge(0x0123_4567_89ab_cdef), edge(u64::MAX)] {
            assert_eq!(stamp.version().as_str(), format!("{:x}-{:x}", stamp.nanos, stamp.inode));
            assert_eq!(Stamp::parse(&stamp.version()), Some(stamp));
        }
        for strange in ["", "1", "x-y", "01-2", "1-2-3", "\"etag\""] {
            assert_eq!(Stamp::parse(&Version::new(strange)), None, "{strange}");
        }
    }
}
