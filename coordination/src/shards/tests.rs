//! The laws of the planner, each over thousands of random maps and sets of nodes. A failure names its seed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fastrand::Rng;
use leasehold_core::ErrorKind;

use super::*;
use crate::{NodeName, Token};

const SEEDS: u64 = 4_000;

fn name(number: usize) -> NodeName {
    NodeName::new(format!("node-{number}")).unwrap()
}

/// Candidates of weight 1.
fn nodes(count: usize) -> Vec<Node> {
    (0..count).map(|number| Node { name: name(number), weight: 1, draining: false, avoid: false }).collect()
}

/// A candidate whose settings can be read.
#[derive(Clone, Debug)]
struct Node {
    name: NodeName,
    weight: u32,
    draining: bool,
    avoid: bool,
}

impl Node {
    fn takes(&self) -> bool {
        self.weight > 0 && !self.draining
    }

    fn candidate(&self) -> Candidate {
        Candidate::new(self.name.clone()).weight(self.weight).draining(self.draining).avoid(self.avoid)
    }
}

fn candidates(nodes: &[Node]) -> Vec<Candidate> {
    nodes.iter().map(Node::candidate).collect()
}

fn unlimited() -> PlanOptions {
    PlanOptions::default().moves_max(usize::MAX)
}

fn random_nodes(random: &mut Rng, avoided: bool) -> Vec<Node> {
    let kind = random.u32(..3);
    let (drains, avoids) = (random.f64() / 2.0, if avoided { random.f64() / 2.0 } else { 0.0 });
    (0..random.usize(..8))
        .map(|number| Node {
            name: name(number),
            weight: match kind {
                0 => 1,
                1 => random.u32(..5),
                _ => random.u32(1..1_000_000),
            },
            draining: random.f64() < drains,
            avoid: random.f64() < avoids,
        })
        .collect()
}

/// Shards in any state, of nodes that are alive (0 to 7, some of them) and of others that never are (8 and 9).
fn random_map(random: &mut Rng) -> ShardMap {
    let (first, end) = (random.usize(..5), random.usize(5..10));
    let any = |random: &mut Rng| name(random.usize(first..=end));
    let ids: BTreeSet<u32> = (0..random.usize(..100)).map(|_| random.u32(..10_000)).collect();
    let version = random.u64(1..9);
    let shards = ids.into_iter().map(|id| {
        let (owner, to) = (any(random), any(random));
        let state = match random.u32(..8) {
            0 => ShardState::Free,
            1 | 2 if owner != to => ShardState::Moving { owner, to },
            _ => ShardState::Owned { owner },
        };
        Shard::recorded(ShardId::new(id), random.u64(1..9), state)
    });
    ShardMap::recorded(version, Token::new(1), shards.collect()).unwrap()
}

fn random_options(random: &mut Rng) -> PlanOptions {
    let options = PlanOptions::default().room_percent(random.u32(..100));
    match random.u32(..4) {
        0 => options,
        1 => options.moves_max(random.usize(..5)),
        2 => options.moves_max(usize::MAX),
        _ => options.moves_max(random.usize(1..20)).hysteresis_percent(random.u32(..150)),
    }
}

/// Where each shard is or will be: the live node that it moves to, or else its live owner.
fn places<'a>(map: &'a ShardMap, nodes: &[Node]) -> BTreeMap<ShardId, Option<&'a NodeName>> {
    let live = |name: &&NodeName| nodes.iter().any(|node| node.name == **name);
    let place = |shard: &'a Shard| {
        let owner = shard.owner().filter(live);
        if shard.moving_to().is_some() { owner.and(shard.moving_to().filter(live)).or(owner) } else { owner }
    };
    map.shards().iter().map(|shard| (shard.id(), place(shard))).collect()
}

fn count(map: &ShardMap, nodes: &[Node], name: &NodeName) -> usize {
    places(map, nodes).values().filter(|place| **place == Some(name)).count()
}

/// How many shards that had a place on a live node have another one.
fn displaced(before: &ShardMap, after: &ShardMap, nodes: &[Node]) -> usize {
    let after = places(after, nodes);
    places(before, nodes).iter().filter(|(id, place)| place.is_some() && after[id] != **place).count()
}

