//! The planner: what should change in a map, given the nodes there are.
//!
//! Sticky first, rendezvous second: a shard stays with its live owner unless that holds more than its quota, and what
//! must be placed goes where its score is highest among the nodes below theirs. So hashes are computed only for what
//! changes, and replanning finds nothing to do.

use std::{cmp::Ordering, collections::HashMap};

use super::{
    ShardId, ShardMap, ShardState,
    quota::{Stake, quotas},
    rendezvous::Contender,
};
use crate::NodeName;

/// A live node, as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    name: NodeName,
    weight: u32,
    draining: bool,
    avoid: bool,
}

impl Candidate {
    /// A node of weight 1 that takes shards.
    pub fn new(name: NodeName) -> Self {
        Self { name, weight: 1, draining: false, avoid: false }
    }

    /// How much it can carry, compared with the others: a node of weight 2 owns twice as many shards as one of
    /// weight 1. With 0 it owns none, as if it were draining. Default 1.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// Whether it shall be emptied: it gets no shards, and those it has move away. Default no.
    #[must_use]
    pub fn draining(self, draining: bool) -> Self {
        Self { draining, ..self }
    }

    /// Whether to give it no shards that it does not have while others have [room](PlanOptions::room_percent), because
    /// it is not to be relied upon at the moment. It keeps what it has, up to its share. Default no.
    #[must_use]
    pub fn avoid(self, avoid: bool) -> Self {
        Self { avoid, ..self }
    }

    /// The name of the node.
    pub fn name(&self) -> &NodeName {
        &self.name
    }
}

/// What a planner goes by.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    moves_max: Option<usize>,
    hysteresis_percent: u32,
    room_percent: Option<u32>,
}

impl PlanOptions {
    /// At most so many shards are on their way at once; 0 starts no moves. What has no live owner is placed at once
    /// and does not count.
    ///
    /// Default: a tenth of the shards, at least 1 and at most 16. A shard cannot be written to from when it is sealed
    /// until its new owner has read what it needs, so this bounds what is unavailable at once; and 16 moves already
    /// keep a store busy that takes one write of the map a second.
    #[must_use]
    pub fn moves_max(self, moves_max: usize) -> Self {
        Self { moves_max: Some(moves_max), ..self }
    }

    /// Begin to even out only when a node holds more or less than its share by more than so many percent; once moves
    /// are under way, go on to the exact share. From 100 on a node that has too few is no reason.
    ///
    /// Default 0: even out exactly. Shares change only with the nodes, their weights and the shards, and nothing moves
    /// while those stay as they are. Raise it where weights are measured and waver. It does not hold up what drains.
    #[must_use]
    pub fn hysteresis_percent(self, percent: u32) -> Self {
        Self { hysteresis_percent: percent, ..self }
    }

    /// So many percent more than their share the other nodes hold together before one to
    /// [avoid](Candidate::avoid) gets a shard that it does not have.
    ///
    /// Default 25: of five nodes one may be avoided without carrying anything new.
    #[must_use]
    pub fn room_percent(self, percent: u32) -> Self {
        Self { room_percent: Some(percent), ..self }
    }

    fn moves_max_of(&self, shards: usize) -> usize {
        self.moves_max.unwrap_or_else(|| (shards / 10).clamp(1, 16))
    }
}

/// One change of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A shard without a live owner gets one, with the next epoch.
    Assign {
        /// The shard.
        shard: ShardId,
        /// Its owner from now on.
        to: NodeName,
    },
    /// A shard is sent on its way, or to another node than so far. Its owner stays until it has sealed it.
    Move {
        /// The shard.
        shard: ShardId,
        /// Its owner.
        from: NodeName,
        /// The owner to be.
        to: NodeName,
    },
    /// A move is called off: the owner stays, with the next epoch, because it may have sealed the one it had.
    Stay {
        /// The shard.
        shard: ShardId,
    },
}

impl Change {
    /// The shard that it is about.
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Assign { shard, .. } | Self::Move { shard, .. } | Self::Stay { shard } => *shard,
        }
    }
}

/// What should change in one version of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    version: u64,
    changes: Vec<Change>,
    waiting: usize,
}

