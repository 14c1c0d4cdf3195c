//! Programs on machines, and what befalls them: crashes, restarts, pauses, suspends, partitions; then all is well again.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use leasehold_core::{BoxFuture, Store};
use tokio::sync::oneshot;

use super::{
    audit::{Audit, DATA},
    executor::{DIRECTOR, Micros, Pause, Place, Thread, World},
    network::{Counts, Network, Tells},
};
use crate::{Leases, Node, Ttl};

/// The time to live of everything, short against a run.
pub(super) const TTL: Duration = Duration::from_secs(1);

/// The machines that programs run on. One more is kept for who comes last.
pub(super) const MACHINES: usize = 3;

/// How long everything may go wrong.
const STORM: Micros = 7_000_000;

/// How long it may take until everybody is done once all is well: a call that failed at the last moment is ridden out for
/// 10 s, and who is told of changes looks only every 10 s when it was not.
const CALM: Micros = 45_000_000;

/// Who has a program running, and whether it is to come to an end.
#[derive(Default)]
pub(super) struct Stage {
    running: BTreeSet<usize>,
    /// Who was started where.
    incarnations: BTreeMap<String, Place>,
    pub(super) stopping: bool,
    /// Since when all is well.
    healed: Option<Micros>,
}

/// One start of a program on a machine.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) world: World,
    place: Place,
}

impl Program {
    pub(super) fn store(&self) -> Store {
        self.world.store(self.place.machine)
    }

    pub(super) fn name(&self) -> String {
        format!("m{}", self.place.machine)
    }

    /// Who it is: a new incarnation with every start.
    pub(super) fn node(&self) -> Node {
        let random = self.store().environment().random.clone();
        let node = Node::with_random(self.name(), &*random).expect("the name is sound");
        self.world.stage().incarnations.insert(node.incarnation().to_owned(), self.place);
        node
    }

    /// Whether a record names this start of the program.
    pub(super) fn is_named_by(&self, record: &str) -> bool {
        let stage = self.world.stage();
        stage
            .incarnations
            .iter()
            .any(|(incarnation, place)| *place == self.place && record.contains(incarnation))
    }

    /// Whether a record names somebody who crashed.
    pub(super) fn names_crashed(&self, record: &str) -> bool {
        let incarnations = self.world.stage().incarnations.clone();
        incarnations.iter().any(|(incarnation, place)| {
            record.contains(incarnation.as_str()) && self.world.place(place.machine) != *place
        })
    }

    /// Whether a program runs on the machine that is called so.
    pub(super) fn runs(&self, name: &str) -> bool {
        let machine = name.strip_prefix('m').and_then(|number| number.parse().ok());
        machine.is_some_and(|machine| self.world.stage().running.contains(&machine))
    }

    pub(super) fn stops(&self) -> bool {
        self.world.stage().stopping
    }

    /// Whether it has not crashed.
    pub(super) fn lives(&self) -> bool {
        self.world.place(self.place.machine) == self.place
    }

    /// Whether all was well at a moment.
    pub(super) fn healed_before(&self, moment: Micros) -> bool {
        self.world.stage().healed.is_some_and(|healed| healed <= moment)
    }

    /// Runs a task beside this one.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        let task = async move { drop(reply.send(future.await)) };
        self.world.spawn(self.place, Thread::User, Box::pin(task));
        answer
    }

    /// Waits on the machine's own clock, up to so long.
    pub(super) async fn rest(&self, millis_max: u64) {
        let millis = Duration::from_millis(self.world.below(millis_max + 1));
        self.store().environment().clock.sleep(millis).await;
    }

    /// Awaits it, or drops it half-way at some moment.
    pub(super) async fn unless_dropped<T>(&self, percent: u64, future: impl Future<Output = T>) -> Option<T> {
        if !self.world.chance(percent) {
            return Some(future.await);
        }
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.rest(1_500) => None,
        }
    }

    /// Does it until it succeeds or the program is to end.
    pub(super) async fn until_it_works<T, F>(&self, mut attempt: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = leasehold_core::Result<T>>,
    {
        loop {
            match attempt().await {
                Ok(value) => return Some(value),
                Err(error) => self.world.note(format!("{} failed: {error}", self.name())),
            }
            if self.stops() {
                return None;
            }
            self.rest(300).await;
        }
    }
}

/// What runs on every machine.
pub(super) type Script = fn(Program) -> BoxFuture<'static, ()>;

/// What is looked at when all is over: given the machine that took no part.
pub(super) type Finale = fn(Program) -> BoxFuture<'static, ()>;

/// One kind of run.
#[derive(Clone, Copy)]
pub(super) struct Play {
    pub(super) script: Script,
    pub(super) finale: Finale,
    /// How far the rates of clocks may be off.
    pub(super) drift: f64,
}

/// What happened in many runs.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) events: BTreeMap<&'static str, u64>,
    pub(super) calls: u64,
    pub(super) ghosts: u64,
}

impl Seen {
    pub(super) fn of(&self, what: &str) -> u64 {
        self.events.get(what).copied().unwrap_or_default()
    }

    /// A simulation is worth something only if all of it happened.
    pub(super) fn must_have(&self, wanted: &[&str]) {
        if std::env::var_os("LEASEHOLD_SEED").is_none() {
            let missing: Vec<_> = wanted.iter().filter(|what| self.of(what) < 10).collect();
            assert!(missing.is_empty() && self.ghosts > 10, "it hardly happened: {missing:?} in {self:?}");
        }
    }
}

