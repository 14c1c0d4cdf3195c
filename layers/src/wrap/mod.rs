//! Layers that wrap one adapter.

pub(crate) mod batch;
pub(crate) mod cache;
pub(crate) mod compress;
pub(crate) mod encrypt;
pub(crate) mod faults;
pub(crate) mod limit;
pub(crate) mod meter;
pub(crate) mod read_only;
pub(crate) mod retry;
pub(crate) mod timeout;
pub(crate) mod trace;
pub(crate) mod verify;
