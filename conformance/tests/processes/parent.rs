//! The parent's end of the pipes: children, their lines, their deaths.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
};

use crate::child::{DIRECTORY, MARK, ROLE};

pub(crate) struct Process {
    child: Child,
    reader: Option<JoinHandle<()>>,
}

/// Lines from children, each with the child's number.
pub(crate) struct Lines {
    sender: Sender<(usize, String)>,
    receiver: Receiver<(usize, String)>,
}

impl Lines {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { sender, receiver }
    }

    pub(crate) fn next(&self) -> (usize, String) {
        self.receiver.recv().expect("this end keeps a sender")
    }

    /// What came before all children ended.
    pub(crate) fn rest(&self) -> Vec<(usize, String)> {
        self.receiver.try_iter().collect()
    }

    /// Waits for one line of each of `count` children.
    pub(crate) fn of_each(&self, count: usize) -> Vec<String> {
        let mut lines = vec![None; count];
        while lines.iter().any(Option::is_none) {
            let (number, line) = self.next();
            assert!(lines[number].replace(line.clone()).is_none(), "child {number} spoke twice: {line}");
        }
        lines.into_iter().flatten().collect()
    }
}

impl Process {
    /// Runs this binary again in `role`; its lines go to `lines` under `number`.
    pub(crate) fn start(role: &str, directory: &Path, number: usize, lines: &Lines) -> Self {
        let binary = env::current_exe().expect("this binary has a path");
        let mut child = Command::new(binary)
            .args(["child_entry", "--exact", "--nocapture"])
            .env(ROLE, role)
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child starts");
        let out = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let sender = lines.sender.clone();
        let reader = thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix(MARK) {
                    let _ = sender.send((number, line.to_owned()));
                }
            }
            // The last line of a child: an empty one.
            let _ = sender.send((number, String::new()));
        });
        Self { child, reader: Some(reader) }
    }

    pub(crate) fn tell(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().expect("its input is open");
        writeln!(input, "{text}").expect("the child reads");
    }

    /// SIGKILL. Everything it said before is in the lines when this returns.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the child can be killed");
        self.end();
    }

    /// Closes its input and waits for its end.
    pub(crate) fn stop(mut self) {
        drop(self.child.stdin.take());
        let status = self.end();
        assert!(status.success(), "a child failed: {status}");
    }

    fn end(&mut self) -> std::process::ExitStatus {
        let status = self.child.wait().expect("the child ends");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends");
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
