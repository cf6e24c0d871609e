//! What comes out of [`Sessions`](crate::Sessions): packets for sockets, and what whoever asked for a session has to know.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use crate::{Diagnostic, Discard, Hops, SessionName};

/// A packet to send: UDP to [`Hops::port`], from a source port of 49152 or above that stays the same for the session and is no other
/// session's (RFC 5881, section 4), with a TTL of 255 (section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Whose it is.
    pub session: SessionName,
    /// Where it goes.
    pub peer: IpAddr,
    /// The address to send from; what the route says if `None`.
    pub local: Option<IpAddr>,
    /// The interface to send over; what the route says if `None`.
    pub interface: Option<String>,
    /// Which port it goes to.
    pub hops: Hops,
    /// The packet.
    pub payload: [u8; 24],
}

/// Why a session left Up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum DownReason {
    /// Nothing came from the peer: the path, or the peer, is dead.
    #[error("nothing was heard for {} ms", .after.as_millis())]
    DetectionTimeExpired {
        /// The Detection Time.
        after: Duration,
    },
    /// The peer says that its session is down.
    #[error("the peer says that it is down: {0}")]
    NeighborSignaledDown(Diagnostic),
    /// The peer's operator has switched BFD off; that says nothing of the path (RFC 5882, section 3.2).
    #[error("the peer has switched BFD off")]
    NeighborAdminDown,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Event {
    /// Both sides hear each other.
    Up {
        /// The session.
        session: SessionName,
    },
    /// A session that was up is not any more.
    Down {
        /// The session.
        session: SessionName,
        /// Why.
        reason: DownReason,
        /// How long it was up.
        after: Duration,
        /// The peer's BFD does not depend on its control plane (C bit), so its end is the end of the path, and not of a
        /// process that restarts (RFC 5882, section 4.3).
        control_plane_independent: bool,
    },
    /// The session is not up, and the peer has switched BFD off on its side.
    SwitchedOff {
        /// The session.
        session: SessionName,
    },
    /// The intervals in use have changed.
    Adapted {
        /// The session.
        session: SessionName,
        /// How often we send; `None` where the peer wants no periodic packets.
        transmit: Option<Duration>,
        /// How long the peer may be silent.
        detection: Duration,
    },
    /// A packet that was meant for a session was dropped. Told once for each session and reason.
    Discarded {
        /// The session.
        session: SessionName,
        /// Why.
        why: Discard,
    },
}
