//! The text of a site file, and positions in it.

use std::ops::Range;

use serde::Serialize;

/// A named text with its lines.
#[derive(Clone, Debug)]
pub struct Source<'t> {
    name: &'t str,
    text: &'t str,
    /// Where each line begins, in octets; the first is 0.
    starts: Vec<usize>,
}

/// A place in a text: octets, and the same for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The first octet.
    pub start: usize,
    /// The octet after the last.
    pub end: usize,
    /// The line of the first octet, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

impl<'t> Source<'t> {
    /// A text under the name that diagnostics call it by.
    #[must_use]
    pub fn new(name: &'t str, text: &'t str) -> Self {
        let after_breaks = text
            .bytes()
            .enumerate()
            .filter(|(_, octet)| *octet == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            name,
            text,
            starts: std::iter::once(0).chain(after_breaks).collect(),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'t str {
        self.name
    }

    /// The text.
    #[must_use]
    pub const fn text(&self) -> &'t str {
        self.text
    }

    /// The line (from 1) on which an octet is.
    #[must_use]
    pub fn line_of(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).max(1)
    }

    /// A line (from 1) without its end, and where it begins.
    #[must_use]
    pub fn line(&self, number: usize) -> Option<(usize, &'t str)> {
        let start = *self.starts.get(number.checked_sub(1)?)?;
        let end = self.starts.get(number).copied().unwrap_or(self.text.len());
        Some((
            start,
            self.text.get(start..end)?.trim_end_matches(['\n', '\r']),
        ))
    }

    /// The place of a range of octets, moved to the nearest place that is in the text and between characters.
    #[must_use]
    pub fn span(&self, range: Range<usize>) -> Span {
        let start = self.boundary(range.start);
        let end = self.boundary(range.end.max(range.start));
        let line = self.line_of(start);
        let before = self
            .starts
            .get(line - 1)
            .and_then(|first| self.text.get(*first..start));
        Span {
            start,
            end,
            line,
            column: before.map_or(0, |text| text.chars().count()) + 1,
        }
    }

    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at)
            .rev()
            .find(|at| self.text.is_char_boundary(*at))
            .unwrap_or(0)
    }
}
