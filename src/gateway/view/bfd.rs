//! BFD with a neighbor, in words and milliseconds; `docs/status.md` has the fields.

use std::collections::BTreeMap;

use ::bfd::{Hops, State, view::Session};
use bgpd::PeerName;
use serde::Serialize;

use super::{milliseconds, seconds};
use crate::gateway::Gateway;
use crate::gateway::bfd::Path;

#[derive(Serialize)]
pub(super) struct BfdView {
    /// As RFC 5880 section 4.1 writes it.
    state: String,
    their_state: String,
    /// Why it is not up, or why it does not watch.
    reason: Option<String>,
    multihop: bool,
    strict: bool,
    seconds_in_state: u64,
    times_up: u64,
    transmit_milliseconds: Option<u64>,
    detection_milliseconds: u64,
    their_multiplier: u8,
    diagnostic: String,
    their_diagnostic: String,
    discriminator: u32,
    their_discriminator: Option<u32>,
    their_control_plane_independent: bool,
    packets_received: u64,
    packets_sent: u64,
    /// By reason.
    packets_dropped: BTreeMap<&'static str, u64>,
}

impl Gateway {
    /// What BFD says of the path to a neighbor; `None` where it does not watch it.
    pub(super) fn bfd_state(&self, peer: &PeerName) -> Option<String> {
        Some(self.bfd_session(peer)?.state.to_string())
    }

    /// The same in full.
    pub(super) fn bfd_view(&self, peer: &PeerName) -> Option<BfdView> {
        let watch = self.plan.bfd.get(peer)?;
        let session = self.bfd_session(peer)?;
        let path = self.paths.get(peer).copied().unwrap_or_default();
        Some(BfdView {
            state: session.state.to_string(),
            their_state: session.remote_state.to_string(),
            reason: reason(session, path),
            multihop: session.hops == Hops::Multi,
            strict: watch.strict,
            seconds_in_state: seconds(session.since),
            times_up: session.ups,
            transmit_milliseconds: session.transmit_interval.map(milliseconds),
            detection_milliseconds: milliseconds(session.detection_time),
            their_multiplier: session.remote_detect_mult,
            diagnostic: session.diagnostic.to_string(),
            their_diagnostic: session.remote_diagnostic.to_string(),
            discriminator: session.discriminator.0.get(),
            their_discriminator: session.remote_discriminator.map(|it| it.0.get()),
            their_control_plane_independent: session.remote_control_plane_independent,
            packets_received: session.received,
            packets_sent: session.sent,
            packets_dropped: session.discarded.clone(),
        })
    }

    pub(super) fn bfd_session(&self, peer: &PeerName) -> Option<&Session> {
        self.plan.bfd.get(peer)?;
        self.bfd_views.get(peer.as_str())
    }
}

/// Why it is not up, and what that may come from.
fn reason(session: &Session, path: Path) -> Option<String> {
    if session.state == State::Up {
        return None;
    }
    let dropped: u64 = session.discarded.values().sum();
    let (peer, port) = (session.peer, session.hops.port());
    Some(match path {
        Path::SwitchedOff => {
            "the neighbor has switched BFD off; its hold time decides alone".to_owned()
        }
        Path::Down(reason) => reason.to_string(),
        Path::Unknown | Path::Up if dropped > 0 => {
            let reasons: Vec<&str> = session.discarded.keys().copied().collect();
            format!(
                "{dropped} packets of the neighbor were dropped: {}",
                reasons.join(", ")
            )
        }
        Path::Unknown | Path::Up if session.received == 0 => format!(
            "nothing is heard of it: see that BFD runs at {peer}, and that no firewall drops UDP {port}"
        ),
        Path::Unknown | Path::Up => format!(
            "it is heard and does not hear us: see that no firewall drops UDP {port} towards {peer}"
        ),
    })
}
