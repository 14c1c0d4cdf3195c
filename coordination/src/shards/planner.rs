//! How a plan is made: keep what can stay, place what has nobody, relieve what has too much.
//!
//! Sticky first, rendezvous second: hashes are computed only for what changes.

use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
};

use super::{
    Candidate, Change, PlanOptions, ShardId, ShardMap, ShardState,
    quota::{Stake, quotas},
    rendezvous::Contender,
};
use crate::NodeName;

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

/// A plan in the making.
pub(super) struct Planner<'a> {
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
    pub(super) fn new(map: &'a ShardMap, candidates: &[Candidate], options: &'a PlanOptions) -> Self {
        let mut seats = seats(candidates);
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
        let quotas = quotas(map.shards().len(), &stakes, options.room_percent);
        for (seat, quota) in seats.iter_mut().zip(quotas) {
            seat.quota = quota;
        }
        let open = (0..seats.len()).filter(|index| seats[*index].count < seats[*index].quota).collect();
        Self { map, options, seats, open, homeless, under_way, changes: Vec::new(), waiting: 0 }
    }

    /// The changes, and how many moves wait for others to end.
    pub(super) fn run(mut self) -> (Vec<Change>, usize) {
        self.place();
        self.balance();
        self.changes.sort_unstable_by_key(Change::shard);
        (self.changes, self.waiting)
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
        // A draining node has a quota of none: whatever it holds is too much.
        let off = |seat: &Seat| self.options.is_off(seat.count, seat.quota);
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
        shed.sort_by_key(|shed| (!shed.under_way, !drains(shed), Reverse(shed.above)));
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
