//! Counters and ids: nothing acknowledged is lost, nothing is given out twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use leasehold_core::BoxFuture;

use super::{
    executor::World,
    program::{Play, Program},
};
use crate::{Counter, IdRange, Ids};

/// What workloads know of the numbers.
#[derive(Default)]
pub(super) struct Numbers {
    /// What was added and acknowledged, and what may have been added.
    sure: i64,
    unsure: BTreeMap<u64, i64>,
    sums: BTreeSet<i64>,
    used: BTreeSet<u64>,
    /// Ranges as text, as they are handed to others.
    handed: Vec<String>,
}

fn script(program: Program) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let connect = || Counter::connect(program.store(), "orders");
        let Some(counter) = program.until_it_works(connect).await else { return };
        let Some(ids) = program.until_it_works(|| Ids::connect(program.store(), "ids")).await else { return };
        let adding = program.spawn(add(program.clone(), counter.clone()));
        let also = program.spawn(add(program.clone(), counter));
        let numbering = program.spawn(number(program.clone(), Arc::new(ids)));
        for task in [adding, also, numbering] {
            task.await.expect("a task lives as long as its program");
        }
    })
}

async fn add(program: Program, counter: Counter) {
    let world = program.world.clone();
    while !program.stops() {
        let call = world.bits();
        world.numbers().unsure.insert(call, 1);
        match program.unless_dropped(10, counter.next()).await {
            Some(Ok(sum)) => {
                let mut numbers = world.numbers();
                numbers.unsure.remove(&call);
                numbers.sure += 1;
                let new = numbers.sums.insert(sum);
                drop(numbers);
                world.audit().count("added");
                if !new {
                    world.fail(format_args!("counter: two were told the sum {sum}"));
                }
            }
            Some(Err(error)) if !error.is_indeterminate() => drop(world.numbers().unsure.remove(&call)),
            Some(Err(_)) | None => world.audit().count("perhaps added"),
        }
        program.rest(150).await;
    }
}

async fn number(program: Program, ids: Arc<Ids>) {
    let world = program.world.clone();
    while !program.stops() {
        let handed = {
            let mut numbers = world.numbers();
            if numbers.handed.len() > 4 { numbers.handed.pop() } else { None }
        };
        // One that somebody else holds, too: only one of them may give it back or divide it.
        let range = match handed.and_then(|text| text.parse::<IdRange>().ok()) {
            Some(range) => {
                let _ = program.unless_dropped(10, ids.give_back(range)).await;
                continue;
            }
            None => program.unless_dropped(10, ids.take(1 + world.below(8))).await,
        };
        let Some(Ok(mut range)) = range else { continue };
        let (whole, shares) = (range.clone(), world.chance(25));
        match world.below(3) {
            // Used up in part, the rest comes back.
            0 => {
                let count = world.below(range.end() - range.start() + 1) as usize;
                for id in range.by_ref().take(count).collect::<Vec<_>>() {
                    spend(&world, id);
                }
                if shares {
                    let both = (ids.clone(), range.clone());
                    let other = program.spawn(async move { both.0.give_back(both.1).await.is_ok() });
                    let mine = ids.give_back(range).await.is_ok();
                    if other.await == Ok(true) && mine && count < (whole.end() - whole.start()) as usize {
                        world.fail(format_args!("ids: {whole} was given back twice"));
                    }
                } else {
                    let _ = program.unless_dropped(10, ids.give_back(range)).await;
                }
                world.audit().count("given back");
            }
            1 => {
                let parts = 1 + world.below(range.end() - range.start()) as u32;
                let divided = program.unless_dropped(10, ids.divide(range, parts)).await;
                for mut part in divided.and_then(Result::ok).unwrap_or_default() {
                    world.audit().count("divided");
                    if world.chance(50) {
                        part.by_ref().for_each(|id| spend(&world, id));
                    } else {
                        let _ = ids.give_back(part).await;
                    }
                }
            }
            // Not used at all, and handed to somebody.
            _ if shares => world.numbers().handed.push(range.to_string()),
            _ => range.for_each(|id| spend(&world, id)),
        }
        program.rest(200).await;
    }
}

fn spend(world: &World, id: u64) {
    let new = world.numbers().used.insert(id);
    world.audit().count("ids used");
    if !new {
        world.fail(format_args!("ids: {id} was used twice"));
    }
}

fn finale(program: Program) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let world = program.world.clone();
        let counter = Counter::connect(program.store(), "orders").await.expect("all is well");
        let sum = counter.get().await.expect("all is well");
        let (sure, unsure) = {
            let numbers = world.numbers();
            (numbers.sure, numbers.unsure.values().sum::<i64>())
        };
        if !(sure..=sure + unsure).contains(&sum) {
            world.fail(format_args!("counter: it is {sum}, with {sure} acknowledged and {unsure} not known"));
        }
        assert_eq!(counter.next().await.expect("all is well"), sum + 1);
        let ids = Ids::connect(program.store(), "ids").await.expect("all is well");
        for _ in 0..5 {
            ids.take(3).await.expect("all is well").for_each(|id| spend(&world, id));
        }
    })
}

#[test]
fn numbers_are_counted_once_and_given_out_once() {
    let seen = Play { script, finale, drift: 0.7 }.seeds(60_000, 500);
    seen.must_have(&["added", "perhaps added", "ids used", "given back", "divided", "crashes", "partitions"]);
}
