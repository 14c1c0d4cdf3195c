//! What the parent knows: who owns what, what was acknowledged, which faults are open. Pure: events and times go in.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::protocol::Event;

/// What a process is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Starting,
    Running,
    Stopped,
    Killed,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        }
    }
}

/// One process. A node that is started again is another one with the same name.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) status: Status,
}

/// One shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shard {
    pub(crate) files: usize,
    /// The process that sealed it last.
    pub(crate) owner: Option<usize>,
    pub(crate) token: u64,
    /// Files whose entry in the shard's record was acknowledged.
    pub(crate) done: usize,
    /// Only the last file is left.
    pub(crate) holding: bool,
    /// The owner says that its lease is over; nobody has sealed it since.
    pub(crate) lost: bool,
    pub(crate) complete: bool,
}

/// A fault and what followed from it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) victim: usize,
    pub(crate) at: Duration,
    /// The shards that the victim had not finished, each with the time until its successor's first guarded write.
    pub(crate) failovers: BTreeMap<usize, Option<Duration>>,
    /// The shards whose pending write the victim still has to report.
    pub(crate) pending: BTreeSet<usize>,
}

/// A write that a node saw acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) shard: usize,
    pub(crate) token: u64,
    pub(crate) step: usize,
    /// The entry in the shard's record, rather than the file's result.
    pub(crate) logged: bool,
}

/// What an event means to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    TakenOver { shard: usize, from: usize, to: usize, after: Option<Duration> },
    StaleRefused { shard: usize, by: usize },
    StaleAccepted { shard: usize, by: usize },
    Completed { shard: usize },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) processes: Vec<Process>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) takeovers: usize,
    pub(crate) stale_refused: usize,
    pub(crate) stale_accepted: usize,
}

impl Book {
    pub(crate) fn new(files: impl Iterator<Item = usize>) -> Self {
        let shards = files.map(|files| Shard { files, ..Shard::default() }).collect();
        Self { shards, ..Self::default() }
    }

    /// Notes an event of a process, seen at a time of the parent's clock.
    pub(crate) fn note(&mut self, process: usize, event: &Event, at: Duration) -> Option<News> {
        match *event {
            Event::Ready => {
                self.processes[process].status = Status::Running;
                None
            }
            Event::Sealed { shard, token, step } => self.sealed(process, shard, token, step, at),
            Event::Stored { shard, token, step } => {
                self.acknowledged.push(Acknowledged { shard, token, step, logged: false });
                None
            }
            Event::Logged { shard, token, step } => {
                self.acknowledged.push(Acknowledged { shard, token, step, logged: true });
                let seen = &mut self.shards[shard];
                seen.done = seen.done.max(step + 1);
                None
            }
            Event::Holding { shard, token } => {
                let seen = &mut self.shards[shard];
                seen.holding |= seen.token == token;
                None
            }
            Event::Completed { shard, .. } => {
                self.shards[shard].complete = true;
                Some(News::Completed { shard })
            }
            Event::Stale { shard, refused, .. } => {
                self.settle(process, shard);
                if refused {
                    self.stale_refused += 1;
                    Some(News::StaleRefused { shard, by: process })
                } else {
                    self.stale_accepted += 1;
                    Some(News::StaleAccepted { shard, by: process })
                }
            }
            Event::Lost { shard, token } => {
                let seen = &mut self.shards[shard];
                if seen.token == token {
                    (seen.lost, seen.holding) = (true, false);
                }
                self.settle(process, shard);
                None
            }
            Event::Failed { .. } => None,
        }
    }

    /// A victim has nothing pending on this shard any more.
    fn settle(&mut self, process: usize, shard: usize) {
        for fault in self.faults.iter_mut().filter(|fault| fault.victim == process) {
            fault.pending.remove(&shard);
        }
    }

