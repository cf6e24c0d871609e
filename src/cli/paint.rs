//! Columns and colour for people; neither where the output is not a terminal.

use std::io::{self, IsTerminal};

/// Whether standard output takes colour (a terminal, and NO_COLOR is not set).
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    colour: bool,
}

impl Paint {
    /// Looks at standard output and the environment.
    pub(crate) fn detect() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: !refused && io::stdout().is_terminal(),
        }
    }

    /// Whether anything is coloured.
    pub(crate) fn is_on(self) -> bool {
        self.colour
    }

    /// For what is as it should be.
    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// For what somebody may have to act upon.
    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// For what is on its way.
    pub(crate) fn pending(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// For headings.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// For what matters less.
    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Rows of cells, printed with each column as wide as its widest cell.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with its heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self {
            rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines, the heading first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| visible(cell))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        self.rows
            .iter()
            .map(|row| {
                let cells = row.iter().zip(&widths).map(|(cell, width)| {
                    let pad = width.saturating_sub(visible(cell));
                    format!("{cell}{}", " ".repeat(pad))
                });
                cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
            })
            .collect()
    }
}

/// How many columns a text takes: its characters without the colour sequences.
fn visible(text: &str) -> usize {
    let mut count = 0;
    let mut escape = false;
    for character in text.chars() {
        match (escape, character) {
            (false, '\x1b') => escape = true,
            (true, 'm') => escape = false,
            (true, _) => {}
            (false, _) => count += 1,
        }
    }
    count
}

/// A span of time as a person says it: "5s", "3m12s", "2h05m", "4d03h".
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest:02}s"),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// An amount of octets as a person says it.
pub(crate) fn octets(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_like_a_clock() {
        assert_eq!(span(5), "5s");
        assert_eq!(span(192), "3m12s");
        assert_eq!(span(7_500), "2h05m");
        assert_eq!(span(356_400), "4d03h");
    }

    #[test]
    fn columns_line_up_under_colour() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(vec!["\x1b[32mab\x1b[0m".into(), "up".into()]);
        assert_eq!(table.lines(), ["NAME  STATE", "\x1b[32mab\x1b[0m    up"]);
    }
}
