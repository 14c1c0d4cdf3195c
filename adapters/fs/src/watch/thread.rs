//! The thread that listens to the kernel, and the way to it.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, mpsc},
};

use leasehold_core::{Changes, Scope};
use parking_lot::Mutex;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify::{ReadFlags, Reader},
    io::Errno,
};
use tokio::sync::oneshot;

use super::table::{Table, Target};
use crate::{name::Names, root::Root};

/// How much of the kernel's queue is read at a time.
const EVENTS_BYTES: usize = 32 << 10;

/// The watches of one opened store; dropping it ends them, and the thread.
#[derive(Debug, Default)]
pub(crate) struct Watches(Arc<Mutex<Option<Line>>>);

/// The way to the thread.
#[derive(Clone, Debug)]
struct Line {
    commands: mpsc::Sender<Command>,
    bell: Arc<OwnedFd>,
}

#[derive(Debug)]
enum Command {
    Watch(Target, oneshot::Sender<Option<Changes>>),
    Forget(u64),
    End,
}

impl Line {
    /// Hands the command back where there is no thread any more.
    fn send(&self, command: Command) -> Result<(), Command> {
        self.commands.send(command).map_err(|unsent| unsent.0)?;
        // A bell that rings already takes no more than it can count, and is heard all the same.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        Ok(())
    }
}

impl Watches {
    /// A watch; `None` where the system has no room for one, or may not look into a directory.
    pub(crate) async fn changes(&self, root: &Arc<Root>, names: Names, scope: &Scope) -> Option<Changes> {
        let (reply, answer) = oneshot::channel();
        self.ask(root, names, Command::Watch(Target::new(names, scope), reply))?;
        answer.await.ok().flatten()
    }

    fn ask(&self, root: &Arc<Root>, names: Names, command: Command) -> Option<()> {
        // Held while it is sent: the thread ends only under it, when there is nothing to do.
        let mut line = self.0.lock();
        let command = match line.as_ref() {
            Some(there) => match there.send(command) {
                Ok(()) => return Some(()),
                Err(command) => command,
            },
            None => command,
        };
        let listener = Listener::new(root.clone(), names, self.0.clone()).ok()?;
        let begun = listener.start().ok()?;
        begun.send(command).ok()?;
        *line = Some(begun);
        Some(())
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        if let Some(line) = self.0.lock().take() {
            // Where the thread is gone there is nothing to end.
            let _ = line.send(Command::End);
        }
    }
}

/// Takes a watch out when it is dropped.
struct Registered(Line, u64);

impl Drop for Registered {
    fn drop(&mut self) {
        let _ = self.0.send(Command::Forget(self.1));
    }
}

/// What the thread has.
struct Listener {
    table: Table,
    next: u64,
    line: Line,
    commands: mpsc::Receiver<Command>,
    /// Where others find the line; emptied at the end.
    shared: Arc<Mutex<Option<Line>>>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Listener {
    fn new(root: Arc<Root>, names: Names, shared: Arc<Mutex<Option<Line>>>) -> Result<Self, Errno> {
        let table = Table::new(root, names)?;
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (sender, commands) = mpsc::channel();
        let line = Line { commands: sender, bell };
        let buffer = vec![MaybeUninit::uninit(); EVENTS_BYTES];
        Ok(Self { table, next: 0, line, commands, shared, buffer })
    }

    fn start(self) -> std::io::Result<Line> {
        let line = self.line.clone();
        std::thread::Builder::new().name("leasehold-watch".into()).spawn(move || self.run())?;
        Ok(line)
    }

    fn run(mut self) {
        loop {
            let mut sources = [
                PollFd::new(self.table.inotify(), PollFlags::IN),
                PollFd::new(&self.line.bell, PollFlags::IN),
            ];
            match poll(&mut sources, None) {
                Ok(_) | Err(Errno::INTR) => {}
                // All watches are lost with the table; whoever waits polls.
                Err(_) => return drop(self.shared.lock().take()),
            }
            self.hear();
            // What rings after this is for a command that is not taken out yet.
            let _ = rustix::io::read(&self.line.bell, &mut [0; 8]);
            if self.obey() || (self.table.is_empty() && self.leave()) {
                return;
            }
        }
    }

    /// Takes one buffer of events.
    fn hear(&mut self) {
        let mut heard = Vec::new();
        let mut reader = Reader::new(self.table.inotify().as_fd(), &mut self.buffer);
        // Nothing is there, or the read failed: the next poll tells.
        while let Ok(event) = reader.next() {
            let name = match event.file_name().map(|name| name.to_str()) {
                Some(Ok(name)) => Some(name.to_owned()),
                // Not text: none of ours.
                Some(Err(_)) => continue,
                None => None,
            };
            heard.push((event.wd(), event.events(), name));
            if reader.is_buffer_empty() {
                break;
            }
        }
        for (directory, what, name) in heard {
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                // The rest is of an instance that is no more.
                return self.table.rebuild();
            }
            self.table.happened(directory, what, name.as_deref());
        }
    }

    /// Follows all commands that there are. Returns whether one was to end.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Watch(target, reply) => {
                    let (number, line) = (self.next, self.line.clone());
                    self.next += 1;
                    let watch = self.table.watch(number, target);
                    // Nobody may wait for it any more: then it is dropped, and its guard takes it out.
                    let _ = reply.send(watch.map(|watch| watch.guarded_by(Registered(line, number))));
                }
                Command::Forget(number) => self.table.forget(number),
                Command::End => return true,
            }
        }
        false
    }

    /// Ends the thread, unless somebody just asked for something.
    fn leave(&mut self) -> bool {
        let shared = self.shared.clone();
        let mut line = shared.lock();
        // Commands for watches are sent under this lock.
        if self.obey() {
            return true;
        }
        let leaves = self.table.is_empty();
        if leaves {
            *line = None;
        }
        leaves
    }
}

#[cfg(test)]
mod tests;
