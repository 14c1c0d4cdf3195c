//! Several machines over one simulated register that loses replies and delivers writes late, while nodes are paused,
//! crash and restart, and clocks run at different rates. Every run is determined by its seed.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use leasehold_core::{Bytes, Error, ErrorKind, Precondition, Version};

use super::*;
use crate::{LeaseState, Node, Ttl};

const NODES: usize = 4;
const TTL_MILLIS: u64 = 1000;
/// Real time in a run, in microseconds.
const RUN_MICROS: u64 = 60_000_000;

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

    fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

enum Role {
    Idle(Option<Known>),
    Contending(Contender),
    Holding(Holding, u64),
}

struct Participant {
    name: String,
    me: Node,
    role: Role,
    /// What was scheduled for an earlier epoch is void: the node crashed, or was woken.
    epoch: u64,
    sleeping: bool,
    paused_until: u64,
    rate: f64,
    offset: f64,
    /// Until when it believes to hold, in real time.
    believes_until: f64,
}

impl Participant {
    fn clock(&self, now: u64) -> Duration {
        Duration::from_secs_f64(self.offset + now as f64 / 1e6 * self.rate)
    }

    fn real(&self, clock: Duration) -> f64 {
        (clock.as_secs_f64() - self.offset) / self.rate * 1e6
    }

    fn in_real_time(&self, duration: Duration) -> u64 {
        (duration.as_secs_f64() / self.rate * 1e6) as u64 + 1
    }
}

enum Action {
    Step(usize, u64, Event),
    /// A read arrives; its answer is due after so long, or lost.
    Read(usize, u64, Option<Version>, Option<u64>),
    /// A write arrives.
    Write(usize, u64, Bytes, Precondition, Option<u64>),
    Start(usize),
    Leave(usize, u64),
    Crash(usize),
    Pause(usize),
}

#[derive(Debug, Default)]
struct Seen {
    grants: usize,
    takeovers: usize,
    renewals: usize,
    releases: usize,
    ghosts: usize,
    superseded: usize,
    overlaps: usize,
}

struct World {
    seed: u64,
    random: Seeded,
    now: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Action>,
    nodes: Vec<Participant>,
    register: Option<(Bytes, Version)>,
    writes: u64,
    by_content: bool,
    quiet: bool,
    holders: HashMap<u64, Node>,
    granted: HashMap<u64, Node>,
    seen: Seen,
}

impl World {
    fn new(seed: u64, drift: f64, by_content: bool, quiet: bool) -> Self {
        let mut random = Seeded(seed);
        let nodes = (0..NODES)
            .map(|index| {
                let name = format!("node-{index}");
                let spread = (random.below(2001) as f64 / 1000.0 - 1.0) * drift;
                Participant {
                    me: Node::recorded(name.clone(), format!("{:x}", random.bits())),
                    name,
                    role: Role::Idle(None),
                    epoch: 0,
                    sleeping: false,
                    paused_until: 0,
                    rate: 1.0 + spread,
                    offset: random.below(1_000_000) as f64,
                    believes_until: 0.0,
                }
            })
            .collect();
        let mut world = Self {
            seed,
            random,
            now: 0,
            order: 0,
            queue: BTreeMap::new(),
            nodes,
            register: None,
            writes: 0,
            by_content,
            quiet,
            holders: HashMap::new(),
            granted: HashMap::new(),
            seen: Seen::default(),
        };
        for node in 0..NODES {
            let delay = world.random.below(500_000);
            world.after(delay, Action::Start(node));
            let delay = world.random.below(20_000_000);
            world.after(delay, Action::Crash(node));
            let delay = world.random.below(10_000_000);
            world.after(delay, Action::Pause(node));
        }
        world
    }

    fn after(&mut self, micros: u64, action: Action) {
        self.order += 1;
        self.queue.insert((self.now + micros, self.order), action);
    }

