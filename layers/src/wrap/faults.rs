//! The `Faults` layer: a store that fails as real ones do, when a test says so or by a seeded die.

mod adapter;
mod batch;
mod gate;
mod plan;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use leasehold_core::{BoxFuture, Environment, IntoKey, Key, Layer, Result, StorageAdapter};
use parking_lot::Mutex;

pub use gate::Gate;
pub use plan::Injected;

use crate::Verb;
use plan::{Decision, Plan, Step};

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The call never reaches the store: nothing happened, and the caller may send it again
    /// ([`Unavailable`](leasehold_core::ErrorKind::Unavailable)).
    Before,
    /// The store does it and the reply is lost: a write is
    /// [indeterminate](leasehold_core::Error::is_indeterminate), a read may be sent again.
    After,
    /// A write is still under way when the caller gives up: an indeterminate
    /// [`Timeout`](leasehold_core::ErrorKind::Timeout) now, applied at [`Faults::release_ghosts`]. A read just times out.
    Ghost,
    /// The body that a get reads ends half-way, without an error: its size says more than comes. Other calls pass.
    Truncate,
    /// A list comes in pages of ten keys whose order is turned around, as from a server that does not sort. Other calls pass.
    Disorder,
}

/// Makes calls fail, on purpose: by script, or at random with a seed that replays.
///
/// The handle is cheap to clone; keep one, and give another to [`Store::layer`](leasehold_core::Store::layer). One
/// handle can sit on several stores, which then share the plan. Without rates and scripts every call passes.
/// Besides faults, calls can be delayed, bodies cut short and lists be given out of order.
/// Scripted faults come first; each is used once. Entries of a batch that is not atomic count as calls of their own
/// verb, so that a fault can hit one of them alone.
///
/// ```
/// # use leasehold_core::Store;
/// # use leasehold_layers::{Fault, Faults, Verb};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// let faults = Faults::new();
/// let store = Store::new(leasehold_memory::Memory::new()).layer(faults.clone());
///
/// faults.next(Verb::Put, Fault::After);
/// assert!(store.put("k", "v").await.unwrap_err().is_indeterminate());
/// assert!(store.get("k").await?.is_some()); // it was applied; only the reply was lost
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    seed: u64,
    plan: Mutex<Plan>,
    ghosts: Mutex<Vec<BoxFuture<'static, Result<()>>>>,
}

impl Faults {
    /// No faults but those scripted.
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// Faults at random, once rates are given; the same seed and the same calls give the same faults.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Shared { seed, plan: Mutex::new(Plan::new(seed)), ghosts: Mutex::default() }))
    }

    /// The share of calls, from 0 to 1, that get [`Fault::Before`].
    #[must_use]
    pub fn before(self, share: f64) -> Self {
        self.0.plan.lock().rates.before = share;
        self
    }

    /// The share of calls, from 0 to 1, that get [`Fault::After`].
    #[must_use]
    pub fn after(self, share: f64) -> Self {
        self.0.plan.lock().rates.after = share;
        self
    }

    /// The share of calls, from 0 to 1, that get [`Fault::Ghost`].
    #[must_use]
    pub fn ghost(self, share: f64) -> Self {
        self.0.plan.lock().rates.ghost = share;
        self
    }

    /// The share of gets, from 0 to 1, that get [`Fault::Truncate`].
    #[must_use]
    pub fn truncate(self, share: f64) -> Self {
        self.0.plan.lock().rates.truncate = share;
        self
    }

    /// The share of lists, from 0 to 1, that get [`Fault::Disorder`].
    #[must_use]
    pub fn disorder(self, share: f64) -> Self {
        self.0.plan.lock().rates.disorder = share;
        self
    }

    /// The share of calls, from 0 to 1, that are held up, each for a time of up to `longest`, before they reach the store.
    /// Otherwise they go well.
    #[must_use]
    pub fn delay(self, share: f64, longest: Duration) -> Self {
        self.0.plan.lock().rates.delay = (share, longest);
        self
    }

    /// The same with another clock, for simulations: what [`delay`](Faults::delay) waits by.
    #[must_use]
    pub fn with_environment(self, environment: Environment) -> Self {
        self.0.plan.lock().environment = environment;
        self
    }

    /// Random faults hit only these verbs.
    #[must_use]
    pub fn only(self, verbs: impl Into<Vec<Verb>>) -> Self {
        self.0.plan.lock().random_verbs = verbs.into();
        self
    }

    /// The next call of `verb` goes wrong.
    pub fn next(&self, verb: Verb, fault: Fault) {
        self.times(1, verb, fault);
    }

    /// The next `count` calls of `verb` go wrong.
    pub fn times(&self, count: usize, verb: Verb, fault: Fault) {
        let mut plan = self.0.plan.lock();
        (0..count).for_each(|_| plan.add(verb, None, Step::Fault(fault)));
    }

    /// The next call of `verb` on this key goes wrong. The key is the one that this layer sees.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) when `key` is unsound.
    pub fn next_on(&self, key: impl IntoKey, verb: Verb, fault: Fault) -> Result<()> {
        self.0.plan.lock().add(verb, Some(key.into_key()?), Step::Fault(fault));
        Ok(())
    }

    /// The next call of `verb` waits at the returned gate before it reaches the store.
    #[must_use = "the call waits until the gate is released"]
    pub fn hold(&self, verb: Verb) -> Gate {
        let gate = Gate::default();
        self.0.plan.lock().add(verb, None, Step::Hold(gate.clone()));
        gate
    }

    /// The next call of `verb` is done by the store; its reply waits at the returned gate.
    #[must_use = "the reply waits until the gate is released"]
    pub fn hold_reply(&self, verb: Verb) -> Gate {
        let gate = Gate::default();
        self.0.plan.lock().add(verb, None, Step::HoldReply(gate.clone()));
        gate
    }

    /// Cuts the store off, or joins it again: while cut, every call gets [`Fault::Before`].
    pub fn cut(&self, cut: bool) {
        self.0.plan.lock().cut = cut;
    }

    /// Ends all faults: rates, scripts and the cut. Gates and ghosts remain until they are released.
    pub fn calm(&self) {
        self.0.plan.lock().calm();
    }

    /// Applies the writes that callers were told had timed out, oldest first, and returns how each ended.
    pub async fn release_ghosts(&self) -> Vec<Result<()>> {
        let ghosts = std::mem::take(&mut *self.0.ghosts.lock());
        let mut results = Vec::with_capacity(ghosts.len());
        for ghost in ghosts {
            results.push(ghost.await);
        }
        results
    }

    /// How many ghosts wait to be released.
    pub fn ghosts(&self) -> usize {
        self.0.ghosts.lock().len()
    }

    /// How many faults there have been.
    pub fn injected(&self) -> Injected {
        self.0.plan.lock().injected
    }

    /// The seed that replays the random faults.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    fn decide(&self, verb: Verb, key: Option<&Key>) -> Decision {
        self.0.plan.lock().decide(verb, key)
    }

    fn keep_ghost(&self, ghost: BoxFuture<'static, Result<()>>) {
        self.0.ghosts.lock().push(ghost);
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults(seed {})", self.0.seed)
    }
}

impl Layer for Faults {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        Arc::new(adapter::Faulty { faults: self, inner })
    }
}
