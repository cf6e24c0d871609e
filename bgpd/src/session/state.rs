//! The states' names.

use std::fmt;

use serde::Serialize;

/// A session's state (RFC 4271, section 8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not trying.
    Idle,
    /// A dial is out.
    Connect,
    /// Waiting for the peer to connect, or for the time to dial again.
    Active,
    /// Our OPEN is out.
    OpenSent,
    /// The peer's OPEN is accepted.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}
