//! What an operator may look at: plain values, taken at one moment, ready to be serialized.
//!
//! Ages and remaining times are durations before or after that moment.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::event::{Agreed, DownReason, FibNextHop};
use crate::policy::{RuleName, Verdict, Withheld};
use crate::rib::{Eligibility, LostBy, MultipathVerdict};
use crate::session::State;
use crate::wire::{Capabilities, PathAttributes};
use crate::{Asn, LocalSource, PeerName, Policy, PrefixLimit, Role};

/// Everything at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Prefixes with at least one path.
    pub prefixes: usize,
    /// Paths, the refused ones included.
    pub paths: usize,
    /// Distinct sets of attributes.
    pub attribute_sets: usize,
    /// Prefixes with learned next hops for the kernel.
    pub fib_prefixes: usize,
    /// The peers by name.
    pub peers: Vec<PeerSummary>,
    /// The ranges, in the order of [`Command::SetRanges`](crate::Command).
    pub ranges: Vec<RangeSummary>,
}

/// One line per range.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangeSummary {
    /// Its name.
    pub name: PeerName,
    /// Where its members may be.
    pub network: IpNet,
    /// How many members there may be.
    pub limit: u16,
    /// How many there are.
    pub members: usize,
    /// How many connections were refused because it was full.
    pub turned_away: u64,
    /// It is full, and somebody was turned away since.
    pub is_full: bool,
}

/// One line per peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerSummary {
    /// Its name.
    pub name: PeerName,
    /// The range that it is a member of; `None` where it has a name of its own.
    pub range: Option<PeerName>,
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub remote_asn: Asn,
    /// What it stands for.
    pub role: Role,
    /// The session's state.
    pub state: State,
    /// How long the session has been established, or not.
    pub since: Duration,
    /// Prefixes received.
    pub received: u32,
    /// Of those, how many policy accepts.
    pub accepted: u32,
    /// Of those received, how many are kept for the peer's return and not taught again yet (RFC 4724).
    pub stale: u32,
    /// Prefixes that the peer has been told.
    pub advertised: u32,
    /// What is in the way, in words; `None` if nothing is.
    pub problem: Option<String>,
}

/// Messages counted by type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MessageCounts {
    /// OPEN.
    pub opens: u64,
    /// UPDATE.
    pub updates: u64,
    /// NOTIFICATION.
    pub notifications: u64,
    /// KEEPALIVE.
    pub keepalives: u64,
    /// ROUTE-REFRESH.
    pub refreshes: u64,
}

impl MessageCounts {
    /// Of all types.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.opens + self.updates + self.notifications + self.keepalives + self.refreshes
    }
}

/// What is counted of one peer. Costs the same whatever the size of the tables.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tally {
    /// What the summary says.
    pub summary: PeerSummary,
    /// Our AS on this session.
    pub local_asn: Asn,
    /// The session's segments are signed (RFC 2385).
    pub is_signed: bool,
    /// What the session agreed on, while it is established; zero is never.
    pub hold_time: Option<Duration>,
    /// Prefixes that still wait to be told.
    pub pending: usize,
    /// Messages received on this and earlier sessions.
    pub messages_received: MessageCounts,
    /// Messages sent on this and earlier sessions.
    pub messages_sent: MessageCounts,
    /// Malformed UPDATEs that the sessions survived.
    pub update_faults: u64,
    /// How often a session was established.
    pub established_count: u32,
}

