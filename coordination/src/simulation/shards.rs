//! Shards, by leases and under a leader: served by one node at a time, and by all that are well.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use leasehold_core::Result;

use super::{
    audit::Audit,
    executor::World,
    guarded,
    leases::any_wait,
    network::{Network, Tells},
    program::{Play, Program, Seen, TTL, shared, ttl},
};
use crate::{
    Wait,
    shards::{LeasedShards, LedShards, Move, Owners, ShardCoordinator, ShardGuard, ShardId},
};

const SHARDS: u32 = 4;

type Coordinator = Arc<dyn ShardCoordinator>;

async fn leased(program: &Program) -> Result<Coordinator> {
    let shards = LeasedShards::join(program.store(), program.node(), SHARDS).ttl(ttl()).await?;
    Ok(Arc::new(shards))
}

async fn led(program: &Program) -> Result<Coordinator> {
    let shards = LedShards::join(program.store(), program.node(), SHARDS).ttl(ttl()).await?;
    Ok(Arc::new(shards))
}

/// Takes part, and leaves once all shards are served by those that are well.
async fn take_part<F>(program: Program, join: impl Fn() -> F)
where
    F: Future<Output = Result<Coordinator>>,
{
    let Some(shards) = program.until_it_works(join).await else { return };
    let serving = program.spawn(serve_all(program.clone(), shards.clone()));
    let asking = program.spawn(ask(program.clone(), shards.clone()));
    look_on(&program, &*shards).await;
    asking.await.expect("a task lives as long as its program");
    program.world.note(format!("{} leaves", program.name()));
    // Who cannot say so is dead to others after its time to live.
    let _ = shards.leave().await;
    serving.await.expect("a task lives as long as its program");
    program.world.audit().count("left");
}

/// Serves what it is told to, until it has left and all of that has ended.
async fn serve_all(program: Program, shards: Coordinator) {
    let mut served = Vec::new();
    while let Some(moved) = shards.moves().await {
        match moved {
            Move::Gained(guard) => served.push(program.spawn(serve(program.clone(), guard, false))),
            Move::Revoked(_) => program.world.audit().count("revoked"),
        }
    }
    for ended in served {
        ended.await.expect("a task lives as long as its program");
    }
}

/// Asks for shards out of turn.
async fn ask(program: Program, shards: Coordinator) {
    while !program.stops() {
        program.rest(4_000).await;
        let shard = ShardId::new(program.world.below(u64::from(SHARDS)) as u32);
        let request = shards.acquire(shard, any_wait(&program));
        // One that waits for ever would wait for those who wait for it.
        let request = async {
            tokio::select! {
                biased;
                got = request => got.ok().flatten(),
                () = program.rest(6_000) => None,
            }
        };
        if let Some(Some(guard)) = program.unless_dropped(15, request).await {
            program.world.audit().count("asked for");
            serve(program.clone(), guard, true).await;
        }
    }
}

async fn serve(program: Program, guard: ShardGuard, for_a_while: bool) {
    let world = &program.world;
    let name = format!("shard-{}", guard.shard());
    let who = format!("{} token {}", program.name(), guard.token());
    world.note(format!("{who} serves {name}"));
    world.audit().count("served");
    let writer = guard.guard(program.store());
    let (lost, revoked) = (guard.lost(), guard.revoked());
    // One that never hears of it, nor looks at the clock: a stale owner that really sends its writes.
    let deaf = world.chance(30);
    let writer = if deaf { writer.trusting_only_the_store() } else { writer };
    let held = shared(guard);
    world.believe(&name, &who, 1, &held, ShardGuard::remaining);
    tokio::select! {
        biased;
        reason = lost, if !deaf => {
            if held.lock().as_ref().is_some_and(ShardGuard::is_valid) {
                world.fail(format_args!("{who} was told that {name} is over ({reason}) and it is valid"));
            }
            world.audit().count("lost");
        }
        () = revoked => program.rest(300).await,
        () = async {
            loop {
                guarded::work(&program, writer.clone(), &name).await;
                program.rest(1_000).await;
                if for_a_while || world.chance(10) || deaf && program.stops() {
                    break;
                }
            }
        } => {}
    }
    world.check_beliefs(&name);
    let Some(guard) = held.lock().take() else { return };
    world.note(format!("{who} gives {name} up"));
    if world.chance(30) {
        return drop(guard);
    }
    if let Some(Ok(())) = program.unless_dropped(20, guard.release()).await {
        world.audit().count("released");
    }
}

/// Watches who owns what until all is well and everything is owned by those who are there. No token goes back.
async fn look_on(program: &Program, shards: &dyn ShardCoordinator) {
    let world = &program.world;
    let mut known: Option<Owners> = None;
    loop {
        let wait = Wait::For(Duration::from_millis(world.below(2_000)));
        if let Some(Ok(Some(owners))) = program.unless_dropped(20, shards.watch(known.as_ref(), wait)).await {
            let back = |owner: &crate::shards::ShardOwner| {
                let before = known.iter().flat_map(|known| &known.shards);
                before.filter(|before| before.shard == owner.shard).any(|before| before.token > owner.token)
            };
            if let Some(owner) = owners.shards.iter().find(|owner| back(owner)) {
                world.fail(format_args!("L1: the token of {owner:?} was greater before: {known:?}"));
            }
            world.audit().count("observed");
            known = Some(owners);
        }
        let is_divided = known.as_ref().is_some_and(|known| {
            known.shards.len() == SHARDS as usize
                && known.shards.iter().all(|owner| program.runs(&owner.node))
        });
        if program.stops() && is_divided {
            return world.audit().count("divided");
        }
        program.rest(100).await;
    }
}

