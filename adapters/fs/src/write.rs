//! Writes: stage, stamp, sync, publish by one rename.
//!
//! A value that exists is replaced or removed only under its stripe's lock; a value that does not is created by a
//! rename that refuses to replace, with or without the lock. So under the lock nothing changes what was looked at,
//! except that something may come into being, and that the filesystem itself reports.
//!
//! What a change of names touched comes back with it, and is settled before the change is acknowledged: see [`Touched`].

use std::{os::fd::BorrowedFd, sync::Arc};

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
    root::{RACES_MAX, check_regular, pruned_for_ever},
    stage::Staged,
    stamp::{Stamp, nanos},
    store::Inner,
    touched::Touched,
};

/// The largest value that is written under the lock, and that a filesystem in memory takes on the caller's thread.
pub(crate) const INLINE_BYTES_MAX: usize = 64 << 10;
/// How often a staged value whose number was overtaken is sealed anew without the lock.
const RACES_UNLOCKED_MAX: usize = 3;

/// A value that is whole, where nobody looks yet, and has its version.
#[derive(Debug)]
pub(crate) struct Stamped {
    pub(crate) staged: Staged,
    stamp: Stamp,
}

impl Stamped {
    pub(crate) fn version(&self) -> Version {
        self.stamp.version()
    }
}

