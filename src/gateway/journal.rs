//! The last changes of state, for `status`.

use std::collections::VecDeque;
use std::time::Instant;

/// How many changes are remembered.
const KEPT: usize = 64;

/// The last changes, oldest first.
#[derive(Default)]
pub(crate) struct Journal {
    entries: VecDeque<(Instant, String)>,
}

impl Journal {
    /// Remembers a change, and forgets the oldest one when there are too many.
    pub(crate) fn record(&mut self, now: Instant, text: String) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back((now, text));
    }

    /// The changes, newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &(Instant, String)> {
        self.entries.iter().rev()
    }
}