fn seal(map: &ShardMap, shard: &Shard) -> ShardMap {
    map.sealed(shard.id(), shard.epoch()).unwrap()
}

fn seal_all(map: &ShardMap) -> ShardMap {
    let moving = map.shards().iter().filter(|shard| shard.moving_to().is_some());
    moving.fold(map.clone(), |map, shard| seal(&map, shard))
}

/// Plans and seals, some moves at a time, until there is nothing left to do.
fn settle(mut map: ShardMap, nodes: &[Node], options: &PlanOptions, random: &mut Rng) -> ShardMap {
    for _ in 0..10_000 {
        let next = map.apply(&plan(&map, &candidates(nodes), options)).unwrap();
        let moving: Vec<_> = next.shards().iter().filter(|shard| shard.moving_to().is_some()).collect();
        if next == map && moving.is_empty() {
            return map;
        }
        let sealed =
            moving.iter().filter(|_| random.bool()).fold(next.clone(), |map, shard| seal(&map, shard));
        map = sealed;
    }
    panic!("it does not settle");
}

/// The fewest shards that have to leave live nodes so that every node has its share, rounded either way: over every
/// way to round that adds up.
fn fewest(map: &ShardMap, nodes: &[Node]) -> usize {
    let shards = map.shards().len();
    let taking: Vec<_> = nodes.iter().filter(|node| node.takes()).collect();
    if taking.is_empty() {
        return 0;
    }
    let drained: usize =
        nodes.iter().filter(|node| !node.takes()).map(|node| count(map, nodes, &node.name)).sum();
    let held: Vec<_> = taking.iter().map(|node| count(map, nodes, &node.name)).collect();
    let share = |index: usize| share(shards, nodes, taking[index]);
    let excess = (0..1_u32 << taking.len()).filter_map(|up| {
        let quota = |index: usize| if up >> index & 1 == 1 { share(index).1 } else { share(index).0 };
        let quotas: Vec<_> = (0..taking.len()).map(quota).collect();
        let sum: usize = quotas.iter().sum();
        let excess = held.iter().zip(&quotas).map(|(held, quota)| held.saturating_sub(*quota)).sum::<usize>();
        (sum == shards).then_some(excess)
    });
    drained + excess.min().unwrap()
}

/// The share of a node that takes shards, rounded down and up.
fn share(shards: usize, nodes: &[Node], node: &Node) -> (usize, usize) {
    let weight: u64 = nodes.iter().filter(|node| node.takes()).map(|node| u64::from(node.weight)).sum();
    let product = shards as u64 * u64::from(node.weight);
    ((product / weight) as usize, product.div_ceil(weight) as usize)
}

#[test]
fn the_moves_are_the_fewest_that_even_out() {
    for seed in 0..SEEDS {
        let random = &mut Rng::with_seed(seed);
        let (map, nodes) = (random_map(random), random_nodes(random, false));
        let after = map.apply(&plan(&map, &candidates(&nodes), &unlimited())).unwrap();
        assert_eq!(displaced(&map, &after, &nodes), fewest(&map, &nodes), "seed {seed}: {map:?}\n{nodes:?}");
    }
}

#[test]
fn a_bound_on_moves_under_way_makes_them_no_more() {
    for seed in 0..SEEDS / 2 {
        let random = &mut Rng::with_seed(seed);
        let (mut map, nodes) = (random_map(random), random_nodes(random, false));
        let options = PlanOptions::default().moves_max(random.usize(1..6));
        let (fewest, mut moved) = (fewest(&map, &nodes), 0);
        loop {
            let next = map.apply(&plan(&map, &candidates(&nodes), &options)).unwrap();
            moved += displaced(&map, &next, &nodes);
            assert!(moved <= fewest, "seed {seed}");
            let sealed = seal_all(&next);
            if sealed == map {
                break;
            }
            map = sealed;
        }
        assert_eq!(moved, fewest, "seed {seed}");
    }
}

