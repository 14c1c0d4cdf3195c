//! Latches and barriers: nobody passes before all are there, and then everybody does.

use std::{future::IntoFuture, time::Duration};

use leasehold_core::BoxFuture;

use super::program::{MACHINES, Play, Program, ttl};
use crate::{Latch, Locks, Wait};

/// What a latch counts down from, and how many counts the programs have to give.
const COUNT: u32 = 6;
const PARTIES: u32 = 2;

/// How often it was tried to count a latch down, and how often that was acknowledged.
#[derive(Default)]
pub(super) struct Counted {
    tried: u32,
    sure: u32,
}

fn script(program: Program) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let connect = || Latch::connect(program.store(), "migrated", COUNT);
        let Some(latch) = program.until_it_works(connect).await else { return };
        let connect = || Locks::connect(program.store(), program.node()).ttl(ttl()).into_future();
        let Some(locks) = program.until_it_works(connect).await else { return };
        let counting = program.spawn(count(program.clone(), latch.clone()));
        let waiting = program.spawn(wait(program.clone(), latch));
        let meeting = program.spawn(meet(program.clone(), locks.clone()));
        for task in [counting, waiting, meeting] {
            task.await.expect("a task lives as long as its program");
        }
        let _ = locks.close().await;
    })
}

async fn count(program: Program, latch: Latch) {
    let world = program.world.clone();
    while !program.stops() {
        program.rest(3_000).await;
        world.counted().tried += 1;
        match program.unless_dropped(10, latch.count_down(1)).await {
            Some(Ok(_)) => world.counted().sure += 1,
            Some(Err(error)) if !error.is_indeterminate() => world.counted().tried -= 1,
            Some(Err(_)) | None => {}
        }
    }
}

async fn wait(program: Program, latch: Latch) {
    let world = program.world.clone();
    while !program.stops() {
        let wait = Wait::For(Duration::from_millis(world.below(4_000)));
        if let Some(Ok(true)) = program.unless_dropped(10, latch.wait(wait)).await {
            world.audit().count("passed the latch");
            let tried = world.counted().tried;
            if tried < COUNT {
                world.fail(format_args!("latch: it opened after {tried} of {COUNT} counts"));
            }
            return;
        }
        program.rest(100).await;
    }
}

async fn meet(program: Program, locks: Locks) {
    let world = program.world.clone();
    while !program.stops() {
        program.rest(500).await;
        let began = world.now();
        let wait = Wait::For(Duration::from_millis(500 + world.below(4_000)));
        let request = locks.barrier("start", PARTIES).wait(wait).into_future();
        world.note(format!("{} arrives", program.name()));
        match program.unless_dropped(10, request).await {
            Some(Ok(Some(generation))) => {
                world.audit().count("passed the barrier");
                let opened = world.audit().opened.get(&("start".to_owned(), generation)).copied();
                if opened.is_none_or(|opened| opened < began) {
                    world.fail(format_args!("barrier: passed by opening {generation} at {opened:?}"));
                }
            }
            Some(Ok(None)) => world.audit().count("timed out"),
            Some(Err(error)) => world.note(format!("{} could not meet: {error}", program.name())),
            None => {}
        }
    }
}

fn finale(program: Program) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let world = program.world.clone();
        let latch = Latch::connect(program.store(), "migrated", COUNT).await.expect("all is well");
        let (tried, sure) = {
            let counted = world.counted();
            (counted.tried, counted.sure)
        };
        let left = latch.count_down(0).await.expect("all is well");
        if left > COUNT.saturating_sub(sure) || left < COUNT.saturating_sub(tried) {
            world.fail(format_args!("latch: {left} left of {COUNT} after {sure} to {tried} counts"));
        }
        world.counted().tried += left;
        if left > 0 {
            latch.count_down(left).await.expect("all is well");
        }
        assert!(latch.wait(Wait::Try).await.expect("all is well"), "it was counted down");
        // The dead who arrived are not counted, once they have been watched for their time to live.
        let connect = || Locks::connect(program.store(), program.node()).ttl(ttl()).into_future();
        let (one, other) = (connect().await.expect("all is well"), connect().await.expect("all is well"));
        let wait = Wait::For(Duration::from_secs(2));
        assert!(MACHINES > PARTIES as usize, "so that there is somebody to wait for");
        let alone = one.barrier("start", PARTIES).wait(wait).await.expect("all is well");
        if alone.is_some() {
            // With one who died and was not found out yet.
            world.audit().count("met the dead");
        }
        let first = program.spawn(one.barrier("start", PARTIES).into_future());
        let second = other.barrier("start", PARTIES).await.expect("all is well");
        let first = first.await.expect("nothing happens here").expect("all is well");
        assert!(first.is_some() && first == second, "both pass at the same opening");
    })
}

#[test]
fn latches_and_barriers_open_when_all_are_there() {
    let seen = Play { script, finale, drift: 0.01 }.seeds(70_000, 400);
    seen.must_have(&["passed the latch", "passed the barrier", "timed out", "openings", "crashes", "pauses"]);
}
