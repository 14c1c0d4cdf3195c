//! Locks by name, which take no room once nobody holds them.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// How many locks there are before those that nobody holds are looked for.
const UNUSED_MAX: usize = 1_024;

/// One lock for each name.
#[derive(Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Arc<RwLock<()>>>>);

impl Locks {
    /// Waits until nobody holds `name` exclusively.
    pub(crate) async fn shared(&self, name: &str) -> OwnedRwLockReadGuard<()> {
        self.of(name).read_owned().await
    }

    /// Waits until nobody holds `name`.
    pub(crate) async fn exclusive(&self, name: &str) -> OwnedRwLockWriteGuard<()> {
        self.of(name).write_owned().await
    }

    /// The same without waiting.
    pub(crate) fn try_exclusive(&self, name: &str) -> Option<OwnedRwLockWriteGuard<()>> {
        self.of(name).try_write_owned().ok()
    }

    fn of(&self, name: &str) -> Arc<RwLock<()>> {
        let mut locks = self.0.lock();
        if let Some(lock) = locks.get(name) {
            return Arc::clone(lock);
        }
        if locks.len() >= UNUSED_MAX {
            // Clones are made under this mutex only, so that one that is alone here is nobody's.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(locks.entry(name.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_locks_that_are_held_take_room() {
        let locks = Locks::default();
        let held = locks.shared("held").await;
        for name in 0..10 * UNUSED_MAX {
            drop(locks.exclusive(&name.to_string()).await);
        }
        assert!(locks.0.lock().len() <= UNUSED_MAX);
        assert!(locks.try_exclusive("held").is_none(), "it is the same lock still");
        drop(held);
        assert!(locks.try_exclusive("held").is_some());
    }
}
