//! What the parent has ordered so far.

use std::{collections::BTreeSet, future::Future, pin::Pin};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::watch,
};

use crate::demo::protocol::Order;

#[derive(Clone, Debug, Default)]
struct Ordered {
    claimed: BTreeSet<usize>,
    watching: bool,
    finishing: bool,
    completed: BTreeSet<usize>,
}

/// Everything ordered so far, to wait on.
#[derive(Clone, Debug)]
pub(super) struct Orders(watch::Receiver<Ordered>);

/// Resolves when stdin closes.
pub(super) type Reader = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Orders {
    pub(super) fn read() -> (Self, Reader) {
        let (sender, receiver) = watch::channel(Ordered::default());
        let reader = async move {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The parent is the same program: what cannot be read is the rest of a line it did not finish.
                let Ok(order) = serde_json::from_str(&line) else { return };
                sender.send_modify(|ordered| ordered.add(order));
            }
        };
        (Self(receiver), Box::pin(reader))
    }

    /// Until this node may ask for `shard`.
    pub(super) async fn may_acquire(&self, shard: usize) {
        self.until(|ordered| ordered.watching || ordered.claimed.contains(&shard)).await;
    }

    /// Until the last files may be written.
    pub(super) async fn finishing(&self) {
        self.until(|ordered| ordered.finishing).await;
    }

    /// Until somebody has completed `shard`.
    pub(super) async fn completed(&self, shard: usize) {
        self.until(|ordered| ordered.completed.contains(&shard)).await;
    }

    async fn until(&self, holds: impl Fn(&Ordered) -> bool) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(holds).await.is_err() {
            // No more orders come, and the process is about to end.
            std::future::pending::<()>().await;
        }
    }
}

impl Ordered {
    fn add(&mut self, order: Order) {
        match order {
            Order::Claim(shards) => self.claimed.extend(shards),
            Order::Watch => self.watching = true,
            Order::Finish => self.finishing = true,
            Order::Completed(shard) => {
                self.completed.insert(shard);
            }
        }
    }
}
