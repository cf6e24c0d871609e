//! Why the kernel did not do something, in words that say what to do about it.

use std::fmt;

/// Why the kernel did not do something, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What it was asked for.
    pub what: String,
    /// What it answered.
    pub answer: String,
    /// What to do; empty if there is nothing general to say.
    pub advice: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.answer)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}