/// All about one peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbor {
    /// What the summary says.
    pub summary: PeerSummary,
    /// Our AS on this session.
    pub local_asn: Asn,
    /// The interface that it is reached over.
    pub interface: Option<String>,
    /// What the session agreed on, while it is established.
    pub agreed: Option<Agreed>,
    /// The hold time that we offer.
    pub hold_time: Duration,
    /// What is left of the hold time.
    pub hold_remaining: Option<Duration>,
    /// What we say that we can do.
    pub our_capabilities: Capabilities,
    /// What the peer last said that it can do.
    pub their_capabilities: Option<Capabilities>,
    /// The import policy; `None` imports nothing (RFC 8212).
    pub import: Option<Policy>,
    /// The export policy; `None` exports nothing (RFC 8212).
    pub export: Option<Policy>,
    /// How many prefixes it may send.
    pub limit: PrefixLimit,
    /// Refused prefixes by kind of refusal.
    pub refused: BTreeMap<&'static str, u32>,
    /// The peer has said that it sent everything it had.
    pub end_of_rib_received: bool,
    /// Prefixes that still wait to be told.
    pub pending: usize,
    /// Messages received on this and earlier sessions.
    pub messages_received: MessageCounts,
    /// Messages sent on this and earlier sessions.
    pub messages_sent: MessageCounts,
    /// Malformed UPDATEs that the sessions survived.
    pub update_faults: u64,
    /// How often a session was established.
    pub established_count: u32,
    /// Why the last session, or attempt at one, ended.
    pub last_error: Option<DownReason>,
    /// What the peer ends of all this in words: every reason why it is not as it should be.
    pub remarks: Vec<String>,
}

/// Which prefixes to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Only this prefix and what is inside it.
    pub within: Option<IpNet>,
    /// Only prefixes that cover this address.
    pub covering: Option<IpAddr>,
    /// Only prefixes that this peer teaches.
    pub peer: Option<PeerName>,
    /// Only prefixes behind this one, to go on where an earlier view ended.
    pub after: Option<IpNet>,
    /// At most so many; `None` is all.
    pub limit: Option<usize>,
}

/// One prefix and all its paths.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteView {
    /// The prefix.
    pub prefix: IpNet,
    /// Where its packets go by what was learned; empty if no learned path is the best.
    pub next_hops: Vec<FibNextHop>,
    /// Its paths, the best one first.
    pub paths: Vec<PathView>,
}

/// Where a path comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathSource {
    /// A route of our own.
    Local(LocalSource),
    /// A peer.
    Peer(PeerName),
}

/// One path of one prefix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PathView {
    /// Where it comes from.
    pub source: PathSource,
    /// The attributes that it takes part with.
    pub attributes: PathAttributes,
    /// Its attributes as received, where a route map changed them.
    pub received: Option<PathAttributes>,
    /// The rule of import policy that accepts it, where one does.
    pub rule: Option<RuleName>,
    /// The local preference that it takes part with.
    pub local_pref: u32,
    /// What a route map says that it weighs; 0 where none does.
    pub weight: u16,
    /// Its peer is away, and has not taught it again yet (RFC 4724).
    pub stale: bool,
    /// Whether it takes part in the selection, and if not, why.
    pub eligibility: Eligibility,
    /// It is the best.
    pub best: bool,
    /// The step of the selection that it lost by; `None` for the best one.
    pub lost_by: Option<LostBy>,
    /// Whether it carries traffic beside the best one, and if not, why.
    pub multipath: MultipathVerdict,
}

/// One prefix of a peer's Adj-RIB-In.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReceivedRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// Its attributes as received.
    pub attributes: PathAttributes,
    /// What policy says of it.
    pub verdict: Verdict,
}

/// One prefix as a peer was told of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdvertisedRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// Its attributes as sent.
    pub attributes: PathAttributes,
}

/// Why a peer is told of a prefix, or not.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportVerdict {
    /// The peer has been told.
    Advertised {
        /// The rule of export policy that permits it, where one does.
        rule: Option<RuleName>,
    },
    /// It is told this default route as one of ours (see
    /// [`DefaultOriginate`](crate::DefaultOriginate)), whatever the tables have.
    Originated,
    /// It is about to be told.
    Pending,
    /// Nobody has taught us such a prefix, or no path of it is usable.
    NoRoute,
    /// There is no session to tell it on.
    NotEstablished,
    /// It is withheld.
    Withheld(Withheld),
}
