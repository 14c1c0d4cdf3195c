//! `leasehold id-range`: ids in ranges, each given out once.

use clap::{Args, Subcommand};
use leasehold::coordination::{IdRange, Ids};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::{self, answer},
    shared,
};

/// `leasehold id-range`.
#[derive(Args, Debug)]
#[command(
    after_help = "A range is printed as FIRST-END:RECEIPT:CHECK, where END is the first id that is not in it; give it \
                        to the other verbs as it was printed. Each range is divided or returned once; whatever is \
                        neither used nor returned is a gap."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Take ids in a row, and print them as a range
    Take {
        /// The name of the sequence, without a "/"
        name: String,
        /// How many
        count: u64,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Divide a range into parts for others, and print a range for each
    Divide {
        /// The name of the sequence
        name: String,
        /// The range, as it was printed
        range: String,
        /// Into how many parts
        parts: u32,
        /// The first id that was not used
        #[arg(long, value_name = "ID")]
        from: Option<u64>,
        /// Print one line of JSON for each part
        #[arg(long)]
        json: bool,
    },
    /// Give back what is left of a range, for others to take
    Return {
        /// The name of the sequence
        name: String,
        /// The range, as it was printed
        range: String,
        /// The first id that was not used
        #[arg(long, value_name = "ID")]
        from: Option<u64>,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(arguments: Arguments, url: String) -> Result<u8, Failure> {
    match arguments.verb {
        Verb::Take { name, count, json } => {
            let range = Ids::connect(shared::open(&url).await?, name).await?.take(count).await?;
            print(&[range], json)?;
        }
        Verb::Divide { name, range, parts, from, json } => {
            let range = what_is_left(&range, from)?;
            let ids = Ids::connect(shared::open_existing(&url).await?, name).await?;
            print(&ids.divide(range, parts).await?, json)?;
        }
        Verb::Return { name, range, from, json } => {
            let range = what_is_left(&range, from)?;
            let ids = Ids::connect(shared::open_existing(&url).await?, name).await?;
            let returned = json!({"returned": {"start": range.position(), "end": range.end()}});
            ids.give_back(range).await?;
            if json {
                answer(output::json(&returned))?;
            }
        }
    }
    Ok(0)
}

fn what_is_left(range: &str, from: Option<u64>) -> Result<IdRange, Failure> {
    let mut range: IdRange = range.trim().parse()?;
    if let Some(from) = from {
        range.use_up_to(from)?;
    }
    Ok(range)
}

/// All at once: half an answer would be a range that nobody knows.
fn print(ranges: &[IdRange], json: bool) -> Result<(), Failure> {
    let line = |range: &IdRange| if json { described(range).to_string() } else { range.to_string() };
    let lines: Vec<String> = ranges.iter().map(line).collect();
    answer(output::line(&lines.join("\n")))
}

fn described(range: &IdRange) -> Value {
    json!({"range": range.to_string(), "start": range.start(), "end": range.end()})
}
