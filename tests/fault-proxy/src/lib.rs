//! An HTTP/1.1 proxy that loses replies, delays writes and lies, for tests.
//!
//! It stands in front of one S3-like endpoint, in the process of the test:
//!
//! ```no_run
//! # async fn example(server: std::net::SocketAddr) {
//! use leasehold_fault_proxy::{Fault, FaultProxy, When};
//!
//! let proxy = FaultProxy::start(server);
//! proxy.script(When::method("PUT"), [Fault::LoseReply]);
//! // A client that is pointed at `proxy.url()` finds its first PUT applied and unanswered.
//! # }
//! ```
//!
//! A request without a fault is passed on as it came: path, query, the `Host` header and every other header keep
//! their bytes, so a signature made for the proxy's address verifies behind it. (Header names are written in lower
//! case, which HTTP and its signatures ignore. Bodies sent in chunks may be cut into chunks elsewhere.) What the proxy
//! cannot pass on, because the upstream is down for example, it answers with nothing at all: the connection closes.
//!
//! # Which fault meets which request
//!
//! In this order, and when the head of the request has arrived: the first [script](FaultProxy::script) that matches
//! and has something left; the first [standing](FaultProxy::always) fault that matches; the
//! [random](FaultProxy::random) ones; none.
//!
//! # Bounds
//!
//! Bodies stream through, except under [`Fault::HoldRequest`] and [`Fault::Duplicate`], which keep one whole and take
//! at most [`BODY_BYTES_MAX`]. The log keeps the last [`REQUESTS_KEPT`] requests.
//!
//! # Cost
//!
//! One upstream connection per client connection, kept alive, both without Nagle's delay; no task per request without a
//! fault. Latency is a timer: hundreds of requests wait at once on one thread. The proxy runs on the runtime on which
//! it was started.

mod answer;
mod body;
mod fault;
mod gate;
mod in_flight;
mod plan;
mod proxy;
mod random;
mod relay;
mod seen;
mod tasks;
mod upstream;
mod when;
mod wire;

pub use answer::Answer;
pub use fault::{Fault, Until};
pub use gate::Gate;
pub use proxy::FaultProxy;
pub use random::Rates;
pub use relay::BODY_BYTES_MAX;
pub use seen::{REQUESTS_KEPT, Seen};
pub use when::When;
