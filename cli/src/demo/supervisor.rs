//! The parent's side of the processes: starting, ordering, listening, killing, stopping.

use std::{
    future::Future,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures_util::future;
use leasehold::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time,
};

use super::{
    Coordinator,
    book::{Book, News, Process, Status},
    protocol::{Event, Order},
    view::View,
};
use crate::failure::{FAILED, Failure};

/// How many events may wait to be read; past that, the nodes wait.
const EVENTS_MAX: usize = 10_000;

/// How often the view is brought up to date while nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What every node is told when it is started.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) store: String,
    pub(crate) run: String,
    pub(crate) input: PathBuf,
    pub(crate) ttl: Duration,
    pub(crate) coordinator: Coordinator,
    /// How long nothing at all may happen.
    pub(crate) silence_max: Duration,
}

struct Incoming {
    process: usize,
    at: Duration,
    /// `None` when the pipe was closed.
    event: Option<Event>,
}

struct Handle {
    child: Child,
    orders: Option<ChildStdin>,
}

/// All processes of a run. Dropping it kills them.
pub(crate) struct Supervisor {
    setting: Setting,
    handles: Vec<Handle>,
    sender: mpsc::Sender<Incoming>,
    receiver: mpsc::Receiver<Incoming>,
    pub(crate) book: Book,
    pub(crate) view: View,
}

impl Supervisor {
    pub(crate) fn new(setting: Setting, book: Book, view: View) -> Self {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        Self { setting, handles: Vec::new(), sender, receiver, book, view }
    }

    /// Who divides the shards.
    pub(crate) fn coordinator(&self) -> Coordinator {
        self.setting.coordinator
    }

    /// Starts a process and returns its number.
    pub(crate) fn start(&mut self, name: &str) -> Result<usize, Failure> {
        let refuse = |error| Failure::machine("a node of the demo cannot start", error);
        let mut child = Command::new(std::env::current_exe().map_err(refuse)?)
            .args(["demo-node", "--store", &self.setting.store, "--run", &self.setting.run, "--node", name])
            .args(["--ttl-ms", &self.setting.ttl.as_millis().to_string()])
            .args(["--coordinator", self.setting.coordinator.name()])
            .args(["--parent", &std::process::id().to_string()])
            .arg("--input")
            .arg(&self.setting.input)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Out of reach of what a terminal sends: the parent decides when they end.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(refuse)?;
        let process = self.handles.len();
        if let Some(stdout) = child.stdout.take() {
            // Ends with the pipe, that is, with the process.
            tokio::spawn(listen(process, stdout, self.sender.clone()));
        }
        let (id, orders) = (child.id().unwrap_or(0), child.stdin.take());
        self.book.processes.push(Process { name: name.to_owned(), id, status: Status::Starting });
        self.handles.push(Handle { child, orders });
        Ok(process)
    }

    /// Gives an order. A process that is gone needs none, and its end is noticed elsewhere.
    pub(crate) async fn order(&mut self, process: usize, order: &Order) {
        let (Some(orders), Ok(mut line)) = (&mut self.handles[process].orders, serde_json::to_vec(order))
        else {
            return;
        };
        line.push(b'\n');
        let _ = orders.write_all(&line).await;
        let _ = orders.flush().await;
    }

    pub(crate) async fn order_all(&mut self, order: &Order) {
        for process in 0..self.handles.len() {
            self.order(process, order).await;
        }
    }

    /// Kills a process, and opens the fault.
    pub(crate) fn kill(&mut self, process: usize) -> Result<(), Failure> {
        self.inject(process, Signal::KILL, Status::Killed)
    }

    /// Stops a process, and opens the fault.
    pub(crate) fn stop(&mut self, process: usize) -> Result<(), Failure> {
        self.inject(process, Signal::STOP, Status::Stopped)
    }

    /// Lets a stopped process go on.
    pub(crate) fn go_on(&mut self, process: usize) -> Result<(), Failure> {
        self.send(process, Signal::CONT)?;
        self.book.processes[process].status = Status::Running;
        Ok(())
    }

    fn inject(&mut self, process: usize, signal: Signal, status: Status) -> Result<(), Failure> {
        let at = SystemClock.monotonic();
        self.send(process, signal)?;
        self.book.processes[process].status = status;
        self.book.open_fault(process, at);
        Ok(())
    }

