//! A command and what it starts: one process group, ended as one.

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use leasehold::{Clock, SystemClock};
use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, test_kill_process_group, waitid,
        waitpgid,
    },
};
use tokio::{
    process::{Child, Command},
    time,
};

use crate::failure::Failure;

/// How long a process may take to come to where it waits for its guard.
const START_MAX: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A running command and its group.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Child,
    id: Pid,
    status: Option<ExitStatus>,
}

impl Group {
    /// Makes `command` the leader of a group of its own. It begins when it is [let go](Group::let_go), so that there
    /// is time to have the group guarded.
    pub(crate) async fn prepare(
        command: &[OsString],
        variables: Vec<(&'static str, String)>,
    ) -> Result<Self, Failure> {
        let refuse = |error| Failure::machine("the command cannot be started", error);
        adopt_orphans();
        let mut starting = Command::new(std::env::current_exe().map_err(refuse)?);
        starting
            .args(["lock-starter", "--parent", &std::process::id().to_string(), "--"])
            .args(command)
            .envs(variables)
            .process_group(0)
            .kill_on_drop(true);
        if io::stdin().is_terminal() {
            // A group in the background that reads from the terminal would be stopped, lock in hand.
            starting.stdin(Stdio::null());
        }
        let leader = starting.spawn().map_err(refuse)?;
        let id = leader.id().and_then(|id| Pid::from_raw(id as i32));
        let id = id.ok_or_else(|| Failure::machine("the command cannot be started", "it has no id"))?;
        let mut group = Self { leader, id, status: None };
        group.until_waiting().await?;
        Ok(group)
    }

    /// Until the process stands still and waits.
    async fn until_waiting(&mut self) -> Result<(), Failure> {
        let began = SystemClock.monotonic();
        let looking =
            WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.id), looking) {
                Ok(Some(status)) if status.stopped() => return Ok(()),
                Ok(None) | Err(Errno::INTR) if SystemClock.monotonic().saturating_sub(began) < START_MAX => {}
                _ => {
                    return Err(Failure::machine(
                        "the command cannot be started",
                        "it does not get to its start",
                    ));
                }
            }
            time::sleep(LOOK_EVERY).await;
        }
    }

    /// Lets the command begin.
    pub(crate) fn let_go(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn id(&self) -> Pid {
        self.id
    }

    /// Resolves when the command itself has ended; what it started may still run. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let status = self
            .leader
            .wait()
            .await
            .map_err(|error| Failure::machine("the command cannot be awaited", error))?;
        self.status = Some(status);
        Ok(status)
    }

    /// How the command ended, where it has.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// Sends a signal to every process of the group; one that is gone already needs none.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.id, signal);
    }

    /// Whether the command and every process of its group are gone.
    pub(crate) fn is_gone(&mut self) -> bool {
        if self.status.is_none() {
            match self.leader.try_wait() {
                Ok(Some(status)) => self.status = Some(status),
                // Not before the leader: its exit code would be lost with the rest.
                Ok(None) | Err(_) => return false,
            }
        }
        // Orphans of the group that this process adopted stay until somebody has asked for their end.
        while let Ok(Some(_)) = waitpgid(self.id, WaitOptions::NOHANG) {}
        test_kill_process_group(self.id) == Err(Errno::SRCH)
    }
}

/// Makes orphans of the command come to this process, so that their end can be seen whatever process 1 does.
fn adopt_orphans() {
    // Any process id switches it on. Where the system does not know it, process 1 has to do.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// What a shell would say of this end.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, signal) => 128 + signal.unwrap_or(0) as u8,
    }
}