impl Play {
    /// Plays so many seeds from `first`, or the one in `LEASEHOLD_SEED`; `LEASEHOLD_SEEDS` asks for another number.
    pub(super) fn seeds(self, first: u64, count: u64) -> Seen {
        let asked = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let seeds = match asked("LEASEHOLD_SEED") {
            Some(seed) => seed..seed + 1,
            None => first..first + asked("LEASEHOLD_SEEDS").unwrap_or(count),
        };
        let mut seen = Seen::default();
        for seed in seeds {
            let (audit, counts, _) = self.run(seed);
            for (what, times) in audit.seen {
                *seen.events.entry(what).or_default() += times;
            }
            seen.calls += counts.calls;
            seen.ghosts += counts.ghosts;
        }
        seen
    }

    /// One run: what was seen, and the last events.
    pub(super) fn run(self, seed: u64) -> (Audit, Counts, String) {
        let tells = [Tells::Never, Tells::Always, Tells::Sometimes][(seed / 2 % 3) as usize];
        let network = Network::new(seed.is_multiple_of(2), tells);
        let audit = Audit::new(self.drift <= 0.01);
        let world = World::new(seed, MACHINES + 1, self.drift, network, audit);
        let director = direct(world.clone(), self);
        let played = catch_unwind(AssertUnwindSafe(|| world.run(STORM + 10 * CALM, director)));
        let counts = world.network().counts;
        world.end();
        if let Err(panic) = played {
            eprintln!(
                "{}LEASEHOLD_SEED={} replays this; above are the last events",
                world.trace(),
                world.seed()
            );
            resume_unwind(panic);
        }
        (std::mem::take(&mut *world.audit()), counts, world.trace())
    }
}

impl World {
    /// A program on a machine that is directed by a test itself.
    pub(super) fn program(&self, machine: usize) -> Program {
        Program { world: self.clone(), place: self.place(machine) }
    }

    /// Starts a program on a machine.
    fn start(&self, machine: usize, script: Script) {
        let place = self.place(machine);
        let program = Program { world: self.clone(), place };
        let world = self.clone();
        self.stage().running.insert(machine);
        self.note(format!("m{machine} starts"));
        let task = async move {
            script(program).await;
            world.stage().running.remove(&machine);
        };
        self.spawn(place, Thread::User, Box::pin(task));
    }

    /// One mishap, and its end.
    fn mishap(&self, script: Script) {
        let machine = 1 + self.below(MACHINES as u64) as usize;
        let lasts = match self.below(4) {
            0 => self.below(6_000_000),
            1 => 1_000_000 + self.below(1_000_000),
            _ => self.below(1_500_000),
        };
        match self.below(10) {
            0..2 => {
                self.note(format!("m{machine} crashes"));
                self.crash(machine);
                self.resume(machine);
                self.stage().running.remove(&machine);
                let crashed = self.place(machine);
                self.audit().count("crashes");
                self.after(lasts, move |world| {
                    if world.place(machine) == crashed && !world.stage().stopping {
                        world.start(machine, script);
                    }
                });
            }
            kind @ 2..7 => {
                let pause = match kind {
                    2 | 3 => Pause::Program,
                    4 => Pause::Thread(Thread::User),
                    5 => Pause::Thread(Thread::Keeper),
                    _ => Pause::Machine,
                };
                self.note(format!("m{machine} is paused: {pause:?}"));
                self.resume(machine);
                self.pause(machine, pause);
                self.audit().count("pauses");
                self.after(lasts, move |world| {
                    world.resume(machine);
                    world.note(format!("m{machine} goes on"));
                });
            }
            _ => {
                self.note(format!("m{machine} is cut off"));
                self.network().cut(machine, true);
                self.audit().count("partitions");
                self.after(lasts, move |world| {
                    world.network().cut(machine, false);
                    world.note(format!("m{machine} is back"));
                });
            }
        }
    }
}

async fn direct(world: World, play: Play) {
    if world.chance(90) {
        let store = world.store(DIRECTOR);
        let node = Node::with_random("director", &*store.environment().random).expect("the name is sound");
        Leases::connect(store, node).await.expect("nothing fails yet");
    }
    for machine in 1..=MACHINES {
        world.start(machine, play.script);
    }
    while world.now() < STORM {
        world.sleep(100_000 + world.below(900_000)).await;
        world.mishap(play.script);
    }
    world.note("all is well");
    world.network().stormy = false;
    world.stage().stopping = true;
    for machine in 1..=MACHINES {
        world.network().cut(machine, false);
        world.resume(machine);
    }
    let healed = world.now();
    world.stage().healed = Some(healed);
    while !world.stage().running.is_empty() {
        world.sleep(50_000).await;
        // On a clock that is slow by the bound of such runs, all of it takes three times as long.
        if world.now() > healed + if play.drift > 0.01 { 3 * CALM } else { CALM } {
            for (key, bytes) in world.network().stored("") {
                if !key.starts_with(DATA) {
                    world.note(format!("there is {key}: {}", String::from_utf8_lossy(&bytes)));
                }
            }
            let running = world.stage().running.clone();
            world.fail(format_args!("progress: somebody still waits, on {running:?}"));
        }
    }
    // What is still on its way arrives.
    world.sleep(6_000_000).await;
    let fresh = Program { world: world.clone(), place: world.place(MACHINES + 1) };
    let (done, finished) = oneshot::channel();
    let finale = (play.finale)(fresh.clone());
    let last = async move {
        finale.await;
        // The director waits for it.
        let _ = done.send(());
    };
    world.spawn(fresh.place, Thread::User, Box::pin(last));
    finished.await.expect("nothing happens to the last machine");
}

pub(super) fn ttl() -> Ttl {
    Ttl::new(TTL).expect("it is within the bounds")
}

/// Something that is shared with who checks what is believed.
pub(super) type Shared<T> = Arc<parking_lot::Mutex<Option<T>>>;

pub(super) fn shared<T>(value: T) -> Shared<T> {
    Arc::new(parking_lot::Mutex::new(Some(value)))
}
