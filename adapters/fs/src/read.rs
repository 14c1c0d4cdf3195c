//! Reads. An open file that its name stands for is a snapshot of a value: it is never changed while anybody has it open. One
//! that may be reused is looked for once more when it is open ([`reused`](crate::reused)).
//!
//! A small value that the kernel has in memory is read where the caller stands, in four system calls, or five if its file may
//! be reused, and without a change of thread: open, stat, read, close. Only when one of them would have to wait does the
//! read move to a thread that may. Whether attributes would have to be waited for nobody tells, so a value that has some is read there at once.

use std::os::fd::{AsFd, OwnedFd};

use futures_util::stream;
use leasehold_core::{
    Attributes, Body, Bytes, COUNTER_BYTES_MAX, Error, ErrorKind, GetOptions, Lookup, Metadata, Object,
    Result, Version,
};
use rustix::{
    fs::{self, Stat},
    io::Errno,
};

use crate::{
    attributes,
    fault::from_errno,
    hop::run_blocking,
    root::{HEAD, RACES_MAX, Root, VALUE, check_regular, read_at},
    stamp::{Stamp, metadata},
};

/// The largest value that is read where the caller stands.
const INLINE_BYTES_MAX: u64 = 64 << 10;
/// The largest part that is read at once; more is streamed in chunks of this size.
const CHUNK_BYTES: u64 = 1 << 20;

/// Answers without waiting, or not at all.
pub(crate) fn get_cached(root: &Root, path: &str, options: &GetOptions) -> Option<Result<Lookup>> {
    let file = match root.open_cached(path, VALUE)? {
        Ok(file) => file,
        Err(errno) => return Some(absent(root, errno).map(|()| Lookup::Absent)),
    };
    let stat = match stat_of(&file).map(|stat| root.settled(path, stat)) {
        Ok(stat) => stat?,
        Err(error) => return Some(Err(error)),
    };
    let mut opened = match Opened::new(file, stat, options) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Some(Ok(Lookup::Unchanged)),
        Err(error) => return Some(Err(error)),
    };
    if opened.has_attributes() {
        if !root.in_memory {
            return None;
        }
        if let Err(error) = opened.read_attributes() {
            return Some(Err(error));
        }
    }
    let size = opened.range.end - opened.range.start;
    if size > INLINE_BYTES_MAX {
        return None;
    }
    let bytes = if size == 0 {
        Vec::new()
    } else {
        root.read_cached(opened.file.as_fd(), opened.range.start, size as usize)?
    };
    Some(Ok(opened.whole(bytes)))
}

/// Reads, waiting for the device where needed. A part larger than a chunk becomes a stream.
pub(crate) fn get(root: &Root, path: &str, options: &GetOptions) -> Result<Lookup> {
    let Some((file, stat)) = open(root, path)? else { return Ok(Lookup::Absent) };
    let Some(mut opened) = Opened::new(file, stat, options)? else { return Ok(Lookup::Unchanged) };
    opened.read_attributes()?;
    let size = opened.range.end - opened.range.start;
    if size > CHUNK_BYTES {
        return Ok(opened.streamed());
    }
    let bytes = read_exactly(&opened.file, opened.range.start, size)?;
    Ok(opened.whole(bytes))
}

/// What is known of a value, without waiting, or not at all.
pub(crate) fn head_cached(root: &Root, path: &str) -> Option<Result<Option<Metadata>>> {
    let stat = match root.open_cached(path, HEAD)? {
        Ok(file) => stat_of(&file),
        Err(errno) => return Some(absent(root, errno).map(|()| None)),
    };
    match stat {
        Ok(stat) if !root.is_settled(path, &stat) => None,
        Ok(stat) if attributes::is_marked(&stat) => root.in_memory.then(|| head_of(root, path)),
        stat => Some(stat.map(|stat| Some(metadata(&stat)))),
    }
}

/// What is known of a value.
pub(crate) fn head(root: &Root, path: &str) -> Result<Option<Metadata>> {
    match look(root, path)? {
        Some(stat) if attributes::is_marked(&stat) => head_of(root, path),
        stat => Ok(stat.as_ref().map(metadata)),
    }
}

/// The version of a value.
pub(crate) fn version(root: &Root, path: &str) -> Result<Option<Version>> {
    Ok(look(root, path)?.map(|stat| Stamp::of(&stat).version()))
}

/// What a value's file is like.
fn look(root: &Root, path: &str) -> Result<Option<Stat>> {
    match root.open_beneath(path, HEAD) {
        Ok(file) => confirmed(root, path, stat_of(&file)?),
        Err(errno) => absent(root, errno).map(|()| None),
    }
}

