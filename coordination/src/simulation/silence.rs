//! Single mishaps that the runs have found, each by itself: answers that never come, and those who die at the wrong moment.

use std::{
    future::{Future, IntoFuture},
    sync::Arc,
    time::Duration,
};

use leasehold_core::ErrorKind;
use parking_lot::Mutex;

use super::{
    audit::Audit,
    executor::{Pause, Thread, World},
    network::{Network, Tells},
    program::{Program, ttl},
};
use crate::{Deadlock, Elections, Leases, Locks, Wait};

/// Lets a test direct a world in which all is well, and returns how long it took in true time.
fn direct<F>(test: impl FnOnce(World) -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let world = World::new(0, 3, 0.0, Network::new(false, Tells::Always), Audit::new(true));
    world.network().stormy = false;
    world.run(120_000_000, test(world.clone()));
    let took = Duration::from_micros(world.now());
    world.end();
    took
}

async fn locks_of(program: &Program) -> Locks {
    Locks::connect(program.store(), program.node()).ttl(ttl()).await.expect("all is well")
}

/// Runs something on a machine.
async fn on<T: Send + 'static>(program: &Program, future: impl Future<Output = T> + Send + 'static) -> T {
    program.spawn(future).await.expect("nothing happens to the machine")
}

#[test]
fn a_verdict_that_is_never_answered_holds_nobody_up_for_long() {
    let took = direct(|world| async move {
        let program = world.program(1);
        Leases::connect(program.store(), program.node()).await.expect("all is well");
        world.network().mute = vec!["get"];
        let speaks = world.clone();
        world.after(3_000_000, move |_| speaks.network().mute.clear());
        Leases::connect(program.store(), program.node()).await.expect("it is asked again");
    });
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn an_election_that_is_never_shown_is_an_error() {
    let took = direct(|world| async move {
        let program = world.program(1);
        let elections = Elections::connect(program.store(), program.node()).await.expect("all is well");
        world.network().mute = vec!["get"];
        let error = elections.observe("scheduler").await.expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    });
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_watch_that_is_never_granted_does_not_keep_anybody_waiting() {
    let took = direct(|world| async move {
        let program = world.program(1);
        let locks = locks_of(&program).await;
        let (acts, waits) = (program.clone(), locks.clone());
        on(&program, async move {
            let held = waits.exclusive("l").await.expect("all is well").expect("it is free");
            acts.world.network().mute = vec!["changes"];
            let waiting = acts.spawn(waits.exclusive("l").into_future());
            acts.store().environment().clock.sleep(Duration::from_secs(2)).await;
            held.release().await.expect("all is well");
            let got = waiting.await.expect("nothing happens to the machine").expect("all is well");
            assert!(got.is_some_and(|lock| lock.is_valid()));
        })
        .await;
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_lock_of_the_dead_is_had_although_their_session_cannot_be_removed() {
    let took = direct(|world| async move {
        let (dying, program) = (world.program(1), world.program(2));
        let dies = dying.clone();
        let held = on(&dying, async move {
            let lock = locks_of(&dies).await.exclusive("l").await.expect("all is well");
            Arc::new(Mutex::new(lock))
        })
        .await;
        world.crash(1);
        world.network().mute = vec!["delete"];
        let takes = program.clone();
        on(&program, async move {
            let lock = locks_of(&takes).await.exclusive("l").await.expect("all is well").expect("it is dead");
            assert_eq!(lock.token().get(), 2);
        })
        .await;
        drop(held.lock().take());
    });
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn who_dies_while_it_puts_the_dead_to_rest_is_waited_for_no_longer_than_they_are() {
    let took = direct(|world| async move {
        // What fences, and dies at once.
        for machine in [1, 2] {
            let program = world.program(machine);
            let acts = program.clone();
            let held = program.spawn(async move {
                let locks = locks_of(&acts).await;
                let lock = locks.exclusive("l").await.expect("all is well");
                Box::pin(std::future::pending::<()>()).await;
                drop(lock);
            });
            let takeovers = || world.audit().seen.get("takeovers").copied().unwrap_or_default();
            while machine == 2 && takeovers() == 0 {
                world.sleep(1_000).await;
            }
            world.sleep(if machine == 1 { 500_000 } else { 0 }).await;
            world.crash(machine);
            drop(held);
        }
        let program = world.program(3);
        let takes = program.clone();
        on(&program, async move {
            let lock = locks_of(&takes).await.exclusive("l").await.expect("all is well");
            assert!(lock.is_some_and(|lock| lock.is_valid()), "all of them are dead");
        })
        .await;
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn who_asks_for_several_at_once_takes_part_in_the_search_for_deadlocks() {
    let took = direct(|world| async move {
        let program = world.program(1);
        let acts = program.clone();
        on(&program, async move {
            let locks = locks_of(&acts).await;
            let owner = locks.owner();
            let second = owner.exclusive("b").await.expect("all is well").expect("it is free");
            let several = acts.spawn(locks.all(["a", "b"]).into_future());
            acts.store().environment().clock.sleep(Duration::from_millis(300)).await;
            let first = owner.exclusive("a").wait(Wait::For(Duration::from_secs(60))).await;
            // One of the two gives way, and the other goes on.
            drop(second);
            let several = several.await.expect("nothing happens to the machine");
            let victims = [first.err(), several.err()];
            let told = victims.iter().flatten().filter(|error| Deadlock::of(error).is_some()).count();
            assert_eq!(told, 1, "{victims:?}");
        })
        .await;
    });
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn what_was_given_up_and_is_not_gone_yet_makes_no_deadlock() {
    let took = direct(|world| async move {
        let program = world.program(1);
        let acts = program.clone();
        on(&program, async move {
            let locks = Locks::connect(acts.store(), acts.node()).await.expect("all is well");
            let owner = locks.owner();
            let _first = owner.exclusive("a").await.expect("all is well").expect("it is free");
            let second = owner.exclusive("b").await.expect("all is well").expect("it is free");
            // The thread that gives it up is blocked for a while.
            acts.world.pause(1, Pause::Thread(Thread::Keeper));
            let blocked = acts.world.clone();
            acts.world.after(4_000_000, move |_| blocked.resume(1));
            drop(second);
            let again = owner.exclusive("b").await.expect("nobody waits for what this one holds");
            assert_eq!(again.expect("it waits for ever").token().get(), 2);
        })
        .await;
    });
    assert!(took > Duration::from_secs(4), "{took:?}");
}
