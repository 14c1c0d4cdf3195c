//! `leasehold cluster watch`: nodes and leaders as they change.

use std::{collections::BTreeMap, io, time::Duration};

use clap::Args;
use leasehold::{
    Clock, SystemClock,
    coordination::{
        Wait,
        election::LeaderView,
        members::{MemberView, Members, View},
    },
};
use serde_json::{Value, json};

use super::{members::stable_json, picture};
use crate::{
    election,
    failure::Failure,
    output,
    panel::{self, Panel},
    shared,
    signals::Signals,
    table::visible,
};

/// `leasehold cluster watch`.
#[derive(Args, Debug)]
#[command(
    after_help = "What is there at the beginning is told as \"present\"; from then on nodes and elections are told as \
                        \"new\", \"changed\" and \"gone\". Ends with 0 when interrupted."
)]
pub(super) struct Arguments {
    /// How often to look at elections, and at least at nodes
    #[arg(long, value_name = "DURATION", value_parser = leasehold::units::duration, default_value = "2s")]
    every: Duration,
    /// Print one line of JSON for each change
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, url: String) -> Result<u8, Failure> {
    let mut signals = Signals::receive()?;
    let connect = async {
        let store = shared::open_existing(&url).await?;
        let members = Members::observe(store.clone()).await?;
        let elections = picture::elections(&store).await?;
        Ok((store, members, elections))
    };
    let (store, members, elections) = signals.unless_ended(connect).await?;
    let mut panel = (!arguments.json && Panel::fits(&io::stdout())).then(Panel::default);
    let mut told = None;
    let mut view: Option<View> = None;
    loop {
        let look = async {
            let nodes = match &view {
                None => members.look().await?,
                Some(known) => {
                    let every = Wait::For(arguments.every);
                    members.changed(known.generation, every).await?.unwrap_or_else(|| known.clone())
                }
            };
            Ok::<_, Failure>((nodes, picture::leaders(&elections).await?))
        };
        let (nodes, leaders) = tokio::select! {
            seen = look => seen?,
            _ = signals.ending() => return Ok(0),
        };
        let seen = Seen::of(&nodes, &leaders);
        let goes_on = match &mut panel {
            Some(panel) => {
                let lines = picture::picture(&store, &nodes.members, &leaders, output::stdout_colours());
                let drawn = panel.draw(&lines, panel::rows(io::stdout()));
                output::write(drawn.as_bytes())?
            }
            None => tell(&seen.since(told.as_ref()), arguments.json)?,
        };
        if !goes_on {
            return Ok(0);
        }
        (told, view) = (Some(seen), Some(nodes));
    }
}

/// What was seen, by what and name, without what changes at every look.
#[derive(Debug, Default)]
struct Seen(BTreeMap<(&'static str, String), Value>);

impl Seen {
    fn of(view: &View, leaders: &[LeaderView]) -> Self {
        let member = |member: &MemberView| (("member", member.node.name().to_owned()), stable_json(member));
        let election = |view: &LeaderView| (("election", view.name.clone()), election::view_json(view));
        Self(view.members.iter().map(member).chain(leaders.iter().map(election)).collect())
    }

    /// What is different from what was seen before: the word for it, and what it is about.
    fn since(&self, before: Option<&Self>) -> Vec<(&'static str, &'static str, Value)> {
        let Some(before) = before else {
            return self.0.iter().map(|((what, _), value)| ("present", *what, value.clone())).collect();
        };
        let mut changes = Vec::new();
        for (key, value) in &before.0 {
            if !self.0.contains_key(key) {
                changes.push(("gone", key.0, value.clone()));
            }
        }
        for (key, value) in &self.0 {
            match before.0.get(key) {
                None => changes.push(("new", key.0, value.clone())),
                Some(known) if known != value => changes.push(("changed", key.0, value.clone())),
                Some(_) => {}
            }
        }
        changes
    }
}

fn tell(changes: &[(&str, &str, Value)], as_json: bool) -> Result<bool, Failure> {
    let at = output::rfc3339(SystemClock.wall());
    for (change, what, value) in changes {
        let goes_on = match as_json {
            true => output::json(&json!({"at": at, "change": change, *what: value}))?,
            false => output::line(&format!("{at} {change:<8} {}", sentence(what, value)))?,
        };
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sentence(what: &str, value: &Value) -> String {
    let text = |name: &str| visible(value[name].as_str().unwrap_or_default());
    if what == "member" {
        let address = value["metadata"]["address"].as_str().map(visible);
        let address = address.map_or_else(String::new, |address| format!(" at {address}"));
        return format!("node {} is {} as {}{address}", text("node"), text("state"), text("role"));
    }
    let leader = match value["led"].as_bool() {
        Some(true) => text("leader"),
        _ => "nobody".to_owned(),
    };
    format!("election {} is led by {leader} in term {}", text("election"), value["term"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pairs: &[(&'static str, &str, &str)]) -> Seen {
        Seen(pairs.iter().map(|(what, name, value)| ((*what, (*name).to_owned()), json!(value))).collect())
    }

    #[test]
    fn changes_are_told_once_and_by_name() {
        let first = seen(&[("member", "a", "1"), ("member", "b", "1")]);
        assert_eq!(first.since(None).iter().map(|change| change.0).collect::<Vec<_>>(), ["present"; 2]);
        let second = seen(&[("member", "a", "2"), ("election", "b", "1")]);
        let changes = second.since(Some(&first));
        let told: Vec<_> = changes.iter().map(|(change, what, _)| (*change, *what)).collect();
        assert_eq!(told, [("gone", "member"), ("new", "election"), ("changed", "member")]);
        assert!(second.since(Some(&second)).is_empty());
    }
}
