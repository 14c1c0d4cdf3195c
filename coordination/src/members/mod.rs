//! The nodes that take part, and how far each is to be relied upon.

mod reliability;

pub use reliability::Reliability;
