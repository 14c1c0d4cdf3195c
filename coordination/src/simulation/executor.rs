//! One thread, a time of its own and one generator: everything that happens in a world follows from its seed.

mod clocks;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use leasehold_core::{BoxFuture, Bytes, Environment, Key};
use parking_lot::Mutex;

use clocks::OfMachine;

use super::{audit::Audit, meetings::Counted, network::Network, program::Stage, records, sequences::Numbers};

/// Microseconds of true time.
pub(super) type Micros = u64;

/// How many events a failure tells.
const TRACE_EVENTS: usize = 200;

/// How often tasks may be polled without time going on: past it they spin.
const POLLS_AT_ONCE_MAX: u32 = 100_000;

/// SplitMix64: small, and the same everywhere.
struct Seeded(u64);

impl Seeded {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// One start of a program on one machine. The director, who is nowhere, has a machine of its own that never fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) machine: usize,
    start: u64,
}

/// The machine of the director.
pub(super) const DIRECTOR: usize = 0;

/// Which thread of a program a task runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thread {
    /// The runtime of the program.
    User,
    /// The one that renews.
    Keeper,
}

/// What does not run although it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// The program is stopped, or starved.
    Program,
    /// Something blocks one of its threads.
    Thread(Thread),
    /// The machine is suspended: its monotonic clock stands still.
    Machine,
}

#[derive(Default)]
struct Machine {
    start: u64,
    rate: f64,
    monotonic_offset: f64,
    boottime_offset: f64,
    pause: Option<Pause>,
    suspended: Micros,
    suspended_since: Option<Micros>,
    /// Tasks that are ready and may not run.
    held: Vec<u64>,
}

struct Task {
    place: Place,
    thread: Thread,
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
}

enum Due {
    Wake(Waker),
    Do(Box<dyn FnOnce(&World) + Send>),
}

struct State {
    now: Micros,
    order: u64,
    random: Seeded,
    due: BTreeMap<(Micros, u64), Due>,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    machines: Vec<Machine>,
    polls: u32,
}

/// Ids of tasks that can go on. A set, so that who was woken first does not matter.
type Ready = Arc<Mutex<BTreeSet<u64>>>;

struct Awake {
    task: u64,
    ready: Ready,
}

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.ready.lock().insert(self.task);
    }
}

/// What happened, told only if something fails.
pub(super) enum Noted {
    Text(String),
    Wrote { machine: usize, key: Key, bytes: Bytes, unseen: bool },
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Wrote { machine, key, bytes, unseen } => {
                let late = if *unseen { " (nobody hears of it)" } else { "" };
                write!(f, "m{machine} wrote {}{late}", records::shown(key, bytes))
            }
        }
    }
}

/// A world. Cloning shares it.
#[derive(Clone)]
pub(super) struct World(Arc<Inside>);

struct Inside {
    seed: u64,
    ready: Ready,
    state: Mutex<State>,
    trace: Mutex<VecDeque<(Micros, Noted)>>,
    network: Mutex<Network>,
    audit: Mutex<Audit>,
    stage: Mutex<Stage>,
    numbers: Mutex<Numbers>,
    counted: Mutex<Counted>,
}

thread_local! {
    /// Whose task is polled at the moment.
    static CURRENT: RefCell<Option<(World, Place)>> = const { RefCell::new(None) };
}

