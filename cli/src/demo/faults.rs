//! What the demo does to its nodes, in which order, and what it waits for in between. Nothing here waits for a
//! time to pass: each step follows from what the nodes report.

use std::time::Duration;

use super::{Coordinator, book::Book, protocol::Order, supervisor::Supervisor};
use crate::failure::{FAILED, Failure};

/// How often a stop is tried that did not lead to a takeover.
const STOPS_MAX: usize = 5;

/// Starts `nodes` processes, lets one be killed and one be stopped, and lets the work be finished.
pub(crate) async fn run(
    supervisor: &mut Supervisor,
    nodes: usize,
    seed: u64,
    ttl: Duration,
) -> Result<(), Failure> {
    start(supervisor, nodes).await?;
    kill(supervisor, seed).await?;
    stop(supervisor, seed, ttl).await?;
    supervisor.view.say("both faults are over: the last file of every shard may be written");
    supervisor.order_all(&Order::Finish).await;
    supervisor.until("all shards are complete", Book::all_complete).await
}

async fn start(supervisor: &mut Supervisor, nodes: usize) -> Result<(), Failure> {
    let shards = supervisor.book.shards.len();
    for node in 0..nodes {
        supervisor.start(&format!("node-{}", node + 1))?;
    }
    supervisor.until("all nodes are ready", all_ready).await?;
    if supervisor.coordinator() == Coordinator::Leader {
        // It gives everybody a share.
        supervisor.order_all(&Order::Watch).await;
        return supervisor.until("every shard has an owner", Book::all_owned).await;
    }
    // First everybody its share, so that everybody has something to lose; then all watch all.
    for node in 0..nodes {
        supervisor
            .order(node, &Order::Claim((0..shards).filter(|shard| shard % nodes == node).collect()))
            .await;
    }
    supervisor.until("every shard has an owner", Book::all_owned).await?;
    supervisor.order_all(&Order::Watch).await;
    Ok(())
}

fn all_ready(book: &Book) -> bool {
    book.processes.iter().all(|process| process.status != super::book::Status::Starting)
}

/// SIGKILL: the lease runs out, others take over, and the node comes back as a new incarnation.
async fn kill(supervisor: &mut Supervisor, seed: u64) -> Result<(), Failure> {
    let victim = victim(supervisor, seed, false).await?;
    let name = announce(supervisor, victim, "killing");
    supervisor.kill(victim)?;
    supervisor.until("the killed node's shards are taken over", Book::failed_over).await?;
    let again = supervisor.start(&name)?;
    supervisor.until("the killed node is back", all_ready).await?;
    supervisor.order(again, &Order::Watch).await;
    for shard in (0..supervisor.book.shards.len())
        .filter(|shard| supervisor.book.shards[*shard].complete)
        .collect::<Vec<_>>()
    {
        supervisor.order(again, &Order::Completed(shard)).await;
    }
    supervisor.view.say(&format!("{name} is back as a new incarnation"));
    Ok(())
}

/// SIGSTOP past the ttl: others take over, the node wakes, believes what it believed, and must be refused.
async fn stop(supervisor: &mut Supervisor, seed: u64, ttl: Duration) -> Result<(), Failure> {
    for _ in 0..STOPS_MAX {
        // One that waits for the end of the faults is not in the middle of a write.
        let victim = victim(supervisor, seed / 7, true).await?;
        let name = announce(supervisor, victim, "stopping");
        supervisor.stop(victim)?;
        // A leader may have to be replaced first, which takes as long again.
        let longest = ttl * 6 + Duration::from_secs(1);
        let taken = supervisor
            .until_within(longest, "the stopped node's shards are taken over", Book::failed_over)
            .await?;
        supervisor.view.say(&format!("{name} goes on, with leases that are over"));
        supervisor.go_on(victim)?;
        if taken {
            return supervisor.until("the woken node has tried its pending writes", Book::stale_tried).await;
        }
        // It renewed a lease at that very moment and stands in the way of the others with the store's own lock.
        supervisor
            .view
            .say("it was stopped in the middle of a write, which keeps others from writing; once more");
        supervisor.book.withdraw_fault();
    }
    Err(Failure::new(
        FAILED,
        "a stopped node kept others from taking over, time and again; try a longer --ttl",
    ))
}

async fn victim(supervisor: &mut Supervisor, seed: u64, idle: bool) -> Result<usize, Failure> {
    supervisor.until("a node has unfinished shards", |book| !book.victims(idle).is_empty()).await?;
    let victims = supervisor.book.victims(idle);
    Ok(victims[seed as usize % victims.len()])
}

fn announce(supervisor: &mut Supervisor, victim: usize, what: &str) -> String {
    let process = &supervisor.book.processes[victim];
    let (name, id) = (process.name.clone(), process.id);
    let shards = supervisor.book.unfinished(victim).count();
    supervisor.view.say(&format!("{what} {name} (process {id}), which holds {shards} unfinished shards"));
    name
}
