//! Lists: a walk through the tree in byte order of keys, one directory's names in memory at a time.

use std::{cmp::Ordering, ops::Range, os::fd::OwnedFd};

use leasehold_core::{Entry, Error, ErrorKind, Key, ListOptions, Result};
use rustix::{
    fs::{self, AtFlags, FileType},
    io::Errno,
};

use crate::{
    fault::from_errno,
    name::{Names, PIECE_BYTES_MAX},
    read,
    reused::may_be_reused,
    root::{DIRECTORY, Root},
    stamp::metadata,
};

/// How many levels keep their directory open; above, it is opened again when the walk comes back to it.
const OPEN_LEVELS_MAX: usize = 16;

/// How much of a directory's names the kernel hands over at a time.
#[cfg(target_os = "linux")]
const NAMES_BYTES: usize = 64 << 10;

/// Longer than any segment is written, with all its bytes escaped and its marks; what goes on below is not ours.
const SEGMENT_PATH_MAX: usize = 4 * leasehold_core::KEY_BYTES_MAX;
/// How often the names of a directory are read when it changes meanwhile.
const PASSES_MAX: usize = 3;

/// A walk that can be put down between pages.
#[derive(Debug)]
pub(crate) struct Walk {
    names: Names,
    prefix: String,
    after: Option<Key>,
    levels: Vec<Level>,
}

/// A directory on the way, and what of it is still to come.
#[derive(Debug)]
struct Level {
    path: String,
    keys: String,
    /// `keys` with the segment last used, to make keys in without allocating twice.
    key: String,
    directory: Option<OwnedFd>,
    names: String,
    items: std::vec::IntoIter<Item>,
}

/// The names of a directory, in one piece of memory.
#[derive(Debug, Default)]
struct Listed {
    names: String,
    items: Vec<Item>,
}

/// A name in a directory.
#[derive(Debug)]
struct Item {
    /// Where the name on disk is among the names; for a long segment, the path of its pieces.
    name: Range<usize>,
    /// The segment, where it is not what the name says without its mark.
    decoded: Option<String>,
    is_directory: bool,
}

impl Item {
    fn name<'a>(&self, names: &'a str) -> &'a str {
        &names[self.name.clone()]
    }

    fn segment<'a>(&'a self, names: &'a str) -> &'a str {
        match &self.decoded {
            Some(decoded) => decoded,
            None => &names[self.name.start..self.name.end - usize::from(self.is_directory)],
        }
    }

    /// As the keys order: those below a directory go on with a slash.
    fn order(&self, other: &Self, names: &str) -> Ordering {
        let (a, b) = (self.segment(names).as_bytes(), other.segment(names).as_bytes());
        let common = a.len().min(b.len());
        let rest = |item: &Self, segment: &[u8]| match segment.get(common) {
            None if item.is_directory => Some(b'/'),
            byte => byte.copied(),
        };
        // One of them ends here, so what comes next decides: nothing, the slash of a directory, or the other's next byte,
        // which is no slash.
        a[..common].cmp(&b[..common]).then_with(|| rest(self, a).cmp(&rest(other, b)))
    }
}

impl Listed {
    fn push(&mut self, name: &str, decoded: Option<String>, is_directory: bool) {
        let start = self.names.len();
        self.names.push_str(name);
        self.items.push(Item { name: start..self.names.len(), decoded, is_directory });
    }

    fn sort(&mut self) {
        let names = &self.names;
        self.items.sort_unstable_by(|a, b| a.order(b, names));
        self.items.dedup_by(|later, earlier| later.name(names) == earlier.name(names));
    }
}

