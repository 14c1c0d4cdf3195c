//! Connections that wait for their next request.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    time::{self, Instant},
};

use super::connection::Connection;

/// Servers close idle connections after some seconds; ours go before that, so that few requests meet a closed one.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// Connections that wait for a request, the one that has waited the least last.
pub(super) struct Pool {
    /// Of the runtime that the sockets belong to.
    handle: Handle,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: Vec<(Connection, Instant)>,
    /// Whether a task is there to close those that have waited for too long.
    is_watched: bool,
}

impl Pool {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, idle: Mutex::default() }
    }

    /// A connection that is still open.
    pub(super) async fn take(&self) -> Option<Connection> {
        loop {
            let (mut connection, since) = self.idle.lock().connections.pop()?;
            // What happened to it meanwhile is learned here: nobody has listened.
            if since.elapsed() < IDLE_MAX && connection.is_quiet().await {
                return Some(connection);
            }
        }
    }

    pub(super) fn put(self: Arc<Self>, connection: Connection) {
        let mut idle = self.idle.lock();
        idle.connections.push((connection, Instant::now()));
        if !idle.is_watched {
            idle.is_watched = true;
            self.handle.spawn(watch(Arc::downgrade(&self)));
        }
    }
}

/// Closes connections that have waited for too long, until there are none.
async fn watch(pool: Weak<Pool>) {
    loop {
        time::sleep(IDLE_MAX).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.lock();
        idle.connections.retain(|(_, since)| since.elapsed() < IDLE_MAX);
        if idle.connections.is_empty() {
            idle.is_watched = false;
            return;
        }
    }
}
