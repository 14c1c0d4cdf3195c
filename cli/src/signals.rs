//! The signals that `lock` and its kin pass on, and `demo` ends its children for, instead of dying of them.

use futures_util::future;
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::failure::Failure;

/// Signals that end a program which does not expect them, and what people send to programs that do.
const PASSED_ON: [(Signal, SignalKind); 6] = [
    (Signal::INT, SignalKind::interrupt()),
    (Signal::TERM, SignalKind::terminate()),
    (Signal::HUP, SignalKind::hangup()),
    (Signal::QUIT, SignalKind::quit()),
    (Signal::USR1, SignalKind::user_defined1()),
    (Signal::USR2, SignalKind::user_defined2()),
];

/// Receives them from now on.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    pub(crate) fn receive() -> Result<Self, Failure> {
        let streams = PASSED_ON.iter().map(|&(signal, kind)| Ok((signal, unix::signal(kind)?)));
        let streams: std::io::Result<Vec<_>> = streams.collect();
        streams.map(Self).map_err(|error| Failure::machine("signals cannot be received", error))
    }

    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        let all = self.0.iter_mut().map(|(signal, stream)| {
            let signal = *signal;
            Box::pin(async move {
                // A stream of signals ends only with the runtime.
                if stream.recv().await.is_none() {
                    future::pending::<()>().await;
                }
                signal
            })
        });
        future::select_all(all).await.0
    }

    /// The next one that asks for an end.
    pub(crate) async fn ending(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if signal != Signal::USR1 && signal != Signal::USR2 {
                return signal;
            }
        }
    }

    /// `work`, dropped when a signal asks for an end first.
    pub(crate) async fn unless_ended<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            signal = self.ending() => Err(Failure::silent(exit_code(signal))),
        }
    }
}

/// The exit code that says "ended by this signal".
pub(crate) fn exit_code(signal: Signal) -> u8 {
    128 + signal.as_raw() as u8
}
