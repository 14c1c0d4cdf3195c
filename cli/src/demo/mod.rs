//! `leasehold demo`: real processes share the work of a real directory tree; one is killed, one is stopped and
//! wakes with leases that are over; and then every result is checked.

mod book;
mod faults;
mod node;
mod plan;
mod protocol;
mod records;
mod reference;
mod report;
mod supervisor;
mod tree;
mod verify;
mod view;

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use leasehold::{Environment, Json, Stack, Store, coordination::Ttl};
use tempfile::TempDir;

pub(crate) use self::node::{NodeArguments, run_node};
use self::{
    book::Book,
    plan::Plan,
    reference::Look,
    report::{Asked, Report},
    supervisor::{Setting, Supervisor},
    tree::{Bounds, Tree},
    verify::Findings,
    view::View,
};
use crate::{
    failure::{FAILED, Failure, NO},
    output,
    signals::Signals,
};

const HELP: &str = "\
The files of DIR are split into shards by a stable hash of their paths. Every node is a process of \
its own; it takes leases on shards and writes, under their tokens, the SHA-256, size and lines of \
each file. While the last file of every shard is kept back, one node is killed and another is \
stopped past its ttl; when that one wakes, its pending writes have to be refused. Then the results \
are compared with what this process alone finds in the files. Exits with 0 only when everything \
holds.\n\n\
Symbolic links are not followed; .git, node_modules and target are left out without --all; what is \
left out is said. Without --store a temporary directory is used, and kept only when something did \
not hold.";

/// `leasehold demo`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The directory tree to work on
    #[arg(long, value_name = "DIR", default_value = ".")]
    input: PathBuf,
    /// How many processes, from 2 to 32
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// How many shards, from 1 to 256
    #[arg(long, default_value_t = 16)]
    shards: usize,
    /// The leases' time to live, from 300ms to 1m
    #[arg(long, default_value = "2s", value_parser = leasehold::units::duration)]
    ttl: Duration,
    /// Who divides the shards: a lease for each, or a leader that plans
    #[arg(long, value_enum, default_value_t)]
    coordinator: Coordinator,
    /// The most files to take
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    files_max: usize,
    /// The most bytes to take, all files together
    #[arg(long, default_value_t = 256 << 20, value_name = "BYTES")]
    bytes_max: u64,
    /// Also .git, node_modules and target
    #[arg(long)]
    all: bool,
    /// Which node meets which fault; drawn when left out
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Who divides the shards among the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Coordinator {
    /// Every node takes the leases that it can get.
    #[default]
    Lease,
    /// The nodes elect a leader, which plans who owns what.
    Leader,
}

impl Coordinator {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Leader => "leader",
        }
    }
}

impl Arguments {
    fn check(&self) -> Result<(), Failure> {
        let refuse = |text: &str| Err(Failure::usage(text));
        match self {
            Self { nodes: 1, .. } => refuse("--nodes 1 leaves nobody to take over; use 2 or more"),
            Self { nodes, .. } if !(2..=32).contains(nodes) => refuse("--nodes is from 2 to 32"),
            Self { shards, .. } if !(1..=256).contains(shards) => refuse("--shards is from 1 to 256"),
            Self { files_max: 0, .. } => refuse("--files-max is at least 1"),
            Self { ttl, .. } if !(Duration::from_millis(300)..=Duration::from_secs(60)).contains(ttl) => {
                refuse("--ttl is from 300ms to 1m")
            }
            _ => Ttl::new(self.ttl).map(drop).map_err(Failure::from),
        }
    }
}

pub(crate) async fn run(arguments: Arguments, url: Option<String>) -> Result<u8, Failure> {
    arguments.check()?;
    let mut signals = Signals::receive()?;
    let place = Place::open(url).await?;
    match Box::pin(play(&arguments, &place, &mut signals)).await {
        Ok(report) => {
            if arguments.json {
                output::json(&report)?
            } else {
                output::line(&report.to_string())?
            };
            if report.ok() {
                place.clean().await?;
                return Ok(0);
            }
            Err(Failure::new(NO, format!("the demo did not hold; its store is kept: {}", place.keep())))
        }
        // Refused before it began, or interrupted: there is nothing to look at.
        Err(failure) if failure.code != FAILED => place.clean().await.and(Err(failure)),
        Err(failure) => {
            let message = format!("{}; the store is kept: {}", failure.message, place.keep());
            Err(Failure::new(failure.code, message))
        }
    }
}

/// Where a run keeps what it writes.
struct Place {
    url: String,
    run: String,
    /// The run's part of the store.
    store: Store,
    directory: Option<TempDir>,
}

