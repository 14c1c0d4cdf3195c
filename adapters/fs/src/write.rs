//! Writes: stage, stamp, sync, publish by one rename.
//!
//! A value that exists is replaced or removed only under its stripe's lock; a value that does not is created by a
//! rename that refuses to replace, with or without the lock. So under the lock nothing changes what was looked at,
//! except that something may come into being, and that the filesystem itself reports.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use leasehold_core::{
    Attributes, Bytes, Error, ErrorKind, Key, Precondition, PutOptions, Result, Version, add_to,
};
use rustix::{
    fs::{self, AtFlags, Stat},
    io::Errno,
};

use crate::{
    fault::{from_errno, from_publishing},
    locks::{Held, Patience},
    name::Place,
    read,
    root::{DIRECTORY, RACES_MAX, check_regular, pruned_for_ever},
    stage::Staged,
    stamp::{Stamp, nanos},
    store::Inner,
};

/// The largest value that is written under the lock, and that a filesystem in memory takes on the caller's thread.
pub(crate) const INLINE_BYTES_MAX: usize = 64 << 10;
/// How often a staged value whose number was overtaken is sealed anew without the lock.
const RACES_UNLOCKED_MAX: usize = 3;

/// A value's directory: the root, or one below it.
enum Parent {
    Root,
    Below(OwnedFd),
}

impl Parent {
    fn fd<'a>(&'a self, inner: &'a Inner) -> BorrowedFd<'a> {
        match self {
            Self::Root => inner.root.fd(),
            Self::Below(directory) => directory.as_fd(),
        }
    }
}

/// What is to be published under the lock.
enum Source<'a> {
    /// A value that was staged before the lock was taken.
    Staged(Staged, Stamp),
    /// A value that depends on the one it replaces, and is staged under the lock, with its attributes.
    Made(&'a mut Make<'a>),
}

/// Makes a value and its attributes from the file that is there.
type Make<'a> = dyn FnMut(Option<&Stat>) -> Result<(Bytes, Attributes)> + 'a;

impl Inner {
    /// Writes a value that is at hand. `None`: it would have to wait, and the caller has no patience.
    pub(crate) fn put(
        &self,
        key: &Key,
        bytes: &Bytes,
        PutOptions { precondition, attributes, .. }: &PutOptions,
        patience: Patience,
    ) -> Result<Option<Version>> {
        // What takes long is done before the lock is taken: a sync, or a large value.
        let takes_long = (self.durable && !self.root.in_memory) || bytes.len() > INLINE_BYTES_MAX;
        if *precondition == Precondition::Absent || takes_long {
            self.check_early(key, precondition)?;
            let mut staged = self.stage(attributes)?;
            staged.write(bytes)?;
            return self.publish(key, staged, precondition, patience);
        }
        let place = self.layout.names.place(key);
        let mut make = |_: Option<&Stat>| Ok((bytes.clone(), attributes.clone()));
        let written = self.replace(key, &place, Source::Made(&mut make), precondition, patience)?;
        Ok(written.map(Stamp::version))
    }

    /// A new value in the making.
    pub(crate) fn stage(&self, attributes: &Attributes) -> Result<Staged> {
        Staged::create(&self.area()?, attributes)
    }

    /// Makes a staged value the value of `key`, if the precondition holds.
    pub(crate) fn publish(
        &self,
        key: &Key,
        mut staged: Staged,
        precondition: &Precondition,
        patience: Patience,
    ) -> Result<Option<Version>> {
        let place = self.layout.names.place(key);
        // The order matters to a create: the staged file has its inode. Whatever had the same inode before, under whatever
        // number, is gone by now, so once the key is seen to be absent the mark is above that number.
        self.check_early(key, precondition)?;
        let after = match precondition {
            Precondition::Matches(version) => Stamp::parse(version).map_or(0, |stamp| stamp.nanos),
            Precondition::Absent => self.locks.deleted_up_to(&self.root, key)?,
            Precondition::None => 0,
        };
        let stamp = self.seal(&staged, after)?;
        let written = if *precondition == Precondition::Absent {
            let parent = self.create(&place, &mut staged)?;
            self.sync_names(&parent, &place)?;
            Some(stamp)
        } else {
            self.replace(key, &place, Source::Staged(staged, stamp), precondition, patience)?
        };
        Ok(written.map(Stamp::version))
    }