#[test]
fn planning_again_changes_nothing() {
    for seed in 0..SEEDS {
        let random = &mut Rng::with_seed(seed);
        let (map, nodes) = (random_map(random), random_nodes(random, true));
        let options = random_options(random);
        let plan = |map: &ShardMap| plan(map, &candidates(&nodes), &options);
        let first = plan(&map);
        let under_way = map.apply(&first).unwrap();
        assert_eq!(
            plan(&under_way).changes(),
            [],
            "seed {seed}, under way, after {first:?}\n{map:?}\n{nodes:?}"
        );
        assert_eq!(plan(&under_way).waiting(), first.waiting(), "seed {seed}");
        let done = seal_all(&under_way);
        let moved = under_way.moves() > 0;
        if first.waiting() == 0 || !moved {
            assert_eq!(plan(&done).changes(), [], "seed {seed}, done, after {first:?}\n{map:?}\n{nodes:?}");
        }
    }
}

#[test]
fn in_the_end_every_node_has_its_share() {
    for seed in 0..SEEDS / 2 {
        let random = &mut Rng::with_seed(seed);
        let (map, nodes) = (random_map(random), random_nodes(random, false));
        let options = PlanOptions::default().moves_max(random.usize(1..20));
        let settled = settle(map.clone(), &nodes, &options, random);
        if !nodes.iter().any(Node::takes) {
            continue;
        }
        for node in &nodes {
            let owned = settled.owned_by(node.name.as_str()).count();
            let (down, up) = if node.takes() { share(map.shards().len(), &nodes, node) } else { (0, 0) };
            assert!((down..=up).contains(&owned), "seed {seed}: {owned} not in {down}..={up}: {node:?}");
        }
        assert!(settled.shards().iter().all(|shard| shard.owner().is_some()), "seed {seed}");
    }
}

#[test]
fn no_more_moves_are_under_way_than_may_be() {
    for seed in 0..SEEDS {
        let random = &mut Rng::with_seed(seed);
        let (map, nodes) = (random_map(random), random_nodes(random, true));
        let most = random.usize(..10);
        let options = PlanOptions::default().moves_max(most);
        let plan = plan(&map, &candidates(&nodes), &options);
        let next = map.apply(&plan).unwrap();
        assert!(next.moves() <= most.max(map.moves()), "seed {seed}");
        assert!(plan.waiting() == 0 || next.moves() >= most, "seed {seed}: moves wait without a reason");
    }
}

#[test]
fn by_default_a_tenth_of_the_shards_may_move_at_once_and_at_most_sixteen() {
    for (shards, most) in [(3, 1), (64, 6), (1_000, 16)] {
        let map = filled(shards, 2);
        let plan = plan(&map, &candidates(&nodes(4)), &PlanOptions::default());
        assert_eq!(plan.changes().len(), most.min(shards as usize / 2), "{shards}");
    }
}

/// All shards owned by `count` nodes.
fn filled(shards: u32, count: usize) -> ShardMap {
    let map = ShardMap::new(Token::new(1), (0..shards).map(ShardId::new)).unwrap();
    let map = map.apply(&plan(&map, &candidates(&nodes(count)), &PlanOptions::default())).unwrap();
    assert_eq!(map.moves(), 0);
    map
}

#[test]
fn a_node_that_joins_ten_gets_its_share_and_nothing_else_moves() {
    for (shards, moved) in [(1_000, 90), (10_000, 909)] {
        let map = filled(shards, 10);
        let settled = settle(map.clone(), &nodes(11), &PlanOptions::default(), &mut Rng::with_seed(1));
        let differ = map.shards().iter().zip(settled.shards()).filter(|(a, b)| a.owner() != b.owner());
        let to: Vec<_> = differ.map(|(_, shard)| shard.owner().cloned().unwrap()).collect();
        assert_eq!(to, vec![name(10); moved]);
        assert!(moved as f64 <= 0.092 * f64::from(shards));
    }
}

#[test]
fn a_node_that_is_lost_loses_its_shards_and_nothing_else_moves() {
    for seed in 0..SEEDS / 8 {
        let random = &mut Rng::with_seed(seed);
        let count = random.usize(2..12);
        let map = filled(random.u32(1..400), count);
        let lost = name(random.usize(..count));
        let mut left = nodes(count);
        left.retain(|node| node.name != lost);
        for before in [map.clone(), map.owner_died(lost.as_str())] {
            let plan = plan(&before, &candidates(&left), &PlanOptions::default());
            let changed: Vec<_> = plan.changes().iter().map(Change::shard).collect();
            let owned: Vec<_> = map.owned_by(lost.as_str()).map(Shard::id).collect();
            assert_eq!(changed, owned, "seed {seed}");
            let after = before.apply(&plan).unwrap();
            assert_eq!((after.moves(), after.owned_by(lost.as_str()).count()), (0, 0), "seed {seed}");
        }
    }
}

