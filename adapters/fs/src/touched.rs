//! Changes of names, and what makes them durable.
//!
//! A change of names comes back as what it [`Touched`]; only when that is settled may it be acknowledged. So one who
//! writes many values can sync many files, and each directory once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use leasehold_core::{Error, Result};
use rustix::io::Errno;

use crate::{
    fault::from_errno,
    name::Place,
    root::{DIRECTORY, above},
    stage::Retired,
    store::Inner,
};

/// A value's directory: the root, or one below it.
#[derive(Debug)]
pub(crate) enum Parent {
    Root,
    Below(OwnedFd),
}

impl Parent {
    pub(crate) fn fd<'a>(&'a self, inner: &'a Inner) -> BorrowedFd<'a> {
        match self {
            Self::Root => inner.root.fd(),
            Self::Below(directory) => directory.as_fd(),
        }
    }
}

/// A directory in which a name changed, or is missing, and that is not known to be durable yet.
#[derive(Debug)]
pub(crate) struct Touched {
    pub(crate) parent: Parent,
    /// Its place below the root.
    pub(crate) path: String,
    /// Whether it may be empty now, and be removed.
    pub(crate) may_go: bool,
    /// Files that were replaced in it.
    pub(crate) retired: Vec<Retired>,
}

impl Touched {
    /// A directory at `path` in which nothing but a name changed.
    pub(crate) fn at(parent: Parent, path: &str) -> Self {
        Self { parent, path: path.to_owned(), may_go: false, retired: Vec::new() }
    }
}

impl Inner {
    /// The directory that holds a value, where it exists.
    pub(crate) fn parent(&self, place: &Place) -> Result<Option<Parent>> {
        if place.directory().is_empty() {
            return self.root.check_present().map(|()| Some(Parent::Root));
        }
        match self.root.open_beneath(place.directory(), DIRECTORY) {
            Ok(directory) => Ok(Some(Parent::Below(directory))),
            Err(Errno::NOENT) => self.root.check_present().map(|()| None),
            Err(errno) => Err(from_errno(errno)),
        }
    }

    pub(crate) fn parent_or_make(&self, place: &Place) -> Result<Parent> {
        match self.parent(place)? {
            Some(parent) => Ok(parent),
            None => self.root.make_directory(place.directory()).map(Parent::Below),
        }
    }

    /// The directory at `path`, where nothing is, or the nearest above it: there a name is missing.
    pub(crate) fn nearest(&self, mut path: &str) -> Result<Touched> {
        while self.is_durable() && !path.is_empty() {
            match self.root.open_beneath(path, DIRECTORY) {
                Ok(directory) => return Ok(Touched::at(Parent::Below(directory), path)),
                Err(Errno::NOENT) => path = above(path),
                Err(errno) => return Err(unsettled(errno)),
            }
        }
        Ok(Touched::at(Parent::Root, ""))
    }

    /// Makes a change of names durable. It can be seen by now, so a failure leaves the outcome unknown.
    pub(crate) fn settle(&self, touched: Touched) -> Result<()> {
        self.sync_names(touched).map_err(unsettled)
    }

    /// As [`settle`](Inner::settle), for many changes in one directory.
    pub(crate) fn sync_names(&self, touched: Touched) -> Result<(), Errno> {
        if self.is_durable() {
            self.syncs.sync(&self.root, touched.parent.fd(self), &touched.path)?;
        }
        // Only now: whatever a loss of power leaves, no name stands for one of these any more.
        touched.retired.into_iter().for_each(Retired::keep);
        if touched.may_go {
            self.root.prune(&touched.path);
        }
        Ok(())
    }
}

/// The error of a change that can be seen and may not survive a loss of power.
pub(crate) fn unsettled(errno: Errno) -> Error {
    from_errno(errno).indeterminate().retryable(false)
}
