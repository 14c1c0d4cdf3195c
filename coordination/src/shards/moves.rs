//! What a node shall do, in order, each move told once.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Move;

/// The moves that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Moves {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    moves: VecDeque<Move>,
    has_ended: bool,
}

impl Moves {
    /// After the [`end`](Moves::end) nobody is told any more: what was gained is given back.
    pub(super) fn tell(&self, moved: Move) {
        let mut queue = self.queue.lock();
        if !queue.has_ended {
            queue.moves.push_back(moved);
            drop(queue);
            self.changed.notify_one();
        }
    }

    /// The next one; `None` when there is none after the end.
    pub(super) async fn next(&self) -> Option<Move> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on: the end wakes only those who listen.
            changed.as_mut().enable();
            {
                let mut queue = self.queue.lock();
                if let Some(moved) = queue.moves.pop_front() {
                    // One wake-up may have stood for several.
                    self.changed.notify_one();
                    return Some(moved);
                }
                if queue.has_ended {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Gives back what was gained and nobody took; what is asked back is still told.
    pub(super) fn end(&self) {
        let gained: VecDeque<_> = {
            let mut queue = self.queue.lock();
            queue.has_ended = true;
            let (gained, revoked) = queue.moves.drain(..).partition(|moved| matches!(moved, Move::Gained(_)));
            queue.moves = revoked;
            gained
        };
        self.changed.notify_waiters();
        drop(gained);
    }
}
