//! A gate at which requests wait until the test lets them through.

use std::sync::Arc;

use tokio::sync::watch;

/// A gate: shut until [opened](Self::open), then open for good. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    arrived: usize,
}

impl Gate {
    /// A shut gate.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::default()) }
    }

    /// Lets everything through that waits, and everything that comes.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Waits until at least `count` requests have come to the gate, in all.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn arrived(&self, count: usize) {
        self.wait_for(|state| state.arrived >= count).await;
    }

    pub(crate) async fn pass(&self) {
        self.state.send_modify(|state| state.arrived += 1);
        self.wait_for(|state| state.open).await;
    }

    async fn wait_for(&self, condition: impl Fn(&State) -> bool) {
        let mut watcher = self.state.subscribe();
        watcher.wait_for(|state| condition(state)).await.expect("the gate owns the sending half");
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
