//! Contests: the same work by several contenders, in turn, in one process, compared by ratio.
//!
//! Machines are noisy and drift, so contenders take turns, ratios are taken within a round, and the median of the rounds
//! counts. What is compared is CPU time an operation (of the whole process, so that helper threads count) and operations a second.

pub mod etcd;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Work by one contender: performs the given number of operations with the given number of tasks or threads.
pub type Work<'a> = Box<dyn FnMut(usize, usize) + 'a>;

/// A contest over one kind of work.
pub struct Contest<'a> {
    name: String,
    operations: usize,
    tasks: usize,
    rounds: usize,
    contenders: Vec<(String, Work<'a>)>,
    floors: Vec<(String, String, Measure, f64)>,
}

/// What a floor is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// CPU time: at most so many times the other's.
    Cpu,
    /// Operations a second: at least so many times the other's.
    Rate,
}

/// What one contender reached in a round.
#[derive(Clone, Copy, Debug)]
struct Reached {
    cpu_us: f64,
    rate: f64,
}

impl Reached {
    fn of(self, measure: Measure) -> f64 {
        match measure {
            Measure::Cpu => self.cpu_us,
            Measure::Rate => self.rate,
        }
    }
}

impl<'a> Contest<'a> {
    /// A contest named `name`, of `operations` a round by `tasks` at once.
    pub fn new(name: impl Into<String>, operations: usize, tasks: usize) -> Self {
        let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(7);
        Self { name: name.into(), operations, tasks, rounds, contenders: Vec::new(), floors: Vec::new() }
    }

    /// Adds a contender; the first is the one that the others are compared with.
    #[must_use]
    pub fn enter(mut self, name: &str, work: impl FnMut(usize, usize) + 'a) -> Self {
        self.contenders.push((name.to_owned(), Box::new(work)));
        self
    }

    /// States what the first contender owes against `other`.
    #[must_use]
    pub fn floor(mut self, other: &str, measure: Measure, ratio: f64) -> Self {
        let first = self.contenders.first().map(|(name, _)| name.clone()).unwrap_or_default();
        self.floors.push((first, other.to_owned(), measure, ratio));
        self
    }

    /// Runs the rounds and prints the table. Returns whether every floor holds.
    pub fn run(mut self) -> bool {
        let mut reached = vec![Vec::new(); self.contenders.len()];
        for round in 0..=self.rounds {
            for (contender, reached) in self.contenders.iter_mut().zip(&mut reached) {
                let (cpu, wall) = (clock(ClockId::ProcessCPUTime), clock(ClockId::Monotonic));
                contender.1(self.operations, self.tasks);
                let (cpu, wall) = (clock(ClockId::ProcessCPUTime) - cpu, clock(ClockId::Monotonic) - wall);
                // The first round warms caches up.
                if round > 0 {
                    let operations = self.operations as f64;
                    reached.push(Reached {
                        cpu_us: cpu.as_secs_f64() * 1e6 / operations,
                        rate: operations / wall.as_secs_f64(),
                    });
                }
            }
        }
        let ratio = |other: &[Reached], measure| {
            median(reached[0].iter().zip(other).map(|(own, other)| own.of(measure) / other.of(measure)))
        };
        println!("\n{}, {} at once", self.name, self.tasks);
        println!("  {:<34} {:>11} {:>11} {:>10} {:>10}", "", "CPU µs/op", "op/s", "CPU ×", "rate ×");
        for ((name, _), own) in self.contenders.iter().zip(&reached) {
            let of = |measure| median(own.iter().map(|reached| reached.of(measure)));
            let (cpu_us, rate) = (of(Measure::Cpu), of(Measure::Rate));
            let (cpu, times) = (ratio(own, Measure::Cpu), ratio(own, Measure::Rate));
            println!("  {name:<34} {cpu_us:>11.2} {rate:>11.0} {cpu:>10.2} {times:>10.2}");
        }
        let mut all = true;
        for (first, other, measure, floor) in &self.floors {
            let Some(index) = self.contenders.iter().position(|(name, _)| name == other) else { continue };
            let ratio = ratio(&reached[index], *measure);
            let (what, bound, holds) = match measure {
                Measure::Cpu => ("CPU", "at most", ratio <= *floor),
                Measure::Rate => ("rate", "at least", ratio >= *floor),
            };
            let verdict = if holds { "holds" } else { "MISSED" };
            println!("  {verdict}: {what} of {first} / {other} = {ratio:.2}, {bound} {floor:.2}");
            all &= holds;
        }
        all
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs `work` on `threads` threads, each its share of `operations`, numbered.
pub fn on_threads(operations: usize, threads: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || (thread..operations).step_by(threads).for_each(work));
        }
    });
}

/// What the system calls of a safe write come to, on threads: a file is made, written, synced and renamed, and its directory
/// synced; `name` gives the file of each operation.
pub fn write_raw(
    directory: &Path,
    operations: usize,
    threads: usize,
    name: impl Fn(usize) -> String + Sync,
    value: &[u8],
) -> io::Result<()> {
    let parent = File::open(directory)?;
    let write = |n: usize| {
        let temporary = directory.join(format!(".temporary-{n}"));
        let mut file = File::create(&temporary)?;
        file.write_all(value)?;
        file.sync_all()?;
        fs::rename(&temporary, directory.join(name(n)))?;
        parent.sync_all()
    };
    let failed = Mutex::new(Ok(()));
    on_threads(operations, threads, |n| {
        if let Err(error) = write(n) {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The CPU time of the whole process that `work` takes.
pub fn cpu(work: impl FnOnce()) -> Duration {
    let begun = clock(ClockId::ProcessCPUTime);
    work();
    clock(ClockId::ProcessCPUTime) - begun
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
