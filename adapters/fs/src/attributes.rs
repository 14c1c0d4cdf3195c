//! Attributes: one extended attribute of the value's file, and a mark in its mode that says so.
//!
//! Both are put on the staged file before anything else, so they are seen, and survive a loss of power, together with the
//! value. The mark is the sticky bit, which means nothing on a regular file. It is in what the `fstat` of every read tells,
//! so a value without attributes costs no system call more. A file that kept the mark and lost the rest, as some copies do,
//! is one without attributes.

use std::os::fd::BorrowedFd;

use leasehold_core::{Attributes, Capability, Error, ErrorKind, Result};
use rustix::{
    fs::{self, Mode, Stat},
    io::Errno,
};

use crate::fault::from_errno;

/// The extended attribute.
const NAME: &str = "user.leasehold";
/// Its first line. After it comes one line for each attribute: `name=value`, or `name` where the value is empty.
const FORMAT: &str = "1";
/// The most it can take: a line is at most twice as long as the name and the value in it.
const ENCODED_BYTES_MAX: usize = FORMAT.len() + 1 + 2 * Attributes::BYTES_MAX;

/// What a file with these attributes has in its mode.
pub(crate) fn mark(attributes: &Attributes) -> Mode {
    if attributes.is_empty() { Mode::empty() } else { Mode::SVTX }
}

/// Whether the file is marked as one with attributes.
pub(crate) fn is_marked(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX)
}

/// Whether the filesystem keeps attributes, also the longest. Asks without writing.
#[cfg(target_os = "linux")]
pub(crate) fn are_kept(directory: BorrowedFd<'_>) -> bool {
    // All extended attributes of a file share one block there.
    const EXT: u64 = 0xef53;
    const EXT_BLOCK_BYTES_MIN: u64 = 4096;
    let Ok(stat) = fs::fstatfs(directory) else { return false };
    if stat.f_type as u64 == EXT && (stat.f_bsize as u64) < EXT_BLOCK_BYTES_MIN {
        return false;
    }
    matches!(fs::fgetxattr(directory, NAME, &mut [0; 0]), Ok(_) | Err(Errno::NODATA))
}

/// Puts attributes on a file in the making.
#[cfg(target_os = "linux")]
pub(crate) fn write(file: BorrowedFd<'_>, attributes: &Attributes) -> Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    let text = encode(attributes);
    fs::fsetxattr(file, NAME, text.as_bytes(), fs::XattrFlags::empty()).map_err(|errno| match errno {
        Errno::OPNOTSUPP => Error::unsupported(Capability::Attributes),
        Errno::NOSPC => {
            Error::new(ErrorKind::Full, "no space is left for attributes; free some, or write fewer of them")
        }
        errno => from_errno(errno),
    })
}

/// The attributes of an open file.
#[cfg(target_os = "linux")]
pub(crate) fn read(file: BorrowedFd<'_>, stat: &Stat) -> Result<Attributes> {
    if !is_marked(stat) {
        return Ok(Attributes::new());
    }
    let mut bytes = Vec::with_capacity(ENCODED_BYTES_MAX);
    match fs::fgetxattr(file, NAME, rustix::buffer::spare_capacity(&mut bytes)) {
        Ok(_) => decode(&bytes),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(Attributes::new()),
        Err(Errno::RANGE) => Err(corrupt("is longer than any that a store writes")),
        Err(errno) => Err(from_errno(errno)),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn are_kept(_directory: BorrowedFd<'_>) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn write(_file: BorrowedFd<'_>, attributes: &Attributes) -> Result<()> {
    if attributes.is_empty() { Ok(()) } else { Err(Error::unsupported(Capability::Attributes)) }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn read(_file: BorrowedFd<'_>, _stat: &Stat) -> Result<Attributes> {
    Ok(Attributes::new())
}

fn encode(attributes: &Attributes) -> String {
    let mut text =
        String::with_capacity(ENCODED_BYTES_MAX.min(16 + attributes.bytes() + 2 * attributes.len()));
    text.push_str(FORMAT);
    text.push('\n');
    for (name, value) in attributes.iter() {
        text.push_str(name);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
        text.push('\n');
    }
    text
}

fn decode(bytes: &[u8]) -> Result<Attributes> {
    let text = std::str::from_utf8(bytes).map_err(|source| corrupt("is not text").because(source))?;
    // Neither names nor values have line ends in them, and names no "=".
    let mut lines = text.split_terminator('\n');
    match lines.next() {
        Some(FORMAT) => {}
        Some(other) => {
            return Err(corrupt(&format!("is of format {other:.20?}, this program knows {FORMAT}")));
        }
        None => return Err(corrupt("is empty")),
    }
    let mut attributes = Attributes::new();
    for line in lines {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        attributes.insert(name, value).map_err(|source| corrupt("is damaged").because(source))?;
    }
    Ok(attributes)
}

fn corrupt(what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the extended attribute {NAME} of the value's file {what}; write the value again, or use a newer program"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().fold(Attributes::new(), |all, (name, value)| all.with(name, value).unwrap())
    }

    #[test]
    fn attributes_are_lines_that_a_person_can_read() {
        let attributes = all(&[("content-type", "text/plain; charset=utf-8"), ("empty", ""), ("a", "b = c")]);
        assert_eq!(encode(&attributes), "1\na=b = c\ncontent-type=text/plain; charset=utf-8\nempty\n");
    }

    #[test]
    fn the_most_lines_that_fit_take_no_more_than_a_block_of_the_smallest_filesystem() {
        // What is left of 4,096 bytes for one value on ext4.
        const ROOM: usize = 4_032;
        let letters = || (b'a'..=b'z').map(char::from);
        let short = letters().map(|name| name.to_string());
        let pairs = letters().flat_map(|one| letters().map(move |two| format!("{one}{two}")));
        for value in ["", "x"] {
            let mut attributes = Attributes::new();
            for name in short.clone().chain(pairs.clone()) {
                if attributes.insert(&name, value).is_err() {
                    break;
                }
            }
            assert!(encode(&attributes).len() <= ROOM.min(ENCODED_BYTES_MAX), "{}", attributes.len());
        }
    }

    #[test]
    fn what_no_store_wrote_is_corrupt() {
        for strange in [
            &b""[..],
            b"\n",
            b"2\na=b\n",
            b"1\nA=b\n",
            b"1\n\n",
            b"1\n=b\n",
            b"1\na=b\tc\n",
            b"1\na= b\n",
            b"1\xff",
            b"\0",
            &[b"1\na=".to_vec(), vec![b'x'; Attributes::BYTES_MAX]].concat(),
        ] {
            let error = decode(strange).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{strange:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in proptest::collection::btree_map("[a-z][a-z0-9_.-]{0,8}", "([!-~]([ -~]{0,8}[!-~])?)?", 0..20)) {
            let attributes = pairs.iter().fold(Attributes::new(), |all, (name, value)| all.with(name, value).unwrap());
            prop_assert_eq!(decode(encode(&attributes).as_bytes()).unwrap(), attributes);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            drop(decode(&bytes));
            drop(decode(&[b"1\n", &bytes[..]].concat()));
        }
    }
}
