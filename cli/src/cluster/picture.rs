//! `leasehold cluster status`: everything at one look.

use clap::Args;
use futures_util::{StreamExt, TryStreamExt};
use leasehold::{
    Store,
    coordination::{
        Elections, Node,
        election::LeaderView,
        members::{MemberView, Members},
    },
};
use serde_json::json;

use super::members::{self, Settling};
use crate::{
    election,
    failure::Failure,
    lock::{self, Onlooker},
    output, shared,
    signals::Signals,
    table::Table,
};

/// How many elections are read at a time.
const READS_MAX: usize = 16;

/// `leasehold cluster status`.
#[derive(Args, Debug)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    settling: Settling,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn status(arguments: StatusArguments, url: String) -> Result<u8, Failure> {
    let mut signals = Signals::receive()?;
    let look = async {
        let store = shared::open_existing(&url).await?;
        let observed = Members::observe(store.clone()).await?;
        let members = arguments.settling.look(&observed).await?.members;
        let leaders = leaders(&elections(&store).await?).await?;
        let locks: Vec<_> = Onlooker::connect(&store).await?.locks(false).try_collect().await?;
        Ok((store, members, leaders, locks))
    };
    let (store, members, leaders, locks) = signals.unless_ended(look).await?;
    if arguments.json {
        let status = json!({
            "store": store.to_string(),
            "members": members.iter().map(members::stable_json).collect::<Vec<_>>(),
            "elections": leaders.iter().map(election::view_json).collect::<Vec<_>>(),
            "locks": locks.iter().map(lock::Shown::json).collect::<Vec<_>>(),
        });
        output::json(&status)?;
        return Ok(0);
    }
    let mut held = lock::table();
    for lock in &locks {
        held.row(lock.row());
    }
    let colours = output::stdout_colours();
    let mut lines = picture(&store, &members, &leaders, colours);
    lines.push(String::new());
    lines.push(format!("Locks held: {}", count(locks.len())));
    lines.extend(under(&held, colours));
    output::line(&lines.join("\n"))?;
    Ok(0)
}

/// Looks at elections.
pub(super) async fn elections(store: &Store) -> Result<Elections, Failure> {
    Ok(Elections::connect(store.clone(), Node::new(shared::this_process())?).await?)
}

/// All elections that somebody ever stood for, by name.
pub(super) async fn leaders(elections: &Elections) -> Result<Vec<LeaderView>, Failure> {
    let looks = elections.names().map(|name| async move { elections.observe(&name?).await });
    Ok(looks.buffered(READS_MAX).try_filter_map(|view| async { Ok(view) }).try_collect().await?)
}

/// Nodes and leaders, in lines.
pub(super) fn picture(
    store: &Store,
    members: &[MemberView],
    leaders: &[LeaderView],
    colours: bool,
) -> Vec<String> {
    let mut lines = vec![format!("{store}"), String::new()];
    lines.push(format!("Nodes: {}", members::counts(members)));
    lines.extend(under(&members::table(members), colours));
    lines.push(String::new());
    lines.push(format!("Elections: {}", count(leaders.len())));
    let mut table = Table::new(["ELECTION", "LEADER", "TERM", "PROCLAIMED"]);
    for view in leaders {
        let (leader, proclaimed) = match view.is_led() {
            true => (view.node.name().to_owned(), election::proclaimed(view).unwrap_or_default()),
            false => ("-".to_owned(), String::new()),
        };
        table.row([view.name.clone(), leader, view.term.to_string(), proclaimed]);
    }
    lines.extend(under(&table, colours));
    lines
}

fn under(table: &Table, colours: bool) -> Vec<String> {
    if table.is_empty() {
        return Vec::new();
    }
    table.lines(colours).into_iter().map(|line| format!("  {line}")).collect()
}

fn count(number: usize) -> String {
    if number == 0 { "none".to_owned() } else { number.to_string() }
}
