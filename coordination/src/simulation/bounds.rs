//! How long it takes, in true time, until somebody else goes on: after a release, and after a death.

use std::{future::Future, time::Duration};

use leasehold_core::{BoxFuture, Result};

use super::{
    audit::Audit,
    executor::{Micros, World},
    network::{Network, Tells},
    program::{Program, ttl},
};
use crate::{Elections, Leases, Locks};

/// No call takes longer there and back in a world where all is well, a timer that is late included.
const ROUND_TRIP: Duration = Duration::from_millis(32 + 2);

/// What is held; awaited, it is given up.
type Held = BoxFuture<'static, Result<()>>;

/// Acquires one thing, waiting for as long as it takes.
type Acquire = fn(Program) -> BoxFuture<'static, Result<Held>>;

fn lease(program: Program) -> BoxFuture<'static, Result<Held>> {
    Box::pin(async move {
        let leases = Leases::connect(program.store(), program.node()).await?;
        let lease = leases.acquire("l").ttl(ttl()).await?.expect("it waits for ever");
        Ok(Box::pin(async move { lease.release().await }) as Held)
    })
}

fn lock(program: Program) -> BoxFuture<'static, Result<Held>> {
    Box::pin(async move {
        let locks = Locks::connect(program.store(), program.node()).ttl(ttl()).await?;
        let lock = locks.exclusive("l").await?.expect("it waits for ever");
        Ok(Box::pin(async move { lock.release().await }) as Held)
    })
}

fn fair_lock(program: Program) -> BoxFuture<'static, Result<Held>> {
    Box::pin(async move {
        let locks = Locks::connect(program.store(), program.node()).ttl(ttl()).await?;
        let lock = locks.exclusive("l").fair().await?.expect("it waits for ever");
        Ok(Box::pin(async move { lock.release().await }) as Held)
    })
}

fn leadership(program: Program) -> BoxFuture<'static, Result<Held>> {
    Box::pin(async move {
        let elections = Elections::connect(program.store(), program.node()).await?;
        let leadership = elections.campaign("l").ttl(ttl()).await?.expect("it waits for ever");
        Ok(Box::pin(async move { leadership.resign().await }) as Held)
    })
}

const ALL: [(&str, Acquire); 4] =
    [("lease", lease), ("lock", lock), ("fair lock", fair_lock), ("leadership", leadership)];

/// Lets one hold and another wait, ends the first at some moment, and returns how long the second had to wait then.
fn waited<F>(seed: u64, acquire: Acquire, end: impl FnOnce(World, Held) -> F + Send + 'static) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    // Nobody is told of changes, so that who waits has to look.
    let world = World::new(seed, 3, 0.01, Network::new(false, Tells::Never), Audit::new(true));
    world.network().stormy = false;
    let (sender, receiver) = std::sync::mpsc::channel();
    let directed = world.clone();
    world.run(120_000_000, async move {
        let world = directed;
        let (first, second) = (world.program(1), world.program(2));
        let held = first.spawn(acquire(first.clone())).await.expect("it lives").expect("all is well");
        world.sleep(world.below(1_000_000)).await;
        let waiting = second.spawn(acquire(second.clone()));
        // Long enough to wait already.
        world.sleep(500_000 + world.below(1_000_000)).await;
        let ended: Micros = world.now();
        end(world.clone(), held).await;
        let held = waiting.await.expect("it lives").expect("all is well");
        // Whoever listens is this test.
        let _ = sender.send(Duration::from_micros(world.now() - ended));
        drop(held);
    });
    world.end();
    receiver.recv().expect("it was sent")
}

fn longest<F>(acquire: Acquire, end: impl Fn(World, Held) -> F + Copy + Send + 'static) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    (0..200).map(|seed| waited(seed, acquire, end)).max().unwrap_or_default()
}

#[test]
fn what_is_released_is_had_within_a_poll_and_two_round_trips() {
    for (what, acquire) in ALL {
        // Who releases a lock does not know who got in line since, and asks again.
        let asks_again = if what == "fair lock" { 2 * ROUND_TRIP } else { Duration::ZERO };
        let limit = ttl().poll() + 2 * ROUND_TRIP + asks_again;
        let longest = longest(acquire, |_, release| async move { release.await.expect("all is well") });
        println!("{what}: {longest:?} of {limit:?}");
        assert!(longest <= limit, "{what}: {longest:?}, and {limit:?} is the limit");
    }
}

#[test]
fn what_the_dead_held_is_had_within_a_poll_their_time_and_four_round_trips() {
    let limit = ttl().poll() + ttl().patience() + 4 * ROUND_TRIP;
    for (what, acquire) in ALL {
        let longest = longest(acquire, |world, held| async move {
            world.crash(1);
            // The dead give nothing up.
            std::mem::forget(held);
        });
        println!("{what}: {longest:?} of {limit:?}");
        assert!(longest <= limit, "{what}: {longest:?}, and {limit:?} is the limit");
        assert!(longest > ttl().validity() - ttl().renewal(), "{what}: {longest:?}");
    }
}
