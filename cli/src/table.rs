//! Columns for people.

/// Rows of text under a header, as wide as they need to be.
#[derive(Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self(vec![header.map(str::to_owned).to_vec()])
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.push(cells.iter().map(|cell| visible(cell)).collect());
    }

    /// Whether there is nothing under the header.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// One line for each row.
    pub(crate) fn lines(&self, colours: bool) -> Vec<String> {
        let columns = self.0[0].len();
        let width = |column: usize| {
            self.0.iter().map(|row: &Vec<String>| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines: Vec<String> = self.0.iter().map(line).collect();
        if colours {
            lines[0] = format!("\x1b[1m{}\x1b[0m", lines[0]);
        }
        lines
    }

    /// The lines, each with its end; nothing when there is nothing under the header.
    pub(crate) fn text(&self, colours: bool) -> String {
        if self.is_empty() { String::new() } else { self.lines(colours).join("\n") + "\n" }
    }
}

/// Text that others wrote, without what a terminal would obey.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_escapes() {
        let mut table = Table::new(["A", "NAME", "C"]);
        assert_eq!((table.is_empty(), table.text(true).as_str()), (true, ""));
        table.row(["1".into(), "é\x1b[2J".into(), String::new()]);
        table.row(["22".into(), String::new(), "x".into()]);
        assert_eq!(table.text(false), "A   NAME        C\n1   é\\u{1b}[2J\n22              x\n");
        assert!(table.lines(true)[0].starts_with("\x1b[1mA"));
    }
}
