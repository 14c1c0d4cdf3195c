//! A store with layers around it: what they save, and what holds at the top.
//!
//! `cargo run --example layers [URL]`

use std::time::Duration;

use leasehold::{
    Capability, Result,
    layers::{Cache, Compress, Meter, Retry, Timeout, Verb},
};

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mem:".into());
    let (cache, meter) = (Cache::revalidate(64 << 20), Meter::new());
    let store = leasehold::open(&url)
        .await?
        .layer(meter.clone()) // what reaches the store
        .layer(Timeout::after(Duration::from_secs(5)))
        .layer(Retry::new())
        .layer(Compress::default())
        .layer(cache.clone());

    let report = "All work and no play makes Jack a dull boy.\n".repeat(1_000);
    store.put("example/report", report.clone()).await?;
    for _ in 0..3 {
        let read = store.get("example/report").await?.expect("it was just written");
        assert_eq!(read.text().await?, report);
    }

    let (counts, stats) = (meter.counts(), cache.stats());
    println!("written:  {} bytes, stored as {}", report.len(), counts.bytes_in);
    println!(
        "read:     3 times, fetched as {} bytes in {} gets",
        counts.bytes_out,
        counts.requests(Verb::Get)
    );
    println!("cache:    {} hits, {} misses", stats.hits, stats.misses);
    for capability in Capability::ALL {
        let mark = if store.capabilities().supports(capability) { "yes" } else { "no" };
        println!("{:20} {mark}", capability.name());
    }
    store.delete("example/report").await
}