#[test]
fn the_order_of_the_candidates_does_not_matter_and_neither_does_one_that_is_named_twice() {
    for seed in 0..SEEDS {
        let random = &mut Rng::with_seed(seed);
        let (map, nodes) = (random_map(random), random_nodes(random, true));
        let options = random_options(random);
        let mut listed = candidates(&nodes);
        let expected = plan(&map, &listed, &options);
        for node in &nodes {
            let weight = node.weight.saturating_add(random.u32(..3));
            if random.bool() {
                listed.push(Candidate::new(node.name.clone()).weight(weight));
            }
        }
        random.shuffle(&mut listed);
        assert_eq!(plan(&map, &listed, &options), expected, "seed {seed}");
    }
}

#[test]
fn without_a_node_that_takes_shards_nothing_is_given_away() {
    for seed in 0..SEEDS {
        let random = &mut Rng::with_seed(seed);
        let (map, mut nodes) = (random_map(random), random_nodes(random, true));
        nodes.iter_mut().for_each(|node| node.draining = true);
        let plan = plan(&map, &candidates(&nodes), &unlimited());
        assert!(plan.changes().iter().all(|change| matches!(change, Change::Stay { .. })), "seed {seed}");
        assert_eq!(plan.waiting(), 0, "seed {seed}");
        let next = map.apply(&plan).unwrap();
        for (before, after) in map.shards().iter().zip(next.shards()) {
            assert_eq!((before.id(), before.owner()), (after.id(), after.owner()), "seed {seed}");
        }
        assert_eq!(super::plan(&map, &[], &unlimited()).changes(), [], "seed {seed}");
    }
}

#[test]
fn a_node_to_avoid_keeps_what_it_has_and_gets_nothing_new_while_others_have_room() {
    let (mut given, mut spared) = (0, 0);
    for seed in 0..SEEDS {
        let random = &mut Rng::with_seed(seed);
        let (map, nodes) = (random_map(random), random_nodes(random, true));
        let percent = random.u32(..100);
        let after = map.apply(&plan(&map, &candidates(&nodes), &unlimited().room_percent(percent))).unwrap();
        let taking = || nodes.iter().filter(|node| node.takes());
        let weight = |avoid: bool| {
            taking().filter(|node| node.avoid == avoid).map(|node| f64::from(node.weight)).sum::<f64>()
        };
        if weight(false) == 0.0 {
            continue;
        }
        let trusted = taking().filter(|node| !node.avoid).map(|node| count(&after, &nodes, &node.name));
        let carried = trusted.sum::<usize>() as f64;
        let shards = map.shards().len();
        let room = shards as f64 * weight(false) / (weight(false) + weight(true))
            * (1.0 + f64::from(percent) / 100.0);
        for node in taking().filter(|node| node.avoid) {
            let (held, holds) = (count(&map, &nodes, &node.name), count(&after, &nodes, &node.name));
            let most = share(shards, &nodes, node).1;
            assert!(holds >= held.min(most), "seed {seed}: {node:?} lost some of its share");
            assert!(holds <= most, "seed {seed}: {node:?} has more than its share");
            if holds > held {
                given += 1;
                assert!(carried >= room - 1e-6, "seed {seed}: {carried} of {room}");
            } else if holds < most {
                spared += 1;
            }
        }
    }
    assert!(given > 100 && spared > 100, "{given} {spared}");
}

/// As many shards for each node as `counts` says.
fn owned(counts: [u32; 4]) -> ShardMap {
    let owners = counts.iter().enumerate().flat_map(|(node, count)| vec![name(node); *count as usize]);
    let state = |owner| ShardState::Owned { owner };
    let shards = owners.zip(0..).map(|(owner, id)| Shard::recorded(ShardId::new(id), 1, state(owner)));
    ShardMap::recorded(1, Token::new(1), shards.collect()).unwrap()
}

