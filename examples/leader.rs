//! A leader with followers: the leader says where it is reached and numbers the orders; followers watch, and one takes over.
//!
//! `cargo run --example leader`

use std::time::Duration;

use leasehold::{
    Result, Store,
    coordination::{Elections, Ids, Node, Wait},
};

#[tokio::main]
async fn main() -> Result<()> {
    let store = leasehold::open("mem:").await?;
    let followers = ["follower-1", "follower-2"].map(|name| tokio::spawn(follow(store.clone(), name)));

    let elections = Elections::connect(store.clone(), Node::new("node-1")?).await?;
    let leadership = elections.campaign("orders").await?.expect("waits for ever");
    leadership.proclaim("http://10.0.0.1:8080").await?;
    // A range of ids costs one write, and is used without asking anybody.
    let mut numbers = Ids::connect(store.clone(), "orders").await?.take(1000).await?;
    let orders = leadership.guard(store.namespace("orders")?);
    for number in numbers.by_ref().take(3) {
        orders.put(number.to_string(), format!("order {number} in term {}", leadership.term())).await?;
    }
    // What was not used comes back, and the successor is named: it need not wait.
    Ids::connect(store.clone(), "orders").await?.give_back(numbers).await?;
    leadership.hand_over("node-2").await?;

    let elections = Elections::connect(store.clone(), Node::new("node-2")?).await?;
    let successor = elections.campaign("orders").await?.expect("waits for ever");
    successor.proclaim("http://10.0.0.2:8080").await?;
    for follower in followers {
        follower.await.expect("no follower panics")?;
    }
    successor.resign().await
}

/// Watches the election until the second leader has said where it is.
async fn follow(store: Store, name: &str) -> Result<()> {
    let elections = Elections::connect(store, Node::new(name)?).await?;
    let mut known = None;
    loop {
        let seen = elections.changed("orders", known.as_ref(), Wait::For(Duration::from_secs(60))).await?;
        let Some(leader) = seen else { panic!("nobody leads") };
        if let Some(address) = &leader.proclaimed {
            let address = String::from_utf8_lossy(address);
            println!("{name}: {} leads term {} at {address}", leader.node.name(), leader.term);
            if leader.node.name() == "node-2" {
                return Ok(());
            }
        }
        known = Some(leader);
    }
}