    fn sealed(
        &mut self,
        process: usize,
        shard: usize,
        token: u64,
        step: usize,
        at: Duration,
    ) -> Option<News> {
        let seen = &mut self.shards[shard];
        // Pipes of different processes are not ordered among each other.
        if token <= seen.token {
            return None;
        }
        let before = seen.owner.replace(process);
        (seen.token, seen.done) = (token, seen.done.max(step));
        (seen.holding, seen.lost) = (false, false);
        let from = before.filter(|_| !seen.complete)?;
        self.takeovers += 1;
        let mut after = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.victim != process) {
            if let Some(open @ None) = fault.failovers.get_mut(&shard) {
                after = Some(at.saturating_sub(fault.at));
                *open = after;
            }
        }
        Some(News::TakenOver { shard, from, to: process, after })
    }

    /// Opens a fault of `victim`, injected at `at`.
    pub(crate) fn open_fault(&mut self, victim: usize, at: Duration) {
        let shards: Vec<usize> = self.unfinished(victim).collect();
        self.faults.push(Fault {
            victim,
            at,
            failovers: shards.iter().map(|shard| (*shard, None)).collect(),
            pending: shards.into_iter().collect(),
        });
    }

    /// Forgets the last fault. What its victim still seems to own it has to acquire anew.
    pub(crate) fn withdraw_fault(&mut self) {
        for (shard, failover) in self.faults.pop().map(|fault| fault.failovers).unwrap_or_default() {
            self.shards[shard].holding &= failover.is_some();
        }
    }

    /// The shards with work left that a process owns. A shard without files has none: its holder may have completed
    /// it already, and not come to say so.
    pub(crate) fn unfinished(&self, process: usize) -> impl Iterator<Item = usize> {
        self.shards
            .iter()
            .enumerate()
            .filter(move |(_, shard)| shard.owner == Some(process) && shard.files > 0)
            .filter(|(_, shard)| !shard.complete && !shard.lost)
            .map(|(number, _)| number)
    }

    /// Running processes with unfinished shards. If `idle`, only once all nodes have come to the last files.
    pub(crate) fn victims(&self, idle: bool) -> Vec<usize> {
        if idle && !self.shards.iter().all(|shard| shard.complete || shard.holding || shard.files == 0) {
            return Vec::new();
        }
        let running = |process: &usize| self.processes[*process].status == Status::Running;
        let busy = |process: &usize| self.unfinished(*process).next().is_some();
        (0..self.processes.len()).filter(running).filter(busy).collect()
    }

    pub(crate) fn all_owned(&self) -> bool {
        self.shards.iter().all(|shard| shard.owner.is_some())
    }

    pub(crate) fn all_complete(&self) -> bool {
        self.shards.iter().all(|shard| shard.complete)
    }

    /// Whether every shard of the last fault has a successor.
    pub(crate) fn failed_over(&self) -> bool {
        self.faults.last().is_none_or(|fault| fault.failovers.values().all(Option::is_some))
    }

    /// Whether the victim of the last fault has tried every write that was pending.
    pub(crate) fn stale_tried(&self) -> bool {
        self.faults.last().is_none_or(|fault| fault.pending.is_empty())
    }

    pub(crate) fn files_done(&self) -> usize {
        self.shards.iter().map(|shard| shard.done.min(shard.files)).sum()
    }

    /// All failover times, ascending.
    pub(crate) fn failovers(&self) -> Vec<Duration> {
        let mut all: Vec<Duration> =
            self.faults.iter().flat_map(|fault| fault.failovers.values().flatten().copied()).collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn book() -> Book {
        let mut book = Book::new([2, 1].into_iter());
        for (number, name) in ["node-1", "node-2"].into_iter().enumerate() {
            let process = Process { name: name.into(), id: number as u32, status: Status::Starting };
            book.processes.push(process);
            book.note(number, &Event::Ready, Duration::ZERO);
        }
        book.note(0, &Event::Sealed { shard: 0, token: 1, step: 0 }, SECOND);
        book.note(1, &Event::Sealed { shard: 1, token: 1, step: 0 }, SECOND);
        book
    }

    #[test]
    fn a_takeover_is_timed_from_its_fault() {
        let mut book = book();
        book.open_fault(0, SECOND * 2);
        assert!(!book.failed_over());
        let news = book.note(1, &Event::Sealed { shard: 0, token: 2, step: 1 }, SECOND * 5);
        assert_eq!(news, Some(News::TakenOver { shard: 0, from: 0, to: 1, after: Some(SECOND * 3) }));
        assert!(book.failed_over());
        assert_eq!((book.takeovers, book.failovers()), (1, vec![SECOND * 3]));
    }

    #[test]
    fn what_a_victim_said_before_it_died_is_no_failover() {
        let mut book = book();
        book.open_fault(0, SECOND * 2);
        book.note(0, &Event::Sealed { shard: 0, token: 2, step: 0 }, SECOND * 3);
        assert!(!book.failed_over());
        // And an older seal that arrives late changes no owner.
        assert_eq!(book.note(1, &Event::Sealed { shard: 0, token: 1, step: 0 }, SECOND * 4), None);
        assert_eq!(book.shards[0].owner, Some(0));
    }

    #[test]
    fn a_victim_has_unfinished_work() {
        let mut book = book();
        assert_eq!(book.victims(false), [0, 1]);
        assert!(book.victims(true).is_empty());
        book.note(0, &Event::Holding { shard: 0, token: 1 }, SECOND);
        assert!(book.victims(true).is_empty(), "the other one is still at work");
        book.note(1, &Event::Holding { shard: 1, token: 1 }, SECOND);
        assert_eq!(book.victims(true), [0, 1]);
        book.note(0, &Event::Completed { shard: 0, token: 1 }, SECOND);
        assert_eq!(book.victims(false), [1]);
    }

    #[test]
    fn a_shard_that_is_lost_or_empty_is_nobody_s_unfinished_work() {
        let mut book = book();
        book.note(0, &Event::Lost { shard: 0, token: 1 }, SECOND);
        assert_eq!(book.victims(false), [1]);
        book.note(0, &Event::Sealed { shard: 0, token: 2, step: 0 }, SECOND);
        assert_eq!(book.victims(false), [0, 1]);
        book.shards[0].files = 0;
        assert_eq!(book.victims(false), [1]);
    }

    #[test]
    fn a_refused_write_settles_what_was_pending() {
        let mut book = book();
        book.open_fault(0, SECOND);
        assert!(!book.stale_tried());
        book.note(0, &Event::Stale { shard: 0, token: 1, step: 0, refused: true }, SECOND);
        assert!(book.stale_tried());
        assert_eq!((book.stale_refused, book.stale_accepted), (1, 0));
    }
}
