//! What people see while a demo runs, on stderr: a panel on a terminal, lines elsewhere.

use std::{
    io::{self, Write},
    time::Duration,
};

use leasehold::{Clock, SystemClock};

use super::book::{Book, News, Status};
use crate::{
    output,
    panel::{self, Panel},
};

/// How often the panel is drawn at most.
const DRAW_EVERY: Duration = Duration::from_millis(80);
const BAR_WIDTH: usize = 20;

/// Draws on stderr. One that is gone is no reason to stop.
#[derive(Debug)]
pub(crate) struct View {
    /// Where there is a terminal for it.
    panel: Option<Panel>,
    colours: bool,
    began: Duration,
    drawn_at: Option<Duration>,
    files: usize,
}

impl View {
    pub(crate) fn new(files: usize) -> Self {
        Self {
            panel: Panel::fits(&io::stderr()).then(Panel::default),
            colours: output::colours(),
            began: SystemClock.monotonic(),
            drawn_at: None,
            files,
        }
    }

    /// How long the demo has been running.
    pub(crate) fn elapsed(&self) -> Duration {
        SystemClock.monotonic().saturating_sub(self.began)
    }

    /// Says one sentence, above the panel.
    pub(crate) fn say(&mut self, text: &str) {
        let elapsed = self.elapsed().as_secs_f64();
        let cleared = self.clear();
        self.drawn_at = None;
        let _ = writeln!(io::stderr().lock(), "{cleared}{elapsed:6.2} s  {text}");
    }

    /// Shows what is known now, and the news in it.
    pub(crate) fn show(&mut self, book: &Book, news: Option<&News>) {
        if let Some(text) = news.and_then(|news| self.sentence(book, news)) {
            self.say(&text);
        }
        let now = SystemClock.monotonic();
        if self.panel.is_some() && self.drawn_at.is_none_or(|at| now.saturating_sub(at) >= DRAW_EVERY) {
            self.draw(book);
            self.drawn_at = Some(now);
        }
    }

    /// Removes the panel.
    pub(crate) fn finish(&mut self) {
        let cleared = self.clear();
        let _ = write!(io::stderr().lock(), "{cleared}");
    }

    fn sentence(&self, book: &Book, news: &News) -> Option<String> {
        let name = |process: &usize| &book.processes[*process].name;
        Some(match news {
            News::TakenOver { shard, from, to, after } => {
                let after = after
                    .map_or(String::new(), |after| format!(", {} ms after the fault", after.as_millis()));
                format!("shard {shard:03} goes from {} to {}{after}", name(from), name(to))
            }
            News::StaleRefused { shard, by } => {
                format!(
                    "shard {shard:03}: the stale write of {} was {}",
                    name(by),
                    self.paint("32", "refused")
                )
            }
            News::StaleAccepted { shard, by } => {
                format!(
                    "shard {shard:03}: the stale write of {} was {}",
                    name(by),
                    self.paint("31", "ACCEPTED")
                )
            }
            News::Completed { .. } => return None,
        })
    }

    fn draw(&mut self, book: &Book) {
        let mut lines = vec![String::new()];
        for (number, process) in book.processes.iter().enumerate() {
            let colour = match process.status {
                Status::Running => "32",
                Status::Starting => "2",
                Status::Stopped => "33",
                Status::Killed => "31",
            };
            let shards: Vec<String> = book.unfinished(number).map(|shard| format!("{shard:03}")).collect();
            let status = self.paint(colour, &format!("{:<8}", process.status.name()));
            let mut owned = shards.join(" ");
            if owned.len() > 48 {
                owned = format!("{} shards", shards.len());
            }
            lines.push(format!("  {:<8} {:>8} {status} {owned}", process.name, process.id));
        }
        let done = book.files_done();
        let filled = (done * BAR_WIDTH).checked_div(self.files).unwrap_or(0);
        lines.push(format!(
            "  {}{} {done}/{} files · {} takeovers · {} stale writes refused",
            "█".repeat(filled),
            "░".repeat(BAR_WIDTH - filled),
            self.files,
            book.takeovers,
            book.stale_refused,
        ));
        if let Some(panel) = &mut self.panel {
            let drawn = panel.draw(&lines, panel::rows(io::stderr()));
            let _ = write!(io::stderr().lock(), "{drawn}");
        }
    }

    /// What removes the panel from the screen.
    fn clear(&mut self) -> String {
        self.panel.as_mut().map(Panel::clear).unwrap_or_default()
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
