//! What the program around a [`Speaker`](crate::Speaker) may tell it to do.

use std::net::IpAddr;

use thiserror::Error;

use crate::policy::Policies;
use crate::{LocalRoute, PeerConfig, PeerName, PeerRange, SpeakerConfig};

/// One order. Each is complete in itself and takes effect before the call returns.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Change the speaker's own parameters: another AS or identifier resets the sessions that use it,
    /// the multipath settings only select anew.
    Configure(SpeakerConfig),
    /// A new peer, enabled.
    AddPeer(Box<PeerConfig>),
    /// Other parameters for a peer, with the effect that [`PeerConfig::effect_of`] says.
    ReplacePeer(Box<PeerConfig>),
    /// Forget a peer: Cease / Peer De-configured, and everything that it taught us is gone.
    RemovePeer(PeerName),
    /// All ranges of peers, in place of all earlier ones.
    SetRanges(Vec<PeerRange>),
    /// Let a peer connect again.
    EnablePeer(PeerName),
    /// End a peer's session with Cease / Administrative Shutdown and stay down.
    DisablePeer {
        /// The peer.
        peer: PeerName,
        /// What the other operator gets to read (RFC 9003), cut to 128 octets.
        text: String,
    },
    /// End a peer's session with Cease / Administrative Reset and connect anew.
    ResetPeer(PeerName),
    /// Ask the peer to send everything again (RFC 2918). Rarely of use, as its routes are kept.
    RefreshPeer(PeerName),
    /// All prefix lists and route maps, in place of all earlier ones. Kept routes are judged anew at once.
    SetPolicy(Policies),
    /// All local routes, in place of all earlier ones.
    SetLocalRoutes(Vec<LocalRoute>),
    /// The kernel reaches this next hop over that interface (beyond what connected routes say).
    SetNextHop {
        /// The next hop.
        address: IpAddr,
        /// Its interface; `None` forgets the next hop.
        interface: Option<String>,
    },
    /// An interface came up or went down; for a tunnel, its CHILD_SA. An interface that was never
    /// mentioned counts as up. Down: paths over it are unusable at once, sessions live on until
    /// their hold time or [`Command::PathDown`]. Up: peers over it are dialled at once.
    SetInterface {
        /// Its name.
        name: String,
        /// Whether packets pass.
        up: bool,
    },
    /// The way to a peer is known to be dead: its session ends now, without waiting for a timer.
    PathDown(PeerName),
    /// BFD with a peer, which was up, is down: an established session ends now, with Cease / BFD Down (RFC 9384), and nothing of
    /// it is kept. Of a peer that is away for a restart the routes are kept where its BFD is as mortal as its control plane, and
    /// may have ended for the same reason (RFC 5882, section 4.3).
    BfdDown {
        /// The peer.
        peer: PeerName,
        /// The peer's BFD does not depend on its control plane (C bit), so that its end is the path's.
        control_plane_independent: bool,
    },
    /// Keep a peer that has no established session from getting one, until [`Command::EnablePeer`]. A session that is established
    /// stays.
    HoldPeer {
        /// The peer.
        peer: PeerName,
        /// What it waits for.
        text: String,
    },
    /// End all sessions with Cease / Administrative Shutdown and stay down.
    Shutdown {
        /// What the other operators get to read (RFC 9003).
        text: String,
    },
}

/// Why an order was not carried out. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No peer has that name.
    #[error("there is no peer named {peer}")]
    UnknownPeer {
        /// The name asked for.
        peer: PeerName,
    },
    /// A peer of that name exists.
    #[error("a peer named {peer} exists already")]
    DuplicateName {
        /// The name.
        peer: PeerName,
    },
    /// Two peers at one address could not be told apart when they connect.
    #[error("peer {peer} has the address {address} already")]
    DuplicateAddress {
        /// The address.
        address: IpAddr,
        /// Who has it.
        peer: PeerName,
    },
    /// A link-local address means nothing without its link.
    #[error("{address} is link-local, and sessions are between addresses that hold on every link")]
    LinkLocalAddress {
        /// The address.
        address: IpAddr,
    },
    /// Neither zero nor at least three seconds (RFC 4271, section 4.2), or too long for the field.
    #[error("a hold time of {seconds} s: it must be 0 or between 3 and 65535")]
    HoldTime {
        /// What was asked for.
        seconds: u64,
    },
    /// AS 0 belongs to nobody (RFC 7607), AS_TRANS to everybody.
    #[error("AS {asn} cannot be anybody's own")]
    ReservedAsn {
        /// The number.
        asn: crate::Asn,
    },
    /// More peers than a path can name.
    #[error("there are {limit} peers already, which is the limit")]
    TooManyPeers {
        /// The limit.
        limit: usize,
    },
}
