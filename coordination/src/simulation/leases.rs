//! Leases, as they are shipped: acquire in every way, hold, work, leave in every way.

use std::time::Duration;

use leasehold_core::BoxFuture;

use super::{
    guarded,
    program::{MACHINES, Play, Program, TTL, shared, ttl},
};
use crate::{Lease, Leases, Wait};

const NAMES: [&str; 2] = ["one", "other"];

fn script(program: Program) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let connect = || Leases::connect(program.store(), program.node());
        let Some(leases) = program.until_it_works(connect).await else { return };
        let workers: Vec<_> =
            (0..2).map(|_| program.spawn(worker(program.clone(), leases.clone()))).collect();
        for worker in workers {
            worker.await.expect("a worker lives as long as its program");
        }
    })
}

pub(super) fn any_wait(program: &Program) -> Wait {
    match program.world.below(3) {
        0 => Wait::Try,
        1 => Wait::For(Duration::from_millis(program.world.below(3_000))),
        _ => Wait::Forever,
    }
}

async fn worker(program: Program, leases: Leases) {
    let world = program.world.clone();
    while !program.stops() {
        let name = NAMES[world.below(2) as usize];
        world.note(format!("{} wants {name}", program.name()));
        let request = leases.acquire(name).ttl(ttl()).wait(any_wait(&program)).into_future();
        match program.unless_dropped(15, request).await {
            Some(Ok(Some(lease))) => hold(&program, name, lease).await,
            Some(Err(error)) => world.note(format!("{} could not acquire: {error}", program.name())),
            Some(Ok(None)) | None => {}
        }
        program.rest(100).await;
    }
}

async fn hold(program: &Program, name: &str, lease: Lease) {
    let world = &program.world;
    let who = format!("{} token {}", program.name(), lease.token());
    world.note(format!("{who} holds {name}"));
    if !lease.is_valid() {
        world.fail(format_args!("{who} was given {name} when it was over"));
    }
    world.audit().count("held");
    let guard = lease.guard(program.store());
    let lost = lease.lost();
    // One that never hears of it, nor looks at the clock: a stale holder that really sends its writes.
    let deaf = world.chance(30);
    let held = shared(lease);
    world.believe(name, &who, 1, &held, Lease::remaining);
    tokio::select! {
        biased;
        reason = lost, if !deaf => {
            if held.lock().as_ref().is_some_and(Lease::is_valid) {
                world.fail(format_args!("{who} was told that {name} is over ({reason}) and it is valid"));
            }
            world.audit().count("lost");
        }
        () = async {
            let guard = if deaf { guard.trusting_only_the_store() } else { guard };
            guarded::work(program, guard, name).await;
            program.rest(2_500).await;
        } => {}
    }
    world.check_beliefs(name);
    let Some(lease) = held.lock().take() else { return };
    let to = format!("m{}", 1 + world.below(MACHINES as u64));
    world.note(format!("{who} leaves {name}"));
    let left = match world.below(4) {
        0 | 1 => program.unless_dropped(20, lease.release()).await,
        2 => program.unless_dropped(20, lease.hand_over(to)).await,
        _ => {
            drop(lease);
            Some(Ok(()))
        }
    };
    if matches!(left, Some(Ok(()))) {
        world.audit().count("left");
    }
}

/// Whoever comes last gets every lease, after one time to live at most.
fn finale(program: Program) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let leases = Leases::connect(program.store(), program.node()).await.expect("all is well");
        for name in NAMES {
            let began = program.world.now();
            let lease =
                leases.acquire(name).ttl(ttl()).await.expect("all is well").expect("it waits for ever");
            let took = Duration::from_micros(program.world.now() - began);
            if took > TTL * 4 {
                program.world.fail(format_args!("progress: it took {took:?} to acquire {name}"));
            }
            guarded::work(&program, lease.guard(program.store()), name).await;
            assert!(lease.is_valid(), "nothing takes it away");
            lease.release().await.expect("all is well");
        }
    })
}

const PLAY: Play = Play { script, finale, drift: 0.01 };

#[test]
fn leases_exclude_fence_and_go_on() {
    let seen = PLAY.seeds(0, 500);
    seen.must_have(&[
        "held",
        "takeovers",
        "lost",
        "left",
        "acknowledged writes",
        "crashes",
        "pauses",
        "partitions",
    ]);
    assert_eq!(seen.of("overlaps"), 0);
}

#[test]
fn leases_fence_whatever_the_clocks_do() {
    let seen = Play { drift: 0.7, ..PLAY }.seeds(10_000, 100);
    seen.must_have(&["held", "takeovers", "lost", "acknowledged writes", "overlaps"]);
}
