//! What this process saw last of each lease: the shortcut to one request, and the start of a watch.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::machine::Known;

/// How many leases are remembered; past it, all are forgotten, which costs one read each.
const LEASES_MAX: usize = 4096;

/// The last record seen of each lease. Never needed for safety: what is stale is refused by the store.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<String, Known>>);

impl Cache {
    pub(crate) fn get(&self, name: &str) -> Option<Known> {
        self.0.lock().get(name).cloned()
    }

    /// Remembers `known`, or forgets the lease.
    pub(crate) fn put(&self, name: &str, known: Option<Known>) {
        let mut leases = self.0.lock();
        match known {
            Some(known) => {
                if leases.len() >= LEASES_MAX && !leases.contains_key(name) {
                    leases.clear();
                }
                leases.insert(name.to_owned(), known);
            }
            None => drop(leases.remove(name)),
        }
    }
}
