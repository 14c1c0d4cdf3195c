//! Layers that wrap one adapter.

pub(crate) mod faults;
pub(crate) mod meter;
