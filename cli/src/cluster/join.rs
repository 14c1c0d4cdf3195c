//! `leasehold cluster join`: a node for as long as a process runs, so that scripts can take part.

use std::time::Duration;

use clap::Args;
use leasehold::coordination::{
    Node, Ttl,
    members::{Departed, Member, Members, NodeMetadata, Role},
};
use serde_json::json;

use crate::{
    failure::{FAILED, Failure, LOST},
    output, shared,
    signals::Signals,
};

/// `leasehold cluster join`.
#[derive(Args, Debug)]
#[command(
    after_help = "Prints \"joined\" when it takes part. Leaves and ends with 0 when interrupted, and when it is drained; \
                        ends with 70 when another start under its name replaced it, or it was forgotten."
)]
pub(super) struct Arguments {
    /// Which node this is; the host's name when left out. Whoever took part under the name before is replaced
    #[arg(long)]
    node: Option<String>,
    /// What part it takes: leader, follower, or observer, who carries no work
    #[arg(long, default_value_t)]
    role: Role,
    /// Where it is reached
    #[arg(long, value_name = "TEXT")]
    address: Option<String>,
    /// What it shares its fate with: a rack, a region
    #[arg(long, value_name = "TEXT")]
    zone: Option<String>,
    /// How much work it can carry beside the others, who carry 1 when they do not say
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// How long it may be silent before others take it for dead
    #[arg(long, default_value = "30s", value_parser = leasehold::units::duration)]
    ttl: Duration,
    /// Print lines of JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, url: String) -> Result<u8, Failure> {
    let json = arguments.json;
    let node = Node::new(arguments.node.clone().unwrap_or_else(shared::this_host))?;
    let ttl = Ttl::new(arguments.ttl)?;
    let mut metadata = NodeMetadata::default();
    (metadata.address, metadata.zone, metadata.weight) =
        (arguments.address, arguments.zone, arguments.weight);
    let mut signals = Signals::receive()?;
    let store = signals.unless_ended(shared::open(&url)).await?;
    let joining = Members::join(store, node).role(arguments.role).metadata(metadata).ttl(ttl);
    let member = signals.unless_ended(async { Ok(joining.await?) }).await?;
    let name = member.node().name().to_owned();
    // A reader that went away does not end a node.
    match json {
        true => output::json(&json!({"joined": {"node": name, "incarnation": member.node().incarnation()}}))?,
        false => output::line(&format!("joined as {name}"))?,
    };
    let reason = tokio::select! {
        departed = member.departed() => return Err(taken_out(&name, &departed)),
        () = member.drained() => "it was asked to give up its work",
        _ = signals.ending() => "it was interrupted",
    };
    leave(member).await?;
    match json {
        true => output::json(&json!({"left": {"node": name, "reason": reason}}))?,
        false => output::line(&format!("{name} left: {reason}"))?,
    };
    Ok(0)
}

async fn leave(member: Member) -> Result<(), Failure> {
    let name = member.node().name().to_owned();
    shared::farewell(member.leave()).await.map_err(|problem| {
        Failure::new(
            FAILED,
            format!("{name} could not leave, and is dead to others after its ttl: {problem}"),
        )
    })
}

fn taken_out(name: &str, departed: &Departed) -> Failure {
    let next = match departed {
        Departed::Replaced => "give each process a node of its own with --node",
        _ => "join again, if it is to take part",
    };
    Failure::new(LOST, format!("{name:?} takes no part any more: {departed}; {next}"))
}
