//! Which directories are watched, and whom their changes wake.
//!
//! A key is watched by the directory of its file, and a prefix by its directory and all below. Where that directory does not
//! exist, the nearest above it is watched for the next one on the way. A directory is always watched first and then looked
//! into, so what is made in between is seen by one or by the other; and whoever waits is woken only after that.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use leasehold_core::{Changes, Notifier, Scope};
use rustix::{
    fs::{
        self, FileType, Mode,
        inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    },
    io::Errno,
};

use crate::{
    list::{each_name, join},
    name::Names,
    root::{DIRECTORY, RACES_MAX, Root},
};

/// How many directories one watch has below a prefix; past it whoever waits polls.
const DIRECTORIES_MAX: usize = 8192;

/// A value comes by a rename, or by a link where a rename cannot refuse to replace; it goes by an unlink. Nothing is written in
/// place, so what happens inside of a file is of no interest.
const CHANGES: WatchFlags = WatchFlags::MOVED_TO
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// The directory is not where it was, or not watched any more.
const GONE: ReadFlags = ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::IGNORED);

const APPEARED: ReadFlags = ReadFlags::CREATE.union(ReadFlags::MOVED_TO);
const LEFT: ReadFlags = ReadFlags::DELETE.union(ReadFlags::MOVED_FROM);

/// What a scope is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    directory: String,
    interest: Interest,
}

/// What of a directory is of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Interest {
    /// This name.
    Name(String),
    /// Values, and directories of values, whose segment starts so; and all below.
    Segments(String),
}

impl Target {
    pub(super) fn new(names: Names, scope: &Scope) -> Self {
        match scope {
            Scope::Key(key) => {
                let place = names.place(key);
                Self {
                    directory: place.directory().to_owned(),
                    interest: Interest::Name(place.file().to_owned()),
                }
            }
            Scope::Prefix(prefix) => {
                let (directory, rest) = prefix.as_str().rsplit_once('/').unwrap_or(("", prefix.as_str()));
                Self { directory: names.prefix(directory), interest: Interest::Segments(rest.to_owned()) }
            }
        }
    }
}

impl Interest {
    /// Whether a name in the directory at `path` is of interest. In doubt it is.
    fn takes(&self, names: Names, path: &str, name: &str, is_directory: bool) -> bool {
        let start = match self {
            Self::Name(wanted) => return wanted == name,
            Self::Segments(start) => start,
        };
        let segment = if is_directory { name.strip_suffix('%') } else { Some(name) };
        let Some(segment) = segment.filter(|_| !name.starts_with('.')) else { return false };
        // A piece of a segment says little about the whole.
        let is_piece = segment.ends_with('%') || path.ends_with("%%");
        start.is_empty()
            || is_piece
            || names.decode(segment).is_some_and(|segment| segment.starts_with(start))
    }
}

/// A watched directory.
#[derive(Debug, Default)]
struct Directory {
    path: String,
    interests: HashMap<u64, Interest>,
}

#[derive(Debug)]
struct Watch {
    target: Target,
    notifier: Notifier,
    directories: HashSet<i32>,
}

/// A watch cannot be kept up: the system has no room, or does not let us look.
#[derive(Debug)]
struct Lost;

impl From<Errno> for Lost {
    fn from(_: Errno) -> Self {
        Self
    }
}

#[derive(Debug)]
pub(super) struct Table {
    root: Arc<Root>,
    names: Names,
    inotify: OwnedFd,
    directories: HashMap<i32, Directory>,
    watches: HashMap<u64, Watch>,
    directories_max: usize,
}

fn listen() -> Result<OwnedFd, Errno> {
    inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
}

impl Table {
    pub(super) fn new(root: Arc<Root>, names: Names) -> Result<Self, Errno> {
        let (inotify, directories) = (listen()?, HashMap::new());
        let watches = HashMap::new();
        Ok(Self { root, names, inotify, directories, watches, directories_max: DIRECTORIES_MAX })
    }

    pub(super) fn inotify(&self) -> &OwnedFd {
        &self.inotify
    }

    /// The same with room for fewer directories below a prefix.
    #[cfg(test)]
    pub(super) fn directories_max(&mut self, directories: usize) {
        self.directories_max = directories;
    }