/// What is to be published under the lock.
enum Source<'a> {
    /// A value that was staged before the lock was taken.
    Stamped(&'a mut Stamped),
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
        options: &PutOptions,
        patience: Patience,
    ) -> Result<Option<Version>> {
        let PutOptions { precondition, attributes, .. } = options;
        // What takes long is done before the lock is taken: a sync, or a large value.
        let takes_long = self.is_durable() || bytes.len() > INLINE_BYTES_MAX;
        if *precondition == Precondition::Absent || takes_long {
            return self.publish(key, self.stage_whole(key, bytes, options)?, precondition, patience);
        }
        let place = self.layout.names.place(key);
        let mut make = |_: Option<&Stat>| Ok((bytes.clone(), attributes.clone()));
        let Some((stamp, touched)) =
            self.replace(key, &place, Source::Made(&mut make), precondition, patience)?
        else {
            return Ok(None);
        };
        self.settle(touched)?;
        Ok(Some(stamp.version()))
    }

    /// A new value in the making.
    pub(crate) fn stage(&self, attributes: &Attributes) -> Result<Staged> {
        Staged::create(&self.area()?, attributes)
    }

    /// A new value that is at hand.
    fn stage_bytes(&self, bytes: &[u8], attributes: &Attributes) -> Result<Staged> {
        let area = self.area()?;
        let now = nanos(self.environment.clock.wall());
        let reused = attributes.is_empty().then(|| Staged::reuse(&area, bytes.len() as u64, now)).flatten();
        let mut staged = reused.map_or_else(|| Staged::create(&area, attributes), Ok)?;
        staged.write(bytes)?;
        Ok(staged)
    }

    /// A new value that is at hand, unless its precondition can be seen not to hold.
    pub(crate) fn stage_whole(&self, key: &Key, bytes: &[u8], options: &PutOptions) -> Result<Staged> {
        self.check_early(key, &options.precondition)?;
        self.stage_bytes(bytes, &options.attributes)
    }

    /// Makes a staged value the value of `key`, if the precondition holds.
    pub(crate) fn publish(
        &self,
        key: &Key,
        staged: Staged,
        precondition: &Precondition,
        patience: Patience,
    ) -> Result<Option<Version>> {
        let mut stamped = self.stamp(key, staged, precondition)?;
        self.sync(&stamped)?;
        let Some(touched) = self.publish_stamped(key, &mut stamped, precondition, patience)? else {
            return Ok(None);
        };
        self.settle(touched)?;
        Ok(Some(stamped.version()))
    }

    /// Gives a whole value a version that it can be published with.
    pub(crate) fn stamp(&self, key: &Key, staged: Staged, precondition: &Precondition) -> Result<Stamped> {
        // The order matters to a create: the staged file has its inode. Whatever had the same inode before, under whatever
        // number, is gone by now, so once the key is seen to be absent the mark is above that number.
        self.check_early(key, precondition)?;
        let after = match precondition {
            Precondition::Matches(version) => Stamp::parse(version).map_or(0, |stamp| stamp.nanos),
            Precondition::Absent => self.locks.deleted_up_to(&self.root, key)?,
            Precondition::None => 0,
        };
        let stamp = self.stamp_above(&staged, after)?;
        Ok(Stamped { staged, stamp })
    }

    /// Makes a value that is durable itself the value of `key`. What it touched is still to be settled.
    pub(crate) fn publish_stamped(
        &self,
        key: &Key,
        stamped: &mut Stamped,
        precondition: &Precondition,
        patience: Patience,
    ) -> Result<Option<Touched>> {
        let place = self.layout.names.place(key);
        if *precondition == Precondition::Absent {
            return self.create(&place, &mut stamped.staged).map(Some);
        }
        let published = self.replace(key, &place, Source::Stamped(stamped), precondition, patience)?;
        Ok(published.map(|(_, touched)| touched))
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
        let Some((_, touched)) =
            self.replace(key, &place, Source::Made(&mut add), &Precondition::None, patience)?
        else {
            return Ok(None);
        };
        self.settle(touched)?;
        Ok(Some(sum))
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
        let removed = self.remove(key, precondition, patience)?;
        removed.map(|touched| self.settle(touched)).transpose()
    }

    /// Removes a value. What that touched is still to be settled.
    pub(crate) fn remove(
        &self,
        key: &Key,
        precondition: &Precondition,
        patience: Patience,
    ) -> Result<Option<Touched>> {
        let place = self.layout.names.place(key);
        let Some(held) = self.lock(key, patience)? else { return Ok(None) };
        let Some(parent) = self.parent(&place)? else {
            precondition.check(None)?;
            drop(held);
            return self.nearest(place.directory()).map(Some);
        };
        let current = current(parent.fd(self), place.file())?;
        check(precondition, current)?;
        // Nothing there is touched as well: whoever removed it may not have synced that yet.
        if let Some(current) = current {
            held.record_delete(current.nanos)?;
            fs::unlinkat(parent.fd(self), place.file(), AtFlags::empty()).map_err(from_publishing)?;
        }
        Ok(Some(Touched { may_go: current.is_some(), ..Touched::at(parent, place.directory()) }))
    }

    fn lock(&self, key: &Key, patience: Patience) -> Result<Option<Held<'_>>> {
        self.locks.lock(&self.root, key, patience, &*self.environment.clock)
    }

    /// Whether what is acknowledged survives a loss of power: what is kept in memory does not, whatever is synced.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable && !self.root.in_memory
    }

    /// Gives a staged value a version above `after`.
    fn stamp_above(&self, staged: &Staged, after: u64) -> Result<Stamp> {
        let stamp = staged.stamp(nanos(self.environment.clock.wall()).max(after.saturating_add(1)))?;
        if stamp.nanos <= after {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the value's modification time is the last that this filesystem can store, so no version can follow; \
                 set it to the present (touch)",
            ));
        }
        Ok(stamp)
    }

    /// Makes a value with its version durable, where nobody looks yet.
    pub(crate) fn sync(&self, stamped: &Stamped) -> Result<()> {
        if self.is_durable() { stamped.staged.sync() } else { Ok(()) }
    }

    /// Gives a value another version, above `after`, and makes it durable.
    fn seal_above(&self, stamped: &mut Stamped, after: u64) -> Result<()> {
        stamped.stamp = self.stamp_above(&stamped.staged, after)?;
        self.sync(stamped)
    }

    /// Gives a value a later version and makes it durable: it is written anew, also where the device lost what it was
    /// sent before.
    pub(crate) fn seal_again(&self, stamped: &mut Stamped) -> Result<()> {
        self.seal_above(stamped, stamped.stamp.nanos)
    }

    /// Publishes where nothing is, without the lock.
    fn create(&self, place: &Place, staged: &mut Staged) -> Result<Touched> {
        for _ in 0..RACES_MAX {
            let parent = self.parent_or_make(place)?;
            match staged.create_at(parent.fd(self), place.file()) {
                Ok(()) => return Ok(Touched::at(parent, place.directory())),
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

    /// Publishes under the lock, over what is there or where nothing is. What it touched is still to be settled.
    fn replace(
        &self,
        key: &Key,
        place: &Place,
        mut source: Source<'_>,
        precondition: &Precondition,
        patience: Patience,
    ) -> Result<Option<(Stamp, Touched)>> {
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
            let stamped = match &mut source {
                Source::Stamped(stamped) => {
                    if stamped.stamp.nanos <= floor {
                        // The clock stepped back, or a racing writer drew a later number: draw again above it. That can
                        // take a sync, which is not for under the lock unless this race is lost again and again.
                        if race < RACES_UNLOCKED_MAX {
                            drop(held);
                            self.seal_above(stamped, floor)?;
                            continue;
                        }
                        if patience == Patience::Never {
                            return Ok(None);
                        }
                        self.seal_above(stamped, floor)?;
                    }
                    &mut **stamped
                }
                Source::Made(make) => {
                    let (bytes, attributes) = make(found.as_ref())?;
                    let staged = self.stage_bytes(&bytes, &attributes)?;
                    made = Stamped { stamp: self.stamp_above(&staged, floor)?, staged };
                    self.sync(&made)?;
                    &mut made
                }
            };
            let published = match &found {
                Some(old) => stamped.staged.replace(parent.fd(self), place.file(), old),
                None => stamped.staged.create_at(parent.fd(self), place.file()).map(|()| None),
            };
            match published {
                Ok(retired) => {
                    let touched = Touched {
                        retired: retired.into_iter().collect(),
                        ..Touched::at(parent, place.directory())
                    };
                    return Ok(Some((stamped.stamp, touched)));
                }
                // Created between the look and the rename: the one thing that the lock does not exclude.
                Err(Errno::EXIST) if current.is_none() => {}
                Err(Errno::NOENT) => self.root.check_present()?,
                Err(errno) => return Err(from_publishing(errno)),
            }
        }
        Err(pruned_for_ever())
    }

    pub(crate) fn area(&self) -> Result<Arc<crate::stage::Area>> {
        let mut area = self.area.lock();
        if let Some(area) = &*area {
            return Ok(area.clone());
        }
        let made = crate::stage::Area::create(&self.root, &self.environment)?;
        if self.is_durable() && self.reuse_files {
            made.keep_spares()?;
        }
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
