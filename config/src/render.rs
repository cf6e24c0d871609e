//! Diagnostics for people: with the lines of the file and carets under them, or in one line for a journal.

use std::fmt::Write as _;

use crate::diagnostic::{Diagnostic, Label, Severity};
use crate::source::Source;

/// Whether output may be coloured (ANSI escapes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// It goes to a terminal.
    Always,
    /// It goes elsewhere.
    Never,
}

/// Wider lines are shown in part.
const WIDEST: usize = 140;

/// Renders one diagnostic with the lines that it is about.
#[must_use]
pub fn human(source: &Source<'_>, diagnostic: &Diagnostic, colour: Colour) -> String {
    let paint = Paint(colour);
    let Diagnostic {
        severity,
        code,
        message,
        labels,
        help,
    } = diagnostic;
    let tone = match severity {
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
        Severity::Note => "1;36",
    };
    let head = paint.with(tone, &format!("{}[{code}]", severity.as_str()));
    let mut out = format!("{head}: {}\n", paint.with("1", &clean(message)));
    let digits = labels
        .iter()
        .map(|label| label.span.line.to_string().len())
        .max()
        .unwrap_or(1);
    let margin = " ".repeat(digits);
    let bar = paint.with("1;34", "|");
    for (place, label) in labels.iter().enumerate() {
        let arrow = paint.with("1;34", if place == 0 { "-->" } else { ":::" });
        let (line, column) = (label.span.line, label.span.column);
        let _ = writeln!(out, "{margin}{arrow} {}:{line}:{column}", source.name());
        let Some((text, marker)) = excerpt(source, label, if place == 0 { '^' } else { '-' })
        else {
            continue;
        };
        let number = paint.with("1;34", &format!("{line:>digits$}"));
        let marker = paint.with(if place == 0 { tone } else { "1;34" }, &marker);
        let _ = writeln!(out, "{number} {bar} {text}");
        let _ = writeln!(out, "{margin} {bar} {marker}");
    }
    if let Some(help) = help {
        let _ = writeln!(
            out,
            "{margin} {} {}",
            paint.with("1;34", "="),
            clean(&format!("help: {help}"))
        );
    }
    out
}

/// Renders one diagnostic in one line.
#[must_use]
pub fn line(source: &Source<'_>, diagnostic: &Diagnostic) -> String {
    let Diagnostic {
        severity,
        code,
        message,
        labels,
        help,
    } = diagnostic;
    let mut out = source.name().to_owned();
    if let Some(label) = labels.first() {
        let _ = write!(out, ":{}:{}", label.span.line, label.span.column);
    }
    let _ = write!(out, ": {}[{code}]: {}", severity.as_str(), clean(message));
    if let Some(help) = help {
        let _ = write!(out, " ({})", clean(help));
    }
    out
}

/// Renders all of them, and a last line that counts them.
#[must_use]
pub fn all(source: &Source<'_>, diagnostics: &[Diagnostic], colour: Colour) -> String {
    let mut out: String = diagnostics
        .iter()
        .map(|diagnostic| human(source, diagnostic, colour) + "\n")
        .collect();
    let count = |severity| {
        diagnostics
            .iter()
            .filter(|each| each.severity == severity)
            .count()
    };
    let counted: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .map(|severity| (count(severity), severity.as_str()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" }))
        .collect();
    if !counted.is_empty() {
        let _ = writeln!(out, "{}: {}", source.name(), counted.join(", "));
    }
    out
}

/// The label's line, or the part of it around the label, and the marker below it.
fn excerpt(source: &Source<'_>, label: &Label, mark: char) -> Option<(String, String)> {
    let (start, text) = source.line(label.span.line)?;
    let before = label.span.column - 1;
    // A span of several lines is marked on its first.
    let end = label.span.end.min(start + text.len()).max(label.span.start);
    let width = source
        .text()
        .get(label.span.start..end)
        .map_or(1, |marked| marked.chars().count())
        .max(1);
    let length = text.chars().count();
    let from = if length <= WIDEST {
        0
    } else {
        before.saturating_sub(WIDEST / 4)
    };
    let shown: String = text
        .char_indices()
        .skip(from)
        .take(WIDEST)
        .map(|(at, letter)| {
            if label.concealed.contains(&(start + at)) {
                '*'
            } else {
                printable(letter)
            }
        })
        .collect();
    let lead = if from > 0 { "…" } else { "" };
    let tail = if length > from + WIDEST { "…" } else { "" };
    let indent = " ".repeat(before - from + lead.chars().count());
    let marks = mark
        .to_string()
        .repeat(width.min(WIDEST.saturating_sub(before - from)).max(1));
    let said = clean(&label.text);
    let marker = format!("{indent}{marks} {said}");
    Some((
        format!("{lead}{shown}{tail}").trim_end().to_owned(),
        marker.trim_end().to_owned(),
    ))
}

/// One column for each character, and nothing that moves the cursor of a terminal.
fn printable(letter: char) -> char {
    match letter {
        '\t' => ' ',
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    }
}

fn clean(text: &str) -> String {
    text.chars().map(printable).collect()
}

struct Paint(Colour);

impl Paint {
    fn with(&self, style: &str, text: &str) -> String {
        match self.0 {
            Colour::Always => format!("\u{1b}[{style}m{text}\u{1b}[0m"),
            Colour::Never => text.to_owned(),
        }
    }
}
