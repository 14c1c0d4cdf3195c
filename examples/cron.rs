//! A job that runs on exactly one of N machines, once for each time it is due.
//!
//! `cargo run --example cron` shows three machines in one process. On real ones, with a directory or a bucket they share:
//! `cargo run --example cron -- s3://bucket/jobs node-1`

use std::time::Duration;

use leasehold::{
    Bytes, ErrorKind, Result, Store,
    coordination::{Elections, Leadership, Node, Ttl},
};

/// How often the job is due.
const PERIOD: Duration = Duration::from_millis(200);

/// How often it is to run in all, so that this ends.
const RUNS: u64 = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if let (Some(url), Some(name)) = (arguments.next(), arguments.next()) {
        return machine(leasehold::open(&url).await?, name).await;
    }
    let store = leasehold::open("mem:").await?;
    let machines =
        ["node-1", "node-2", "node-3"].map(|name| tokio::spawn(machine(store.clone(), name.into())));
    for machine in machines {
        machine.await.expect("no machine panics")?;
    }
    let ran = store.list("ran/").await?.len() as u64;
    assert_eq!(ran, RUNS, "each time it was due, once");
    println!("{ran} runs, each on one machine");
    Ok(())
}

/// One machine: stands for election, and runs the job while it leads.
async fn machine(store: Store, name: String) -> Result<()> {
    let elections = Elections::connect(store.clone(), Node::new(&name)?).await?;
    loop {
        let ttl = Ttl::new(Duration::from_secs(2))?;
        let Some(leadership) = elections.campaign("cron").ttl(ttl).await? else { continue };
        match lead(&store, &name, &leadership).await {
            // A successor goes on where this one stopped.
            Err(error) if error.kind() == ErrorKind::Fenced => println!("{name}: deposed"),
            Err(error) => return Err(error),
            Ok(done) => {
                leadership.resign().await?;
                if done {
                    return Ok(());
                }
                // Somebody else's turn, so that there is something to see.
                tokio::time::sleep(PERIOD).await;
            }
        }
    }
}

/// Runs the job twice at most. Returns whether there is no more to do.
async fn lead(store: &Store, name: &str, leadership: &Leadership) -> Result<bool> {
    let schedule = leadership.guard(store.clone());
    for _ in 0..2 {
        // The guard makes this ours alone: a leader that was paused and is deposed cannot take a turn any more.
        let taken = schedule
            .update("schedule", |last| {
                Ok(Some(Bytes::from(turn(last.as_ref()).saturating_add(1).to_string())))
            })
            .await?;
        let turn = turn(taken.as_ref());
        if turn > RUNS {
            return Ok(true);
        }
        println!("{name}: run {turn} in term {}", leadership.term());
        store.put(format!("ran/{turn}"), name.to_owned()).if_absent().await?;
        tokio::time::sleep(PERIOD).await;
    }
    Ok(false)
}

fn turn(value: Option<&Bytes>) -> u64 {
    value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
}