    fn send(&self, process: usize, signal: Signal) -> Result<(), Failure> {
        // Not awaited yet, so the id is still this child's.
        let id = self.handles[process].child.id().and_then(|id| Pid::from_raw(id as i32));
        let id = id.ok_or_else(|| Failure::new(FAILED, "a node of the demo ended by itself"))?;
        kill_process(id, signal)
            .map_err(|error| Failure::machine("a node of the demo cannot be signalled", error))
    }

    /// Listens until `holds`; fails when nothing happens for too long, or a process fails.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Book) -> bool) -> Result<(), Failure> {
        self.until_within(Duration::MAX, what, holds).await.map(drop)
    }

    /// The same for as long as `longest`; `false` when that passed.
    pub(crate) async fn until_within(
        &mut self,
        longest: Duration,
        what: &str,
        holds: impl Fn(&Book) -> bool,
    ) -> Result<bool, Failure> {
        let began = SystemClock.monotonic();
        let mut heard = began;
        while !holds(&self.book) {
            self.view.show(&self.book, None);
            let now = SystemClock.monotonic();
            let left = longest.saturating_sub(now.saturating_sub(began));
            let patience = self.setting.silence_max.saturating_sub(now.saturating_sub(heard));
            // Only the wait is cut short, never what follows from an event.
            match time::timeout(left.min(patience).min(LOOK_EVERY), self.receiver.recv()).await {
                Ok(Some(incoming)) => {
                    self.take(incoming).await?;
                    heard = SystemClock.monotonic();
                }
                Err(_) if left.is_zero() => return Ok(false),
                Err(_) if !patience.is_zero() => {}
                Ok(None) | Err(_) => {
                    let silence = self.setting.silence_max;
                    let message = format!("nothing happened for {silence:?} while waiting until {what}");
                    return Err(Failure::new(FAILED, message));
                }
            }
        }
        Ok(true)
    }

    async fn take(&mut self, Incoming { process, at, event }: Incoming) -> Result<(), Failure> {
        let name = |book: &Book| book.processes[process].name.clone();
        let Some(event) = event else {
            if self.book.processes[process].status == Status::Killed {
                return Ok(());
            }
            return Err(Failure::new(
                FAILED,
                format!("{} ended although nobody asked it to", name(&self.book)),
            ));
        };
        if let Event::Failed { message } = &event {
            return Err(Failure::new(FAILED, format!("{} failed: {message}", name(&self.book))));
        }
        let news = self.book.note(process, &event, at);
        self.view.show(&self.book, news.as_ref());
        if let Some(News::Completed { shard }) = news {
            self.order_all(&Order::Completed(shard)).await;
        }
        Ok(())
    }

    /// Ends all processes: closes their pipes, waits, and kills what is left.
    pub(crate) async fn end(mut self) -> (Book, View) {
        for handle in &mut self.handles {
            handle.orders.take();
        }
        for handle in &mut self.handles {
            if !ended_within(Duration::from_secs(5), handle.child.wait()).await {
                let _ = handle.child.kill().await;
            }
        }
        (self.book, self.view)
    }

    /// Kills all processes, and returns when they are gone: from then on none of them writes.
    pub(crate) async fn kill_all(mut self) -> (Book, View) {
        future::join_all(self.handles.iter_mut().map(|handle| handle.child.kill())).await;
        (self.book, self.view)
    }
}

async fn ended_within(longest: Duration, end: impl Future<Output = std::io::Result<ExitStatus>>) -> bool {
    matches!(time::timeout(longest, end).await, Ok(Ok(_)))
}

async fn listen(process: usize, stdout: ChildStdout, sender: mpsc::Sender<Incoming>) {
    let mut lines = BufReader::new(stdout).lines();
    loop {
        let line = lines.next_line().await.ok().flatten();
        let at = SystemClock.monotonic();
        // A line that cannot be read is the last half of a killed process.
        let event = line.and_then(|line| serde_json::from_str(&line).ok());
        let last = event.is_none();
        if sender.send(Incoming { process, at, event }).await.is_err() || last {
            return;
        }
    }
}
