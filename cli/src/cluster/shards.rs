//! `leasehold cluster shards`: who owns what.

use leasehold::coordination::shards::{ShardOwner, owners};
use serde_json::{Value, json};

use crate::{failure::Failure, output, shared, signals::Signals, table::Table};

/// `leasehold cluster shards`.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Print one JSON object for each shard
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, url: String) -> Result<u8, Failure> {
    let mut signals = Signals::receive()?;
    let look = async { Ok(owners(&shared::open_existing(&url).await?).await?) };
    let owners = signals.unless_ended(look).await?;
    if arguments.json {
        for owner in &owners.shards {
            if !output::json(&shown(owner))? {
                break;
            }
        }
        return Ok(0);
    }
    let mut table = Table::new(["SHARD", "NODE", "TOKEN", "MOVES TO"]);
    for owner in &owners.shards {
        table.row([
            owner.shard.to_string(),
            owner.node.clone(),
            owner.token.to_string(),
            owner.moving_to.clone().unwrap_or_default(),
        ]);
    }
    output::write(table.text(output::stdout_colours()).as_bytes())?;
    Ok(0)
}

fn shown(owner: &ShardOwner) -> Value {
    json!({
        "shard": owner.shard.get(),
        "node": owner.node,
        "token": owner.token.get(),
        "moving_to": owner.moving_to,
    })
}