    /// Adds to a decimal integer. `None`: it would have to wait, and the caller has no patience.
    pub(crate) fn increment(&self, key: &Key, delta: i64, patience: Patience) -> Result<Option<i64>> {
        let place = self.layout.names.place(key);
        let mut sum = 0;
        let mut add = |found: Option<&Stat>| {
            let counter = found.map(|stat| read::counter(&self.root, place.path(), stat)).transpose()?;
            let (number, attributes) = counter.unzip();
            sum = add_to(number.as_deref(), delta)?;
            Ok((sum.to_string().into(), attributes.unwrap_or_default()))
        };
        let written = self.replace(key, &place, Source::Made(&mut add), &Precondition::None, patience)?;
        Ok(written.map(|_| sum))
    }

    /// Refuses a lost race before anything is staged. Only a hint: what counts is looked at under the lock.
    fn check_early(&self, key: &Key, precondition: &Precondition) -> Result<()> {
        if *precondition == Precondition::None {
            return Ok(());
        }
        let version = read::version(&self.root, self.layout.names.place(key).path())?;
        precondition.check(version.as_ref())
    }

    /// Removes a value. `None`: it would have to wait, and the caller has no patience.
    pub(crate) fn delete(
        &self,
        key: &Key,
        precondition: &Precondition,
        patience: Patience,
    ) -> Result<Option<()>> {
        let place = self.layout.names.place(key);
        let parent = {
            let Some(held) = self.lock(key, patience)? else { return Ok(None) };
            let parent = self.parent(&place)?;
            let current = match &parent {
                Some(parent) => current(parent.fd(self), place.file())?,
                None => None,
            };
            check(precondition, current)?;
            match (parent, current) {
                (Some(parent), Some(current)) => {
                    held.record_delete(current.nanos)?;
                    fs::unlinkat(parent.fd(self), place.file(), AtFlags::empty()).map_err(from_publishing)?;
                    parent
                }
                _ => {
                    drop(held);
                    return self.sync_absence(&place).map(Some);
                }
            }
        };
        self.sync_names(&parent, &place)?;
        self.root.prune(place.directory());
        Ok(Some(()))
    }

