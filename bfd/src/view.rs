//! What there is to see of a session.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::{Diagnostic, Discriminator, Hops, SessionName, State};

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Its name.
    pub name: SessionName,
    /// Where the peer is.
    pub peer: IpAddr,
    /// How far away.
    pub hops: Hops,
    /// Our state.
    pub state: State,
    /// The peer's, as it last said.
    pub remote_state: State,
    /// Why it last went down, by our account.
    pub diagnostic: Diagnostic,
    /// And by the peer's.
    pub remote_diagnostic: Diagnostic,
    /// Our discriminator.
    pub discriminator: Discriminator,
    /// The peer's, while it is heard.
    pub remote_discriminator: Option<Discriminator>,
    /// How often we send; `None` where nothing is sent.
    pub transmit_interval: Option<Duration>,
    /// How long the peer may be silent; zero before it was heard.
    pub detection_time: Duration,
    /// The peer's Detect Mult; zero before it was heard.
    pub remote_detect_mult: u8,
    /// The peer's BFD does not depend on its control plane (C bit).
    pub remote_control_plane_independent: bool,
    /// How long it has been up, or not.
    pub since: Duration,
    /// How many times it has come up.
    pub ups: u64,
    /// Packets that were heard.
    pub received: u64,
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that were dropped, by reason.
    pub discarded: BTreeMap<&'static str, u64>,
}

impl Session {
    /// The peer has switched BFD off, so its silence says nothing of the path (RFC 5882, section 3.2).
    #[must_use]
    pub fn is_switched_off(&self) -> bool {
        self.remote_state == State::AdminDown
    }
}
