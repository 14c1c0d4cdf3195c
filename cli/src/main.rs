//! The `leasehold` command: a store, and what coordinates on it, from the shell.

mod cluster;
mod conformance;
mod data;
mod demo;
mod election;
mod failure;
mod hold;
mod ids;
mod input;
mod lock;
mod output;
mod panel;
mod parent;
mod serve;
mod shared;
mod signals;
mod stack;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use failure::Failure;
use leasehold::{Stack, Store};

/// A directory as a store with compare-and-swap, and locks that fence.
#[derive(Parser, Debug)]
#[command(name = "leasehold", version, about, after_help = failure::HELP, max_term_width = 100)]
struct Cli {
    /// The store: fs:PATH or a path, s3://BUCKET/PREFIX, r2://ACCOUNT/BUCKET/PREFIX, or mem: (which lasts for one command)
    #[arg(long, value_name = "URL", env = "LEASEHOLD_STORE", hide_env_values = true, global = true)]
    store: Option<String>,

    /// A stack, instead of the store: a TOML file that names a store and its layers
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    #[command(flatten)]
    Data(data::Command),
    /// Run a command while holding a lock, or several
    Lock(lock::LockArguments),
    /// Run a command while holding one of N permits
    Semaphore(lock::SemaphoreArguments),
    /// Show who holds which locks, and who waits in line
    Locks(lock::ShowArguments),
    /// Run a command while leading: on one of many nodes, and on another when that one fails
    Elect(election::ElectArguments),
    /// Show who leads
    Leader(election::LeaderArguments),
    /// Take ids in ranges, divide them, give them back: no id is given out twice
    IdRange(ids::Arguments),
    /// Show and change who takes part: nodes, leaders, locks
    Cluster(cluster::Arguments),
    /// Print the store's layers, what is guaranteed at the top, and which layer weakens what
    Stack(stack::Arguments),
    /// Check the promises of the store, case by case, below _conformance/ in it
    Conformance(conformance::Arguments),
    /// Serve the store to clients of another protocol
    Serve(serve::Arguments),
    /// Watch processes fail over on a real directory tree, and check every result
    Demo(demo::Arguments),
    #[command(name = "demo-node", hide = true)]
    DemoNode(demo::NodeArguments),
    #[command(name = "lock-starter", hide = true)]
    LockStarter(hold::StarterArguments),
    #[command(name = "lock-warden", hide = true)]
    LockWarden(hold::WardenArguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::LockStarter(arguments) = cli.command {
        // Becomes another program, so it had better not have a runtime.
        return end(hold::run_starter(arguments));
    }
    // One thread on purpose: children are spawned by the main thread, whose end is the process's end, so that
    // their parent-death signal means what it says.
    // A server has no children, and many clients; races are real where threads are.
    let mut runtime = match &cli.command {
        Command::Serve(_) | Command::Conformance(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(Err(Failure::machine("the runtime cannot start", error))),
    };
    let result = runtime.block_on(Box::pin(run(cli)));
    // A read of stdin that is still waiting must not keep the process.
    runtime.shutdown_background();
    end(result)
}

async fn run(cli: Cli) -> Result<u8, Failure> {
    let url = match cli.config {
        Some(file) if Stack::names(&file) => Some(file),
        Some(file) => {
            return Err(Failure::usage(format!("{file:?} is no stack: that is a path that ends in .toml")));
        }
        None => cli.store.filter(|url| !url.is_empty()),
    };
    match cli.command {
        Command::Data(command) => {
            let store = if command.needs_a_store() { open_existing(url).await? } else { open(url).await? };
            let done = data::run(command, &store).await;
            // A layer may have put something off.
            let flushed = store.flush().await;
            done.and(flushed.map_err(Failure::from)).map(|()| 0)
        }
        Command::Lock(arguments) => lock::lock(arguments, named(url)?).await,
        Command::Semaphore(arguments) => lock::semaphore(arguments, named(url)?).await,
        Command::Locks(arguments) => lock::show(arguments, named(url)?).await,
        Command::Elect(arguments) => election::elect(arguments, named(url)?).await,
        Command::Leader(arguments) => election::leader(arguments, named(url)?).await,
        Command::IdRange(arguments) => ids::run(arguments, named(url)?).await,
        Command::Cluster(arguments) => cluster::run(arguments, named(url)?).await,
        Command::Stack(arguments) => stack::run(arguments, named(url)?).await.map(|()| 0),
        Command::Conformance(arguments) => Box::pin(conformance::run(arguments, url)).await,
        Command::Serve(arguments) => serve::run(arguments, named(url)?).await,
        Command::Demo(arguments) => demo::run(arguments, url).await,
        Command::DemoNode(arguments) => demo::run_node(arguments, open(url).await?).await,
        Command::LockStarter(arguments) => hold::run_starter(arguments),
        Command::LockWarden(arguments) => hold::run_warden(arguments).await,
    }
}

async fn open(url: Option<String>) -> Result<Store, Failure> {
    Ok(leasehold::open(&named(url)?).await?)
}

/// For commands that make no value, and so must not make a store of a mistyped path.
async fn open_existing(url: Option<String>) -> Result<Store, Failure> {
    Ok(leasehold::open_existing(&named(url)?).await?)
}

fn named(url: Option<String>) -> Result<String, Failure> {
    url.ok_or_else(|| {
        Failure::usage("no store is named; give --store URL or set LEASEHOLD_STORE, for example fs:./data")
    })
}

fn end(result: Result<u8, Failure>) -> ExitCode {
    let code = result.unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            output::complain(&failure.message);
        }
        failure.code
    });
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