#[test]
fn within_the_hysteresis_nothing_moves_and_beyond_it_all_is_evened_out() {
    let moves = |counts: [u32; 4], percent: u32| {
        let options = unlimited().hysteresis_percent(percent);
        plan(&owned(counts), &candidates(&nodes(4)), &options).changes().len()
    };
    assert_eq!(moves([110, 100, 100, 90], 0), 10);
    assert_eq!(moves([110, 100, 100, 90], 10), 0);
    assert_eq!(moves([111, 99, 100, 90], 10), 11);
    assert_eq!(moves([100, 105, 106, 89], 10), 11);
    assert_eq!(moves([134, 133, 133, 0], 30), 100);
    assert_eq!(moves([134, 133, 133, 0], 100), 0);
    // What drains does so anyhow.
    let mut draining = nodes(4);
    draining[3].draining = true;
    let options = unlimited().hysteresis_percent(1_000);
    assert_eq!(plan(&owned([100; 4]), &candidates(&draining), &options).changes().len(), 100);
}

#[test]
fn what_drains_goes_first_and_then_the_fullest() {
    let mut four = nodes(4);
    four[1].draining = true;
    let from = |moves_max: usize| {
        let plan =
            plan(&owned([40, 5, 43, 0]), &candidates(&four), &PlanOptions::default().moves_max(moves_max));
        let mut from = [0; 4];
        for change in plan.changes() {
            let Change::Move { from: owner, .. } = change else { panic!("{change:?}") };
            from[(0..4).find(|node| name(*node) == *owner).unwrap()] += 1;
        }
        (from, plan.waiting())
    };
    assert_eq!(from(4), ([0, 4, 0, 0], 25));
    assert_eq!(from(5), ([0, 5, 0, 0], 24));
    assert_eq!(from(8), ([0, 5, 3, 0], 21));
    assert_eq!(from(20), ([6, 5, 9, 0], 9));
    assert_eq!(from(50), ([10, 5, 14, 0], 0));
}

#[test]
fn a_node_gives_up_the_shards_that_belong_there_least() {
    let map = owned([0, 60, 0, 0]);
    let plan = plan(&map, &candidates(&nodes(2)), &unlimited());
    let left: BTreeSet<_> = plan.changes().iter().map(Change::shard).collect();
    assert_eq!(left.len(), 30);
    let contender = rendezvous::Contender::new(&name(1), 1);
    let scores = |leaves: bool| {
        let shards = map.shards().iter().map(Shard::id).filter(move |id| left.contains(id) == leaves);
        shards.map(|id| contender.score(id)).collect::<Vec<_>>()
    };
    let most = scores.clone()(true).into_iter().fold(0.0, f64::max);
    assert!(scores(false).into_iter().all(|score| score > most));
}

/// One shard on its way from node 0 to node 1, and as many owned by each node as `owned` says.
fn on_its_way(owned: [u32; 3]) -> ShardMap {
    let mut owners = vec![ShardState::Moving { owner: name(0), to: name(1) }];
    for (node, count) in owned.iter().enumerate() {
        owners.extend(vec![ShardState::Owned { owner: name(node) }; *count as usize]);
    }
    let shards = owners.into_iter().zip(0..).map(|(state, id)| Shard::recorded(ShardId::new(id), 1, state));
    ShardMap::recorded(1, Token::new(1), shards.collect()).unwrap()
}

#[test]
fn a_move_whose_end_is_gone_is_called_off_or_turned_to_another() {
    let without_1 = [nodes(1), nodes(3).split_off(2)].concat();
    let (shard, moves) = (ShardId::new(0), PlanOptions::default().moves_max(0));
    let room = plan(&on_its_way([1, 0, 2]), &candidates(&without_1), &moves);
    assert_eq!(room.changes(), [Change::Stay { shard }]);
    let full = plan(&on_its_way([2, 0, 0]), &candidates(&without_1), &moves);
    assert_eq!(full.changes(), [Change::Move { shard, from: name(0), to: name(2) }]);
    // The same if it only drains.
    let mut draining = nodes(3);
    draining[1].draining = true;
    let full = plan(&on_its_way([2, 0, 0]), &candidates(&draining), &moves);
    assert_eq!(full.changes(), [Change::Move { shard, from: name(0), to: name(2) }]);
}