/// What a value's file is like that was seen like this through its name. One that may be reused is opened to be read.
pub(crate) fn confirmed(root: &Root, path: &str, seen: Stat) -> Result<Option<Stat>> {
    if root.is_settled(path, &seen) {
        return Ok(Some(seen));
    }
    match open(root, path) {
        Ok(opened) => Ok(opened.map(|(_, stat)| stat)),
        // Whoever may not read it is told what there is to see.
        Err(error) if error.kind() == ErrorKind::Denied => Ok(Some(seen)),
        Err(error) => Err(error),
    }
}

/// The file that stands for a value, to be read.
fn open(root: &Root, path: &str) -> Result<Option<(OwnedFd, Stat)>> {
    for _ in 0..RACES_MAX {
        match root.open_beneath(path, VALUE) {
            Ok(file) => {
                let stat = stat_of(&file)?;
                if let Some(stat) = root.settled(path, stat) {
                    return Ok(Some((file, stat)));
                }
            }
            // Replaced in this very moment, and about to be written again.
            Err(Errno::AGAIN) => {}
            Err(errno) => return absent(root, errno).map(|()| None),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "it was replaced again and again while it was read; try again"))
}

fn stat_of(file: &OwnedFd) -> Result<Stat> {
    let stat = fs::fstat(file).map_err(from_errno)?;
    check_regular(&stat)?;
    Ok(stat)
}

/// What is known of a value with attributes. A file that was opened only to be looked at does not yield them, so it is
/// opened to be read; all that is told is told of that one.
fn head_of(root: &Root, path: &str) -> Result<Option<Metadata>> {
    let Some((file, stat)) = open(root, path)? else { return Ok(None) };
    Ok(Some(metadata(&stat).attributes(attributes::read(file.as_fd(), &stat)?)))
}

/// A value that should be a counter, and its attributes, for a change under the lock that keeps it there; `stat` is what
/// was found there. One byte more than a counter can have is enough of a longer value to refuse it.
pub(crate) fn counter(root: &Root, path: &str, stat: &Stat) -> Result<(Vec<u8>, Attributes)> {
    let file = root.open_beneath(path, VALUE).map_err(from_errno)?;
    let bytes = read_at(file.as_fd(), 0, COUNTER_BYTES_MAX + 1).map_err(from_errno)?;
    Ok((bytes, attributes::read(file.as_fd(), stat)?))
}

/// Tells "no such key" from what only looks like it.
fn absent(root: &Root, errno: Errno) -> Result<()> {
    match errno {
        Errno::NOENT => root.check_present(),
        errno => Err(from_errno(errno)),
    }
}

/// An open value of which a part is wanted.
struct Opened {
    file: OwnedFd,
    stat: Stat,
    metadata: Metadata,
    range: std::ops::Range<u64>,
}

impl Opened {
    /// `None` when the caller knows this version already.
    fn new(file: OwnedFd, stat: Stat, options: &GetOptions) -> Result<Option<Self>> {
        let metadata = metadata(&stat);
        if options.if_changed_from.as_ref() == Some(&metadata.version) {
            return Ok(None);
        }
        let range = options.range.resolve(metadata.size)?;
        Ok(Some(Self { file, stat, metadata, range }))
    }

    fn has_attributes(&self) -> bool {
        attributes::is_marked(&self.stat)
    }

    fn read_attributes(&mut self) -> Result<()> {
        self.metadata.attributes = attributes::read(self.file.as_fd(), &self.stat)?;
        Ok(())
    }

    fn whole(self, bytes: Vec<u8>) -> Lookup {
        Lookup::Found(Object::new(self.metadata, self.range, Body::from_bytes(Bytes::from(bytes))))
    }

    /// Holds one chunk in memory at a time; ends with the reader.
    fn streamed(self) -> Lookup {
        let Self { file, metadata, range, .. } = self;
        let size = range.end - range.start;
        let end = range.end;
        let chunks =
            stream::try_unfold((std::sync::Arc::new(file), range.start), move |(file, at)| async move {
                if at >= end {
                    return Ok(None);
                }
                let reader = file.clone();
                let size = CHUNK_BYTES.min(end - at);
                let bytes = run_blocking(move || read_exactly(&reader, at, size)).await?;
                Ok(Some((Bytes::from(bytes), (file, at + size))))
            });
        Lookup::Found(Object::new(metadata, range, Body::from_stream(Box::pin(chunks), Some(size))))
    }
}

fn read_exactly(file: &OwnedFd, offset: u64, size: u64) -> Result<Vec<u8>> {
    if size == 0 {
        return Ok(Vec::new());
    }
    let bytes = read_at(file.as_fd(), offset, size as usize).map_err(from_errno)?;
    if bytes.len() as u64 == size {
        return Ok(bytes);
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        "the file was cut short by another program while it was read; read it again",
    ))
}

/// Whether a precondition on `version` can hold for the file that `stamp` is of.
pub(crate) fn is(stamp: Option<Stamp>, version: &Version) -> bool {
    stamp.is_some() && Stamp::parse(version) == stamp
}