impl Plan {
    /// The version of the map that it is for.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The changes, by shard, at most one for each.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether nothing is to be done now.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many more moves will be due when some that are under way have ended.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

/// Plans the next changes of a map.
///
/// `candidates` are *all* nodes that are alive, in any order: a shard whose owner is not among them is given away. Two
/// with one name count as one, by the lower weight, draining or avoided if either is.
///
/// - A shard stays with its live owner, or goes on to the live node that it moves to, unless that node holds more than
///   its quota: its share of all shards by weight, rounded up or down so that the fewest have to move.
/// - A shard without a live owner goes to the node with the highest rendezvous score of those below their quota; to
///   where it was moving, if that has room.
/// - From a node above its quota those with the lowest scores there move, first those that are on their way to it
///   anyhow. Draining nodes come first, then the fullest.
/// - A move to a node that is not alive is turned to another, or called off if the owner has room.
/// - If no node can take shards, nothing changes, except that moves to dead nodes are called off.
///
/// A node that is avoided or let go of in here loses no lease and needs no consent: safety is in the epochs.
///
/// Pure: the same map, the same set of candidates and the same options make the same plan. Cost: one look-up a shard,
/// a score for each shard of a node above its quota, and one for each node and each shard that is placed or moved.
pub fn plan(map: &ShardMap, candidates: &[Candidate], options: &PlanOptions) -> Plan {
    let mut planner = Planner::new(map, seats(candidates), options);
    planner.place();
    planner.balance();
    planner.changes.sort_unstable_by_key(Change::shard);
    Plan { version: map.version(), changes: planner.changes, waiting: planner.waiting }
}

/// A candidate, and what it holds: what it owns, without what moves away and with what moves to it.
struct Seat {
    name: NodeName,
    contender: Contender,
    stake: Stake,
    quota: usize,
    /// Positions in the map.
    held: Vec<usize>,
    /// How many it will hold by the plan so far.
    count: usize,
}

fn seats(candidates: &[Candidate]) -> Vec<Seat> {
    let mut candidates: Vec<_> = candidates.iter().collect();
    candidates.sort_by(|a, b| a.name.cmp(&b.name));
    let same = candidates.chunk_by(|a, b| a.name == b.name);
    let seats = same.map(|same| {
        let takes = !same.iter().any(|one| one.draining);
        let weight = same.iter().map(|one| one.weight).min().filter(|_| takes).unwrap_or(0);
        Seat {
            name: same[0].name.clone(),
            contender: Contender::new(&same[0].name, weight),
            stake: Stake { weight, avoid: same.iter().any(|one| one.avoid), held: 0 },
            quota: 0,
            held: Vec::new(),
            count: 0,
        }
    });
    seats.collect()
}

struct Planner<'a> {
    map: &'a ShardMap,
    options: &'a PlanOptions,
    /// By name.
    seats: Vec<Seat>,
    /// The seats below their quota, by name.
    open: Vec<usize>,
    /// Shards without a live owner, with the seat that they were moving to.
    homeless: Vec<(usize, Option<usize>)>,
    /// Shards on their way, with the seats of their owner and of the node that they move to, if that is alive.
    under_way: HashMap<usize, (usize, Option<usize>)>,
    changes: Vec<Change>,
    waiting: usize,
}

/// A shard that its holder has too many of.
struct Shed {
    shard: usize,
    seat: usize,
    under_way: bool,
    /// How many its holder has above its quota, with this one.
    above: usize,
}

impl<'a> Planner<'a> {
    fn new(map: &'a ShardMap, mut seats: Vec<Seat>, options: &'a PlanOptions) -> Self {
        let by_name: HashMap<_, _> = seats.iter().map(|seat| seat.name.clone()).zip(0..).collect();
        let (mut homeless, mut under_way) = (Vec::new(), HashMap::new());
        for (shard, state) in map.shards().iter().map(|shard| shard.state()).enumerate() {
            let holder = match state {
                ShardState::Free => Err(None),
                ShardState::Owned { owner } => by_name.get(owner).ok_or(None),
                ShardState::Moving { owner, to } => match (by_name.get(owner), by_name.get(to)) {
                    (Some(owner), to) => {
                        under_way.insert(shard, (*owner, to.copied()));
                        Ok(to.unwrap_or(owner))
                    }
                    (None, to) => Err(to.copied()),
                },
            };
            match holder {
                Ok(seat) => seats[*seat].held.push(shard),
                Err(preferred) => homeless.push((shard, preferred)),
            }
        }
        for seat in &mut seats {
            seat.count = seat.held.len();
            seat.stake.held = seat.count;
        }
        let stakes: Vec<_> = seats.iter().map(|seat| seat.stake).collect();
        let quotas = quotas(map.shards().len(), &stakes, options.room_percent.unwrap_or(25));
        for (seat, quota) in seats.iter_mut().zip(quotas) {
            seat.quota = quota;
        }
        let open = (0..seats.len()).filter(|index| seats[*index].count < seats[*index].quota).collect();
        Self { map, options, seats, open, homeless, under_way, changes: Vec::new(), waiting: 0 }
    }

    /// Gives an owner to every shard that has none.
    fn place(&mut self) {
        let mut homeless = std::mem::take(&mut self.homeless);
        // Those that somebody prepares for first, while there is room.
        homeless.sort_by_key(|(shard, preferred)| (preferred.is_none(), *shard));
        for (shard, preferred) in homeless {
            let preferred = preferred.filter(|seat| self.has_room(*seat));
            let Some(seat) = preferred.or_else(|| self.best(shard)) else { continue };
            self.enter(seat);
            let to = self.seats[seat].name.clone();
            self.changes.push(Change::Assign { shard: self.id(shard), to });
        }
    }

