//! What comes out of a [`Speaker`](crate::Speaker): effects for sockets and kernel, and a journal.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;
use thiserror::Error;

use crate::error::SessionError;
use crate::policy::Refusal;
use crate::wire::{Families, Notification, UpdateFault};
use crate::{Asn, Md5Key, PeerName};

/// One TCP connection, from dialling or accepting it to its end. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConnId(pub u64);

/// What the program has to do with its sockets, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Dial a peer; answer with `handle_connected` or `handle_connect_failed`.
    Connect {
        /// Who.
        peer: PeerName,
        /// The name of the connection from now on.
        conn: ConnId,
        /// The address to bind to.
        local: Option<IpAddr>,
        /// The address and port to dial.
        remote: SocketAddr,
        /// The interface to bind to.
        interface: Option<String>,
        /// The TTL of our packets; the system's default if `None`.
        ttl: Option<u8>,
        /// The least TTL that packets may arrive with; any if `None`.
        min_ttl: Option<u8>,
        /// The TCP MD5 key.
        md5: Option<Md5Key>,
    },
    /// Write these octets; tell `handle_sent` as the socket takes them.
    Send {
        /// Where to.
        conn: ConnId,
        /// Whole messages.
        bytes: Vec<u8>,
    },
    /// Close after what was sent before; a pending dial is given up. Nothing more of this connection
    /// need be told, and nothing that is told is heard.
    Close {
        /// Which.
        conn: ConnId,
    },
}

/// A prefix's next hops in the kernel, in place of all earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FibChange {
    /// The destination.
    pub prefix: IpNet,
    /// Where its packets go, ordered; several share the traffic; none removes the route.
    pub next_hops: Vec<FibNextHop>,
}

/// One way for a prefix's packets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FibNextHop {
    /// The gateway.
    pub via: IpAddr,
    /// The interface, where it is known.
    pub interface: Option<String>,
    /// Who taught it.
    pub peer: PeerName,
}

/// Why a connection that somebody opened to us was turned away; close it without a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[non_exhaustive]
pub enum Refused {
    /// No peer has that address.
    #[error("no peer has the address {remote}")]
    UnknownPeer {
        /// The stranger.
        remote: IpAddr,
    },
    /// The peer has to connect to another of our addresses.
    #[error("peer {peer} connected to {local}, but its update source is {expected}")]
    WrongLocalAddress {
        /// The peer.
        peer: PeerName,
        /// The address it connected to.
        local: IpAddr,
        /// The address it should have used.
        expected: IpAddr,
    },
    /// The peer is switched off.
    #[error("peer {peer} is disabled: {text}")]
    Disabled {
        /// The peer.
        peer: PeerName,
        /// The operator's words.
        text: String,
    },
    /// As many peers of the range are connected as may be.
    #[error("range {range} has its {limit} peers")]
    RangeFull {
        /// The range.
        range: PeerName,
        /// How many may be connected.
        limit: u16,
    },
    /// The peer's last session ended in an error, and its pause is not over (RFC 4271, section 8.1.1,
    /// DampPeerOscillations).
    #[error("peer {peer} has to wait {remaining:?} after an error")]
    BackingOff {
        /// The peer.
        peer: PeerName,
        /// The rest of the pause.
        remaining: Duration,
    },
}

/// Why a session ended, or did not come about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[non_exhaustive]
pub enum DownReason {
    /// We found fault with the peer and told it with a NOTIFICATION.
    #[error("{0}")]
    Failed(SessionError),
    /// The peer told us with a NOTIFICATION.
    #[error("the peer ended it: {0}")]
    NotificationReceived(Notification),
    /// The connection ended without a NOTIFICATION.
    #[error("the connection was lost: {reason}")]
    ConnectionLost {
        /// The system's words.
        reason: String,
    },
    /// We ended it on purpose.
    #[error("we ended it: {0}")]
    Ceased(Notification),
    /// The way to the peer is dead.
    #[error("the way to the peer is down")]
    PathDown,
}

/// What a session agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agreed {
    /// The peer's AS.
    pub remote_asn: Asn,
    /// The peer's BGP Identifier.
    pub remote_id: Ipv4Addr,
    /// Our address of the connection.
    pub local_address: IpAddr,
    /// The smaller of both offers; zero is without end.
    pub hold_time: Duration,
    /// How often we send KEEPALIVE; zero is never.
    pub keepalive: Duration,
    /// AS numbers have four octets on this session (RFC 6793).
    pub four_octet_as: bool,
    /// The peer can be asked to send its routes again (RFC 2918).
    pub route_refresh: bool,
    /// Both mark the beginning and the end of routes that are sent again (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Graceful restart, where both sides take part in it.
    pub graceful_restart: Option<PeerRestart>,
    /// What is exchanged: what both sides' multiprotocol capabilities name (RFC 4760); a peer's silence means IPv4 unicast.
    pub families: Families,
    /// IPv4 prefixes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
}

