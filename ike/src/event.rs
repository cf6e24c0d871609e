//! What the endpoint tells the shell: plain data, to act upon, to record and to show.

use std::net::SocketAddr;
use std::time::Duration;

use crypto::{Secret, Suite};
use serde::{Serialize, Serializer};

use crate::connection::ConnectionId;
use crate::error::{Diagnosis, Negotiation};
use crate::wire::{Identity, IkeSpi, NotifyType, TrafficSelector};

/// Serializes a value as its text.
pub(crate) fn as_text<T: std::fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A datagram to send. The shell adds the non-ESP marker where the local port is the NAT port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transmit {
    /// Send from here.
    pub local: SocketAddr,
    /// Send to here.
    pub remote: SocketAddr,
    /// The datagram without non-ESP marker.
    #[serde(skip)]
    pub payload: Vec<u8>,
    /// What it is.
    pub kind: TransmitKind,
}

/// Whether a datagram gets the non-ESP marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TransmitKind {
    /// An IKE message.
    Ike,
    /// A NAT keepalive: one byte 0xFF, never with a marker (RFC 3948 section 2.3).
    NatKeepalive,
}

/// Who started an exchange or a SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Role {
    /// We did.
    Initiator,
    /// The peer did.
    Responder,
}

/// The outer path of an IKE SA and its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Path {
    /// Our address and port for IKE.
    pub local: SocketAddr,
    /// The peer's address and port for IKE.
    pub remote: SocketAddr,
    /// There is a NAT in front of us.
    pub local_nat: bool,
    /// There is a NAT in front of the peer, or it pretends so.
    pub remote_nat: bool,
    /// ESP goes inside UDP, on the same ports as IKE.
    pub encapsulated: bool,
}

/// An IKE SA by its two SPIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct IkeSaId {
    /// SPI of its initiator.
    pub initiator: IkeSpi,
    /// SPI of its responder.
    pub responder: IkeSpi,
}

/// The keys of one direction of a CHILD_SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildKeys {
    /// Encryption key, with the salt behind it where the cipher has one.
    pub keymat: Secret,
    /// Integrity key; empty for AEAD.
    pub integrity: Secret,
}

/// Everything that a data plane needs for a pair of ESP SAs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChildSa {
    /// The connection that it belongs to.
    pub connection: ConnectionId,
    /// SPI of packets to us.
    pub spi_in: u32,
    /// SPI of packets to the peer.
    pub spi_out: u32,
    /// Algorithms.
    #[serde(serialize_with = "as_text")]
    pub suite: Suite,
    /// Keys for packets to us.
    #[serde(skip)]
    pub keys_in: ChildKeys,
    /// Keys for packets to the peer.
    #[serde(skip)]
    pub keys_out: ChildKeys,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// Group of the Diffie-Hellman exchange that the keys come from, if there was one of its own.
    pub pfs: Option<String>,
    /// Inside UDP, on the ports of `local` and `remote`.
    pub encapsulated: bool,
    /// Our outer address and IKE port.
    pub local: SocketAddr,
    /// The peer's outer address and IKE port.
    pub remote: SocketAddr,
    /// Our side of the traffic.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side of the traffic.
    pub remote_ts: Vec<TrafficSelector>,
    /// The endpoint rekeys by itself; after this time the SA is gone.
    pub lifetime: Duration,
}

/// Why something went down.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum DownReason {
    /// The operator said so, or we stop.
    Administrative,
    /// The peer deleted it.
    DeletedByPeer,
    /// The peer did not answer.
    NoAnswer,
    /// The peer started afresh and said that it knows of no other SA (INITIAL_CONTACT).
    PeerRestarted,
    /// The peer refused what the SA needs.
    Refused(NotifyType),
    /// Its lifetime was over before it could be replaced.
    Expired,
    /// Both sides had set one up; the other one stays.
    Duplicate,
    /// A new one took its place.
    Replaced,
    /// Our outer address has changed, and the peer has to be told by a new one.
    Moved,
    /// Something failed on our side; the failure was reported.
    Local,
}

