//! The nodes that take part: who is there, what they say of themselves, and how far each is to be relied upon.
//!
//! A node [joins](Members::join), and from then on beats: it writes a few bytes under `_cluster/members/beats/` three
//! times or more in its time to live, and what it says of itself under `_cluster/members/info/` when that changes. Everybody who
//! wants to know [looks](Members::look): one list shows who beats, and only records that changed are read. Who was not
//! heard of for its whole time to live, plus what clocks may differ by, is dead to that observer, by its own clock.
//!
//! Being dead here takes nothing from anybody: what a node holds is protected by leases. Membership is for choosing whom to
//! give work to, and for people.
//!
//! # Cost
//! With a time to live `t`, a node beats four times in `t` on average, each time for one put and one read without
//! content; an observer that waits for changes takes a list as often, and one for every change of a record where the store
//! tells of changes. With the default of 30 s: 480 puts and 480 reads an hour for each node, 480 lists for each observer;
//! ten nodes that all observe: 4,800 of each. Every key has one writer, every 5 to 10 s: stores that take one write a second of
//! a key are content.
//!
//! Files: `members` is what users hold, `joined` what a node that takes part gets, `roster` the pure part.

mod info;
mod joined;
#[expect(clippy::module_inception, reason = "the type that users hold, as everywhere")]
mod members;
mod reliability;
mod roster;

pub use info::{NodeMetadata, Role};
pub use joined::{Departed, Join, Member};
pub use members::{Members, Membership, View};
pub use reliability::Reliability;
pub use roster::{MemberState, MemberView};

/// Where membership is kept in a store.
const PREFIX: &str = "_cluster/members";
