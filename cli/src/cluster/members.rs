//! `leasehold cluster members|drain|forget`: the nodes.

use std::time::Duration;

use clap::Args;
use leasehold::{
    Clock, Store, SystemClock,
    coordination::{
        Wait,
        members::{MemberState, MemberView, Members, View},
    },
};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, NO},
    output::{self, answer},
    shared,
    signals::Signals,
    table::Table,
};

/// How long to look before telling.
#[derive(Args, Debug)]
pub(super) struct Settling {
    /// Look on for this long first: a node is dead when it was not heard of for its ttl while somebody looked, so at a
    /// first look nobody is
    #[arg(long, value_name = "DURATION", value_parser = leasehold::units::duration, default_value = "0s")]
    settle: Duration,
}

impl Settling {
    /// Everybody, after that time.
    pub(super) async fn look(&self, members: &Members) -> Result<View, Failure> {
        let mut view = members.look().await?;
        let end = SystemClock.monotonic().saturating_add(self.settle);
        loop {
            let left = end.saturating_sub(SystemClock.monotonic());
            if left.is_zero() {
                return Ok(view);
            }
            match members.changed(view.generation, Wait::For(left)).await? {
                Some(changed) => view = changed,
                None => return Ok(members.look().await?),
            }
        }
    }
}

/// `leasehold cluster members`.
#[derive(Args, Debug)]
pub(super) struct ListArguments {
    #[command(flatten)]
    settling: Settling,
    /// Print one line of JSON for each node
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(arguments: ListArguments, url: String) -> Result<u8, Failure> {
    let mut signals = Signals::receive()?;
    let look = async {
        let members = Members::observe(shared::open_existing(&url).await?).await?;
        arguments.settling.look(&members).await
    };
    let view = signals.unless_ended(look).await?;
    if arguments.json {
        for member in &view.members {
            let mut shown = stable_json(member);
            shown["silent_ms"] = (member.silent.as_millis() as u64).into();
            shown["unreliability"] = member.unreliability.into();
            if !output::json(&shown)? {
                break;
            }
        }
        return Ok(0);
    }
    output::write(table(&view.members).text(output::stdout_colours()).as_bytes())?;
    Ok(0)
}

/// The nodes in columns.
pub(super) fn table(members: &[MemberView]) -> Table {
    let mut table = Table::new(["NODE", "STATE", "ROLE", "ADDRESS", "ZONE", "WEIGHT"]);
    for member in members {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        table.row([
            member.node.name().to_owned(),
            member.state.name().to_owned(),
            member.role.name().to_owned(),
            or_none(&member.metadata.address),
            or_none(&member.metadata.zone),
            member.metadata.weight.map_or_else(String::new, |weight| weight.to_string()),
        ]);
    }
    table
}

/// A node without what changes at every look.
pub(super) fn stable_json(member: &MemberView) -> Value {
    json!({
        "node": member.node.name(),
        "incarnation": member.node.incarnation(),
        "state": member.state.name(),
        "role": member.role.name(),
        "ttl_ms": member.ttl.get().as_millis() as u64,
        "metadata": member.metadata,
    })
}

/// How many there are of each state, in words.
pub(super) fn counts(members: &[MemberView]) -> String {
    let count = |state| members.iter().filter(|member| member.state == state).count();
    let states = [MemberState::Alive, MemberState::Draining, MemberState::Dead];
    let told: Vec<String> = states
        .into_iter()
        .map(|state| (count(state), state.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// `leasehold cluster drain`.
#[derive(Args, Debug)]
#[command(
    after_help = "It stays asked until it leaves or starts anew. Exits with 1 when there is no such node."
)]
pub(super) struct DrainArguments {
    /// The node
    node: String,
    /// Do not ask it any more
    #[arg(long)]
    undo: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn drain(arguments: DrainArguments, url: String) -> Result<u8, Failure> {
    let DrainArguments { node, undo, json } = arguments;
    let store = shared::open_existing(&url).await?;
    if !Members::observe(store.clone()).await?.drain(&node, !undo).await? {
        return Err(no_such_node(&node, &store));
    }
    if json {
        answer(output::json(&json!({"node": node, "draining": !undo})))?;
    }
    Ok(0)
}

/// `leasehold cluster forget`.
#[derive(Args, Debug)]
#[command(
    after_help = "A node that turns out to be alive takes no part any more, and learns of it. Exits with 1 when there \
                        is no such node."
)]
pub(super) struct ForgetArguments {
    /// The node
    node: String,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn forget(arguments: ForgetArguments, url: String) -> Result<u8, Failure> {
    let ForgetArguments { node, json } = arguments;
    let store = shared::open_existing(&url).await?;
    let members = Members::observe(store.clone()).await?;
    let known = members.look().await?.members.iter().any(|member| member.node.name() == node);
    members.forget(&node).await?;
    if !known {
        return Err(no_such_node(&node, &store));
    }
    if json {
        answer(output::json(&json!({"node": node, "forgotten": true})))?;
    }
    Ok(0)
}

fn no_such_node(node: &str, store: &Store) -> Failure {
    Failure::new(
        NO,
        format!("there is no node {node:?} in {store}; see who is with: leasehold cluster members"),
    )
}
