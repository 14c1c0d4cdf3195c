//! Work that one of N machines does at a time, fenced: a machine that was paused past its lease cannot write any more.
//!
//! Run it in several terminals at once: `cargo run --example singleton -- /tmp/cluster node-1`

use std::time::Duration;

use leasehold::{
    ErrorKind, Result,
    coordination::{Leases, Node, Ttl, Wait},
};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "cluster".to_owned());
    let name = arguments.next().unwrap_or_else(|| format!("process-{}", std::process::id()));

    let store = leasehold::open(&path).await?;
    let leases = Leases::connect(store.clone(), Node::new(&name)?).await?;
    let ttl = Ttl::new(Duration::from_secs(5))?;
    let Some(lease) = leases.acquire("report").ttl(ttl).wait(Wait::For(Duration::from_secs(60))).await?
    else {
        println!("{name}: somebody else has it, and kept it for a minute");
        return Ok(());
    };
    println!("{name}: mine, with token {}", lease.token());

    // Everything written through the guard carries the token and a precondition.
    let reports = lease.guard(store.namespace("reports")?);
    for step in 1..=3 {
        let write = reports.put(format!("step-{step}"), format!("by {name}")).await;
        match write {
            Ok(()) => println!("{name}: step {step} is written"),
            Err(error) if error.kind() == ErrorKind::Fenced => {
                println!("{name}: my lease is over, somebody else goes on: {error}");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    lease.release().await
}
