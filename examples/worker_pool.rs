//! A pool of workers that divides 8 shards among whoever is there. Each shard has one worker at a time, and what it writes is
//! refused once another one has taken over.
//!
//! `cargo run --example worker_pool` shows three machines in one process. On real ones:
//! `cargo run --example worker_pool -- s3://bucket/pool node-1`

use std::time::Duration;

use leasehold::{
    Result, Store,
    coordination::{
        Node,
        shards::{LeasedShards, Move, ShardCoordinator, ShardGuard},
    },
};

const SHARDS: u32 = 8;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if let (Some(url), Some(name)) = (arguments.next(), arguments.next()) {
        let store = leasehold::open(&url).await?;
        return machine(join(&store, &name).await?, store).await;
    }
    let store = leasehold::open("mem:").await?;
    let mut machines = Vec::new();
    for name in ["node-1", "node-2", "node-3"] {
        let shards = join(&store, name).await?;
        machines.push((tokio::spawn(machine(shards.clone(), store.clone())), shards));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for (machine, shards) in machines {
        println!("{}: leaves", shards.node().name());
        shards.leave().await?;
        machine.await.expect("no machine panics")?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let done: u64 = {
        let mut done = 0;
        for shard in 0..SHARDS {
            done += store.get(format!("done/{shard}")).await?.is_some() as u64;
        }
        done
    };
    assert_eq!(done, u64::from(SHARDS), "every shard was worked on");
    println!("all {done} shards were worked on");
    Ok(())
}

async fn join(store: &Store, name: &str) -> Result<LeasedShards> {
    LeasedShards::join(store.clone(), Node::new(name)?, SHARDS).ttl("1s".parse()?).await
}

/// One machine: a worker for each shard it is given.
async fn machine(shards: LeasedShards, store: Store) -> Result<()> {
    let mut workers = tokio::task::JoinSet::new();
    while let Some(moved) = shards.moves().await {
        match moved {
            Move::Gained(guard) => {
                println!("{}: shard {} with token {}", shards.node().name(), guard.shard(), guard.token());
                workers.spawn(work(guard, store.clone()));
            }
            Move::Revoked(shard) => println!("{}: gives shard {shard} back", shards.node().name()),
            _ => {}
        }
    }
    workers.join_all().await;
    Ok(())
}

/// Works on one shard until it is asked back or lost.
async fn work(guard: ShardGuard, store: Store) {
    let progress = guard.guard(store);
    let key = format!("done/{}", guard.shard());
    let steps = async {
        for step in 0_u64.. {
            if progress.put(&key, step.to_string()).await.is_err() {
                return; // fenced, or out of time: somebody else goes on
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = steps => {}
        () = guard.revoked() => {}
        _ = guard.lost() => {}
    }
    // The work has stopped; now somebody else may begin.
    let _ = guard.release().await;
}
