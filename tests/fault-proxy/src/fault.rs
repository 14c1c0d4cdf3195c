//! What can happen to one request.

use std::time::Duration;

use crate::{Answer, Gate};

/// What happens to one request instead of being passed on and answered.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing: the request is passed on. In a script it spares a request, so that the nth one is met.
    Pass,

    /// The upstream gets the request and answers; the client's connection closes without a word.
    ///
    /// The connection closes only after the upstream's whole reply has arrived, also when the client has gone before.
    LoseReply,

    /// The whole request is read, kept, and passed on later, also when the client has gone.
    ///
    /// The client gets the reply if it is still there. A body above [`BODY_BYTES_MAX`](crate::BODY_BYTES_MAX) is
    /// answered 413.
    HoldRequest(Until),

    /// The upstream gets the request at once; its reply waits.
    HoldReply(Until),

    /// The request is read and answered without the upstream hearing of it.
    Answer(Answer),

    /// The upstream gets the request and answers; the client gets this answer in place of that one.
    AnswerApplied(Answer),

    /// The reply's head and so many bytes of its body arrive, then the connection closes.
    ///
    /// At most all but the last byte, so that a reply with a body never arrives whole; a reply without one is left
    /// alone. `Content-Length` says what it would have said.
    TruncateReply {
        /// How much of the body arrives.
        bytes: u64,
    },

    /// The client's connection closes when so many bytes of the request's body have arrived.
    ///
    /// At most all but the last byte, so that the request is never whole. One without a body is closed before it is
    /// passed on.
    CutRequest {
        /// How much of the body is read.
        bytes: u64,
        /// Whether the upstream gets the head and those bytes, and then loses its connection too.
        forward: bool,
    },

    /// The connection is reset as soon as the head of the request has arrived; the upstream hears nothing.
    Reset,

    /// The upstream gets the request twice, the second time after it has answered the first and the wait is over.
    ///
    /// The client gets the first reply, the second one is dropped. A body above
    /// [`BODY_BYTES_MAX`](crate::BODY_BYTES_MAX) is answered 413.
    Duplicate(Until),

    /// The request is read and nothing follows, until the client gives up.
    BlackHole,
}

/// How long something is held.
#[derive(Debug, Clone)]
pub enum Until {
    /// For this long, on tokio's clock.
    After(Duration),

    /// Until the test opens it.
    Gate(Gate),

    /// Until the client's call is over: it has closed its connection, or has its reply.
    ///
    /// The nearest thing to "past the client's time-out" that needs no clock.
    ClientGone,
}

impl Until {
    /// Waits; `gone` ends with the client's call.
    pub(crate) async fn wait(self, gone: impl Future) {
        match self {
            Self::After(duration) => tokio::time::sleep(duration).await,
            Self::Gate(gate) => gate.pass().await,
            Self::ClientGone => {
                gone.await;
            }
        }
    }
}
