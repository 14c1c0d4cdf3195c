//! Lines on a terminal that are drawn again in place.

use std::{io::IsTerminal, os::fd::AsFd};

/// What is on the screen at the moment.
#[derive(Debug, Default)]
pub(crate) struct Panel {
    lines: usize,
}

impl Panel {
    /// Whether a terminal is there, and can move its cursor.
    pub(crate) fn fits(to: &impl IsTerminal) -> bool {
        // One that cannot says so.
        to.is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
    }

    /// What draws `lines` in place of what was drawn before, on a terminal of `rows` lines.
    pub(crate) fn draw(&mut self, lines: &[String], rows: usize) -> String {
        let cleared = self.clear();
        // Moving up past the top of the screen is not possible.
        let shown = &lines[..lines.len().min(rows.saturating_sub(1))];
        self.lines = shown.len();
        if shown.is_empty() {
            return cleared;
        }
        // Cut at the edge instead of wrapped: a wrapped line is two to go up, not one.
        format!("{cleared}\x1b[?7l{}\x1b[?7h\n", shown.join("\n"))
    }

    /// What removes it from the screen.
    pub(crate) fn clear(&mut self) -> String {
        match std::mem::take(&mut self.lines) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

/// How high the terminal is.
pub(crate) fn rows(to: impl AsFd) -> usize {
    let told = rustix::termios::tcgetwinsize(to).map_or(0, |size| usize::from(size.ws_row));
    // One that nobody gave a size says 0.
    if told == 0 { 24 } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_replaces_what_was_and_fits() {
        let lines = |count: usize| vec!["x".to_owned(); count];
        let mut panel = Panel::default();
        assert_eq!(panel.draw(&lines(2), 24), "\x1b[?7lx\nx\x1b[?7h\n");
        assert_eq!(panel.draw(&lines(9), 4), "\x1b[2A\x1b[J\x1b[?7lx\nx\nx\x1b[?7h\n");
        assert_eq!((panel.clear().as_str(), panel.clear().as_str()), ("\x1b[3A\x1b[J", ""));
    }
}