    fn lock(&self, key: &Key, patience: Patience) -> Result<Option<Held<'_>>> {
        self.locks.lock(&self.root, key, patience, &*self.environment.clock)
    }

    /// Gives the staged value a version above `after` and makes it durable.
    fn seal(&self, staged: &Staged, after: u64) -> Result<Stamp> {
        let stamp = staged.stamp(nanos(self.environment.clock.wall()).max(after.saturating_add(1)))?;
        if stamp.nanos <= after {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the value's modification time is the last that this filesystem can store, so no version can follow; \
                 set it to the present (touch)",
            ));
        }
        if self.durable {
            staged.sync()?;
        }
        Ok(stamp)
    }

    /// Publishes where nothing is, without the lock.
    fn create(&self, place: &Place, staged: &mut Staged) -> Result<Parent> {
        for _ in 0..RACES_MAX {
            let parent = self.parent_or_make(place)?;
            match staged.create_at(parent.fd(self), place.file()) {
                Ok(()) => return Ok(parent),
                Err(Errno::EXIST) => {
                    let current = current(parent.fd(self), place.file())?;
                    check(&Precondition::Absent, current)?;
                    // It went between the two calls.
                }
                // The directory was pruned before the value was in it.
                Err(Errno::NOENT) => self.root.check_present()?,
                Err(errno) => return Err(from_publishing(errno)),
            }
        }
        Err(pruned_for_ever())
    }

    /// Publishes under the lock, over what is there or where nothing is.
    fn replace(
        &self,
        key: &Key,
        place: &Place,
        mut source: Source<'_>,
        precondition: &Precondition,
        patience: Patience,
    ) -> Result<Option<Stamp>> {
        for race in 0..RACES_MAX {
            let Some(held) = self.lock(key, patience)? else { return Ok(None) };
            // A value that must be there has its directory; otherwise it may have to be made.
            let parent = match precondition {
                Precondition::Matches(_) => self.parent(place)?,
                _ => Some(self.parent_or_make(place)?),
            };
            let Some(parent) = parent else { return precondition.check(None).map(|()| None) };
            let found = find(parent.fd(self), place.file())?;
            let current = found.as_ref().map(Stamp::of);
            check(precondition, current)?;
            // Above what is there, and above all that was deleted: a create without the lock may have drawn less.
            let floor = current.map_or(0, |current| current.nanos).max(held.deleted_up_to());
            let mut made;
            let (staged, stamp) = match &mut source {
                Source::Staged(staged, stamp) => {
                    if stamp.nanos <= floor {
                        // The clock stepped back, or a racing writer drew a later number: draw again above it. Sealing
                        // can take a sync, which is not for under the lock unless this race is lost again and again.
                        if race < RACES_UNLOCKED_MAX {
                            drop(held);
                            *stamp = self.seal(staged, floor)?;
                            continue;
                        }
                        *stamp = self.seal(staged, floor)?;
                    }
                    (staged, *stamp)
                }
                Source::Made(make) => {
                    let (bytes, attributes) = make(found.as_ref())?;
                    made = self.stage(&attributes)?;
                    made.write(&bytes)?;
                    let stamp = self.seal(&made, floor)?;
                    (&mut made, stamp)
                }
            };
            let published = match current {
                Some(_) => staged.replace(parent.fd(self), place.file()),
                None => staged.create_at(parent.fd(self), place.file()),
            };
            match published {
                Ok(()) => {
                    drop(held);
                    self.sync_names(&parent, place)?;
                    return Ok(Some(stamp));
                }
                // Created between the look and the rename: the one thing that the lock does not exclude.
                Err(Errno::EXIST) if current.is_none() => {}
                Err(Errno::NOENT) => self.root.check_present()?,
                Err(errno) => return Err(from_publishing(errno)),
            }
        }
        Err(pruned_for_ever())
    }

    /// The directory that holds a value, where it exists.
    fn parent(&self, place: &Place) -> Result<Option<Parent>> {
        if place.directory().is_empty() {
            return self.root.check_present().map(|()| Some(Parent::Root));
        }
        match self.root.open_beneath(place.directory(), DIRECTORY) {
            Ok(directory) => Ok(Some(Parent::Below(directory))),
            Err(Errno::NOENT) => self.root.check_present().map(|()| None),
            Err(errno) => Err(from_errno(errno)),
        }
    }

    fn parent_or_make(&self, place: &Place) -> Result<Parent> {
        match self.parent(place)? {
            Some(parent) => Ok(parent),
            None => self.root.make_directory(place.directory()).map(Parent::Below),
        }
    }

    /// Makes a published name durable. The value is in place by now, so a failure leaves the outcome unknown.
    fn sync_names(&self, parent: &Parent, place: &Place) -> Result<()> {
        if !self.durable {
            return Ok(());
        }
        self.syncs
            .sync(&self.root, parent.fd(self), place.directory())
            .map_err(|error| Error::indeterminate(error).retryable(false))
    }

    /// As [`sync_names`](Inner::sync_names), of a value that was found to be gone already.
    fn sync_absence(&self, place: &Place) -> Result<()> {
        if !self.durable {
            return Ok(());
        }
        let synced = self.syncs.sync_absence(&self.root, place.directory());
        synced.map_err(|error| Error::indeterminate(error).retryable(false))
    }

    fn area(&self) -> Result<Arc<crate::stage::Area>> {
        let mut area = self.area.lock();
        if let Some(area) = &*area {
            return Ok(area.clone());
        }
        let made = crate::stage::Area::create(&self.root, &self.environment)?;
        Ok(area.insert(made).clone())
    }
}

/// The file of the value at `name`, `None` where there is none.
fn find(directory: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>> {
    match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => check_regular(&stat).map(|()| Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(from_errno(errno)),
    }
}

/// The version of the value at `name`, `None` where there is none.
fn current(directory: BorrowedFd<'_>, name: &str) -> Result<Option<Stamp>> {
    Ok(find(directory, name)?.as_ref().map(Stamp::of))
}

/// [`Precondition::check`] on stamps: the common case costs no text.
fn check(precondition: &Precondition, current: Option<Stamp>) -> Result<()> {
    match precondition {
        Precondition::Matches(version) if read::is(current, version) => Ok(()),
        _ => precondition.check(current.map(Stamp::version).as_ref()),
    }
}