impl Place {
    async fn open(url: Option<String>) -> Result<Self, Failure> {
        let run = format!("demo-{}", &Environment::default().identifier()[..16]);
        let (url, directory) = match url {
            Some(url) if Stack::of(&url)?.store().starts_with("mem:") => {
                return Err(Failure::usage(
                    "processes cannot share mem:; name a directory, or leave --store out",
                ));
            }
            Some(url) => (url, None),
            None => {
                let directory = tempfile::Builder::new().prefix("leasehold-demo-").tempdir();
                let directory =
                    directory.map_err(|error| Failure::machine("no temporary directory", error))?;
                // Gone with the demo, so there is nothing to sync for.
                (format!("fs:{}?durable=false", directory.path().display()), Some(directory))
            }
        };
        let store = leasehold::open(&url).await?.namespace(&run)?;
        Ok(Self { url, run, store, directory })
    }

    /// Removes what the run wrote. Nobody will ask for its leases again, so here even these may go.
    async fn clean(mut self) -> Result<(), Failure> {
        if let Some(directory) = self.directory.take() {
            return directory
                .close()
                .map_err(|error| Failure::machine("the temporary store cannot be removed", error));
        }
        for entry in self.store.list("").await? {
            self.store.delete(entry.key).await?;
        }
        Ok(())
    }

    /// Leaves everything, and says where it is.
    fn keep(self) -> String {
        match self.directory {
            Some(directory) => directory.keep().display().to_string(),
            None => format!("{:?} in {}", self.run, self.store),
        }
    }
}

async fn play(arguments: &Arguments, place: &Place, signals: &mut Signals) -> Result<Report, Failure> {
    let mut work = signals.unless_ended(prepare(arguments, place)).await?;
    let setting = Setting {
        store: place.url.clone(),
        run: place.run.clone(),
        input: arguments.input.clone(),
        ttl: arguments.ttl,
        coordinator: arguments.coordinator,
        silence_max: (arguments.ttl * 20).max(Duration::from_secs(60)),
    };
    let book = Book::new(work.plan.shards.iter().map(Vec::len));
    let mut supervisor = Supervisor::new(setting, book, work.view);
    let running = faults::run(&mut supervisor, arguments.nodes, work.seed, arguments.ttl);
    let outcome = signals.unless_ended(running).await;
    // Whatever happened, no node writes any more once this has returned.
    let (book, view) = if outcome.is_ok() { supervisor.end().await } else { supervisor.kill_all().await };
    work.view = view;
    work.view.finish();
    outcome?;
    signals.unless_ended(check(arguments, place, work, book)).await
}

/// What the nodes are given to do, and how the files looked before they began.
struct Work {
    tree: Tree,
    before: Vec<Look>,
    plan: Plan,
    seed: u64,
    view: View,
}

async fn prepare(arguments: &Arguments, place: &Place) -> Result<Work, Failure> {
    let bounds =
        Bounds { files_max: arguments.files_max, bytes_max: arguments.bytes_max, all: arguments.all };
    let tree = Tree::walk(&arguments.input, bounds)?;
    let mut view = View::new(tree.files.len());
    for (reason, (count, first)) in &tree.left_out {
        view.say(&format!("left out: {count} {reason}, first {first:?}"));
    }
    if tree.files.is_empty() {
        let message = format!("{:?} has no files to work on; name a directory that has", arguments.input);
        return Err(Failure::usage(message));
    }
    let seed = arguments.seed.unwrap_or_else(|| Environment::default().random.bits() % 1_000_000);
    view.say(&format!("{} files, {} bytes, seed {seed}", tree.files.len(), tree.bytes));

    let before = reference::look_at_all(&arguments.input, &tree.files).await?;
    let plan = Plan::new(&tree.files, arguments.shards);
    place.store.put(Plan::KEY, Json(&plan)).await?;
    Ok(Work { tree, before, plan, seed, view })
}

async fn check(arguments: &Arguments, place: &Place, work: Work, book: Book) -> Result<Report, Failure> {
    let Work { tree, before, plan, seed, mut view } = work;
    let after = reference::look_at_all(&arguments.input, &tree.files).await?;
    let looks = before.iter().zip(&after);
    let looks = tree.files.iter().map(String::as_str).zip(looks).collect();
    let results = place.store.namespace(Plan::RESULTS)?;
    let findings = verify::verify(&results, &plan, &looks, &book.acknowledged).await?;
    tell(&mut view, &findings);
    Ok(Report::new(
        Asked { nodes: arguments.nodes, seed, coordinator: arguments.coordinator },
        &tree,
        &book,
        &findings,
        view.elapsed(),
    ))
}

fn tell(view: &mut View, findings: &Findings) {
    for example in &findings.examples {
        view.say(example);
    }
}
