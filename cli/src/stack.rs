//! `leasehold stack`: what is stacked, and what holds at the top.

use clap::Args;
use leasehold::{Capability, Level, OpenStack, Stack};
use serde::Serialize;

use crate::{failure::Failure, output};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A stack for machines: levels from the top down.
#[derive(Serialize)]
struct Shown<'a> {
    levels: Vec<ShownLevel<'a>>,
    guarantees: Vec<&'static str>,
    limits: ShownLimits,
}

#[derive(Serialize)]
struct ShownLevel<'a> {
    name: &'a str,
    weakens: Vec<&'static str>,
}

#[derive(Serialize)]
struct ShownLimits {
    value_bytes_max: u64,
    key_bytes_max: usize,
    batch_operations_max: usize,
    attributes_bytes_max: usize,
}

pub(crate) async fn run(arguments: Arguments, url: String) -> Result<(), Failure> {
    let OpenStack { store, levels, .. } = Stack::of(&url)?.open_existing().await?;
    let capabilities = store.capabilities();
    if arguments.json {
        let limits = capabilities.limits();
        let shown = Shown {
            levels: levels.iter().rev().map(shown).collect(),
            guarantees: capabilities.iter().map(Capability::name).collect(),
            limits: ShownLimits {
                value_bytes_max: limits.value_bytes_max,
                key_bytes_max: limits.key_bytes_max,
                batch_operations_max: limits.batch_operations_max,
                attributes_bytes_max: limits.attributes_bytes_max,
            },
        };
        return output::json(&shown).map(drop);
    }
    let width = levels.iter().map(|level| level.name.len()).max().unwrap_or(0);
    for level in levels.iter().rev() {
        let ShownLevel { name, weakens } = shown(level);
        let line = if weakens.is_empty() {
            name.to_owned()
        } else {
            format!("{name:width$}  weakens {}", weakens.join(", "))
        };
        output::line(&line)?;
    }
    output::line("")?;
    for capability in Capability::ALL {
        let (mark, why) = match levels.iter().find(|level| level.weakened.contains(&capability)) {
            _ if capabilities.supports(capability) => ("yes", String::new()),
            Some(level) => ("no", format!("  because of {}", level.name)),
            None => ("no", "  not offered by the store".to_owned()),
        };
        output::line(&format!("{:20} {mark}{why}", capability.name()))?;
    }
    Ok(())
}

fn shown(level: &Level) -> ShownLevel<'_> {
    ShownLevel {
        name: &level.name,
        weakens: level.weakened.iter().map(|capability| capability.name()).collect(),
    }
}
