//! The picture of the endpoint at one moment: everything that `status` shows, and no secrets.

use std::time::Duration;

use serde::Serialize;

use crate::connection::ConnectionId;
use crate::error::Diagnosis;
use crate::event::{IkeSaId, Path, Role};
use crate::wire::{Identity, TrafficSelector};

/// Where a connection is on its way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Phase {
    /// Not wanted, and no peer has initiated it.
    Down,
    /// We do not initiate; waiting for the peer.
    Waiting,
    /// Waiting before the next attempt.
    BackingOff,
    /// IKE_SA_INIT is under way.
    Init,
    /// IKE_AUTH is under way.
    Auth,
    /// The IKE SA stands, the CHILD_SA does not.
    NoChild,
    /// Traffic can flow.
    Up,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionStatus {
    /// Its number.
    pub id: ConnectionId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub phase: Phase,
    /// Attempts to initiate since it was last up.
    pub attempts: u32,
    /// Time until the next attempt, if one is waiting.
    pub next_attempt_in: Option<Duration>,
    /// Time since traffic could flow, if it can.
    pub up_for: Option<Duration>,
    /// The last failure; kept after success.
    pub last_error: Option<Diagnosis>,
    /// Time since the last failure.
    pub last_error_age: Option<Duration>,
    /// Its IKE SAs; more than one only for moments.
    pub ike_sas: Vec<IkeSaStatus>,
}

/// One IKE SA that is established.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IkeSaStatus {
    /// Its SPIs.
    pub id: IkeSaId,
    /// Who initiated it.
    pub role: Role,
    /// Algorithms.
    pub suite: String,
    /// Whether a post-quantum pre-shared key is in its keys (RFC 8784).
    pub ppk: bool,
    /// The peer's proven identity.
    pub peer: Identity,
    /// The certificate that vouches for it; none with a pre-shared key.
    pub certificate: Option<CertificateStatus>,
    /// Where it runs.
    pub path: Path,
    /// Time since it was established.
    pub age: Duration,
    /// Time until we rekey it.
    pub rekey_in: Option<Duration>,
    /// Time since the peer was last heard on it.
    pub last_heard: Duration,
    /// Repetitions of the request under way.
    pub retransmits: u32,
    /// Whether the peer puts fragments together.
    pub fragmentation: bool,
    /// Whether both sides have MOBIKE (RFC 4555).
    pub mobike: bool,
    /// Its CHILD_SAs; more than one only around rekeying.
    pub children: Vec<ChildStatus>,
}

/// A peer's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateStatus {
    /// Whom it is about.
    pub subject: String,
    /// Who has signed it.
    pub issuer: String,
    /// When it ends to be valid, in seconds since 1970 began.
    pub not_after: u64,
}

/// One CHILD_SA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChildStatus {
    /// SPI of packets to us.
    pub spi_in: u32,
    /// SPI of packets to the peer.
    pub spi_out: u32,
    /// Algorithms.
    pub suite: String,
    /// Group of its own exchange, if it had one.
    pub pfs: Option<String>,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// Whether we send on it.
    pub outbound: bool,
    /// Our side of the traffic.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side of the traffic.
    pub remote_ts: Vec<TrafficSelector>,
    /// Time since it was made.
    pub age: Duration,
    /// Time until we rekey it.
    pub rekey_in: Option<Duration>,
    /// Time until it ends.
    pub expires_in: Duration,
}

/// The endpoint as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// All connections in the order of their numbers.
    pub connections: Vec<ConnectionStatus>,
    /// Handshakes that a peer has begun and not finished.
    pub half_open: usize,
    /// What was dropped or refused, and why.
    pub counters: Counters,
}

/// What was dropped or refused since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Datagrams in.
    pub received: u64,
    /// Datagrams out, without repetitions.
    pub sent: u64,
    /// Repetitions of our requests.
    pub retransmitted: u64,
    /// Datagrams that are not IKE messages.
    pub malformed: u64,
    /// Messages with another major version.
    pub bad_version: u64,
    /// Messages for an IKE SA that we do not have.
    pub unknown_spi: u64,
    /// Handshakes from addresses that no connection names.
    pub stranger: u64,
    /// Messages whose integrity check failed.
    pub bad_integrity: u64,
    /// Authentic messages that break the format inside.
    pub bad_inner: u64,
    /// Requests and responses outside the window.
    pub bad_message_id: u64,
    /// Requests that were answered again from the reply cache.
    pub repeated_requests: u64,
    /// Fragments that could not be used.
    pub bad_fragment: u64,
    /// Exchanges that have no place in the state of their SA.
    pub unexpected: u64,
    /// Handshakes answered with a cookie.
    pub cookies_sent: u64,
    /// Handshakes with a wrong cookie.
    pub bad_cookie: u64,
    /// Handshakes dropped because too many were half open.
    pub half_open_limit: u64,
}