impl Walk {
    pub(crate) fn new(root: &Root, names: Names, options: ListOptions) -> Result<Self> {
        let prefix = options.prefix.as_str().to_owned();
        // Every key with the prefix is below the directory that its last slash names.
        let keys = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]).to_owned();
        let path = names.prefix(&keys);
        let mut walk = Self { names, prefix, after: options.after, levels: Vec::new() };
        walk.enter(root, path, keys)?;
        // A directory that was removed reads as an empty one.
        root.check_present()?;
        Ok(walk)
    }

    /// The next entries, at most `entries_max`; none at the end.
    pub(crate) fn page(&mut self, root: &Root, entries_max: usize) -> Result<Vec<Entry>> {
        let mut page =
            Vec::with_capacity(entries_max.min(self.levels.last().map_or(0, |level| level.items.len())));
        while page.len() < entries_max {
            let Some(level) = self.levels.last_mut() else { break };
            let Some(item) = level.items.next() else {
                self.levels.pop();
                continue;
            };
            if item.is_directory {
                let path = join(&level.path, item.name(&level.names));
                let keys = format!("{}{}/", level.keys, item.segment(&level.names));
                if self.levels.len() >= OPEN_LEVELS_MAX
                    && let Some(level) = self.levels.last_mut()
                {
                    level.directory = None;
                }
                self.enter(root, path, keys)?;
            } else if let Some(entry) = level.entry(root, &item)? {
                page.push(entry);
            }
        }
        Ok(page)
    }

    /// Reads a directory and goes on in it. One that has gone meanwhile is empty.
    fn enter(&mut self, root: &Root, path: String, keys: String) -> Result<()> {
        let opened = match path.as_str() {
            "" => fs::openat(root.fd(), ".", DIRECTORY, fs::Mode::empty()),
            path => root.open_beneath(path, DIRECTORY),
        };
        let directory = match opened {
            Ok(directory) => directory,
            // What is no directory of ours holds no key of ours.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(errno) => {
                let error = from_errno(errno);
                return Err(Error::new(error.kind(), format!("directory {path:?}: {}", error.message()))
                    .because(error));
            }
        };
        let mut listed = Listed::default();
        for _ in 0..PASSES_MAX {
            let before = changed(&directory)?;
            read_names(self.names, &directory, "", &mut |name, decoded, is_directory| {
                let bare = &name[..name.len() - usize::from(is_directory)];
                if self.wants(&keys, decoded.as_deref().unwrap_or(bare), is_directory) {
                    listed.push(name, decoded, is_directory);
                }
            })?;
            // In memory a name that is renamed over moves behind the reader's back, and a pass can miss it.
            if !root.in_memory || before == changed(&directory)? {
                break;
            }
            fs::seek(&directory, fs::SeekFrom::Start(0)).map_err(from_errno)?;
        }
        listed.sort();
        let Listed { names, items } = listed;
        self.levels.push(Level {
            path,
            key: keys.clone(),
            keys,
            directory: Some(directory),
            names,
            items: items.into_iter(),
        });
        Ok(())
    }

    /// Whether an item is, or can hold, a key that was asked for.
    fn wants(&self, keys: &str, segment: &str, is_directory: bool) -> bool {
        // `keys` and the prefix agree up to the shorter of the two; only what is past `keys` is compared.
        if let Some(rest) = self.prefix.get(keys.len()..).filter(|rest| !rest.is_empty())
            && !segment.starts_with(rest)
        {
            return false;
        }
        let Some(after) = &self.after else { return true };
        let mut key = String::with_capacity(keys.len() + segment.len() + 1);
        key.push_str(keys);
        key.push_str(segment);
        if is_directory {
            key.push('/');
            return key.as_str() > after.as_str() || after.starts_with(&key);
        }
        key.as_str() > after.as_str()
    }
}

