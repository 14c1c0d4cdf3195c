//! The clocks of a machine: what they show, and waiting by them.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use leasehold_core::{BoxFuture, Clock, Random};

use super::{DIRECTOR, Due, Machine, Micros, State, World};

impl State {
    fn monotonic(&self, machine: usize) -> Duration {
        let Machine { rate, monotonic_offset, suspended, suspended_since, .. } = &self.machines[machine];
        let suspended = suspended + suspended_since.map_or(0, |since| self.now - since);
        Duration::from_secs_f64(monotonic_offset + (self.now - suspended) as f64 / 1e6 * rate)
    }

    fn boottime(&self, machine: usize) -> Duration {
        let Machine { rate, boottime_offset, .. } = &self.machines[machine];
        Duration::from_secs_f64(boottime_offset + self.now as f64 / 1e6 * rate)
    }
}

/// The clocks of one machine, and its share of the randomness.
#[derive(Clone)]
pub(super) struct OfMachine {
    pub(super) world: World,
    pub(super) machine: usize,
}

impl fmt::Debug for OfMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfMachine({})", self.machine)
    }
}

impl Random for OfMachine {
    fn bits(&self) -> u64 {
        self.world.bits()
    }
}

impl Clock for OfMachine {
    fn monotonic(&self) -> Duration {
        self.world.0.state.lock().monotonic(self.machine)
    }

    fn boottime(&self) -> Duration {
        self.world.0.state.lock().boottime(self.machine)
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let end = self.monotonic().saturating_add(duration);
        Box::pin(Sleep { of: self.clone(), end, timer: None })
    }
}

struct Sleep {
    of: OfMachine,
    /// On the monotonic clock.
    end: Duration,
    timer: Option<(Micros, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (world, machine) = (self.of.world.clone(), self.of.machine);
        let mut state = world.0.state.lock();
        if let Some(timer) = self.timer.take() {
            state.due.remove(&timer);
        }
        let now = state.monotonic(machine);
        let Some(left) = self.end.checked_sub(now).filter(|left| !left.is_zero()) else {
            return Poll::Ready(());
        };
        let late = if machine == DIRECTOR { 0 } else { state.random.bits() % 2_000 };
        let micros = (left.as_secs_f64() / state.machines[machine].rate * 1e6).ceil() as u64 + late;
        state.order += 1;
        let timer = (state.now.saturating_add(micros), state.order);
        state.due.insert(timer, Due::Wake(context.waker().clone()));
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            let removed = self.of.world.0.state.lock().due.remove(&timer);
            drop(removed);
        }
    }
}
