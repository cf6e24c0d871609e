//! What can go wrong on the tour, for the person who reads it.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

/// Why a step was not verified.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// Ctrl-C, SIGTERM or SIGHUP. Everything is taken down as after any other end.
    #[error("interrupted")]
    Interrupted,
    /// The machine lacks something that the demo cannot do without.
    #[error("{what}; {how}")]
    Missing {
        /// What is not there.
        what: String,
        /// How to get it.
        how: Cow<'static, str>,
    },
    /// It did not come about in time.
    #[error("{what}: not within {} s; {last}", .waited.as_secs())]
    Late {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        waited: Duration,
        /// What was seen instead, the last time.
        last: String,
    },
    /// What was seen is not what should be.
    #[error("{0}")]
    Unverified(String),
    /// A daemon of the demo could not be asked.
    #[error("{daemon}: {reason}")]
    Daemon {
        /// Whose.
        daemon: &'static str,
        /// What its client says.
        reason: String,
    },
    /// The kernel's network refuses.
    #[error(transparent)]
    Network(#[from] vti::host::Error),
    /// The system refuses something else.
    #[error("cannot {doing}: {cause}")]
    System {
        /// What was tried.
        doing: String,
        /// What it says.
        cause: io::Error,
    },
}

impl Problem {
    /// For `map_err`: the system refused while `doing`.
    pub(super) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::System {
            doing: doing.into(),
            cause,
        }
    }
}

/// [`Problem::Unverified`] unless the condition holds.
pub(super) fn verify(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Problem> {
    if holds {
        Ok(())
    } else {
        Err(Problem::Unverified(otherwise()))
    }
}
