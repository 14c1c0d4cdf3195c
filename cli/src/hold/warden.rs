//! A second process that ends the command in time when the process that holds something cannot: because it was killed,
//! or was stopped, or got no processor while its time ran out.
//!
//! It reads lines: `group ID`, `until NANOSECONDS` on the clock that counts suspend (the same for all processes
//! of a machine), `done`. When the moment passes, or the pipe closes without `done`, the group is killed.

use std::{process::Stdio, time::Duration};

use clap::Args;
use leasehold::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time,
};

use crate::{failure::Failure, signals::Signals};

/// Timers stand still while the machine sleeps; the deadline does not. So it is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Not for people: started by `leasehold lock` and its kin.
#[derive(Args, Debug)]
pub(crate) struct WardenArguments {}

/// The end of the pipe that the holder has.
#[derive(Debug)]
pub(crate) struct Warden(Child);

impl Warden {
    pub(crate) fn start() -> Result<Self, Failure> {
        let refuse = |error| Failure::machine("the process that guards the command cannot start", error);
        let program = std::env::current_exe().map_err(refuse)?;
        let child = Command::new(program)
            .arg("lock-warden")
            .env_remove("LEASEHOLD_STORE")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Out of reach of what a terminal sends to everybody.
            .process_group(0)
            .spawn();
        child.map(Self).map_err(refuse)
    }

    /// Names the group to end.
    pub(crate) async fn guard(&mut self, group: Pid) {
        self.say(format!("group {}\n", group.as_raw_nonzero())).await;
    }

    /// Lets the group run until `boottime`.
    pub(crate) async fn trust_until(&mut self, boottime: Duration) {
        self.say(format!("until {}\n", boottime.as_nanos())).await;
    }

    /// The group is gone. Without this, dropping ends it.
    pub(crate) async fn dismiss(mut self) {
        self.say("done\n".to_owned()).await;
        self.0.stdin.take();
        let _ = self.0.wait().await;
    }

    /// A warden that is gone cannot be told; the holder itself still keeps the time.
    async fn say(&mut self, line: String) {
        if let Some(pipe) = &mut self.0.stdin {
            let _ = pipe.write_all(line.as_bytes()).await;
            let _ = pipe.flush().await;
        }
    }
}

/// The second process.
pub(crate) async fn run_warden(_: WardenArguments) -> Result<u8, Failure> {
    let mut signals = Signals::receive()?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let (mut group, mut until) = (None, None);
    loop {
        let left = until.map_or(LOOK_EVERY, |until: Duration| until.saturating_sub(SystemClock.boottime()));
        if left.is_zero() {
            break;
        }
        tokio::select! {
            line = lines.next_line() => match parse(line.ok().flatten().as_deref()) {
                Order::Group(id) => group = Some(id),
                Order::Until(boottime) => until = Some(boottime),
                Order::Done => return Ok(0),
                Order::Gone => break,
            },
            _ = signals.next() => {} // its work ends with the group, not before
            () = time::sleep(left.min(LOOK_EVERY)) => {}
        }
    }
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    Ok(0)
}

#[derive(Debug, PartialEq)]
enum Order {
    Group(Pid),
    Until(Duration),
    Done,
    Gone,
}

fn parse(line: Option<&str>) -> Order {
    let Some(line) = line else { return Order::Gone };
    match line.split_once(' ') {
        None if line == "done" => Order::Done,
        Some(("group", id)) => id.parse().ok().and_then(Pid::from_raw).map_or(Order::Gone, Order::Group),
        Some(("until", nanos)) => {
            nanos.parse().map_or(Order::Gone, |nanos| Order::Until(Duration::from_nanos(nanos)))
        }
        _ => Order::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_a_known_order_ends_the_group() {
        assert_eq!(parse(Some("until 5")), Order::Until(Duration::from_nanos(5)));
        assert_eq!(parse(Some("done")), Order::Done);
        for line in [None, Some(""), Some("until x"), Some("group 0"), Some("don")] {
            assert_eq!(parse(line), Order::Gone, "{line:?}");
        }
    }
}