#[test]
fn a_move_whose_beginning_is_gone_ends_at_once_where_it_was_going() {
    let state = |id: u32| match id {
        0..10 => ShardState::Free,
        10..20 => ShardState::Moving { owner: name(0), to: name(1) },
        _ => ShardState::Owned { owner: name(2) },
    };
    let shards = (0..30).map(|id| Shard::recorded(ShardId::new(id), 1, state(id))).collect();
    let map = ShardMap::recorded(1, Token::new(1), shards).unwrap();
    let plan = plan(&map, &candidates(&nodes(3).split_off(1)), &PlanOptions::default());
    assert_eq!(plan.changes().len(), 20);
    for change in &plan.changes()[10..] {
        assert_eq!(*change, Change::Assign { shard: change.shard(), to: name(1) });
    }
}

/// What is true of every history: leaders plan, owners seal, nodes die, return, drain and fall behind.
#[test]
fn a_shard_has_one_owner_for_each_of_its_epochs_and_keeps_a_live_one_until_it_has_sealed() {
    for seed in 0..SEEDS / 8 {
        let random = &mut Rng::with_seed(seed);
        let mut map = ShardMap::new(Token::new(1), (0..random.u32(..40)).map(ShardId::new)).unwrap();
        let mut tenures: HashMap<(ShardId, u64), Option<NodeName>> = HashMap::new();
        // What owners have sealed because they were asked to, in the order in which they did.
        let mut seals: Vec<(ShardId, u64)> = Vec::new();
        let mut nodes = random_nodes(random, true);
        for step in 0..60 {
            let before = map.clone();
            let mut dead = None;
            let mut sealed = None;
            match random.u32(..10) {
                0 => nodes = random_nodes(random, true),
                1 => {
                    let node = name(random.usize(..8));
                    map = map.owner_died(node.as_str());
                    assert!(
                        map.shards().iter().all(|shard| {
                            shard.owner() != Some(&node) && shard.moving_to() != Some(&node)
                        })
                    );
                    dead = Some(node);
                }
                2 => map = map.led_by(Token::new(map.token().get() + 1)).unwrap(),
                3 => map = ShardMap::decode(&map.encode()).unwrap(),
                4 | 5 => {
                    let moving = map.shards().iter().filter(|shard| shard.moving_to().is_some());
                    seals.extend(moving.filter(|_| random.bool()).map(|shard| (shard.id(), shard.epoch())));
                }
                6 | 7 if !seals.is_empty() => {
                    // Reports come late and more than once.
                    let (id, epoch) = seals[random.usize(..seals.len())];
                    let current = map.shard(id).unwrap().epoch() == epoch;
                    match map.sealed(id, epoch) {
                        Ok(next) => (sealed, map) = (Some(id), next),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "seed {seed}"),
                    }
                    assert_eq!(sealed.is_some(), current, "seed {seed}, step {step}");
                }
                _ => map = map.apply(&plan(&map, &candidates(&nodes), &random_options(random))).unwrap(),
            }
            assert_eq!(map.version() > before.version(), map != before, "seed {seed}, step {step}");
            assert_eq!(map.shards().len(), before.shards().len(), "seed {seed}, step {step}");
            for (was, is) in before.shards().iter().zip(map.shards()) {
                let place = format!("seed {seed}, step {step}: {was:?} became {is:?}");
                assert!(was.id() == is.id() && was.epoch() <= is.epoch(), "{place}");
                let tenure = tenures.entry((is.id(), is.epoch())).or_insert_with(|| is.owner().cloned());
                assert_eq!(tenure.as_ref(), is.owner(), "{place}: two owners in one epoch");
                let serves = is.owner().is_some() && is.moving_to().is_none();
                assert!(!serves || !seals.contains(&(is.id(), is.epoch())), "{place}: it is sealed");
                let live = |owner: &NodeName| {
                    dead.as_ref() != Some(owner) && nodes.iter().any(|node| node.name == *owner)
                };
                if dead.is_none() && sealed != Some(is.id()) && was.owner().is_some_and(live) {
                    assert_eq!(was.owner(), is.owner(), "{place}: a live owner was robbed");
                }
            }
        }
    }
}

#[test]
fn choices_are_what_they_were() {
    let map = filled(12, 3);
    let owners: Vec<_> = map.shards().iter().map(|shard| shard.owner().unwrap().as_str()).collect();
    assert_eq!(owners.concat().replace("node-", ""), "101220220110");
}
