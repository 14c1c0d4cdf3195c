//! A counter that adds once, also when replies are lost.

use std::{fmt, sync::Arc};

use leasehold_core::{Error, Key, Result, Store};
use serde::{Deserialize, Serialize};

use super::PREFIX;
use crate::{
    certify,
    node::check_name,
    register::{Next, Register, State},
};

/// A number in a store that many add to, each exactly once.
///
/// [`Store::increment`](leasehold_core::Store::increment) may end with an unknown outcome when a reply is lost; this one finds
/// its own operation in the record and goes on. That fails only when eight others were applied between a lost reply
/// and the look for it: then the outcome is unknown, and said to be.
///
/// ```
/// # use leasehold_coordination::Counter;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let store = leasehold_core::Store::new(leasehold_memory::Memory::new());
/// let orders = Counter::connect(store, "orders").await?;
/// assert_eq!(orders.add(5).await?, 5);
/// assert_eq!(orders.next().await?, 6);
/// # Ok(()) }
/// ```
///
/// Kept as one record under `_cluster/counters/`.
#[derive(Clone)]
pub struct Counter {
    register: Arc<Register<CounterState>>,
    name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct CounterState {
    value: i64,
}

impl State for CounterState {
    const KIND: &'static str = "counter";

    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Counter {
    /// The counter `name` in `store`; it begins at 0. The store is certified first, as for [`Leases`](crate::Leases).
    /// `name` is a key of up to 128 bytes.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for an unsound name; otherwise as
    /// [`Leases::connect`](crate::Leases::connect).
    pub async fn connect(store: Store, name: impl AsRef<str> + Send) -> Result<Self> {
        let name = name.as_ref().to_owned();
        check_name("a counter", &name)?;
        certify::certify(&store).await?;
        let key = Key::new(format!("{PREFIX}/counters/{name}"))?;
        Ok(Self { register: Arc::new(Register::new(store, key)), name })
    }

    /// Adds, and returns the sum. Costs one conditional put when this handle changed the counter last; one read more
    /// otherwise.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) when the sum does not fit into 64 bits;
    /// [`Conflict`](leasehold_core::ErrorKind::Conflict) when others changed it a hundred times meanwhile; what the store fails
    /// with when that lasts. With [`is_indeterminate`](Error::is_indeterminate): it may have been added.
    ///
    /// # Cancel safety
    /// It may or may not be added.
    pub async fn add(&self, delta: i64) -> Result<i64> {
        self.register
            .change(|state| {
                let sum = state.value.checked_add(delta).ok_or_else(|| {
                    Error::invalid(format!("{} and {delta} do not fit into 64 bits together", state.value))
                })?;
                state.value = sum;
                Ok(Next::Write(sum))
            })
            .await
    }

    /// Adds one, and returns the sum: a number that nobody else gets. Otherwise as [`add`](Counter::add).
    ///
    /// # Errors
    /// As [`add`](Counter::add).
    pub async fn next(&self) -> Result<i64> {
        self.add(1).await
    }

    /// The sum as it is. Costs one read.
    ///
    /// # Errors
    /// What the store fails with when that lasts.
    pub async fn get(&self) -> Result<i64> {
        Ok(self.register.read().await?.value)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({:?})", self.name)
    }
}
