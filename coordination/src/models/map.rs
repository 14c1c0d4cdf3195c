//! The map of shards and its planner: every map that three nodes and three shards can come to, without any bound on the
//! steps. Maps that differ in nothing but their numbers are one.

use std::hash::{Hash, Hasher};

use stateright::{Model, Property};

use super::explore;
use crate::{
    NodeName, Token,
    shards::{Candidate, Change, PlanOptions, Shard, ShardId, ShardMap, ShardState, plan},
};

const NODES: usize = 3;
const SHARDS: u32 = 3;

#[derive(Clone, Debug)]
struct World {
    options: PlanOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Life {
    Gone,
    Draining,
    Lives,
}

#[derive(Clone, Debug)]
struct State {
    map: ShardMap,
    nodes: [Life; NODES],
    broken: Option<&'static str>,
}

impl State {
    fn shown(&self) -> (Vec<&ShardState>, [Life; NODES], bool) {
        (self.map.shards().iter().map(|shard| shard.state()).collect(), self.nodes, self.broken.is_some())
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.shown() == other.shown()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.shown().hash(state);
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Becomes(usize, Life),
    Plan,
    GiveUp(ShardId),
    Seal(ShardId),
    Ask(ShardId, usize),
    Bury(usize),
}

fn name(node: usize) -> NodeName {
    NodeName::new(format!("node-{node}")).expect("a name")
}

impl World {
    fn candidates(state: &State) -> Vec<Candidate> {
        let there = (0..NODES).filter(|node| state.nodes[*node] != Life::Gone);
        there.map(|node| Candidate::new(name(node)).draining(state.nodes[node] == Life::Draining)).collect()
    }
}

/// Where each shard is or will be: the live node that it moves to, or else its live owner.
fn places(state: &State, map: &ShardMap) -> Vec<Option<usize>> {
    let live = |wanted: &NodeName| {
        (0..NODES).find(|node| name(*node) == *wanted && state.nodes[*node] != Life::Gone)
    };
    let place = |shard: &Shard| {
        let owner = shard.owner().and_then(live);
        owner.and(shard.moving_to().and_then(live)).or(owner)
    };
    map.shards().iter().map(place).collect()
}

/// The fewest shards that have to leave live nodes until each has its share: the fullest may have one more than the others.
fn fewest(state: &State) -> usize {
    let places = places(state, &state.map);
    let takers: Vec<usize> = (0..NODES).filter(|node| state.nodes[*node] == Life::Lives).collect();
    let held = |node: usize| places.iter().filter(|place| **place == Some(node)).count();
    if takers.is_empty() {
        return 0;
    }
    let (each, more) = (SHARDS as usize / takers.len(), SHARDS as usize % takers.len());
    let mut counts: Vec<usize> = takers.iter().map(|node| held(*node)).collect();
    counts.sort_by_key(|count| std::cmp::Reverse(*count));
    let above =
        counts.iter().enumerate().map(|(nth, count)| count.saturating_sub(each + usize::from(nth < more)));
    let drained = (0..NODES).filter(|node| state.nodes[*node] == Life::Draining).map(held);
    above.sum::<usize>() + drained.sum::<usize>()
}

fn moves_are_the_fewest(world: &World, state: &State) -> bool {
    let made = plan(&state.map, &World::candidates(state), &world.options);
    let Ok(next) = state.map.apply(&made) else { return false };
    let (before, after) = (places(state, &state.map), places(state, &next));
    let displaced =
        before.iter().zip(&after).filter(|(before, after)| before.is_some() && before != after).count();
    // A move may only be due where somebody holds more than the share.
    displaced <= fewest(state)
}

fn planning_again_changes_nothing(world: &World, state: &State) -> bool {
    let made = plan(&state.map, &World::candidates(state), &world.options);
    let Ok(next) = state.map.apply(&made) else { return false };
    if !plan(&next, &World::candidates(state), &world.options).is_empty() {
        return false;
    }
    let mut done = next.clone();
    for shard in next.shards().iter().filter(|shard| shard.moving_to().is_some()) {
        let Ok(sealed) = done.sealed(shard.id(), shard.epoch()) else { return false };
        done = sealed;
    }
    made.waiting() > 0 || plan(&done, &World::candidates(state), &world.options).is_empty()
}

/// Whether one step of a map keeps what must be kept of epochs.
fn follows(before: &ShardMap, after: &ShardMap) -> bool {
    let shards = before.shards().iter().zip(after.shards());
    let mut kept = shards.map(|(before, after)| {
        before.id() == after.id()
            && after.epoch() >= before.epoch()
            && (before.owner() == after.owner() || after.epoch() == before.epoch() + 1)
    });
    kept.all(|kept| kept) && (after == before || after.version() > before.version())
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let map = ShardMap::new(Token::new(1), (0..SHARDS).map(ShardId::new)).expect("a map");
        vec![State { map, nodes: [Life::Gone; NODES], broken: None }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Plan);
        for node in 0..NODES {
            actions.extend([Life::Gone, Life::Draining, Life::Lives].map(|life| Action::Becomes(node, life)));
            actions.push(Action::Bury(node));
        }
        for shard in state.map.shards() {
            actions.extend([Action::GiveUp(shard.id()), Action::Seal(shard.id())]);
            actions.extend((0..NODES).map(|node| Action::Ask(shard.id(), node)));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        let epoch = |shard: ShardId| last.map.shard(shard).map(Shard::epoch);
        match action {
            Action::Becomes(node, life) => next.nodes[node] = life,
            Action::Plan => {
                let made = plan(&last.map, &Self::candidates(last), &self.options);
                let stays = |change: &Change| matches!(change, Change::Stay { .. });
                next.map = last.map.apply(&made).ok()?;
                let ends = made.changes().iter().filter(|change| stays(change));
                if ends
                    .map(Change::shard)
                    .any(|shard| next.map.shard(shard).map(|shard| shard.epoch()) == epoch(shard))
                {
                    next.broken =
                        Some("a move that was called off goes on under the epoch that may be sealed");
                }
            }
            Action::GiveUp(shard) => {
                let owner = last.map.shard(shard)?.owner()?.clone();
                next.map = last.map.given_up(shard, epoch(shard)?, owner.as_str()).ok()?;
            }
            Action::Seal(shard) => next.map = last.map.sealed(shard, epoch(shard)?).ok()?,
            Action::Ask(shard, node) if last.nodes[node] != Life::Gone => {
                next.map = last.map.asked_for(shard, &name(node)).ok()?;
            }
            Action::Ask(..) => return None,
            Action::Bury(node) => next.map = last.map.owner_died(name(node).as_str()),
        }
        if !follows(&last.map, &next.map) {
            next.broken = Some("M1: another owner without the next epoch");
        }
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("M1: a new owner has a new epoch", |_, state: &State| state.broken.is_none()),
            Property::always("M3: moves are the fewest", moves_are_the_fewest),
            Property::always("M4: planning again changes nothing", planning_again_changes_nothing),
        ]
    }
}

#[test]
fn m1_m3_and_m4_hold_for_every_map_of_three_nodes_and_three_shards() {
    for options in [PlanOptions::default(), PlanOptions::default().moves_max(usize::MAX)] {
        explore(World { options });
    }
}