    fn run(mut self) -> Seen {
        while let Some(((at, _), action)) = self.queue.pop_first() {
            if at > RUN_MICROS {
                break;
            }
            self.now = at;
            self.act(action);
        }
        self.seen
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Step(node, epoch, event) => {
                if self.nodes[node].epoch == epoch {
                    let paused_until = self.nodes[node].paused_until;
                    match paused_until.checked_sub(self.now).filter(|left| *left > 0) {
                        Some(left) => self.after(left, Action::Step(node, epoch, event)),
                        None => self.step(node, event),
                    }
                }
            }
            Action::Read(node, epoch, if_changed_from, answer) => {
                let event = match &self.register {
                    None => Event::Absent,
                    Some((_, version)) if Some(version) == if_changed_from.as_ref() => Event::Unchanged,
                    Some((bytes, version)) => {
                        Event::Found(Box::new(Record::decode(bytes).unwrap()), version.clone())
                    }
                };
                if let Some(delay) = answer {
                    self.after(delay, Action::Step(node, epoch, event));
                }
            }
            Action::Write(node, epoch, bytes, precondition, answer) => {
                let event = match precondition.check(self.register.as_ref().map(|(_, version)| version)) {
                    Err(error) => Event::Failed(error),
                    Ok(()) => Event::Written(self.apply(bytes, &precondition, answer.is_none())),
                };
                if let Some(delay) = answer {
                    self.after(delay, Action::Step(node, epoch, event));
                }
            }
            Action::Start(node) => self.start(node),
            Action::Leave(node, epoch) => self.leave(node, epoch),
            Action::Crash(node) => {
                let fresh = format!("{:x}", self.random.bits());
                let participant = &mut self.nodes[node];
                participant.me = Node::recorded(participant.name.clone(), fresh);
                participant.epoch += 1;
                participant.role = Role::Idle(None);
                participant.believes_until = 0.0;
                let (start, crash) = (self.random.below(1_000_000), self.random.below(20_000_000));
                self.after(start, Action::Start(node));
                self.after(crash, Action::Crash(node));
            }
            Action::Pause(node) => {
                self.nodes[node].paused_until = self.now + self.random.below(3 * TTL_MILLIS * 1000);
                let next = self.random.below(10_000_000);
                self.after(next, Action::Pause(node));
            }
        }
    }

    /// Applies a write, and checks what must hold of the history of the record.
    fn apply(&mut self, bytes: Bytes, precondition: &Precondition, ghost: bool) -> Version {
        let new = Record::decode(&bytes).unwrap();
        assert_ne!(*precondition, Precondition::None, "L3, seed {}", self.seed);
        if let Some((old, _)) = &self.register {
            let old = Record::decode(old).unwrap();
            assert!(new.token >= old.token, "L1: a token went back, seed {}", self.seed);
            if new.holder != old.holder || (old.state != LeaseState::Held && new.state == LeaseState::Held) {
                assert!(new.token > old.token, "L1: a new holder has no new token, seed {}", self.seed);
                self.seen.takeovers += usize::from(old.state == LeaseState::Held);
            }
        }
        let holder = self.holders.entry(new.token.get()).or_insert_with(|| new.holder.clone());
        assert_eq!(*holder, new.holder, "L2: a token with two holders, seed {}", self.seed);
        self.seen.ghosts += usize::from(ghost);
        self.seen.releases += usize::from(new.state != LeaseState::Held);
        self.writes += 1;
        let version = if self.by_content {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            Version::new(format!("{:x}", hasher.finish()))
        } else {
            Version::new(self.writes.to_string())
        };
        self.register = Some((bytes, version.clone()));
        version
    }

    fn start(&mut self, node: usize) {
        let Role::Idle(known) = &mut self.nodes[node].role else { return };
        let known = known.take().filter(|_| !self.random.0.is_multiple_of(4));
        let end = self.nodes[node].clock(self.now + self.random.below(5_000_000));
        let patience =
            [Patience::Try, Patience::Until(end), Patience::Forever][self.random.below(3) as usize];
        let ttl = Ttl::new(Duration::from_millis(TTL_MILLIS)).unwrap();
        let contender = Contender::new(self.nodes[node].me.clone(), ttl, patience, known);
        self.nodes[node].role = Role::Contending(contender);
        self.step(node, Event::Woke);
    }

    fn leave(&mut self, node: usize, epoch: u64) {
        let to = format!("node-{}", self.random.below(NODES as u64));
        let state = if self.random.chance(70) { LeaseState::Released } else { LeaseState::HandOver { to } };
        let participant = &mut self.nodes[node];
        let Role::Holding(holding, tenure) = &mut participant.role else { return };
        if *tenure != epoch {
            return;
        }
        participant.believes_until = 0.0;
        holding.leave(state);
        if participant.sleeping {
            participant.epoch += 1;
            let epoch = participant.epoch;
            self.after(0, Action::Step(node, epoch, Event::Woke));
        }
    }

    fn step(&mut self, node: usize, event: Event) {
        let nonce = u128::from(self.random.bits()) << 64 | u128::from(self.random.bits());
        let participant = &mut self.nodes[node];
        participant.sleeping = false;
        let clock = participant.clock(self.now);
        let tick = Tick { monotonic: clock, boottime: clock, nonce };
        match std::mem::replace(&mut participant.role, Role::Idle(None)) {
            Role::Idle(known) => participant.role = Role::Idle(known),
            Role::Contending(mut contender) => match contender.step(&tick, event) {
                Command::Done(Ok(Some(grant))) => self.granted(node, &tick, grant),
                Command::Done(verdict) => {
                    let known = verdict.ok().and_then(|_| contender.into_known());
                    self.idle(node, known);
                }
                command => {
                    self.nodes[node].role = Role::Contending(contender);
                    self.perform(node, command);
                }
            },
            Role::Holding(mut holding, tenure) => {
                let written = matches!(event, Event::Written(_));
                match holding.step(&tick, event) {
                    Command::Done(end) => {
                        self.nodes[node].believes_until = 0.0;
                        let known = match end {
                            End::Left(record, version) => {
                                Some(Known { record, version, since: tick.monotonic })
                            }
                            End::Superseded(_) => {
                                self.seen.superseded += 1;
                                None
                            }
                            End::Expired | End::Removed | End::Stuck(_) => None,
                        };
                        self.idle(node, known);
                    }
                    command => {
                        self.seen.renewals += usize::from(written);
                        let until = holding.valid_until();
                        self.nodes[node].role = Role::Holding(holding, tenure);
                        // One that is leaving does not act any more.
                        if self.nodes[node].believes_until > 0.0 {
                            self.believe(node, until);
                        }
                        self.perform(node, command);
                    }
                }
            }
        }
    }

    fn granted(&mut self, node: usize, tick: &Tick, grant: Grant) {
        let me = self.nodes[node].me.clone();
        assert_eq!(grant.record.holder, me, "L2: granted what another holds, seed {}", self.seed);
        let taken = self.granted.insert(grant.record.token.get(), me);
        assert!(taken.is_none(), "L2: a token was granted twice, seed {}", self.seed);
        self.seen.grants += 1;
        let mut holding = Holding::new(grant);
        self.believe(node, holding.valid_until());
        let command = holding.step(tick, Event::Woke);
        let tenure = self.random.bits();
        self.nodes[node].role = Role::Holding(holding, tenure);
        let delay = self.random.below(4_000_000);
        self.after(delay, Action::Leave(node, tenure));
        self.perform(node, command);
    }

    /// L4: nobody else may believe to hold at this moment.
    fn believe(&mut self, node: usize, until: Duration) {
        self.nodes[node].believes_until = self.nodes[node].real(until);
        let now = self.now as f64;
        let others = self.nodes.iter().enumerate();
        self.seen.overlaps +=
            others.filter(|(other, participant)| *other != node && participant.believes_until > now).count();
    }

    fn idle(&mut self, node: usize, known: Option<Known>) {
        self.nodes[node].role = Role::Idle(known);
        let delay = self.random.below(300_000);
        self.after(delay, Action::Start(node));
    }

    fn perform<T>(&mut self, node: usize, command: Command<T>) {
        let epoch = self.nodes[node].epoch;
        let lost = |what| Event::Failed(Error::new(ErrorKind::Timeout, what).indeterminate());
        let (there, back) = (self.random.below(30_000), self.random.below(30_000));
        let fate = if self.quiet { 99 } else { self.random.below(100) };
        match command {
            Command::Done(_) => {}
            Command::Sleep(duration) | Command::Watch(duration) => {
                self.nodes[node].sleeping = true;
                let late = self.random.below(2_000);
                let micros = self.nodes[node].in_real_time(duration) + late;
                self.after(micros, Action::Step(node, epoch, Event::Woke));
            }
            Command::Read { if_changed_from, within } => {
                let limit = self.nodes[node].in_real_time(within);
                if fate < 5 || there + back > limit {
                    let error = Error::new(ErrorKind::Timeout, "no answer");
                    self.after(limit, Action::Step(node, epoch, Event::Failed(error)));
                } else {
                    self.after(there, Action::Read(node, epoch, if_changed_from, Some(back)));
                }
            }
            Command::Write { bytes, precondition, within } => {
                let limit = self.nodes[node].in_real_time(within);
                match fate {
                    // Refused on the way.
                    0..5 => {
                        let error = Error::new(ErrorKind::Unavailable, "away");
                        self.after(there + back, Action::Step(node, epoch, Event::Failed(error)));
                    }
                    // Applied, and the answer is lost at once.
                    5..15 => {
                        self.after(there, Action::Write(node, epoch, bytes, precondition, None));
                        self.after(there + back, Action::Step(node, epoch, lost("reset")));
                    }
                    // A ghost: given up, and it arrives when it likes.
                    15..25 => {
                        let arrival = self.random.below(4 * TTL_MILLIS * 1000);
                        self.after(arrival, Action::Write(node, epoch, bytes, precondition, None));
                        let gives_up = if fate < 20 { limit } else { there };
                        self.after(gives_up, Action::Step(node, epoch, lost("gone")));
                    }
                    _ if there + back > limit => {
                        self.after(there, Action::Write(node, epoch, bytes, precondition, None));
                        self.after(limit, Action::Step(node, epoch, lost("slow")));
                    }
                    _ => {
                        self.after(there, Action::Write(node, epoch, bytes, precondition, Some(back)));
                    }
                }
            }
        }
    }
}

