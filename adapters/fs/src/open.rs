//! Opening a directory as a store.

use std::{future::IntoFuture, path::PathBuf, sync::Arc, time::Duration};

use leasehold_core::{BoxFuture, Environment, Limits, Result};
use parking_lot::Mutex;

use crate::{
    calls::Calls,
    hop::run_blocking,
    layout::Layout,
    locks::Locks,
    root::Root,
    store::{Fs, Inner},
    sync::Syncs,
    watch::Watches,
};

/// How a directory is opened, made by [`Fs::open`]; `.await` opens it.
#[must_use = "nothing is opened before .await"]
#[derive(Clone, Debug)]
pub struct Open {
    path: PathBuf,
    create: bool,
    durable: bool,
    reuse_files: bool,
    lock_timeout: Duration,
    limits: Limits,
    environment: Environment,
}

impl Fs {
    /// Opens the directory at `path` as a store; any number of handles and processes may have it open at once.
    ///
    /// The directory is made where it is missing and its parent exists. Nothing is written into one that is a store
    /// already until the first write.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) when the path is no directory or its parent is missing,
    /// [`Denied`](leasehold_core::ErrorKind::Denied) without permission, [`Corrupt`](leasehold_core::ErrorKind::Corrupt)
    /// when it is a store of a format that this program does not know.
    pub fn open(path: impl Into<PathBuf>) -> Open {
        Open {
            path: path.into(),
            create: true,
            durable: true,
            reuse_files: false,
            lock_timeout: Duration::from_secs(30),
            limits: Limits { value_bytes_max: 1 << 40, ..Limits::default() },
            environment: Environment::default(),
        }
    }
}

impl Open {
    /// Whether a write is acknowledged only after it survives a loss of power; yes unless said otherwise.
    ///
    /// Without, an acknowledged write survives the death of every process, but not that of the machine.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Whether the files of replaced values may be written again; no unless said otherwise. It has an effect on Linux, on
    /// filesystems that write in place and give files no labels (ext4, XFS), while writes are durable.
    ///
    /// A durable write of a small value over another takes less than half of the time so. Say yes where programs read these files
    /// through stores, or open them and read: a file that anybody has open is left as it is. Say no where a program
    ///
    /// - sends them with `sendfile` or `splice`, as web servers do: what waits in a socket may change after the file was closed;
    /// - keeps handles of inodes, as the clients of an NFS export of this directory do;
    /// - must never, if it is held up in the middle of opening a file, get what comes after. Stores look again; other programs do
    ///   not.
    ///
    /// Every handle and process may choose for itself; all read what any of them wrote.
    pub fn reuse_files(mut self, reuse_files: bool) -> Self {
        self.reuse_files = reuse_files;
        self
    }

    /// Whether a missing directory is made, and one that is no store yet becomes one; yes unless said otherwise.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How long a write waits for a lock that another process holds; 30 s unless said otherwise. Locks are held for
    /// microseconds (for the sync of one file by a durable increment), unless their process is stopped.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// The largest value that is accepted, in bytes; 1 TiB unless said otherwise.
    pub fn value_bytes_max(mut self, bytes: u64) -> Self {
        self.limits.value_bytes_max = bytes;
        self
    }

    /// Another clock and generator, for tests.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    fn run(self) -> Result<Fs> {
        let label = self.path.display().to_string();
        let root = Root::open(&self.path, self.create)
            .map_err(|error| error.during("open").at(&format!("fs:{label}")))?;
        let layout = Layout::open(&root, self.create, &self.environment)
            .map_err(|error| error.during("open").at(&format!("fs:{label}")))?;
        Ok(Fs(Arc::new(Inner {
            label,
            root: Arc::new(root),
            layout,
            locks: Locks::new(layout.stripes, self.lock_timeout),
            syncs: Syncs::default(),
            area: Mutex::new(None),
            durable: self.durable,
            reuse_files: self.reuse_files,
            limits: self.limits,
            environment: self.environment,
            calls: Calls::new(layout.stripes, self.lock_timeout),
            watches: Watches::default(),
        })))
    }
}

impl IntoFuture for Open {
    type Output = Result<Fs>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(run_blocking(move || self.run()))
    }
}