/// Makes a task of the keeper one of the world whose task is running, or hands it back when there is none.
pub(crate) fn adopt(task: BoxFuture<'static, ()>) -> Option<BoxFuture<'static, ()>> {
    let current = CURRENT.with_borrow(Clone::clone);
    match current {
        Some((world, place)) => {
            world.spawn(place, Thread::Keeper, task);
            None
        }
        None => Some(task),
    }
}

/// While it lives, the thread acts for a place.
struct Entered(Option<(World, Place)>);

impl Entered {
    fn new(world: &World, place: Place) -> Self {
        Self(CURRENT.replace(Some((world.clone(), place))))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

impl World {
    /// A world of so many machines besides the director's, whose clock rates are off by up to `drift`.
    pub(super) fn new(seed: u64, machines: usize, drift: f64, network: Network, audit: Audit) -> Self {
        let mut random = Seeded(seed);
        let machine = |spread: f64, random: &mut Seeded| {
            let part = |random: &mut Seeded| (random.bits() >> 11) as f64 / (1u64 << 53) as f64;
            Machine {
                rate: 1.0 + (part(random) * 2.0 - 1.0) * spread,
                monotonic_offset: part(random) * 1e6,
                boottime_offset: part(random) * 1e6,
                ..Machine::default()
            }
        };
        let machines = (0..=machines)
            .map(|index| machine(if index == DIRECTOR { 0.0 } else { drift }, &mut random))
            .collect();
        let state = State {
            now: 0,
            order: 0,
            random,
            due: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next_task: 0,
            machines,
            polls: 0,
        };
        Self(Arc::new(Inside {
            seed,
            ready: Ready::default(),
            state: Mutex::new(state),
            trace: Mutex::default(),
            network: Mutex::new(network),
            audit: Mutex::new(audit),
            stage: Mutex::default(),
            numbers: Mutex::default(),
            counted: Mutex::default(),
        }))
    }

    pub(super) fn network(&self) -> parking_lot::MutexGuard<'_, Network> {
        self.0.network.lock()
    }

    pub(super) fn audit(&self) -> parking_lot::MutexGuard<'_, Audit> {
        self.0.audit.lock()
    }

    pub(super) fn numbers(&self) -> parking_lot::MutexGuard<'_, Numbers> {
        self.0.numbers.lock()
    }

    pub(super) fn counted(&self) -> parking_lot::MutexGuard<'_, Counted> {
        self.0.counted.lock()
    }

    pub(super) fn stage(&self) -> parking_lot::MutexGuard<'_, Stage> {
        self.0.stage.lock()
    }

    /// The true time.
    pub(super) fn now(&self) -> Micros {
        self.0.state.lock().now
    }

    pub(super) fn bits(&self) -> u64 {
        self.0.state.lock().random.bits()
    }

    pub(super) fn below(&self, end: u64) -> u64 {
        self.bits() % end
    }

    pub(super) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Notes an event, for the case that something fails.
    pub(super) fn note(&self, event: impl Into<String>) {
        self.note_event(Noted::Text(event.into()));
    }

    pub(super) fn note_event(&self, event: Noted) {
        if matches!(&event, Noted::Wrote { key, bytes, .. } if records::is_renewal(key, bytes)) {
            return;
        }
        let now = self.now();
        let mut trace = self.0.trace.lock();
        if trace.len() == TRACE_EVENTS {
            trace.pop_front();
        }
        trace.push_back((now, event));
    }

    /// Ends the run: something does not hold.
    pub(super) fn fail(&self, what: impl fmt::Display) -> ! {
        let now = self.now() as f64 / 1e6;
        panic!("at {now:.6}: {what}")
    }

    /// The last events.
    pub(super) fn trace(&self) -> String {
        let trace = self.0.trace.lock();
        trace.iter().map(|(at, event)| format!("{:>10.6} {event}\n", *at as f64 / 1e6)).collect()
    }

    pub(super) fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Where the director acts, and where a program runs that is on `machine` at the moment.
    pub(super) fn place(&self, machine: usize) -> Place {
        Place { machine, start: self.0.state.lock().machines[machine].start }
    }

    fn lives(state: &State, place: Place) -> bool {
        state.machines[place.machine].start == place.start
    }

    /// Runs a task, as long as its program runs.
    pub(super) fn spawn(&self, place: Place, thread: Thread, future: BoxFuture<'static, ()>) {
        let mut state = self.0.state.lock();
        if !Self::lives(&state, place) {
            drop(state);
            drop(future);
            return;
        }
        let task = state.next_task;
        state.next_task += 1;
        let waker = Waker::from(Arc::new(Awake { task, ready: self.0.ready.clone() }));
        state.tasks.insert(task, Task { place, thread, future: Some(future), waker });
        drop(state);
        self.0.ready.lock().insert(task);
    }

    /// Does something later.
    pub(super) fn after(&self, delay: Micros, action: impl FnOnce(&Self) + Send + 'static) {
        let mut state = self.0.state.lock();
        state.order += 1;
        let at = (state.now + delay, state.order);
        state.due.insert(at, Due::Do(Box::new(action)));
    }

    /// Kills what runs on a machine: every task ends where it is. The next program there is another start.
    pub(super) fn crash(&self, machine: usize) {
        let dead = self.place(machine);
        let mut state = self.0.state.lock();
        state.machines[machine].start += 1;
        state.machines[machine].held.clear();
        let ids: Vec<u64> =
            state.tasks.iter().filter(|(_, task)| task.place == dead).map(|(id, _)| *id).collect();
        let tasks: Vec<Task> = ids.iter().filter_map(|id| state.tasks.remove(id)).collect();
        drop(state);
        let _entered = Entered::new(self, dead);
        drop(tasks);
    }

    /// Stops what runs on a machine, or a part of it.
    pub(super) fn pause(&self, machine: usize, pause: Pause) {
        let mut state = self.0.state.lock();
        let now = state.now;
        let machine = &mut state.machines[machine];
        machine.pause = Some(pause);
        machine.suspended_since = (pause == Pause::Machine).then_some(now);
    }

    pub(super) fn resume(&self, machine: usize) {
        let mut state = self.0.state.lock();
        let now = state.now;
        let machine = &mut state.machines[machine];
        machine.pause = None;
        if let Some(since) = machine.suspended_since.take() {
            machine.suspended += now - since;
        }
        self.0.ready.lock().extend(machine.held.drain(..));
    }

    /// The clocks and the generator of a machine.
    pub(super) fn environment(&self, machine: usize) -> Environment {
        let own = OfMachine { world: self.clone(), machine };
        Environment { clock: Arc::new(own.clone()), random: Arc::new(own) }
    }

    /// Waits on the true clock.
    pub(super) async fn sleep(&self, micros: Micros) {
        self.environment(DIRECTOR).clock.sleep(Duration::from_micros(micros)).await;
    }

    /// Runs everything until `root` is done.
    pub(super) fn run(&self, until: Micros, root: impl Future<Output = ()> + Send + 'static) {
        let done = Arc::new(Mutex::new(false));
        let tell = done.clone();
        let root = async move {
            root.await;
            *tell.lock() = true;
        };
        self.spawn(self.place(DIRECTOR), Thread::User, Box::pin(root));
        while !*done.lock() {
            if let Some(task) = self.next_ready() {
                self.poll(task);
            } else if !self.advance(until) {
                self.fail("progress: the run did not come to its end");
            }
        }
    }

    /// Drops all that is left, as if every machine had lost its power.
    pub(super) fn end(&self) {
        let machines = self.0.state.lock().machines.len();
        for machine in 0..machines {
            self.crash(machine);
        }
        let due = std::mem::take(&mut self.0.state.lock().due);
        let _entered = Entered::new(self, Place { machine: DIRECTOR, start: u64::MAX });
        drop(due);
    }

    fn next_ready(&self) -> Option<u64> {
        let mut state = self.0.state.lock();
        loop {
            let mut ready = self.0.ready.lock();
            if ready.is_empty() {
                return None;
            }
            let chosen = (state.random.bits() % ready.len() as u64) as usize;
            let id = *ready.iter().nth(chosen)?;
            ready.remove(&id);
            let Some(task) = state.tasks.get(&id) else { continue };
            let (machine, thread) = (task.place.machine, task.thread);
            let machine = &mut state.machines[machine];
            match machine.pause {
                Some(Pause::Thread(blocked)) if blocked != thread => return Some(id),
                Some(_) => machine.held.push(id),
                None => return Some(id),
            }
        }
    }

    fn poll(&self, id: u64) {
        let mut state = self.0.state.lock();
        state.polls += 1;
        let spins = state.polls > POLLS_AT_ONCE_MAX;
        let Some(task) = state.tasks.get_mut(&id) else { return };
        let (place, waker) = (task.place, task.waker.clone());
        let Some(mut future) = task.future.take() else { return };
        drop(state);
        if spins {
            self.fail("progress: tasks go round in circles without time going on");
        }
        let _entered = Entered::new(self, place);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = self.0.state.lock();
        match polled {
            Poll::Ready(()) => drop(state.tasks.remove(&id)),
            Poll::Pending => {
                if let Some(task) = state.tasks.get_mut(&id) {
                    task.future = Some(future);
                    return;
                }
            }
        }
        drop(state);
        // The task has ended, or was killed by what it did itself.
        drop(future);
    }

    fn advance(&self, until: Micros) -> bool {
        let mut state = self.0.state.lock();
        let Some(((at, _), due)) = state.due.pop_first() else { return false };
        if at > until {
            return false;
        }
        if at > state.now {
            state.now = at;
            state.polls = 0;
        }
        drop(state);
        match due {
            Due::Wake(waker) => waker.wake(),
            Due::Do(action) => action(self),
        }
        true
    }
}
