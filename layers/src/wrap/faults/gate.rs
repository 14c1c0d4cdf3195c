//! A place where one call waits until a test lets it go on.

use std::{future::poll_fn, sync::Arc, task::Poll, task::Waker};

use parking_lot::Mutex;

/// Holds one call: the test waits until it has [arrived](Gate::reached), and [releases](Gate::release) it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Ends>);

#[derive(Debug, Default)]
struct Ends {
    arrived: Event,
    opened: Event,
}

impl Gate {
    /// Resolves once a call waits here.
    pub async fn reached(&self) {
        self.0.arrived.wait().await;
    }

    /// Whether a call has come here.
    pub fn is_reached(&self) -> bool {
        self.0.arrived.0.lock().happened
    }

    /// Lets the call go on; one that comes later passes without waiting.
    pub fn release(&self) {
        self.0.opened.set();
    }

    pub(super) async fn pass(&self) {
        self.0.arrived.set();
        self.0.opened.wait().await;
    }
}

/// Something that happens once, and those who wait for it.
#[derive(Debug, Default)]
struct Event(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    happened: bool,
    wakers: Vec<Waker>,
}

impl Event {
    fn set(&self) {
        let mut waiting = self.0.lock();
        waiting.happened = true;
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn wait(&self) {
        poll_fn(|context| {
            let mut waiting = self.0.lock();
            if waiting.happened {
                return Poll::Ready(());
            }
            if !waiting.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
