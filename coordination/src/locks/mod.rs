//! Locks: `handle` is what users hold, `request` asks and waits, `held` is what they get; `state` is the algorithm, pure;
//! `session` keeps claims alive; `owner` says on whose behalf; `deadlock` finds who waits in a circle. `barrier` lets nobody go on before all are there.

mod barrier;
mod deadlock;
mod handle;
mod held;
mod owner;
mod request;
pub(crate) mod session;
pub(crate) mod state;

pub use barrier::BarrierRequest;
pub use deadlock::{Deadlock, Waiting};
pub use handle::{Connect, LockView, Locks, Participant};
pub use held::Lock;
pub use request::{AllRequest, LockRequest};
