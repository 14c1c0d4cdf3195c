//! A latch: it opens once, when it was counted down to nothing.

use std::{fmt, sync::Arc, time::Duration};

use leasehold_core::{Error, Key, Result, Store};
use serde::{Deserialize, Serialize};

use crate::{
    Wait, certify,
    node::check_name,
    register::{Next, Register, State},
    watch::TimedWake,
};

/// Something that many wait for, and that opens once it was counted down to nothing: a migration that five hosts take
/// part in, a job with a hundred pieces. It stays open.
///
/// Each count is taken exactly once, also when replies are lost. Kept as one record under `_cluster/latches/`.
///
/// ```
/// # use leasehold_coordination::{Latch, Wait};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let store = leasehold_core::Store::new(leasehold_memory::Memory::new());
/// let migrated = Latch::connect(store, "migrated", 2).await?;
/// migrated.count_down(1).await?;
/// assert!(!migrated.wait(Wait::Try).await?);
/// migrated.count_down(1).await?;
/// assert!(migrated.wait(Wait::Forever).await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Latch {
    store: Store,
    name: String,
    key: Key,
    register: Arc<Register<LatchState>>,
}

/// How often it is looked at where the store cannot tell of changes; a tenth as often where it can.
const POLL: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct LatchState {
    /// What it was made with.
    count: u32,
    left: u32,
}

impl State for LatchState {
    const KIND: &'static str = "latch";

    fn check(&self) -> Result<(), &'static str> {
        if self.count == 0 || self.left > self.count { Err("its count is impossible") } else { Ok(()) }
    }
}

impl Latch {
    /// The latch `name` in `store`, which is made with `count` unless it exists. The store is certified first, as for
    /// [`Leases`](crate::Leases). `name` is a key of up to 128 bytes.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for an unsound name, a count of 0, and a latch that was made with another
    /// count; otherwise as [`Leases::connect`](crate::Leases::connect).
    pub async fn connect(store: Store, name: impl AsRef<str> + Send, count: u32) -> Result<Self> {
        let name = name.as_ref().to_owned();
        check_name("a latch", &name)?;
        if count == 0 {
            return Err(Error::invalid("a latch counts from at least 1"));
        }
        certify::certify(&store).await?;
        let key = Key::new(format!("_cluster/latches/{name}"))?;
        let register = Register::new(store.clone(), key.clone());
        register
            .change(|latch: &mut LatchState| match latch.count {
                0 => {
                    *latch = LatchState { count, left: count };
                    Ok(Next::Write(()))
                }
                same if same == count => Ok(Next::Keep(())),
                other => Err(Error::invalid(format!(
                    "the latch {name:?} was made with {other} and not with {count}; use another name"
                ))),
            })
            .await?;
        Ok(Self { store, name, key, register: Arc::new(register) })
    }

    /// Takes `by` off the count, to nothing at most, and returns what is left. Costs one conditional put, and one read when
    /// others counted meanwhile; nothing but the read when it is open.
    ///
    /// # Errors
    /// What the store fails with when that lasts. With [`is_indeterminate`](Error::is_indeterminate): it may have been
    /// counted.
    ///
    /// # Cancel safety
    /// It may or may not be counted.
    pub async fn count_down(&self, by: u32) -> Result<u32> {
        self.register
            .change(|latch| {
                let left = latch.left.saturating_sub(by);
                let changes = left != latch.left;
                latch.left = left;
                Ok(if changes { Next::Write(left) } else { Next::Keep(left) })
            })
            .await
    }

    /// Waits until it is open; `false` when it was not in the time there was. Costs one read, and while it waits one
    /// without content a second where the store cannot tell of changes.
    ///
    /// # Errors
    /// What the store fails with when that lasts.
    ///
    /// # Cancel safety
    /// Waiting can be given up and begun again at any time.
    pub async fn wait(&self, wait: Wait) -> Result<bool> {
        let mut wake = TimedWake::of_key(&self.store, &self.key, wait);
        loop {
            if self.register.read().await?.left == 0 {
                return Ok(true);
            }
            if !wake.pause(if wake.is_told() { POLL * 10 } else { POLL }).await {
                return Ok(false);
            }
        }
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latch({:?} in {})", self.name, self.store)
    }
}
