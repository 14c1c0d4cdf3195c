//! One node of the demo: a real process that takes shard leases, works under them, and reports what was acknowledged.

mod compute;
mod holds;
mod orders;
mod shard;

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use leasehold::{
    Store,
    coordination::{Node, Ttl},
};
use tokio::task::JoinSet;

use self::{holds::Holds, orders::Orders};
use super::{Coordinator, plan::Plan, protocol::Event};
use crate::{
    failure::{FAILED, Failure},
    parent,
};

/// Not for people: started by `leasehold demo`.
#[derive(Args, Debug)]
pub(crate) struct NodeArguments {
    /// The namespace of this run
    #[arg(long)]
    pub(crate) run: String,
    /// The directory whose files are processed
    #[arg(long)]
    pub(crate) input: PathBuf,
    /// The name of this node
    #[arg(long)]
    pub(crate) node: String,
    /// Milliseconds
    #[arg(long)]
    pub(crate) ttl_ms: u64,
    /// Who divides the shards
    #[arg(long, value_enum)]
    pub(crate) coordinator: Coordinator,
    /// The process that started this one
    #[arg(long)]
    pub(crate) parent: i32,
}

/// What all shards of a node share.
#[derive(Debug)]
struct Context {
    holds: Holds,
    results: Store,
    plan: Plan,
    input: PathBuf,
    orders: Orders,
}

/// Runs until stdin closes, which it does when the parent is done or dead.
pub(crate) async fn run_node(arguments: NodeArguments, store: Store) -> Result<u8, Failure> {
    if !parent::die_with(arguments.parent) {
        return Ok(0);
    }
    let (orders, mut reader) = Orders::read();
    tokio::select! {
        // The node is a process of its own: the end of its runtime ends whatever it still does.
        () = &mut reader => Ok(0),
        outcome = work(arguments, store, orders) => {
            if let Err(failure) = outcome {
                emit(&Event::Failed { message: failure.message });
                return Err(Failure::silent(FAILED));
            }
            (&mut reader).await;
            Ok(0)
        }
    }
}

async fn work(arguments: NodeArguments, store: Store, orders: Orders) -> Result<(), Failure> {
    let store = store.namespace(&arguments.run)?;
    let plan: Plan = match store.get(Plan::KEY).await? {
        Some(object) => object.json().await?,
        None => return Err(Failure::new(FAILED, "the plan of this run is not in the store")),
    };
    let (node, ttl) = (Node::new(&arguments.node)?, Ttl::new(Duration::from_millis(arguments.ttl_ms))?);
    let holds = match arguments.coordinator {
        Coordinator::Lease => Holds::leased(store.clone(), node, ttl).await?,
        Coordinator::Leader => Holds::led(store.clone(), node, ttl, plan.shards.len()).await?,
    };
    let results = store.namespace(Plan::RESULTS)?;
    let context = Arc::new(Context { holds, results, plan, input: arguments.input, orders });
    emit(&Event::Ready);
    let mut shards = JoinSet::new();
    for shard in 0..context.plan.shards.len() {
        shards.spawn(shard::serve(context.clone(), shard));
    }
    while let Some(outcome) = shards.join_next().await {
        outcome.map_err(|error| Failure::machine("a shard's task ended early", error))??;
    }
    Ok(())
}

/// Says something to the parent. One write for a line, far below what a pipe takes at once: never half a line.
fn emit(event: &Event) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        // A parent that is gone closes stdin as well, and that ends this process.
        let _ = io::stdout().lock().write_all(&line);
    }
}