impl Level {
    fn entry(&mut self, root: &Root, item: &Item) -> Result<Option<Entry>> {
        if self.directory.is_none() {
            match root.open_beneath(&self.path, DIRECTORY) {
                Ok(directory) => self.directory = Some(directory),
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(from_errno(errno)),
            }
        }
        let name = item.name(&self.names);
        let stat = match &self.directory {
            // A name of several pieces is a path, which only the root resolves without following a link.
            _ if name.contains('/') => root.stat_beneath(&join(&self.path, name)),
            Some(directory) => fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW),
            None => return Ok(None),
        };
        let stat = match stat {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(from_errno(errno)),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let stat = if may_be_reused(&stat) {
            match read::confirmed(root, &join(&self.path, name), stat) {
                Ok(Some(stat)) => stat,
                Ok(None) => return Ok(None),
                // Somebody has put another thing there meanwhile.
                Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
                Err(error) => return Err(error),
            }
        } else {
            stat
        };
        // A name that no key can have, for being too long altogether, is not ours.
        self.key.truncate(self.keys.len());
        self.key.push_str(item.segment(&self.names));
        let Ok(key) = Key::new(self.key.as_str()) else { return Ok(None) };
        Ok(Some(Entry::new(key, metadata(&stat))))
    }
}

/// Takes a name, the segment where it is not the name without its mark, and whether it is a directory's.
type Found<'a> = dyn FnMut(&str, Option<String>, bool) + 'a;

/// Reads the names in a directory, those of long segments put together from the directories that hold their rest.
fn read_names(names: Names, directory: &OwnedFd, before: &str, found: &mut Found<'_>) -> Result<()> {
    each_name(directory, &mut |name, kind| {
        if name.starts_with('.') {
            return Ok(());
        }
        let may_be_directory = matches!(kind, FileType::Directory | FileType::Unknown);
        if let Some(piece) = name.strip_suffix("%%") {
            if may_be_directory && !piece.is_empty() && before.len() <= SEGMENT_PATH_MAX {
                match fs::openat(directory, name, DIRECTORY | fs::OFlags::NOFOLLOW, fs::Mode::empty()) {
                    Ok(below) => read_names(names, &below, &format!("{before}{name}/"), found)?,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(errno) => return Err(from_errno(errno)),
                }
            }
            return Ok(());
        }
        let (written, is_directory) = match name.strip_suffix('%') {
            Some(written) => (written, true),
            None => (name, false),
        };
        if is_directory && !may_be_directory
            || !is_directory && kind == FileType::Directory
            || written.is_empty()
        {
            return Ok(());
        }
        // Nearly every name is its own segment; only the others are taken apart.
        if before.is_empty() && names.is_plain(written) && written.len() <= PIECE_BYTES_MAX {
            found(name, None, is_directory);
            return Ok(());
        }
        let full = format!("{before}{written}");
        if let Some(segment) = names.decode(&full) {
            found(&format!("{before}{name}"), Some(segment), is_directory);
        }
        Ok(())
    })
}

/// Calls `found` with every name in a directory that is text, without an allocation for each.
#[cfg(target_os = "linux")]
pub(crate) fn each_name(
    directory: &OwnedFd,
    found: &mut dyn FnMut(&str, FileType) -> Result<()>,
) -> Result<()> {
    let mut buffer = Vec::with_capacity(NAMES_BYTES);
    let mut entries = fs::RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // Removed while it was open: it reads as an empty one.
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(from_errno(errno)),
        };
        if let Ok(name) = entry.file_name().to_str() {
            found(name, entry.file_type())?;
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn each_name(
    directory: &OwnedFd,
    found: &mut dyn FnMut(&str, FileType) -> Result<()>,
) -> Result<()> {
    for entry in fs::Dir::read_from(directory).map_err(from_errno)? {
        let entry = entry.map_err(from_errno)?;
        if let Ok(name) = entry.file_name().to_str() {
            found(name, entry.file_type())?;
        }
    }
    Ok(())
}

/// When a directory's names last changed.
fn changed(directory: &OwnedFd) -> Result<(i64, u64)> {
    fs::fstat(directory).map(|stat| (stat.st_mtime, stat.st_mtime_nsec)).map_err(from_errno)
}

pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}
