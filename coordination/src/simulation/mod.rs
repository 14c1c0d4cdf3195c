//! The coordinators as they are shipped, drivers included, in a world whose time, network and machines are simulated.
//!
//! A run is determined by its seed: one thread, a virtual time, one generator. `executor` runs tasks of several machines,
//! each with clocks of its own that run fast or slow; `network` is a store that loses, delays, repeats and delivers late;
//! `program` lets machines crash, restart, pause, suspend and be cut off, and then be well again; `audit` checks every
//! write that is applied, as `records` reads it, and `beliefs` what holders believe. The other modules are the workloads.
//!
//! A failure tells its seed: `LEASEHOLD_SEED=17 cargo test -p leasehold-coordination simulation::locks` plays it again,
//! `LEASEHOLD_SEEDS=10000` plays more of them.

mod audit;
mod beliefs;
mod bounds;
mod elections;
mod executor;
mod guarded;
mod leases;
mod locks;
mod meetings;
mod network;
mod program;
mod records;
mod sequences;
mod shards;
mod silence;

pub(crate) use executor::adopt;
