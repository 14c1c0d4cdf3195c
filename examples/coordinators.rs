//! Both coordinators of shards behind one interface: the program does not know which one it runs on.
//!
//! `cargo run --example coordinators [lease|leader]`; both, one after the other, when left out.

use std::{sync::Arc, time::Duration};

use leasehold::{
    Error, Result, Store,
    coordination::{
        Node, Wait,
        shards::{LeasedShards, LedShards, Move, ShardCoordinator},
    },
};

const SHARDS: u32 = 6;

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1) {
        Some(kind) => run(&kind).await,
        None => {
            run("lease").await?;
            run("leader").await
        }
    }
}

/// The only place that knows which coordinators there are.
async fn join(kind: &str, store: &Store, name: &str) -> Result<Arc<dyn ShardCoordinator>> {
    let (store, node, ttl) = (store.clone(), Node::new(name)?, "1s".parse()?);
    Ok(match kind {
        "lease" => Arc::new(LeasedShards::join(store, node, SHARDS).ttl(ttl).await?),
        "leader" => Arc::new(LedShards::join(store, node, SHARDS).ttl(ttl).await?),
        other => return Err(Error::invalid(format!("{other:?} is no coordinator: say lease or leader"))),
    })
}

async fn run(kind: &str) -> Result<()> {
    let store = leasehold::open("mem:").await?;
    let (one, two) = (join(kind, &store, "node-1").await?, join(kind, &store, "node-2").await?);
    let serving = [serve(one.clone()), serve(two.clone())];
    let mut known = None;
    loop {
        let seen = one.watch(known.as_ref(), Wait::For(Duration::from_secs(60))).await?;
        let Some(owners) = seen else { return Err(Error::invalid("the shards never evened out")) };
        let counts = owners.per_node();
        if counts.get("node-1") == Some(&3) && counts.get("node-2") == Some(&3) {
            println!("{kind}: {counts:?}");
            break;
        }
        known = Some(owners);
    }
    for node in [one, two] {
        node.leave().await?;
    }
    for task in serving {
        task.await.expect("no node panics");
    }
    Ok(())
}

/// Serves whatever comes, until the node leaves.
fn serve(shards: Arc<dyn ShardCoordinator>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(moved) = shards.moves().await {
            if let Move::Gained(guard) = moved {
                tokio::spawn(async move {
                    tokio::select! {
                        () = guard.revoked() => {}
                        _ = guard.lost() => {}
                    }
                    // One that was lost meanwhile needs no release.
                    let _ = guard.release().await;
                });
            }
        }
    })
}
