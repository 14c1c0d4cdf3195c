//! What the store keeps for itself, in `.leasehold` at its root: the format, the locks, the staging areas.

use std::os::fd::{AsFd, OwnedFd};

use leasehold_core::{Attributes, Environment, Error, ErrorKind, Result};
use rustix::{
    fs::{self, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    fault::{from_errno, removed},
    locks,
    name::Names,
    root::{DIRECTORY, Root, VALUE, read_at},
    stage::{Area, Staged},
};

pub(crate) const DIRECTORY_NAME: &str = ".leasehold";
const FORMAT_NAME: &str = "format";
const FORMAT: u32 = 1;
const STRIPES: u32 = 64;

/// How a store is laid out; written once, when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    format: u32,
    /// How many lock files the keys are spread over.
    pub(crate) stripes: u32,
    /// How names are written.
    pub(crate) names: Names,
}

impl Layout {
    /// Reads the layout of the store at `root`, or lays out a new one if that is wanted.
    pub(crate) fn open(root: &Root, may_create: bool, environment: &Environment) -> Result<Self> {
        if let Some(layout) = read(root)? {
            return Ok(layout);
        }
        if !may_create {
            return Err(Error::invalid(
                "there is no store in this directory; check the path, or write to make one",
            ));
        }
        match create(root, environment) {
            Ok(()) => read(root)?.ok_or_else(removed),
            // Nothing can be written here, so nothing needs a lock: whatever files there are can be read.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(Self::new(Names::Plain)),
            Err(error) => Err(error),
        }
    }

    fn new(names: Names) -> Self {
        Self { format: FORMAT, stripes: STRIPES, names }
    }
}

/// Opens a directory of the store's own, making it where it is missing.
pub(crate) fn own_directory(root: &Root, name: &str) -> Result<OwnedFd> {
    root.make_directory(&format!("{DIRECTORY_NAME}/{name}"))
}

fn read(root: &Root) -> Result<Option<Layout>> {
    let file = match root.open_beneath(&format!("{DIRECTORY_NAME}/{FORMAT_NAME}"), VALUE) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(from_errno(errno)),
    };
    let text = read_at(file.as_fd(), 0, 4096).map_err(from_errno)?;
    let strange = |what: String| {
        let message = format!("{DIRECTORY_NAME}/{FORMAT_NAME} {what}; nothing was touched");
        Error::new(ErrorKind::Corrupt, message)
    };
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    match serde_json::from_slice::<Head>(&text) {
        Ok(Head { format }) if format != FORMAT => {
            return Err(strange(format!(
                "is of format {format}, this program knows {FORMAT}: use a newer one"
            )));
        }
        _ => {}
    }
    match serde_json::from_slice::<Layout>(&text) {
        Ok(layout) if (1..=4096).contains(&layout.stripes) => Ok(Some(layout)),
        _ => Err(strange("is not the description of a store: restore it, or move it away".into())),
    }
}

/// Writes the description whole, elsewhere, and renames it in place, so that of several openers one wins.
fn create(root: &Root, environment: &Environment) -> Result<()> {
    let area = Area::create(root, environment)?;
    let layout = Layout::new(if area.folds_case() { Names::Folded } else { Names::Plain });
    let text = serde_json::to_vec(&layout).map_err(|source| {
        Error::new(ErrorKind::Unexpected, "the layout cannot be written").because(source)
    })?;
    let mut staged = Staged::create(&area, &Attributes::new())?;
    staged.write(&text)?;
    staged.sync()?;
    locks::create_all(root, layout.stripes)?;
    let own = root.make_directory(DIRECTORY_NAME)?;
    match staged.create_at(&own, FORMAT_NAME) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(from_errno(errno)),
    }
    fs::fsync(&own).and_then(|()| fs::fsync(root.fd())).map_err(from_errno)
}

/// Opens a file of the store's own for reading and writing, making it where it is missing.
pub(crate) fn own_file(at: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(at, name, flags, Mode::from_raw_mode(0o666)).map_err(|errno| match errno {
        Errno::NOENT => removed(),
        errno => from_errno(errno),
    })
}

/// Opens an existing directory below `at`.
pub(crate) fn directory_at(at: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    fs::openat(at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}
