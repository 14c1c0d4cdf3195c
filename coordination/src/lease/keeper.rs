//! Renewals: a thread of their own, so that nothing that user code does to its runtime can starve them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use leasehold_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    cache::Cache,
    driver::Driver,
    machine::{Command, End, Event, Holding, Known},
    validity::{Lost, Validity},
};
use crate::LeaseState;

type Task = BoxFuture<'static, ()>;

/// The thread that keeps the leases of one process. It starts with the first lease, and ends when this is dropped and
/// the last lease is over.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    tasks: Mutex<Option<mpsc::UnboundedSender<Task>>>,
}

impl Keeper {
    /// Runs `task` on the thread.
    ///
    /// # Errors
    /// `Unavailable` when the system gives no thread.
    pub(crate) fn spawn(&self, task: Task) -> Result<()> {
        // A simulated machine has no threads.
        #[cfg(test)]
        let Some(task) = crate::simulation::adopt(task) else { return Ok(()) };
        let mut tasks = self.tasks.lock();
        let task = match &*tasks {
            Some(running) => match running.send(task) {
                Ok(()) => return Ok(()),
                // The thread is gone although nobody ended it: something in it panicked. Start another.
                Err(mpsc::error::SendError(task)) => task,
            },
            None => task,
        };
        let started = start()?;
        // The receiver is alive: the thread has only just begun.
        let _ = started.send(task);
        *tasks = Some(started);
        Ok(())
    }
}

fn start() -> Result<mpsc::UnboundedSender<Task>> {
    let refused = |source: std::io::Error| {
        let message = "the system gives no thread to renew leases on; raise the limit of threads";
        Error::new(ErrorKind::Unavailable, message).because(source)
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    let (report, built) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("leasehold-keeper".into())
        // The runtime is made on its own thread: one that was made here and not handed over could not be dropped here.
        .spawn(move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let _ = report.send(Ok(()));
                runtime.block_on(serve(receiver));
                // A call into the store that blocks for ever must not keep the thread.
                runtime.shutdown_background();
            }
            Err(error) => drop(report.send(Err(error))),
        })
        .map_err(refused)?;
    // Answered as soon as the thread has begun.
    let built = built.recv().unwrap_or_else(|_| Err(std::io::Error::other("the thread ended at once")));
    built.map(|()| sender).map_err(refused)
}

async fn serve(mut receiver: mpsc::UnboundedReceiver<Task>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            task = receiver.recv() => match task {
                Some(task) => drop(tasks.spawn(task)),
                None => break,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

type Reply = oneshot::Sender<Result<()>>;

/// A request to end a tenure.
#[derive(Debug)]
pub(crate) struct Leave {
    pub(crate) state: LeaseState,
    pub(crate) reply: Reply,
}

/// One lease that is being kept.
pub(crate) struct Kept {
    pub(crate) driver: Driver,
    pub(crate) validity: Arc<Validity>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) name: String,
    pub(crate) leave: oneshot::Receiver<Leave>,
}

impl Kept {
    /// Renews the lease until it is over.
    pub(crate) async fn keep(mut self, mut holding: Holding) {
        let mut reply = None;
        let mut leaving = false;
        let mut event = Event::Woke;
        loop {
            if !leaving && let Some(asked) = asked(&mut self.leave) {
                leaving = true;
                reply = asked.leave_in(&mut holding);
            }
            let command = holding.step(&self.driver.tick(), event);
            if !self.validity.extend(holding.valid_until()) && self.validity.over() == Some(Lost::Expired) {
                // Somebody saw the deadline pass before the renewal arrived, and acts by it already.
                return self.conclude(End::Expired, reply);
            }
            let happened = if matches!(command, Command::Sleep(_)) && !leaving {
                tokio::select! {
                    biased;
                    asked = &mut self.leave => {
                        leaving = true;
                        reply = asked.ok().leave_in(&mut holding);
                        Ok(Event::Woke)
                    }
                    happened = self.driver.perform(command) => happened,
                }
            } else {
                self.driver.perform(command).await
            };
            match happened {
                Ok(happened) => event = happened,
                Err(end) => return self.conclude(end, reply),
            }
        }
    }

    /// Tells everybody how it ended.
    fn conclude(mut self, end: End, reply: Option<Reply>) {
        let (lost, result) = match end {
            End::Left(record, version) => {
                let since = self.driver.tick().monotonic;
                self.cache.put(&self.name, Some(Known { record, version, since }));
                (Lost::Released, Ok(()))
            }
            End::Expired => (Lost::Expired, Err(over(&Lost::Expired))),
            End::Superseded(by) => (Lost::Superseded { by }, Err(over(&Lost::Superseded { by }))),
            End::Removed => (Lost::Removed, Err(over(&Lost::Removed))),
            End::Stuck(error) => (Lost::Expired, Err(error)),
        };
        self.validity.end(lost);
        let asked_meanwhile = || asked(&mut self.leave).flatten().map(|leave| leave.reply);
        if let Some(reply) = reply.or_else(asked_meanwhile) {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(result.map_err(|error| self.driver.told(error)));
        }
    }
}

/// What came in: nothing yet, a request, or the end of the handle without one.
fn asked(leave: &mut oneshot::Receiver<Leave>) -> Option<Option<Leave>> {
    match leave.try_recv() {
        Ok(leave) => Some(Some(leave)),
        Err(oneshot::error::TryRecvError::Closed) => Some(None),
        Err(oneshot::error::TryRecvError::Empty) => None,
    }
}

trait LeaveIn {
    /// Passes the request on; the end of the handle without one is a release.
    fn leave_in(self, holding: &mut Holding) -> Option<Reply>;
}

impl LeaveIn for Option<Leave> {
    fn leave_in(self, holding: &mut Holding) -> Option<Reply> {
        let (state, reply) = match self {
            Some(leave) => (leave.state, Some(leave.reply)),
            None => (LeaseState::Released, None),
        };
        holding.leave(state);
        reply
    }
}

/// The answer to a request that came too late.
pub(crate) fn over(reason: &Lost) -> Error {
    Error::new(ErrorKind::Fenced, format!("the lease was over before it was given up: {reason}"))
}