    #[cfg(test)]
    pub(super) fn directories(&self) -> Vec<&str> {
        let mut paths: Vec<_> = self.directories.values().map(|directory| directory.path.as_str()).collect();
        paths.sort_unstable();
        paths
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// A new watch, established by the time this returns.
    pub(super) fn watch(&mut self, number: u64, target: Target) -> Option<Changes> {
        let (notifier, changes) = Changes::channel();
        self.watches.insert(number, Watch { target, notifier, directories: HashSet::new() });
        self.settle(number);
        self.watches.contains_key(&number).then_some(changes)
    }

    /// Takes a watch out. Whoever still waits on it learns that it is over.
    pub(super) fn forget(&mut self, number: u64) {
        if let Some(watch) = self.watches.remove(&number) {
            self.leave(number, watch.directories);
        }
    }

    /// Takes note of what happened to a directory, or to a name in it.
    pub(super) fn happened(&mut self, descriptor: i32, what: ReadFlags, name: Option<&str>) {
        if what.intersects(GONE) {
            return self.gone(descriptor, what.contains(ReadFlags::MOVE_SELF));
        }
        let (Some(directory), Some(name)) = (self.directories.get(&descriptor), name) else { return };
        let path = directory.path.clone();
        let is_directory = what.contains(ReadFlags::ISDIR);
        if is_directory && path.is_empty() && name == crate::layout::DIRECTORY_NAME && what.intersects(LEFT) {
            // The store is being removed, or moved, and the root tells nobody when it goes.
            return self
                .watches
                .keys()
                .copied()
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|it| self.forget(it));
        }
        let concerned: Vec<(u64, Interest)> = (directory.interests.iter())
            .filter(|(_, interest)| interest.takes(self.names, &path, name, is_directory))
            .map(|(number, interest)| (*number, interest.clone()))
            .collect();
        for (number, interest) in concerned {
            match interest {
                Interest::Name(_) if is_directory => self.settle(number),
                Interest::Segments(_) if is_directory && what.intersects(APPEARED) => {
                    let below = self.descend(number, join(&path, name), String::new());
                    self.keep(number, below);
                }
                _ => {}
            }
            self.notify(number);
        }
    }

    /// After the kernel lost events: begins anew, for everybody.
    pub(super) fn rebuild(&mut self) {
        self.directories.clear();
        match listen() {
            // The old instance goes, and everything that it was asked for with it.
            Ok(inotify) => self.inotify = inotify,
            Err(_) => return self.watches.clear(),
        }
        for number in self.watches.keys().copied().collect::<Vec<_>>() {
            self.settle(number);
            self.notify(number);
        }
    }

    fn notify(&self, number: u64) {
        if let Some(watch) = self.watches.get(&number) {
            watch.notifier.notify();
        }
    }

    fn keep(&mut self, number: u64, done: Result<(), Lost>) {
        if done.is_err() {
            self.forget(number);
        }
    }

    fn gone(&mut self, descriptor: i32, moved: bool) {
        let Some(directory) = self.directories.remove(&descriptor) else { return };
        // One that was only moved is still watched where it is now.
        let _ = inotify::remove_watch(&self.inotify, descriptor);
        for (number, interest) in directory.interests {
            let Some(watch) = self.watches.get_mut(&number) else { continue };
            watch.directories.remove(&descriptor);
            // One below a prefix is told of by the one above it when it comes back; one that was moved may be in there still.
            if moved || watch.target.directory == directory.path || matches!(interest, Interest::Name(_)) {
                self.settle(number);
            }
            self.notify(number);
        }
    }

    /// Watches what is to be watched for `number` now, and nothing else. Where that cannot be done, the watch is over.
    fn settle(&mut self, number: u64) {
        let Some(watch) = self.watches.get_mut(&number) else { return };
        let (target, before) = (watch.target.clone(), std::mem::take(&mut watch.directories));
        for descriptor in &before {
            if let Some(directory) = self.directories.get_mut(descriptor) {
                directory.interests.remove(&number);
            }
        }
        let settled = self.approach(number, &target);
        self.keep(number, settled);
        self.leave(number, before);
    }

