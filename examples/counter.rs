//! A counter that any number of processes share through a directory.
//!
//! Run it in several terminals at once: `cargo run --example counter -- /tmp/counters`

use leasehold::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "counters".to_owned());
    let store = leasehold::open(&path).await?;
    for _ in 0..100 {
        store.increment("visits", 1).await?;
    }
    // The same by hand, for a change that is more than a sum: read, decide, write back if nothing changed.
    store
        .update("log", |lines| {
            let mut lines = lines.map(Vec::from).unwrap_or_default();
            lines.extend_from_slice(format!("process {} was here\n", std::process::id()).as_bytes());
            Ok(Some(lines.into()))
        })
        .await?;
    println!("{} visits so far; see {path}/log", store.increment("visits", 0).await?);
    Ok(())
}