/// A change, in the order in which it has to be acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Event {
    /// An IKE SA is authenticated.
    IkeUp {
        /// Its connection.
        connection: ConnectionId,
        /// Its SPIs.
        sa: IkeSaId,
        /// Who initiated it.
        role: Role,
        /// The peer's proven identity.
        peer: Identity,
        /// Algorithms, such as `aes256-sha1-modp2048`.
        suite: String,
        /// Where it runs.
        path: Path,
    },
    /// An IKE SA took the place of another one, with its children.
    IkeRekeyed {
        /// Its connection.
        connection: ConnectionId,
        /// The new SPIs.
        sa: IkeSaId,
        /// Algorithms of the new one.
        suite: String,
    },
    /// An IKE SA is gone.
    IkeDown {
        /// Its connection.
        connection: ConnectionId,
        /// Its SPIs.
        sa: IkeSaId,
        /// Why.
        reason: DownReason,
    },
    /// Install the inbound SA now. `OutboundUse` says when to send on its twin.
    InboundAdd(Box<ChildSa>),
    /// Switch the connection's outbound traffic to this SA.
    OutboundUse(Box<ChildSa>),
    /// Remove an inbound SA; the grace for packets under way is over.
    InboundRemove {
        /// Its connection.
        connection: ConnectionId,
        /// Our SPI.
        spi_in: u32,
    },
    /// There is no SA to send on any more.
    OutboundClear {
        /// The connection.
        connection: ConnectionId,
    },
    /// A CHILD_SA took the place of another one.
    ChildRekeyed {
        /// Its connection.
        connection: ConnectionId,
        /// The inbound SPI that was.
        old_spi_in: u32,
        /// The inbound SPI that is.
        new_spi_in: u32,
    },
    /// Traffic can flow: the connection has a CHILD_SA, and had none.
    TunnelUp {
        /// The connection.
        connection: ConnectionId,
    },
    /// Traffic can no longer flow.
    TunnelDown {
        /// The connection.
        connection: ConnectionId,
        /// Why.
        reason: DownReason,
    },
    /// The outer path has changed for all SAs of the connection.
    PathChanged {
        /// The connection.
        connection: ConnectionId,
        /// The new path.
        path: Path,
    },
    /// Something did not work; the diagnosis says what to change.
    Failure(Diagnosis),
    /// Worth knowing, nothing to do.
    Note(Note),
}

/// Things worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Note {
    /// Somebody whom no connection names wants an IKE SA. Said once per address until the next
    /// thousandth; the counters have them all.
    Stranger {
        /// Where it came from.
        remote: SocketAddr,
    },
    /// So many handshakes are half open that cookies are demanded.
    CookiesDemanded {
        /// Handshakes that are half open.
        half_open: usize,
    },
    /// Both sides set up or rekeyed at once, and it was resolved.
    Collision {
        /// The connection.
        connection: ConnectionId,
        /// Whether what we initiated stays.
        ours_stays: bool,
    },
    /// The peer refuses what a rekeying offered, and the next that is allowed is tried. The SA stays.
    OfferRefused {
        /// The connection.
        connection: ConnectionId,
        /// What is rekeyed.
        negotiation: Negotiation,
        /// The group whose public value went with it; none if there was no exchange.
        offered: Option<String>,
        /// What the peer said.
        notify: NotifyType,
        /// The group that it asks for, where it says so (INVALID_KE_PAYLOAD).
        wanted: Option<String>,
    },
    /// One IKE SA had several CHILD_SAs that nothing replaces: both sides, or the peer, made one more.
    /// One is kept.
    SeveralChildren {
        /// The connection.
        connection: ConnectionId,
        /// Our inbound SPI of the one that is kept.
        kept: u32,
        /// Our inbound SPIs of those that end.
        ended: Vec<u32>,
    },
    /// An unprotected message says that the peer does not know our SA. It may be forged: we ask.
    UnprotectedNotify {
        /// The connection.
        connection: ConnectionId,
        /// What it said.
        notify: NotifyType,
    },
    /// The IKE SA stands without our post-quantum pre-shared key, which is optional: the peer does not use it.
    WithoutPpk {
        /// The connection.
        connection: ConnectionId,
        /// The key's name.
        id: String,
    },
    /// The peer restarted; its old SAs are gone.
    PeerRestarted {
        /// The connection.
        connection: ConnectionId,
    },
}
