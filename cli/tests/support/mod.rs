//! Running the real binary, and waiting for what it says. Nothing here waits for time to pass.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use leasehold::{Clock, SystemClock};
use tempfile::TempDir;

/// Far beyond anything that should happen: a test that gets here has found something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory store of its own.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Where the store's files are.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("store")
    }

    pub(crate) fn url(&self) -> String {
        format!("fs:{}?durable=false", self.path().display())
    }

    /// The binary, on this store.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = bare(arguments);
        command.env("LEASEHOLD_STORE", self.url());
        command
    }

    /// Runs it to its end, with nothing on stdin.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        finish(&mut self.command(arguments))
    }

    /// The same with `stdin`.
    pub(crate) fn feed<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        stdin: &[u8],
    ) -> Outcome {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        child.stdin.take().expect("stdin is piped").write_all(stdin).expect("it reads stdin");
        child.wait_with_output().expect("it ends").into()
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, ask)
}

/// The same for what takes its time on a busy machine.
#[track_caller]
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = SystemClock.monotonic();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(SystemClock.monotonic() - began < patience, "still not so after {patience:?}: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// The binary without a store.
pub(crate) fn bare<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    // For commands that call it again.
    command.env("LH", env!("CARGO_BIN_EXE_leasehold"));
    command
        .args(arguments)
        .env_remove("LEASEHOLD_STORE")
        .env_remove("LEASEHOLD_OWNER")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Outcome {
    command.output().expect("the binary starts").into()
}

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// −N for a signal.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// Checks the exit code, showing everything when it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Checks the code of a failure: one sentence on stderr that contains `words`, nothing on stdout.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &str) -> Self {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.contains(words), "{self:?}");
        self
    }

    /// Every line of stdout as JSON.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).expect("stdout is one line of JSON")
    }
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// A process that goes on while the test looks at its lines. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<thread::JoinHandle<String>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self { child, lines, errors: Some(errors) }
    }

    /// The next line of stdout.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line on stdout in time")
    }

    /// Waits until nobody is left who could write to stdout, and returns what was said until then.
    #[track_caller]
    pub(crate) fn until_silent(&self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => said.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return said,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("stdout is still open; said so far: {said:?}"),
            }
        }
    }

    /// Writes to stdin, which is a pipe.
    pub(crate) fn feed(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        stdin.write_all(text.as_bytes()).expect("it reads stdin");
    }

    /// Closes stdin, where it is a pipe.
    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin.take();
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_some()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Closes stdin and waits for its end.
    #[track_caller]
    pub(crate) fn close(mut self) -> Outcome {
        self.close_stdin();
        self.end()
    }

    /// Waits for its end; the lines that were not asked for are in `stdout`.
    #[track_caller]
    pub(crate) fn end(mut self) -> Outcome {
        // Waiting would close it, and with it end a command that reads.
        let _stdin = self.child.stdin.take();
        let (sender, ended) = mpsc::channel::<()>();
        let id = self.id();
        // A process that hangs must not hang the test: it is killed when the patience is over.
        let watchdog = thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                signal(id, "KILL");
            }
        });
        let status = self.child.wait().expect("it ends");
        drop(sender);
        watchdog.join().expect("the watchdog ends");
        let stdout: String = self.lines.iter().map(|line| line + "\n").collect();
        let stderr = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Outcome { code: code(status), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name.
#[track_caller]
pub(crate) fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &id.to_string()]).status().expect("kill starts");
    assert!(sent.success(), "{name} could not be sent to {id}");
}

/// Whether a process is there and not a zombie.
pub(crate) fn is_running(id: u32) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", &id.to_string()]).output().expect("ps starts");
    let state = String::from_utf8_lossy(&state.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}