fn all(seeds: std::ops::Range<u64>, drift: f64, quiet: bool) -> Seen {
    let mut all = Seen::default();
    for seed in seeds {
        let seen = World::new(seed, drift, seed % 2 == 0, quiet).run();
        assert!(drift > 0.01 || seen.overlaps == 0, "L4: two holders at once, seed {seed}");
        all.grants += seen.grants;
        all.takeovers += seen.takeovers;
        all.renewals += seen.renewals;
        all.releases += seen.releases;
        all.ghosts += seen.ghosts;
        all.superseded += seen.superseded;
        all.overlaps += seen.overlaps;
    }
    all
}

#[test]
fn no_two_holders_are_valid_at_once_while_clock_rates_are_within_the_bound() {
    let seen = all(0..150, 0.01, false);
    // The simulation is worth something only if all of it happened.
    assert!(seen.grants > 1000 && seen.takeovers > 100 && seen.renewals > 1000, "{seen:?}");
    assert!(seen.releases > 500 && seen.ghosts > 500, "{seen:?}");
}

#[test]
fn tokens_grow_and_have_one_holder_whatever_the_clocks_do() {
    let seen = all(1000..1100, 0.6, false);
    assert!(seen.grants > 1000 && seen.superseded > 10, "{seen:?}");
    assert!(
        seen.overlaps > 0,
        "clocks beyond the bound do break L4, which is why there is a guard: {seen:?}"
    );
}

#[test]
fn a_healthy_store_serves_everybody_in_turn() {
    let seen = all(2000..2020, 0.01, true);
    assert!(seen.grants > 300, "{seen:?}");
}
