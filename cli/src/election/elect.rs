//! `leasehold elect NAME -- CMD`: a command that runs only where and while this node leads.

use clap::Args;
use leasehold::coordination::{Elections, Leadership};

use super::leader::sentence;
use crate::{
    failure::{Failure, NOT_ACQUIRED},
    hold::{self, Options, Tenure},
    output, shared,
    signals::Signals,
};

const HELP: &str = "\
CMD runs only while this node leads, with LEASEHOLD_ELECTION and LEASEHOLD_TERM set; the term grows with every leader and \
is LEASEHOLD_TOKEN too: hand it to whatever CMD writes to, and let that refuse smaller ones. When CMD ends, so does the \
leadership, and the next candidate leads at once.";

/// `leasehold elect`.
#[derive(Args, Debug)]
#[command(
    override_usage = "leasehold elect [OPTIONS] <NAME> -- <CMD>...",
    after_help = format!("{HELP}\n\n{}", hold::HELP)
)]
pub(crate) struct ElectArguments {
    /// The election's name, without a "/"
    name: String,
    /// Tell everybody who looks who leads: an address, say
    #[arg(long, value_name = "TEXT")]
    proclaim: Option<String>,
    #[command(flatten)]
    options: Options,
}

pub(crate) async fn elect(arguments: ElectArguments, url: String) -> Result<u8, Failure> {
    let ElectArguments { name, proclaim, options } = arguments;
    let (node, ttl) = (options.node()?, options.ttl()?);
    let store = shared::open(&url).await?;
    let mut signals = Signals::receive()?;
    let campaign = async {
        let elections = Elections::connect(store, node).await?;
        match elections.campaign(&name).ttl(ttl).wait(options.wait()).await? {
            Some(leadership) => Ok(leadership),
            None => Err(lost_to(elections, &name).await?),
        }
    };
    let leadership = signals.unless_ended(campaign).await?;
    if let Some(text) = proclaim {
        let proclaimed = signals.unless_ended(async { Ok(leadership.proclaim(text).await?) }).await;
        if let Err(failure) = proclaimed {
            resign(leadership).await;
            return Err(failure);
        }
    }
    hold::run(Tenure::Leadership(Box::new(leadership)), &options, signals).await
}

async fn lost_to(elections: Elections, name: &str) -> Result<Failure, Failure> {
    let who = match elections.observe(name).await? {
        Some(view) if view.is_led() => sentence(&view),
        // Nobody any more.
        _ => format!("{name:?} was led by another"),
    };
    Ok(Failure::new(NOT_ACQUIRED, format!("{who}; try again, or wait longer with --wait")))
}

async fn resign(leadership: Leadership) {
    if let Err(problem) = shared::farewell(leadership.resign()).await {
        output::complain(&format!("the leadership could not be given up and is left to expire: {problem}"));
    }
}
