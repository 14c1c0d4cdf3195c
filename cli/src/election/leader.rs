//! `leasehold leader NAME`: who leads.

use clap::Args;
use leasehold::coordination::{Elections, LeaseState, Node, Wait, election::LeaderView};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, NO},
    output, shared,
    signals::Signals,
    table::visible,
};

/// `leasehold leader`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 1 when nobody leads. A leader that died is shown until another took over: what counts is \
                        what its term still lets it write."
)]
pub(crate) struct LeaderArguments {
    /// The election's name
    name: String,
    /// Go on looking, and print each change, until interrupted
    #[arg(long)]
    watch: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn leader(arguments: LeaderArguments, url: String) -> Result<u8, Failure> {
    let LeaderArguments { name, watch, json } = arguments;
    let mut signals = Signals::receive()?;
    let connect = async {
        let store = shared::open_existing(&url).await?;
        Ok(Elections::connect(store, Node::new(shared::this_process())?).await?)
    };
    let elections = signals.unless_ended(connect).await?;
    let print = |view: &LeaderView| match json {
        true => output::json(&view_json(view)),
        false => output::line(&sentence(view)),
    };
    if !watch {
        let view = signals.unless_ended(async { Ok(elections.observe(&name).await?) }).await?;
        return match view.filter(LeaderView::is_led) {
            Some(view) => print(&view).map(|_| 0),
            None => {
                Err(Failure::new(NO, format!("nobody leads {name:?}; stand for it with: leasehold elect")))
            }
        };
    }
    let mut known = None;
    loop {
        let changed = tokio::select! {
            changed = elections.changed(&name, known.as_ref(), Wait::Forever) => changed?,
            _ = signals.ending() => return Ok(0),
        };
        if let Some(view) = changed {
            if !print(&view)? {
                return Ok(0);
            }
            known = Some(view);
        }
    }
}

/// For people.
pub(crate) fn sentence(view: &LeaderView) -> String {
    let (name, node) = (visible(&view.name), visible(view.node.name()));
    let term = view.term;
    match &view.state {
        LeaseState::Held => {
            let proclaimed =
                proclaimed(view).map_or_else(String::new, |text| format!(": {}", visible(&text)));
            format!("{name} is led by {node} in term {term}{proclaimed}")
        }
        LeaseState::HandOver { to } => {
            format!("{name} is led by nobody: {node} handed it over to {} after term {term}", visible(to))
        }
        _ => format!("{name} is led by nobody: {node} resigned after term {term}"),
    }
}

/// For machines.
pub(crate) fn view_json(view: &LeaderView) -> Value {
    json!({
        "election": view.name,
        "led": view.is_led(),
        "leader": view.node.name(),
        "incarnation": view.node.incarnation(),
        "term": view.term.get(),
        "proclaimed": proclaimed(view),
    })
}

/// What the leader proclaimed, as text.
pub(crate) fn proclaimed(view: &LeaderView) -> Option<String> {
    view.proclaimed.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}
