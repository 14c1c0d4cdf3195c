//! A directory as a store, for one or many processes at once.
//!
//! Every value is a plain file that a person can find and read: `photos/cat.jpg` is `photos%/cat.jpg`. Compare-and-swap
//! is exact across threads and processes, under kernel locks that die with their process. Writes are durable when
//! acknowledged, unless the store was opened with [`durable(false)`](Open::durable).
//!
//! ```
//! # use leasehold_core::Store;
//! # use leasehold_fs::Fs;
//! # #[tokio::main] async fn main() -> leasehold_core::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path();
//! let store = Store::new(Fs::open(path).await?);
//! let version = store.put("photos/cat.jpg", "meow").if_absent().await?;
//! store.put("photos/cat.jpg", "purr").if_match(version).await?;
//! assert_eq!(std::fs::read(path.join("photos%/cat.jpg")).unwrap(), b"purr");
//! # Ok(()) }
//! ```
//!
//! # Cost
//!
//! In system calls, for a key at the root; one below it costs a write an `openat2` and a `close` more. *Durable* stands for
//! what [`durable(false)`](Open::durable) saves.
//!
//! | call | system calls |
//! |---|---|
//! | get, in the page cache, up to 64 KiB | `openat2`, `fstat`, `preadv2`, `close`, on the caller's thread; a `stat` more for the first read of a value in a file that may be reused |
//! | get otherwise | one change of thread, then the same; above 1 MiB streamed in chunks of that size |
//! | head | `openat2`, `fstat`, `close`; of a value in a file that may be reused, the first time, as a get on another thread |
//! | put | one change of thread; `flock`, `fstat`, `stat`, `open`, `write`, `utimensat`, `fstat`, `rename`, unlock, `close`; durable: `fsync`, before the lock is taken, and a shared `fsync` of the directory after it |
//! | put over a value, durable, up to 64 KiB, with `reuse_files(true)` | the same but for `open`, which is `open`, `fstat`, `flistxattr`, four `fcntl`s, `fchmod`, `fstat`, `ftruncate` if it was longer, and an `fchmod` when it is whole; see below |
//! | put if absent | the same without the lock; it looks before it stages and once it has (`openat2`, `fstat`), so a lost race costs no sync |
//! | delete | `flock`, `fstat`, `stat`, `unlink`, unlock; `utimensat` on the lock file; durable: a shared `fsync` of the directory, also when there was nothing |
//! | with attributes | put: an `fsetxattr` more; get and head: one change of thread and an `fgetxattr`, head also another `openat2`, `fstat`, `close` |
//! | batch | gets, streams and values above 1 MiB, and all on their keys, as alone. Other puts and deletes: one change of thread for up to 256 of them or 8 MiB; each as alone, but without its syncs; durable: together one `syncfs`, where that can be trusted and little else waits to be written, otherwise an `fadvise` and an `fsync` for each file; then one shared `fsync` of each directory. What somebody's lock holds up is done once more, alone |
//! | increment | as put, and a read; durable: the `fsync` is under the lock |
//! | list | `getdents` for each directory, `stat` for each entry; the first time, a get without reading of one whose file may be reused |
//! | watch a key | the first: `inotify_init1`, `eventfd2` and a thread, until the last is dropped; each: `openat2`, `inotify_add_watch`, `fstat`, `close`, and an `openat2` or two more for each missing directory |
//! | watch a prefix | the same, and `getdents`, for each directory below, up to 8,192 of them |
//! | a change in a watched directory | nothing for who makes it; for the thread a `poll` and two `read`s for all that happened since |
//!
//! On a filesystem in memory writes of up to 64 KiB run on the caller's thread, unless somebody holds the lock.
//!
//! # Files that are reused
//!
//! With [`reuse_files(true)`](Open::reuse_files), on Linux, on ext4 and XFS, a durable write of up to 64 KiB does not free the file of
//! the value that it replaces: a later write goes to that file, which is two to three times as fast. A file that anybody has open, in
//! this or any other program, is not written again, nor is one with another link, owner or mode, or with extended attributes. A
//! handle keeps up to 512 such files and 8 MiB in `.leasehold/stage`, until it is dropped. What other programs could notice is
//! told there. Every store reads such values, whether it was opened so or not.
//!
//! # Changes
//!
//! On Linux the kernel tells who watches, whichever process wrote ([`Changes`](leasehold_core::Capability::Changes)): an opened store
//! has one inotify instance and one thread while somebody watches. A key is watched by the directory of its file, or the nearest
//! that exists. What another program writes into a file in place is not told, only what it renames, makes or removes. Where the
//! system has no room (`fs.inotify.max_user_instances`, `max_user_watches`), or `/proc` is missing, there is no watch, and one polls.
//!
//! # Attributes
//!
//! They are in the extended attribute `user.leasehold` of the value's file, as lines of text under the number of their
//! format, and the file's sticky bit says that there are some. `cp -a` and `rsync -X` take them along; a copy without
//! extended attributes is a value without attributes. Where the filesystem keeps none, or on ext4 with blocks under 4 KiB
//! too few, the store does not claim [`Attributes`](leasehold_core::Capability::Attributes) and refuses them.
//!
//! # What it does not do
//!
//! Network filesystems are out of scope: their locks and caches do not keep these promises. Files that other programs
//! put into the directory are values if their names are, and their edits count as writes, without any promise.
//! A value is visible from its rename and durable a moment later, when it is acknowledged.

#[cfg(target_os = "linux")]
mod alone;
mod attributes;
mod batch;
mod bulk;
mod calls;
mod fault;
mod hop;
mod layout;
mod list;
mod listing;
mod locks;
mod name;
mod open;
mod read;
mod reused;
mod root;
mod spare;
mod stage;
mod stamp;
mod store;
mod sync;
mod together;
mod touched;
mod watch;
mod write;

pub use open::Open;
pub use store::Fs;
