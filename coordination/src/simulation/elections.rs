//! Elections: stand, proclaim, lead for a while, resign or hand over; others look on.

use std::{future::IntoFuture, time::Duration};

use leasehold_core::BoxFuture;

use super::{
    leases::any_wait,
    program::{MACHINES, Play, Program, TTL, shared, ttl},
};
use crate::{Elections, Leadership, Wait};

const NAME: &str = "scheduler";

fn script(program: Program) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let connect = || Elections::connect(program.store(), program.node());
        let Some(elections) = program.until_it_works(connect).await else { return };
        let candidate = program.spawn(candidate(program.clone(), elections.clone()));
        let onlooker = program.spawn(onlooker(program.clone(), elections));
        candidate.await.expect("a task lives as long as its program");
        onlooker.await.expect("a task lives as long as its program");
    })
}

async fn candidate(program: Program, elections: Elections) {
    let world = program.world.clone();
    while !program.stops() {
        let request = elections.campaign(NAME).ttl(ttl()).wait(any_wait(&program)).into_future();
        if let Some(Ok(Some(leadership))) = program.unless_dropped(15, request).await {
            world.audit().count("led");
            lead(&program, leadership).await;
        }
        program.rest(100).await;
    }
}

async fn lead(program: &Program, leadership: Leadership) {
    let world = &program.world;
    let who = format!("{} term {}", program.name(), leadership.term());
    world.note(format!("{who} leads"));
    let proclamation = format!("{} of {}", leadership.term(), program.name());
    if leadership.proclaim(proclamation).await.is_ok() {
        world.audit().count("proclaimed");
    }
    let held = shared(leadership);
    world.believe(NAME, &who, 1, &held, Leadership::remaining);
    program.rest(2_000).await;
    world.check_beliefs(NAME);
    let Some(leadership) = held.lock().take() else { return };
    let to = format!("m{}", 1 + world.below(MACHINES as u64));
    // Who is deposed meanwhile is told so, and goes on standing.
    let _ = match world.below(4) {
        0 | 1 => program.unless_dropped(20, leadership.resign()).await,
        2 => program.unless_dropped(20, leadership.hand_over(to)).await,
        _ => {
            drop(leadership);
            Some(Ok(()))
        }
    };
}

/// Never sees a term go back, nor the word of one leader as that of another.
async fn onlooker(program: Program, elections: Elections) {
    let world = program.world.clone();
    let mut known = None;
    while !program.stops() {
        let wait = Wait::For(Duration::from_millis(world.below(2_000)));
        let request = elections.changed(NAME, known.as_ref(), wait);
        let Some(Ok(Some(view))) = program.unless_dropped(20, request).await else {
            program.rest(100).await;
            continue;
        };
        world.audit().count("observed");
        if known.as_ref().is_some_and(|known| known.term > view.term) {
            world.fail(format_args!("L1: the term went back: {known:?}, then {view:?}"));
        }
        if let Some(proclaimed) = &view.proclaimed {
            let text = String::from_utf8_lossy(proclaimed);
            if text != format!("{} of {}", view.term, view.node.name()) {
                world.fail(format_args!("proclamation: {text:?} is not the word of {view:?}"));
            }
        }
        known = Some(view);
    }
}

fn finale(program: Program) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let world = program.world.clone();
        let elections = Elections::connect(program.store(), program.node()).await.expect("all is well");
        let began = world.now();
        let campaign = elections.campaign(NAME).ttl(ttl());
        let leadership = campaign.await.expect("all is well").expect("it stands for ever");
        let took = Duration::from_micros(world.now() - began);
        if took > TTL * if world.audit().bounded { 4 } else { 12 } {
            world.fail(format_args!("progress: it took {took:?} to be elected"));
        }
        leadership.proclaim(format!("{} of m4", leadership.term())).await.expect("nobody else leads");
        let view = elections.observe(NAME).await.expect("all is well").expect("somebody leads");
        assert_eq!((view.term, view.node.name()), (leadership.term(), "m4"));
        leadership.resign().await.expect("all is well");
    })
}

const PLAY: Play = Play { script, finale, drift: 0.01 };

#[test]
fn elections_have_one_leader_a_term_and_go_on() {
    let seen = PLAY.seeds(40_000, 300);
    seen.must_have(&["led", "proclaimed", "observed", "takeovers", "crashes", "pauses", "partitions"]);
    assert_eq!(seen.of("overlaps"), 0);
}

#[test]
fn elections_fence_the_deposed_whatever_the_clocks_do() {
    let seen = Play { drift: 0.7, ..PLAY }.seeds(50_000, 150);
    seen.must_have(&["led", "proclaimed", "observed", "takeovers", "crashes"]);
}
