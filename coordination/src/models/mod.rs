//! Every schedule of small worlds, one after the other: the pure parts of this crate under
//! [`stateright`](https://docs.rs/stateright), with stores that lose replies and deliver writes late and again.
//!
//! Whoever acts does so when it is chosen to, so all of them may be paused anywhere, for any time. Each world is searched to
//! its end; what bounds it is in its test: how many replies are lost, sessions end, processes crash and requests are dropped.
//!
//! | model | real code | beside it | states |
//! |---|---|---|---|
//! | `lease` | `Contender`, `Holding`, `Record` | the driver | 189,000 with a lost reply in four steps of time, 201,000 with a crash and a release in two, 65,000 beyond the bound |
//! | `guarded` | `History`, `settle::Fate` | the calls of `Guarded` | 91,000 of three holders |
//! | `locks` | `LockState`, `History`, `settle::Fate` | request, cancellation, release | 78,000, 76,000, 21,000 and 68,000 |
//! | `ids` | `Pool`, `Fate` of a range, `IdRange`, `History`, `settle::Fate` | the two writes of what comes back | 98,000 and 72,000 |
//! | `map` | `ShardMap`, `plan` | nothing | 27,000, twice: all maps of three nodes and three shards |
//! | `shards` | `ShardMap`, `plan`, `History`, `settle::Fate` | leader and agent | 100,000, 280,000 and 31,000 |
//!
//! About 45 s of one processor together. `scripts/mutations` shows that they notice.

mod guarded;
mod ids;
mod lease;
mod locks;
mod map;
mod object;
mod shards;

use std::{
    fmt::{self, Debug, Write},
    hash::{DefaultHasher, Hash, Hasher},
};

use leasehold_core::Version;
use stateright::{Checker, HasDiscoveries, Model};

/// Looks at every state there is, and holds each of them against the model's properties.
fn explore<M>(model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    let all = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs();
    all.join().assert_properties();
}

/// A number for everything that `value` shows of itself. For what cannot be hashed because an error is in it.
fn print(value: &impl Debug) -> u64 {
    struct Hashing(DefaultHasher);

    impl Write for Hashing {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }

    let mut hashing = Hashing(DefaultHasher::new());
    // It never refuses.
    let _ = write!(hashing, "{value:?}");
    hashing.0.finish()
}

/// A version that is made of what is stored, as the ETag of S3 is: equal contents have equal versions.
fn version_of(content: &impl Hash) -> Version {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Version::new(format!("{:016x}", hasher.finish()))
}
