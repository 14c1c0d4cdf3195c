//! How many requests are still on their way, and waiting until none is.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    count: Arc<watch::Sender<usize>>,
}

impl InFlight {
    pub(crate) fn new() -> Self {
        Self { count: Arc::new(watch::Sender::new(0)) }
    }

    /// Counts one until it is dropped.
    pub(crate) fn enter(&self) -> Entered {
        self.count.send_modify(|count| *count += 1);
        Entered { count: Arc::clone(&self.count) }
    }

    pub(crate) async fn none(&self) {
        let mut watcher = self.count.subscribe();
        watcher.wait_for(|count| *count == 0).await.expect("the sending half is held here");
    }
}

pub(crate) struct Entered {
    count: Arc<watch::Sender<usize>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}
