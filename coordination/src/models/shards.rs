//! Shards under a leader: the real [`ShardMap`] and [`plan`] in a record that two terms write, one of them deposed without
//! knowing, and nodes that follow the map late, give up what moves, and die.
//!
//! What a leader and an agent do is the loops of `shards/led/` beside it, because those are drivers: take the map over, decide,
//! write over what was written last; read, adopt, give up, tell. A session is over by its own clock before anybody can fence it,
//! which is what the model of leases is for. M2 is L5 with epochs for tokens: see `guarded.rs`.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

use super::{
    explore,
    object::{Answer, Object, Sent, Stored, Write},
};
use crate::{
    NodeName, Token,
    shards::{Candidate, PlanOptions, ShardId, ShardMap, ShardState, plan},
};

#[derive(Clone, Debug)]
struct World {
    nodes: usize,
    shards: u32,
    terms: u64,
    /// Requests for a shard, replies that are lost, sessions that end.
    asks: u8,
    faults: u8,
    ends: u8,
}

/// The map, under the term of its leader.
type Kept = Option<ShardMap>;

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    record: Object<Kept>,
    /// Each term has a leader of its own; none learns that it was deposed but from the record.
    leaders: Vec<Leader>,
    nodes: Vec<Node>,
    /// What the owners of shards told the leader: shard, epoch, node.
    given_up: BTreeSet<(ShardId, u64, usize)>,
    /// Who ever owned a shard under an epoch.
    owned: BTreeMap<(ShardId, u64), NodeName>,
    asks: u8,
    faults: u8,
    ends: u8,
    broken: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Leader {
    fenced: bool,
    /// What it wrote last.
    written: Option<Stored<Kept>>,
    write: Option<Write<Kept>>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Node {
    lives: bool,
    /// The map that it has read and not acted upon.
    read: Kept,
    /// What it owns as far as it knows: the epoch, and whether it serves it still.
    held: BTreeMap<ShardId, (u64, bool)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Elect,
    TakeOver(usize),
    /// The leader of this term decides on everything that it was told, and on a request for a shard.
    Round(usize, Option<(ShardId, usize)>),
    Serve(usize),
    Lose(usize),
    Late(usize),
    Read(usize),
    Adopt(usize),
    /// The node stops serving a shard that it shall give up.
    Stop(usize, ShardId),
    Tell(usize, ShardId),
    End(usize),
}

fn name(node: usize) -> NodeName {
    NodeName::new(format!("node-{node}")).expect("a name")
}

fn term(leader: usize) -> Token {
    Token::new(leader as u64 + 1)
}

impl State {
    fn map(&self) -> Kept {
        self.record.state()
    }

    /// A write of the map arrives and is applied.
    fn apply(&mut self, sent: &Sent<Kept>) {
        let Some(after) = &sent.new.state else { return };
        if let Some(before) = self.map()
            && (after.token() < before.token() || after.version() <= before.version())
        {
            self.broken = Some("M1: the map of an older term, or an older map");
        }
        for shard in after.shards() {
            let Some(owner) = shard.owner() else { continue };
            if self.owned.entry((shard.id(), shard.epoch())).or_insert_with(|| owner.clone()) != owner {
                self.broken = Some("M1: two owners under one epoch");
            }
        }
        self.record.put(sent);
    }

    /// The map as it is taken over: what was there, under the new term.
    fn take_over(&mut self, world: &World, index: usize) -> Option<()> {
        let leader = &mut self.leaders[index];
        if leader.fenced || leader.written.is_some() || leader.write.is_some() {
            return None;
        }
        let map = match self.record.state() {
            Some(map) => match map.led_by(term(index)) {
                Ok(map) => map,
                Err(_) => {
                    leader.fenced = true;
                    return Some(());
                }
            },
            None => ShardMap::new(term(index), (0..world.shards).map(ShardId::new)).ok()?,
        };
        leader.write = Some(Write::new(self.record.over(Some(map), index.to_string())));
        Some(())
    }

    fn round(&mut self, index: usize, ask: Option<(ShardId, usize)>) -> Option<()> {
        let leader = &self.leaders[index];
        let written = leader.written.clone().filter(|_| leader.write.is_none() && !leader.fenced)?;
        let map = written.state.clone()?;
        let mut next = map.clone();
        // A request that is refused stays refused; what is told of a tenure that is over too.
        for (shard, epoch, node) in &self.given_up {
            next = next.given_up(*shard, *epoch, name(*node).as_str()).unwrap_or(next);
        }
        if let Some((shard, to)) = ask {
            self.asks = self.asks.checked_sub(1)?;
            next = next.asked_for(shard, &name(to)).ok()?;
        }
        let lives = (0..self.nodes.len()).filter(|node| self.nodes[*node].lives);
        let takers: Vec<_> = lives.map(|node| Candidate::new(name(node))).collect();
        next = next.apply(&plan(&next, &takers, &PlanOptions::default())).ok()?;
        if next.version() == map.version() {
            return None;
        }
        let sent = Sent::after(&written, Some(next), index.to_string());
        self.leaders[index].write = Some(Write::new(sent));
        Some(())
    }

    fn serve(&mut self, index: usize) -> Option<()> {
        let mut write = self.leaders[index].write.take()?;
        match write.answer(&self.record) {
            Answer::Applies => {
                self.apply(&write.sent);
                self.leaders[index].written = Some(write.sent.new);
            }
            Answer::Applied => self.leaders[index].written = Some(write.sent.new),
            // It looks, and finds a newer term, or its own map as it was.
            Answer::Refused => {
                let newer = self.map().is_some_and(|map| map.token() > term(index));
                self.leaders[index].fenced |= newer;
            }
            Answer::Open => self.leaders[index].write = Some(write),
            Answer::Untold => self.broken = Some("a history too short for this world"),
        }
        Some(())
    }
}

impl Node {
    /// What `agent.rs` does with a map that it has read.
    fn adopt(&mut self, index: usize) -> Option<()> {
        let map = self.read.take()?;
        if !self.lives {
            return Some(());
        }
        let me = name(index);
        self.held.retain(|shard, (epoch, _)| {
            map.shard(*shard).is_some_and(|shard| shard.owner() == Some(&me) && shard.epoch() == *epoch)
        });
        for shard in map.owned_by(me.as_str()) {
            let serves = matches!(shard.state(), ShardState::Owned { .. });
            self.held.entry(shard.id()).or_insert((shard.epoch(), serves));
        }
        Some(())
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = Node { lives: true, read: None, held: BTreeMap::new() };
        vec![State {
            record: Object::default(),
            leaders: Vec::new(),
            nodes: vec![node; self.nodes],
            given_up: BTreeSet::new(),
            owned: BTreeMap::new(),
            asks: self.asks,
            faults: self.faults,
            ends: self.ends,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Elect);
        for leader in 0..state.leaders.len() {
            actions.extend([Action::TakeOver(leader), Action::Serve(leader), Action::Lose(leader)]);
            actions.push(Action::Round(leader, None));
            for shard in (0..self.shards).map(ShardId::new) {
                actions.extend((0..self.nodes).map(|node| Action::Round(leader, Some((shard, node)))));
            }
        }
        actions.extend((0..state.record.late()).map(Action::Late));
        for (index, node) in state.nodes.iter().enumerate() {
            actions.extend([Action::Read(index), Action::Adopt(index), Action::End(index)]);
            for (shard, (_, serves)) in &node.held {
                actions.push(if *serves { Action::Stop(index, *shard) } else { Action::Tell(index, *shard) });
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Elect => {
                if next.leaders.len() as u64 == self.terms {
                    return None;
                }
                next.leaders.push(Leader { fenced: false, written: None, write: None });
            }
            Action::TakeOver(leader) => next.take_over(self, leader)?,
            Action::Round(leader, ask) => next.round(leader, ask)?,
            Action::Serve(leader) => next.serve(leader)?,
            Action::Lose(leader) => {
                next.faults = next.faults.checked_sub(1)?;
                let write = next.leaders[leader].write.as_mut()?;
                write.unknown = true;
                next.record.haunt(write.sent.clone());
            }
            Action::Late(late) => {
                let sent = next.record.arriving(late)?;
                next.apply(&sent);
            }
            Action::Read(node) => {
                let map = last.map();
                let node = &mut next.nodes[node];
                if !node.lives || node.read.is_some() {
                    return None;
                }
                node.read = map;
            }
            Action::Adopt(node) => next.nodes[node].adopt(node)?,
            Action::Stop(node, shard) => {
                // When it is asked to; a node that gives up what it likes is the same with more states.
                let moves =
                    |map: &ShardMap| map.shard(shard).is_some_and(|shard| shard.moving_to().is_some());
                if !last.map().as_ref().is_some_and(moves) {
                    return None;
                }
                next.nodes[node].held.get_mut(&shard)?.1 = false;
            }
            Action::Tell(node, shard) => {
                let (epoch, _) = next.nodes[node].held[&shard];
                if !next.given_up.insert((shard, epoch, node)) {
                    return None;
                }
            }
            Action::End(node) => {
                next.ends = next.ends.checked_sub(1)?;
                next.nodes[node].lives.then_some(())?;
                next.nodes[node].lives = false;
            }
        }
        let leaders = &mut next.leaders;
        let (written, writes): (Vec<_>, Vec<_>) =
            leaders.iter_mut().map(|leader| (&mut leader.written, &mut leader.write)).unzip();
        next.record
            .forget_also(writes.into_iter(), written.into_iter().flatten().map(|stored| &mut stored.history));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("M1: one owner in a map and for an epoch", |_, state: &State| {
                state.broken.is_none()
            }),
            Property::always("no two serve one shard", |world: &Self, state: &State| {
                (0..world.shards).map(ShardId::new).all(|shard| {
                    let serves =
                        |node: &&Node| node.lives && node.held.get(&shard).is_some_and(|(_, serves)| *serves);
                    state.nodes.iter().filter(serves).count() < 2
                })
            }),
            Property::sometimes("a shard changed hands", |_, state: &State| {
                let mut owners = state.owned.iter().map(|((shard, _), owner)| (shard, owner));
                let first = owners.next();
                owners.any(|(shard, owner)| first.is_some_and(|first| first.0 == shard && first.1 != owner))
            }),
        ]
    }
}

#[test]
fn a_shard_has_one_owner_though_leaders_are_deposed_and_it_moves() {
    explore(World { nodes: 2, shards: 1, terms: 2, asks: 2, faults: 1, ends: 0 });
}

#[test]
fn a_shard_has_one_owner_though_nodes_die() {
    explore(World { nodes: 2, shards: 1, terms: 2, asks: 1, faults: 1, ends: 2 });
}

#[test]
fn shards_have_one_owner_each_while_one_moves_and_a_node_dies() {
    explore(World { nodes: 2, shards: 2, terms: 1, asks: 1, faults: 1, ends: 1 });
}
