//! Whether a file is open to nobody else, asked of the kernel.
//!
//! A write lease is given only on a file that nobody else has open. Whoever opens the file while it is held waits until it
//! is given back, and the lease shows that somebody waits. So what is done between taking and giving it back, if it is
//! still whole at the end, was done before the eyes of nobody, and is seen by whoever comes later.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// The same on every architecture that Rust has Linux for; `libc` does not name it.
const F_SETSIG: i32 = 10;

/// Changes a file that nobody else has open, under the eyes of nobody. `false`: somebody has it open or wants to, in this
/// process or another, and may see it unchanged, half changed or changed.
pub(crate) fn while_alone(
    file: BorrowedFd<'_>,
    change: impl FnOnce() -> Result<(), Errno>,
) -> Result<bool, Errno> {
    // By default the holder of a lease that somebody waits for is ended by the signal that tells it so. This one is
    // ignored by default.
    control(file, F_SETSIG, libc::SIGURG)?;
    match control(file, libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(_) => {}
        // Open elsewhere; or somebody else's file, on which only its owner takes leases.
        Err(Errno::AGAIN | Errno::ACCESS) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    let changed = change();
    let lease = control(file, libc::F_GETLEASE, 0);
    control(file, libc::F_SETLEASE, libc::F_UNLCK)?;
    changed?;
    lease.map(|lease| lease == libc::F_WRLCK)
}

#[expect(unsafe_code, reason = "no library wraps the commands for leases")]
fn control(file: BorrowedFd<'_>, command: i32, argument: i32) -> Result<i32, Errno> {
    debug_assert!([F_SETSIG, libc::F_SETLEASE, libc::F_GETLEASE].contains(&command));
    // SAFETY: `file` is open for as long as it is borrowed. The three commands take an integer or nothing, so the kernel is
    // given no pointer, and they change nothing about the descriptor but its lease and the signal that belongs to it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use super::*;

    /// A file that is open for writing, as those are that are changed.
    fn file(directory: &tempfile::TempDir) -> (std::path::PathBuf, File) {
        let path = directory.path().join("file");
        std::fs::write(&path, "value").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        (path, file)
    }

    #[test]
    fn a_file_that_is_open_elsewhere_is_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = file(&directory);
        let reader = File::open(&path).unwrap();
        assert!(!while_alone(file.as_fd(), || panic!("a reader has it open")).unwrap());
        // A copy of the descriptor, as a child inherits one, is the same reader.
        let copy = reader.try_clone().unwrap();
        drop(reader);
        assert!(!while_alone(file.as_fd(), || panic!("a reader has it open")).unwrap());
        drop(copy);
        assert!(while_alone(file.as_fd(), || Ok(())).unwrap());
    }

    #[test]
    fn who_opens_a_file_while_it_is_changed_is_noticed_and_harms_nobody() {
        use std::os::unix::fs::OpenOptionsExt;

        let directory = tempfile::tempdir().unwrap();
        let (path, file) = file(&directory);
        let late = || {
            let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
            assert_eq!(opened.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            Ok(())
        };
        assert!(!while_alone(file.as_fd(), late).unwrap());
        assert!(while_alone(file.as_fd(), || Ok(())).unwrap(), "the lease was given back");
    }

    #[test]
    fn a_failed_change_is_told_and_the_lease_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = file(&directory);
        assert_eq!(while_alone(file.as_fd(), || Err(Errno::PERM)), Err(Errno::PERM));
        File::open(path).unwrap();
    }
}
