//! Leases: `leases` is what users hold, `acquire` asks, `held` is what they get; `machine` is the algorithm, `driver`
//! and `keeper` perform it, `record` is what is stored.

mod acquire;
mod cache;
pub(crate) mod driver;
mod held;
pub(crate) mod keeper;
mod leases;
pub(crate) mod machine;
pub(crate) mod record;
pub(crate) mod validity;

pub use acquire::{Acquire, Wait};
pub use held::Lease;
pub(crate) use leases::PREFIX;
pub use leases::{LeaseView, Leases};
pub use record::LeaseState;
pub use validity::Lost;
