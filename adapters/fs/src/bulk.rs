//! Many writes on one thread: all are staged, made durable together, published one by one, and each directory that they
//! touched is synced once.

use std::collections::{HashMap, hash_map};

use leasehold_core::{Bytes, DeleteOptions, Key, Operation, Outcome, PutOptions, Result};
use parking_lot::Mutex;

use crate::{
    locks::Patience,
    store::Inner,
    sync::identity,
    together::{self, Together},
    touched::{Parent, Touched, unsettled},
    write::Stamped,
};

/// How often an entry whose lock somebody holds is tried before it is left to those that wait.
const TRIES: usize = 2;

/// How many files are synced at once, where each is synced by itself.
const SYNCS_MAX: usize = 16;

/// A write that can be done together with others.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where in the batch it is.
    pub(crate) position: usize,
    pub(crate) key: Key,
    pub(crate) change: Change,
}

/// What an entry writes.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Bytes, PutOptions),
    Delete(DeleteOptions),
}

impl Entry {
    /// How much memory it takes.
    pub(crate) fn size(&self) -> usize {
        match &self.change {
            Change::Put(bytes, _) => bytes.len(),
            Change::Delete(_) => 0,
        }
    }

    /// The name of the call that does the same alone.
    pub(crate) fn verb(&self) -> &'static str {
        match self.change {
            Change::Put(..) => "put",
            Change::Delete(_) => "delete",
        }
    }

    /// The same, to be done alone.
    pub(crate) fn into_operation(self) -> (usize, Operation) {
        let operation = match self.change {
            Change::Put(bytes, options) => Operation::Put(self.key, bytes.into(), options),
            Change::Delete(options) => Operation::Delete(self.key, options),
        };
        (self.position, operation)
    }
}

/// Performs entries of which no two are on one key. Returns what each came to, in order; `None`: somebody holds its lock,
/// and nothing was done.
pub(crate) fn perform(inner: &Inner, entries: &[Entry]) -> Vec<Option<Result<Outcome>>> {
    let mut bulk = Bulk {
        inner,
        entries,
        results: entries.iter().map(|_| None).collect(),
        ready: Vec::with_capacity(entries.len()),
        touched: HashMap::new(),
    };
    bulk.stage();
    if inner.is_durable() {
        bulk.sync();
    }
    bulk.publish();
    bulk.settle();
    bulk.results
}

/// Entries on their way.
struct Bulk<'a> {
    inner: &'a Inner,
    entries: &'a [Entry],
    results: Vec<Option<Result<Outcome>>>,
    /// What is to be published next: the value of a put, none of a delete, each with the index of its entry.
    ready: Vec<(usize, Option<Stamped>)>,
    /// The directories that are to be synced, and the entries that touched them; the root is `None`.
    touched: HashMap<Option<crate::sync::Identity>, (Touched, Vec<usize>)>,
}

impl Bulk<'_> {
    fn stage(&mut self) {
        for (index, entry) in self.entries.iter().enumerate() {
            let staged = match &entry.change {
                Change::Put(bytes, options) => self.inner.stage_checked(&entry.key, bytes, options).map(Some),
                Change::Delete(_) => Ok(None),
            };
            match staged {
                Ok(staged) => self.ready.push((index, staged)),
                Err(error) => self.results[index] = Some(Err(error)),
            }
        }
    }

    fn sync(&mut self) {
        let staged: Vec<_> =
            self.ready.iter().filter_map(|(_, stamped)| Some(&stamped.as_ref()?.staged)).collect();
        if staged.is_empty() {
            return;
        }
        let together = together::sync(&staged);
        if together == Together::Synced {
            return;
        }
        let inner = self.inner;
        let sync = |stamped: &mut Stamped| match together {
            Together::Failed => inner.seal_again(stamped),
            _ => inner.sync(stamped),
        };
        let mut ready = std::mem::take(&mut self.ready);
        let synced = side_by_side(&mut ready, |(_, stamped)| stamped.as_mut().map_or(Ok(()), sync));
        for ((index, stamped), synced) in ready.into_iter().zip(synced) {
            match synced {
                Ok(()) => self.ready.push((index, stamped)),
                Err(error) => self.results[index] = Some(Err(error)),
            }
        }
    }

    fn publish(&mut self) {
        for _ in 0..TRIES {
            for (index, mut stamped) in std::mem::take(&mut self.ready) {
                match self.publish_one(index, stamped.as_mut()) {
                    Ok(Some(touched)) => {
                        let outcome =
                            stamped.map_or(Outcome::Deleted, |stamped| Outcome::Put(stamped.version()));
                        self.results[index] = Some(self.note(index, touched).map(|()| outcome));
                    }
                    Ok(None) => self.ready.push((index, stamped)),
                    Err(error) => self.results[index] = Some(Err(error)),
                }
            }
        }
    }

    fn publish_one(&self, index: usize, stamped: Option<&mut Stamped>) -> Result<Option<Touched>> {
        let Entry { key, change, .. } = &self.entries[index];
        match (change, stamped) {
            (Change::Put(_, options), Some(stamped)) => {
                self.inner.publish_stamped(key, stamped, &options.precondition, Patience::Never)
            }
            (Change::Put(..), None) => unreachable!("a put is staged before it is published"),
            (Change::Delete(options), _) => self.inner.remove(key, &options.precondition(), Patience::Never),
        }
    }

    /// Notes that an entry's directory is to be synced.
    fn note(&mut self, index: usize, touched: Touched) -> Result<()> {
        let identity = match &touched.parent {
            Parent::Root => None,
            below @ Parent::Below(_) => Some(identity(below.fd(self.inner)).map_err(unsettled)?),
        };
        match self.touched.entry(identity) {
            hash_map::Entry::Occupied(mut noted) => {
                let (noted, indices) = noted.get_mut();
                noted.may_go |= touched.may_go;
                noted.retired.extend(touched.retired);
                indices.push(index);
            }
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert((touched, vec![index]));
            }
        }
        Ok(())
    }

    fn settle(&mut self) {
        for (_, (touched, indices)) in self.touched.drain() {
            if let Err(errno) = self.inner.sync_names(touched) {
                for index in indices {
                    self.results[index] = Some(Err(unsettled(errno)));
                }
            }
        }
    }
}

/// Does what waits for the device to many at once. Returns what it came to for each, in order.
fn side_by_side<T: Send>(all: &mut [T], work: impl Fn(&mut T) -> Result<()> + Sync) -> Vec<Result<()>> {
    let share = all.len().div_ceil(SYNCS_MAX).max(1);
    let work = &work;
    let (first, others) = all.split_at_mut(share.min(all.len()));
    let shares: Vec<_> = others.chunks_mut(share).map(Mutex::new).collect();
    let do_share = |share: &Mutex<&mut [T]>| share.lock().iter_mut().map(work).collect::<Vec<_>>();
    let do_share = &do_share;
    std::thread::scope(|scope| {
        let others: Vec<_> = shares
            .iter()
            // Where no thread is to be had, the share is done by this one, later.
            .map(|share| std::thread::Builder::new().spawn_scoped(scope, move || do_share(share)).ok())
            .collect();
        let mut results: Vec<_> = first.iter_mut().map(work).collect();
        for (share, thread) in shares.iter().zip(others) {
            results.extend(match thread {
                Some(thread) => thread.join().expect("a sync does not panic"),
                None => do_share(share),
            });
        }
        results
    })
}