/// Whoever comes last gets every shard.
async fn conclude(program: Program, join: impl Future<Output = Result<Coordinator>>) {
    let world = program.world.clone();
    let began = world.now();
    let shards = join.await.expect("all is well");
    let mut served = BTreeMap::new();
    while served.len() < SHARDS as usize {
        match shards.moves().await.expect("it has not left") {
            Move::Gained(guard) => {
                served.insert(guard.shard(), program.spawn(serve_to_the_end(program.clone(), guard)));
            }
            // Nodes that are dead may be taken for well at first.
            Move::Revoked(shard) => drop(served.remove(&shard)),
        }
    }
    let took = Duration::from_micros(world.now() - began);
    if took > TTL * if world.audit().bounded { 20 } else { 60 } {
        world.fail(format_args!("progress: it took {took:?} to own all shards"));
    }
    shards.leave().await.expect("all is well");
    for ended in served.into_values() {
        ended.await.expect("nothing happens to the machine");
    }
}

async fn serve_to_the_end(program: Program, guard: ShardGuard) {
    let name = format!("shard-{}", guard.shard());
    guarded::work(&program, guard.guard(program.store()), &name).await;
    assert!(guard.is_valid(), "nothing takes it away");
    guard.revoked().await;
    guard.release().await.expect("all is well");
}

const LEASED: Play = Play {
    script: |program| Box::pin(async move { take_part(program.clone(), || leased(&program)).await }),
    finale: |program| Box::pin(async move { conclude(program.clone(), leased(&program)).await }),
    drift: 0.01,
};

const LED: Play = Play {
    script: |program| Box::pin(async move { take_part(program.clone(), || led(&program)).await }),
    finale: |program| Box::pin(async move { conclude(program.clone(), led(&program)).await }),
    drift: 0.01,
};

fn all_of_it_happened(seen: &Seen) {
    seen.must_have(&[
        "served",
        "released",
        "revoked",
        "lost",
        "asked for",
        "observed",
        "divided",
        "left",
        "acknowledged writes",
        "crashes",
        "pauses",
        "partitions",
    ]);
}

#[test]
fn shards_by_leases_have_one_owner_and_go_on() {
    let seen = LEASED.seeds(60_000, 300);
    all_of_it_happened(&seen);
    assert_eq!(seen.of("overlaps"), 0);
}

#[test]
fn shards_by_leases_are_fenced_whatever_the_clocks_do() {
    all_of_it_happened(&Play { drift: 0.7, ..LEASED }.seeds(70_000, 100));
}

#[test]
fn shards_under_a_leader_have_one_owner_and_go_on() {
    let seen = LED.seeds(80_000, 300);
    all_of_it_happened(&seen);
    seen.must_have(&["maps"]);
    assert_eq!(seen.of("overlaps"), 0);
}

#[test]
fn shards_under_a_leader_are_fenced_whatever_the_clocks_do() {
    all_of_it_happened(&Play { drift: 0.7, ..LED }.seeds(90_000, 100));
}

/// Keeps what it is given until it is asked back.
async fn keep_all(shards: Coordinator) {
    let mut kept = BTreeMap::new();
    while let Some(moved) = shards.moves().await {
        match moved {
            Move::Gained(guard) => drop(kept.insert(guard.shard(), guard)),
            Move::Revoked(shard) => drop(kept.remove(&shard)),
        }
    }
}

#[test]
fn a_leader_whose_heart_is_not_heard_keeps_what_it_serves() {
    let world = World::new(0, 2, 0.0, Network::new(false, Tells::Never), Audit::new(true));
    world.network().stormy = false;
    let directed = world.clone();
    world.run(120_000_000, async move {
        let world = directed;
        let mut nodes = Vec::new();
        for machine in [1, 2] {
            let program = world.program(machine);
            let joins = program.clone();
            let joined = program.spawn(async move { led(&joins).await.expect("all is well") });
            let shards = joined.await.expect("nothing happens to the machine");
            program.spawn(keep_all(shards.clone()));
            nodes.push(shards);
            world.sleep(5_000_000).await;
        }
        world.network().unheard = vec![1];
        world.sleep(10_000_000).await;
        let asks = nodes[1].clone();
        let told = world.program(2).spawn(async move { asks.watch(None, Wait::Try).await });
        let owners = told.await.expect("nothing happens to the machine").expect("all is well");
        let counts = owners.expect("there is a map");
        assert_eq!(counts.per_node(), BTreeMap::from([("m1", 2), ("m2", 2)]));
    });
    world.end();
}
