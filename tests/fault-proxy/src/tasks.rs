//! The tasks of one proxy, which end with it.

use parking_lot::Mutex;
use tokio::task::JoinSet;

#[derive(Debug, Default)]
pub(crate) struct Tasks {
    /// `None` once the proxy is gone: what is spawned after that is dropped.
    running: Mutex<Option<JoinSet<()>>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { running: Mutex::new(Some(JoinSet::new())) }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(running) = &mut *self.running.lock() {
            // Those that have ended since are let go here, so that the set holds no more than runs.
            while running.try_join_next().is_some() {}
            running.spawn(task);
        }
    }

    pub(crate) fn end(&self) {
        // The set is dropped outside the lock, because dropping a task may drop what spawns another.
        let running = self.running.lock().take();
        drop(running);
    }
}