/// How the peer takes part in graceful restart (RFC 4724).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerRestart {
    /// It has restarted (R bit).
    pub restarted: bool,
    /// How long its routes are kept while it is away.
    pub restart_time: Duration,
    /// Both sides keep routes after a NOTIFICATION or a hold time that ran out, too (RFC 8538).
    pub notification: bool,
    /// The families whose forwarding survives its absence; routes of others are not kept.
    pub forwards: Families,
    /// The families whose forwarding has survived its last absence (F bit).
    pub forwarding_preserved: Families,
}

/// Why routes that were kept for a peer's return are kept no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum StaleEnd {
    /// It has told everything again.
    #[error("it has sent all its routes again")]
    EndOfRib,
    /// It has not come back within its restart time.
    #[error("it has not come back in time")]
    NotBack,
    /// It came back, and has not said within the time for it that it has sent everything.
    #[error("it came back, but never said that it has sent everything")]
    NoEndOfRib,
    /// It came back, and its forwarding has not survived.
    #[error("it came back, and says that it has lost its forwarding")]
    ForwardingLost,
    /// It was lost again before it had told everything.
    #[error("it was lost again before it had sent everything")]
    LostAgain,
    /// The way to it is down.
    #[error("the way to it is down")]
    PathDown,
    /// We want nothing more of the session that it was.
    #[error("its session was ended on our side")]
    Ended,
}

/// The journal: everything that an operator may want to know of, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Event {
    /// A session is established.
    PeerUp {
        /// The peer.
        peer: PeerName,
        /// On what terms.
        agreed: Agreed,
    },
    /// An established session ended.
    PeerDown {
        /// The peer.
        peer: PeerName,
        /// Why.
        reason: DownReason,
        /// How long it was up.
        after: Duration,
    },
    /// A connection came about, but the session on it was refused by either side.
    OpenFailed {
        /// The peer.
        peer: PeerName,
        /// Why.
        reason: DownReason,
    },
    /// A dial failed, for another reason than the one before.
    ConnectFailed {
        /// The peer.
        peer: PeerName,
        /// The system's words.
        reason: String,
    },
    /// The peer has sent all that it had, of every family (RFC 4724, section 2).
    EndOfRib {
        /// The peer.
        peer: PeerName,
        /// How many prefixes it has taught us.
        received: u32,
    },
    /// The peer is away for a restart, and its routes are kept (RFC 4724, section 4.2).
    StaleKept {
        /// The peer.
        peer: PeerName,
        /// How many prefixes.
        prefixes: usize,
        /// How long at most.
        at_most: Duration,
    },
    /// What was left of the routes kept for a peer is gone.
    StaleSwept {
        /// The peer.
        peer: PeerName,
        /// How many prefixes it has not taught again.
        prefixes: usize,
        /// Why now.
        why: StaleEnd,
    },
    /// The peer has sent all its routes again and not repeated some that it never withdrew, or not said for too long that it
    /// has sent all; those are gone (RFC 7313, section 4).
    NotRefreshed {
        /// The peer.
        peer: PeerName,
        /// How many prefixes.
        prefixes: usize,
        /// Whether it has said that it was done.
        ended: bool,
    },
    /// After our own restart: the peer has sent everything that it has to send.
    Synchronized {
        /// The peer.
        peer: PeerName,
    },
    /// After our own restart: everything that was to be heard has been heard, or the time for it is over. Our End-of-RIB
    /// follows, and what only our predecessor knew should go.
    RestartOver {
        /// Peers that were not heard out.
        unheard: Vec<PeerName>,
    },
    /// The peer sends more prefixes than it may.
    PrefixLimit {
        /// The peer.
        peer: PeerName,
        /// How many it has sent.
        received: u32,
        /// How many it may.
        limit: u32,
    },
    /// A range has as many peers as it may, and one more has come. Told once, until one of them leaves.
    RangeFull {
        /// The range.
        range: PeerName,
        /// How many it may have.
        limit: u16,
        /// Who was turned away.
        address: IpAddr,
    },
    /// We have more prefixes for the peer than we may send; some are held back.
    ExportLimit {
        /// The peer.
        peer: PeerName,
        /// How many we may send.
        limit: u32,
    },
    /// A received route is not believed. Told once per peer, session and kind of refusal; the view of
    /// received routes has them all.
    RouteRefused {
        /// The peer.
        peer: PeerName,
        /// The first such prefix.
        prefix: IpNet,
        /// Why.
        refusal: Refusal,
    },
    /// A received UPDATE was malformed, and RFC 7606 lets the session live. Told ten times per session; the peer's view
    /// counts them all.
    UpdateFault {
        /// The peer.
        peer: PeerName,
        /// What was wrong with it, and what became of it.
        fault: UpdateFault,
        /// How many of its prefixes were withdrawn for it.
        withdrawn: usize,
    },
    /// Paths over an interface became usable or unusable.
    InterfaceChanged {
        /// The interface.
        interface: String,
        /// Whether it carries packets.
        up: bool,
        /// How many prefixes were selected anew.
        prefixes: usize,
    },
    /// So many events were dropped because nobody polled them.
    EventsLost {
        /// How many.
        count: u64,
    },
}