    fn approach(&mut self, number: u64, target: &Target) -> Result<(), Lost> {
        for _ in 0..RACES_MAX {
            if let Interest::Segments(start) = &target.interest {
                self.descend(number, target.directory.clone(), start.clone())?;
                if self.watches.get(&number).is_some_and(|watch| !watch.directories.is_empty()) {
                    return Ok(());
                }
            } else if self.enter(number, &target.directory, target.interest.clone())?.is_some() {
                return Ok(());
            }
            // It does not exist: what comes next on the way to it is looked out for.
            let mut path = target.directory.as_str();
            let next = loop {
                let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
                if path.is_empty() {
                    // Not even the root.
                    return Err(Lost);
                }
                if self.enter(number, above, Interest::Name(name.to_owned()))?.is_some() {
                    break path;
                }
                path = above;
            };
            match self.open(next) {
                Ok(None) => return Ok(()),
                // It was made before the one above was watched: on from there.
                Ok(Some(_)) => self.withdraw(number),
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Lost)
    }

    /// Watches the directory at `path` and those below it, as far as `start` and keys go.
    fn descend(&mut self, number: u64, path: String, start: String) -> Result<(), Lost> {
        let mut ahead = vec![(path, start)];
        while let Some((path, start)) = ahead.pop() {
            let many = self.watches.get(&number).map_or(0, |watch| watch.directories.len());
            if many >= self.directories_max {
                return Err(Lost);
            }
            let interest = Interest::Segments(start);
            let Some(directory) = self.enter(number, &path, interest.clone())? else { continue };
            let names = self.names;
            each_name(&directory, &mut |name, kind| {
                if matches!(kind, FileType::Directory | FileType::Unknown)
                    && interest.takes(names, &path, name, true)
                {
                    ahead.push((join(&path, name), String::new()));
                }
                Ok(())
            })
            .map_err(|_| Lost)?;
        }
        Ok(())
    }

    /// Watches one directory, and hands it out for a look; `None` where there is none.
    fn enter(&mut self, number: u64, path: &str, interest: Interest) -> Result<Option<OwnedFd>, Lost> {
        let Some(opened) = self.open(path)? else { return Ok(None) };
        // The open directory itself, wherever it is by now: nothing on the way to it can lead elsewhere.
        let descriptor =
            inotify::add_watch(&self.inotify, format!("/proc/self/fd/{}", opened.as_raw_fd()), CHANGES)?;
        if fs::fstat(&opened)?.st_nlink == 0 {
            // Removed meanwhile, and the watch with it.
            return Ok(None);
        }
        let Some(watch) = self.watches.get_mut(&number) else { return Ok(None) };
        watch.directories.insert(descriptor);
        let directory = self.directories.entry(descriptor).or_default();
        // It may have been elsewhere before.
        path.clone_into(&mut directory.path);
        directory.interests.insert(number, interest);
        Ok(Some(opened))
    }

    fn open(&self, path: &str) -> Result<Option<OwnedFd>, Errno> {
        let opened = match path {
            "" => fs::openat(self.root.fd(), ".", DIRECTORY, Mode::empty()),
            path => self.root.open_beneath(path, DIRECTORY),
        };
        match opened {
            Ok(directory) => Ok(Some(directory)),
            // What is no directory of ours holds no key of ours.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn withdraw(&mut self, number: u64) {
        let Some(watch) = self.watches.get_mut(&number) else { return };
        let directories = std::mem::take(&mut watch.directories);
        for descriptor in &directories {
            if let Some(directory) = self.directories.get_mut(descriptor) {
                directory.interests.remove(&number);
            }
        }
        self.leave(number, directories);
    }

    /// Ends the watches of directories that are of interest to nobody any more.
    fn leave(&mut self, number: u64, directories: HashSet<i32>) {
        let stays = |watch: &Watch, descriptor: &i32| watch.directories.contains(descriptor);
        for descriptor in directories {
            let Some(directory) = self.directories.get_mut(&descriptor) else { continue };
            if !self.watches.get(&number).is_some_and(|watch| stays(watch, &descriptor)) {
                directory.interests.remove(&number);
            }
            if directory.interests.is_empty() {
                self.directories.remove(&descriptor);
                let _ = inotify::remove_watch(&self.inotify, descriptor);
            }
        }
    }
}