    /// Relieves the nodes that hold more than their quota, as far as moves may be under way.
    fn balance(&mut self) {
        let mut shed = if self.is_due() { self.shed() } else { Vec::new() };
        let fresh = shed.split_off(shed.partition_point(|shed| shed.under_way));
        for Shed { shard, seat, .. } in shed {
            self.redirect(shard, seat);
        }
        // What is left of the moves to nobody comes to its end.
        let stranded = self.under_way.iter().filter(|(_, (_, to))| to.is_none()).map(|(shard, _)| *shard);
        for shard in stranded.collect::<Vec<_>>() {
            self.call_off(shard);
        }
        if self.open.is_empty() {
            return;
        }
        let slots = self.options.moves_max_of(self.map.shards().len()).saturating_sub(self.under_way.len());
        self.waiting = fresh.len().saturating_sub(slots);
        for Shed { shard, seat, .. } in fresh.into_iter().take(slots) {
            let Some(to) = self.best(shard) else { continue };
            self.depart(shard, seat, seat, to);
        }
    }

    /// Whether it is time to even out.
    fn is_due(&self) -> bool {
        let percent = self.options.hysteresis_percent as usize;
        let off = |seat: &Seat| {
            seat.count.abs_diff(seat.quota).saturating_mul(100) > seat.quota.saturating_mul(percent)
        };
        // A draining node has a quota of none: whatever it holds is too much.
        !self.under_way.is_empty() || self.seats.iter().any(off)
    }

    /// What the seats hold above their quotas: those under way first, then in the order in which they should go.
    fn shed(&self) -> Vec<Shed> {
        let mut shed = Vec::new();
        for (index, seat) in self.seats.iter().enumerate() {
            let above = seat.count.saturating_sub(seat.quota);
            if above == 0 {
                continue;
            }
            let mut held: Vec<_> = seat
                .held
                .iter()
                .map(|shard| {
                    (!self.under_way.contains_key(shard), seat.contender.score(self.id(*shard)), *shard)
                })
                .collect();
            held.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
            shed.extend(held.into_iter().take(above).enumerate().map(|(nth, (fresh, _, shard))| Shed {
                shard,
                seat: index,
                under_way: !fresh,
                above: above - nth,
            }));
        }
        let drains = |shed: &Shed| self.seats[shed.seat].stake.weight == 0;
        shed.sort_by(|a, b| {
            let key = |shed: &Shed| (!shed.under_way, !drains(shed));
            key(a).cmp(&key(b)).then(b.above.cmp(&a.above))
        });
        shed
    }

    /// Turns a move whose end has no room for it to another node, best of all to its owner.
    fn redirect(&mut self, shard: usize, seat: usize) {
        let (owner, _) = self.under_way[&shard];
        if owner != seat && self.has_room(owner) {
            self.leave(seat);
            self.enter(owner);
            self.call_off(shard);
        } else if let Some(to) = self.best(shard) {
            self.depart(shard, owner, seat, to);
        }
    }

    fn call_off(&mut self, shard: usize) {
        self.under_way.remove(&shard);
        self.changes.push(Change::Stay { shard: self.id(shard) });
    }

    /// Sends a shard of `owner` that counts for `seat` on its way.
    fn depart(&mut self, shard: usize, owner: usize, seat: usize, to: usize) {
        self.leave(seat);
        self.enter(to);
        self.under_way.insert(shard, (owner, Some(to)));
        let name = |seat: usize| self.seats[seat].name.clone();
        self.changes.push(Change::Move { shard: self.id(shard), from: name(owner), to: name(to) });
    }

    fn id(&self, shard: usize) -> ShardId {
        self.map.shards()[shard].id()
    }

    fn has_room(&self, seat: usize) -> bool {
        self.seats[seat].count < self.seats[seat].quota
    }

    fn enter(&mut self, seat: usize) {
        self.seats[seat].count += 1;
        if !self.has_room(seat) {
            self.open.retain(|open| *open != seat);
        }
    }

    /// A seat that is left was above its quota, so it is not open afterwards either.
    fn leave(&mut self, seat: usize) {
        self.seats[seat].count -= 1;
    }

    /// The open seat with the highest score; of equal ones the first by name.
    fn best(&self, shard: usize) -> Option<usize> {
        let id = self.id(shard);
        let scored = self.open.iter().map(|seat| (*seat, self.seats[*seat].contender.score(id)));
        let best = scored.reduce(|best, next| match next.1.total_cmp(&best.1) {
            Ordering::Greater => next,
            Ordering::Less | Ordering::Equal => best,
        });
        best.map(|(seat, _)| seat)
    }
}
