//! Who watches what, within one process: for adapters and layers that see every change themselves.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    Changes, Key, Prefix, Scope,
    changes::{Notifier, Wakeup},
};

/// The watches of one store. They end when it is dropped.
///
/// A change costs one atomic load where nobody watches, otherwise a lock and a look at each watched prefix.
#[derive(Default)]
pub struct Watchers {
    count: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    keys: HashMap<Key, HashMap<u64, Notifier>>,
    prefixes: HashMap<u64, (Prefix, Notifier)>,
}

impl Watchers {
    /// Watches `scope`. Every [`changed`](Watchers::changed) from now on makes it ready.
    pub fn watch(self: &Arc<Self>, scope: &Scope) -> Changes {
        let (notifier, changes) = Changes::channel();
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        match scope {
            Scope::Key(key) => drop(table.keys.entry(key.clone()).or_default().insert(number, notifier)),
            Scope::Prefix(prefix) => drop(table.prefixes.insert(number, (prefix.clone(), notifier))),
        }
        self.count.fetch_add(1, Ordering::SeqCst);
        drop(table);
        changes.guarded_by(Registered { watchers: Arc::downgrade(self), scope: scope.clone(), number })
    }

    /// Wakes all who watch `key`. Call it once a reader can see the change.
    pub fn changed(&self, key: &Key) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let table = self.table();
        let of_key = table.keys.get(key).into_iter().flat_map(HashMap::values);
        let covers = |(prefix, _): &&(Prefix, Notifier)| key.starts_with(prefix.as_str());
        let of_prefixes = table.prefixes.values().filter(covers).map(|(_, notifier)| notifier);
        let woken: Vec<Wakeup> = of_key.chain(of_prefixes).map(Notifier::weak).collect();
        drop(table);
        // Without the lock: who is woken may do anything, also end its watch.
        woken.into_iter().for_each(Wakeup::send);
    }

    /// How many watch.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here is left half done by a panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, scope: &Scope, number: u64) {
        let mut table = self.table();
        let forgotten = match scope {
            Scope::Key(key) => {
                let of_key = table.keys.get_mut(key);
                let forgotten = of_key.and_then(|of_key| of_key.remove(&number));
                if table.keys.get(key).is_some_and(HashMap::is_empty) {
                    table.keys.remove(key);
                }
                forgotten
            }
            Scope::Prefix(_) => table.prefixes.remove(&number).map(|(_, notifier)| notifier),
        };
        drop(table);
        if forgotten.is_some() {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watchers({})", self.count())
    }
}

/// Takes a watch out when it is dropped.
struct Registered {
    watchers: Weak<Watchers>,
    scope: Scope,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(watchers) = self.watchers.upgrade() {
            watchers.forget(&self.scope, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn prefix(text: &str) -> Scope {
        Scope::Prefix(Prefix::new(text).unwrap())
    }

    fn woken(changes: &mut Changes) -> bool {
        changes.next().now_or_never().is_some()
    }

    #[test]
    fn a_change_wakes_those_who_watch_it_and_nobody_else() {
        let watchers = Arc::new(Watchers::default());
        let mut one = watchers.watch(&Scope::Key(key("a/b")));
        let mut same = watchers.watch(&Scope::Key(key("a/b")));
        let mut under = watchers.watch(&prefix("a/"));
        let mut all = watchers.watch(&prefix(""));
        let mut elsewhere = watchers.watch(&prefix("b"));
        watchers.changed(&key("a/b"));
        assert!(woken(&mut one) && woken(&mut same) && woken(&mut under) && woken(&mut all));
        assert!(!woken(&mut elsewhere));
        watchers.changed(&key("a/c"));
        assert!(!woken(&mut one) && woken(&mut under) && woken(&mut all) && !woken(&mut elsewhere));
    }

    #[test]
    fn a_watch_that_is_dropped_leaves_nothing_behind() {
        let watchers = Arc::new(Watchers::default());
        let mut kept = watchers.watch(&Scope::Key(key("k")));
        for _ in 0..10 {
            drop(watchers.watch(&Scope::Key(key("k"))));
            drop(watchers.watch(&Scope::Key(key("other"))));
            drop(watchers.watch(&prefix("k")));
        }
        assert_eq!(watchers.count(), 1);
        let table = watchers.table();
        assert_eq!((table.keys.len(), table.prefixes.len()), (1, 0));
        drop(table);
        watchers.changed(&key("k"));
        assert!(woken(&mut kept));
    }

    #[test]
    fn watches_end_with_what_they_watch() {
        let watchers = Arc::new(Watchers::default());
        let mut changes = watchers.watch(&prefix(""));
        drop(watchers);
        assert_eq!(changes.next().now_or_never(), Some(None));
    }
}
