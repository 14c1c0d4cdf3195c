//! `leasehold conformance`: whether a store keeps the promises, case by case.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use leasehold::{Capability, Stack};
use leasehold_conformance::{
    Case, CaseReport, Counts, Effort, Options, Outcome, Report, Subject, cases, run_each,
};
use serde::Serialize;

use crate::{
    failure::{Failure, NO},
    output,
    panel::Panel,
    signals::Signals,
    table::{Table, visible},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The store; the same as --store, and instead of it
    #[arg(value_name = "URL", conflicts_with = "list")]
    url: Option<String>,
    /// How much each case does: all of it, or about a tenth, for a store behind a network
    #[arg(long, value_enum, default_value = "full")]
    effort: Amount,
    /// Only cases of this promise (C1 to C14), or with this in their name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Leave out a case that the store is known to fail; reports tell the reason. Can be given several times
    #[arg(long, value_name = "CASE=REASON", value_parser = exception)]
    except: Vec<(String, String)>,
    /// Play a run again that had this seed
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// How many seconds a case may take; past that it counts as wedged
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    longest: u64,
    /// Write a report for build servers, in JUnit's format
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the cases and run none
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Amount {
    Full,
    Light,
}

/// A run for machines.
#[derive(Serialize)]
struct Shown<'a> {
    subject: &'a str,
    holds: bool,
    seed: u64,
    passed: usize,
    failed: usize,
    skipped: usize,
    claims: Vec<&'static str>,
    cases: Vec<ShownCase<'a>>,
    /// Why something may be left in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<&'a str>,
}

#[derive(Serialize)]
struct ShownCase<'a> {
    promise: String,
    name: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    milliseconds: u64,
}

/// A case of the table for machines.
#[derive(Serialize)]
struct Listed {
    promise: String,
    name: &'static str,
    requires: Vec<&'static str>,
}

fn exception(text: &str) -> Result<(String, String), String> {
    let (name, reason) = text.split_once('=').filter(|(_, reason)| !reason.trim().is_empty()).ok_or(
        "a case that is left out needs a reason, as in --except a_list_ascends_in_byte_order='the server sorts otherwise'",
    )?;
    match cases().iter().any(|case| case.name == name) {
        true => Ok((name.to_owned(), reason.trim().to_owned())),
        false => Err(format!("there is no case {name:?}; leasehold conformance --list prints them")),
    }
}

impl Arguments {
    fn options(&self) -> Result<Options, Failure> {
        let effort = match self.effort {
            Amount::Full => Effort::Full,
            Amount::Light => Effort::Light,
        };
        let options = Options::default().effort(effort).longest(Duration::from_secs(self.longest));
        let options = options.only(self.only.as_deref().unwrap_or_default());
        let options = self.seed.into_iter().fold(options, Options::seed);
        let except = self.except.iter().cloned();
        let options = except.fold(options, |options, (name, reason)| options.except(name, reason));
        match cases().iter().any(|case| options.includes(case)) {
            true => Ok(options),
            false => Err(Failure::usage(
                "no case has that in its name, and no promise is called so; leasehold conformance --list prints them",
            )),
        }
    }
}

pub(crate) async fn run(arguments: Arguments, store: Option<String>) -> Result<u8, Failure> {
    let options = arguments.options()?;
    if arguments.list {
        return list(&options, arguments.json).map(|()| 0);
    }
    let url = match (&arguments.url, store) {
        (Some(url), _) => url.clone(),
        (None, store) => crate::named(store)?,
    };
    let mut signals = Signals::receive()?;
    let subject = subject(&url).await?;
    // What cannot be written should be known before much is done.
    let junit = match arguments.junit.as_deref() {
        Some(path) => Some((path, File::create(path).map_err(unwritten(path))?)),
        None => None,
    };
    let running = async {
        let (mut number, colours) = (0, output::stdout_colours());
        // Without JSON the lines of the cases tell how far it is.
        let tells = arguments.json && Panel::fits(&std::io::stderr());
        let begun = |case: &Case, all: usize| {
            number += 1;
            if tells {
                eprint!("\r\x1b[K{number}/{all} {}", case.name);
            }
        };
        let mut printed = Ok(true);
        let ended = |case: &CaseReport| {
            if !arguments.json && matches!(printed, Ok(true)) {
                printed = output::line(&line(case, colours));
            }
        };
        let report = run_each(&subject, &options, begun, ended).await;
        if tells {
            eprint!("\r\x1b[K");
        }
        printed.map(|_| report)
    };
    let report = signals.unless_ended(running).await.map_err(|failure| match failure.message.is_empty() {
        true => {
            Failure::new(failure.code, "interrupted; what a case had written may be left below _conformance/")
        }
        false => failure,
    })?;
    if arguments.json {
        output::json(&shown(&report))?;
    } else {
        output::line(&format!("\n{}", visible(&report.summary())))?;
    }
    if let Some((path, mut file)) = junit {
        file.write_all(report.junit().as_bytes()).map_err(unwritten(path))?;
    }
    if let Some(why) = &report.left {
        output::complain(&format!(
            "something may be left below _conformance/ in the store: {}",
            visible(why)
        ));
    }
    Ok(if report.passed() { 0 } else { NO })
}

fn unwritten(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::machine(format!("{} cannot be written; name another file", path.display()), error)
}

/// Handles are opened anew for everybody, unless they would be stores of their own, or promise something only to those who share
/// them.
async fn subject(url: &str) -> Result<Subject, Failure> {
    let stack = Stack::of(url)?;
    let store = stack.open().await?.store;
    if stack.store().starts_with("mem:") || !store.capabilities().supports(Capability::Linearizable) {
        return Ok(Subject::shared(store));
    }
    let url = url.to_owned();
    Ok(Subject::shared_by(store.to_string(), move || {
        let url = url.clone();
        async move { leasehold::open(&url).await }
    }))
}

fn line(case: &CaseReport, colours: bool) -> String {
    let text = visible(&case.to_string());
    let colour = match case.outcome {
        Outcome::Failed(_) => "31",
        Outcome::Skipped(_) => "2",
        _ => return text,
    };
    if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text }
}

fn shown(report: &Report) -> Shown<'_> {
    let Counts { passed, failed, skipped, .. } = report.counts();
    let cases = report.cases.iter().map(|case| ShownCase {
        promise: case.promise.to_string(),
        name: case.name,
        outcome: case.outcome.name(),
        why: case.outcome.why(),
        milliseconds: case.elapsed.as_millis() as u64,
    });
    Shown {
        subject: &report.subject,
        holds: report.passed(),
        seed: report.seed,
        passed,
        failed,
        skipped,
        claims: report.capabilities.iter().flat_map(|claimed| claimed.iter().map(Capability::name)).collect(),
        cases: cases.collect(),
        left: report.left.as_deref(),
    }
}

fn list(options: &Options, json: bool) -> Result<(), Failure> {
    let listed: Vec<Listed> = cases()
        .into_iter()
        .filter(|case| options.includes(case))
        .map(|case| Listed {
            promise: case.promise.to_string(),
            name: case.name,
            requires: case.requires.iter().map(|capability| capability.name()).collect(),
        })
        .collect();
    if json {
        return output::json(&listed).map(drop);
    }
    let mut table = Table::new(["PROMISE", "CASE", "FOR STORES THAT CLAIM"]);
    for case in listed {
        table.row([case.promise, case.name.to_owned(), case.requires.join(", ")]);
    }
    output::write(table.text(output::stdout_colours()).as_bytes()).map(drop)
}
