//! Routing: the speaker, its neighbors, and the prefix lists between them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

use super::{Bfd, SecretSource, serialize_duration};

/// An autonomous system number, two or four octets (RFC 6793).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Asn(pub u32);

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The BGP speaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bgp {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier; never 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// How many equally good paths share one prefix's traffic, 1 to 256.
    pub maximum_paths: u16,
    /// Whether AS paths of the same length are equally good, or only identical ones.
    pub multipath_relax: bool,
    /// Which of the host's routes we originate, subject to each neighbor's export policy.
    pub redistribute: BTreeSet<Redistribute>,
    /// The neighbors in the order of the file, one for each address.
    pub neighbors: Vec<Neighbor>,
    /// Who may become a neighbor by connecting, in the order of the file.
    pub ranges: Vec<NeighborRange>,
}

/// A section whose neighbors are not named one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NeighborRange {
    /// Where they may be.
    pub network: Ipv4Net,
    /// How many there may be at a time.
    pub limit: u16,
    /// The AS numbers that they may have; not empty.
    pub asns: Vec<Asn>,
    /// What holds for each of them. Its name is the section's, its address the network's, its AS the first that is allowed.
    pub template: Neighbor,
}

/// A kind of route of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redistribute {
    /// Networks of our interfaces' addresses.
    Connected,
    /// Routes that the kernel made by itself, or a tool without a protocol of its own.
    Kernel,
    /// Routes that an administrator set.
    Static,
}

impl fmt::Display for Redistribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::Kernel => "kernel",
            Self::Static => "static",
        })
    }
}

/// One BGP neighbor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Neighbor {
    /// Unique: the section's name, and `/address` after it where the section gives several.
    pub name: String,
    /// The section's name.
    pub group: String,
    /// The line of the file on which it begins (from 1).
    pub line: usize,
    /// Its address.
    pub address: IpAddr,
    /// Its TCP port.
    pub port: u16,
    /// The AS that its OPEN must name.
    pub remote_asn: Asn,
    /// The AS that we are towards it, where that is not [`Bgp::asn`].
    pub local_asn: Option<Asn>,
    /// What is exchanged with it; not empty.
    pub families: BTreeSet<AddressFamily>,
    /// Our address of the family that the session is not over, for the next hop of that family's prefixes.
    pub next_hop_address: Option<IpAddr>,
    /// What it stands for, which decides the safety filter.
    pub role: Role,
    /// The tunnel that it is reached through.
    pub tunnel: Option<String>,
    /// What our connections come from; a tunnel's neighbor has the tunnel's inside address.
    pub source: Option<UpdateSource>,
    /// Wait for it to connect, never dial.
    pub passive: bool,
    /// Keep the session down.
    pub shutdown: Shutdown,
    /// The hold time that we offer; zero is none.
    #[serde(serialize_with = "serialize_duration")]
    pub hold_time: Duration,
    /// The pause between our KEEPALIVEs.
    #[serde(serialize_with = "serialize_duration")]
    pub keepalive: Duration,
    /// The longest pause between two attempts to connect.
    #[serde(serialize_with = "serialize_duration")]
    pub connect_retry: Duration,
    /// Take part in graceful restart (RFC 4724).
    pub graceful_restart: bool,
    /// How long the neighbor is asked to keep our routes while we restart.
    #[serde(serialize_with = "serialize_duration")]
    pub restart_time: Duration,
    /// Take only what no router has touched, because the neighbor is on our network (GTSM, RFC 5082).
    pub ttl_security: bool,
    /// How the path to it is watched (RFC 5880), where it is.
    pub bfd: Option<Bfd>,
    /// Where the TCP MD5 key is (RFC 2385), if the session has one.
    pub md5: Option<SecretSource>,
    /// What we believe.
    pub import: Policy,
    /// What we tell.
    pub export: Policy,
    /// How many prefixes it may send.
    pub max_prefixes: u32,
    /// What happens when it sends more.
    pub max_prefixes_action: OverLimit,
    /// The pause before it is tried again, where it is.
    #[serde(serialize_with = "serialize_duration")]
    pub max_prefixes_pause: Duration,
    /// How many prefixes it is told at most, where the file or the profile says it.
    pub max_prefixes_out: Option<u32>,
    /// How often our AS may stand in a path that it teaches us.
    pub allow_own_as: u8,
    /// Put our AS in the place of its own in what it is told.
    pub as_override: bool,
    /// Take private AS numbers out of the paths that it is told.
    pub remove_private_as: bool,
    /// Tell it a default route of our own.
    pub default_originate: DefaultOriginate,
    /// Inside our AS, name ourselves as the next hop of what others taught us.
    pub next_hop_self: bool,
    /// Inside our AS, tell it what others of our AS taught us, and them what it taught (RFC 4456).
    pub route_reflector_client: bool,
    /// Believe a default route from it, where its list permits it.
    pub allow_default: bool,
    /// Believe what overlaps our own networks, where its list permits it.
    pub allow_overlap: bool,
    /// LOCAL_PREF of what it teaches us; higher wins.
    pub local_pref: u32,
    /// How many more times our AS stands in front of what we tell it.
    pub prepend: u8,
    /// MULTI_EXIT_DISC on what we tell it.
    pub med: Option<u32>,
}

/// A unicast address family (RFC 4760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl AddressFamily {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

impl fmt::Display for AddressFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

/// What a neighbor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A cloud's gateway: it is told only what a list permits and nothing that another cloud taught us, and is not
    /// believed about a default route or our own networks.
    Cloud,
    /// A node or router of our own.
    Lan,
}

/// Whether a neighbor is told a default route of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultOriginate {
    /// It is not.
    Never,
    /// It is.
    Always,
    /// It is while there is a usable route for exactly this network.
    While(IpNet),
}

impl fmt::Display for DefaultOriginate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("false"),
            Self::Always => f.write_str("true"),
            Self::While(network) => network.fmt(f),
        }
    }
}

/// Whether a session is kept down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shutdown {
    /// It is not.
    No,
    /// It is.
    Silent,
    /// It is, and the neighbor's operator is told so in these words, 1 to 255 octets (RFC 9003).
    Saying(String),
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("false"),
            Self::Silent => f.write_str("true"),
            Self::Saying(text) => f.write_str(text),
        }
    }
}

/// What happens when a neighbor sends more prefixes than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverLimit {
    /// The session ends, and is tried again after a pause.
    Restart,
    /// The session ends, and stays down until the limit is another one.
    Shutdown,
    /// The session stays, and the status says so.
    Warn,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restart => "restart",
            Self::Shutdown => "shutdown",
            Self::Warn => "warn",
        })
    }
}

/// What a session's connections come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateSource {
    /// This address of ours.
    Address(IpAddr),
    /// This interface's address.
    Interface(String),
}

impl fmt::Display for UpdateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

/// What passes in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Everything.
    All,
    /// Nothing.
    None,
    /// What the prefix list of that name permits.
    PrefixList(String),
    /// What the route map of that name permits, changed as it says.
    RouteMap(String),
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::None => "none",
            Self::PrefixList(name) | Self::RouteMap(name) => name,
        })
    }
}

/// A prefix list: the first rule that matches decides, and what none matches is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PrefixList {
    /// The line of the file on which it begins (from 1).
    pub line: usize,
    /// The rules by ascending sequence number.
    pub rules: Vec<PrefixRule>,
}

impl PrefixList {
    /// Whether the list permits the prefix.
    #[must_use]
    pub fn permits(&self, prefix: IpNet) -> bool {
        self.rules
            .iter()
            .find(|rule| rule.matches(prefix))
            .is_some_and(|rule| rule.action == PrefixAction::Permit)
    }
}

/// One rule of a prefix list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PrefixRule {
    /// Its place; unique in its list.
    pub seq: u32,
    /// What it says.
    pub action: PrefixAction,
    /// What it is about, with host bits cleared.
    pub prefix: IpNet,
    /// The shortest length that matches, where the file gives one.
    pub ge: Option<u8>,
    /// The longest length that matches, where the file gives one.
    pub le: Option<u8>,
}

impl PrefixRule {
    /// The lengths that match, both inclusive. Without `ge` and `le` only the prefix itself matches; with `ge` alone
    /// everything from there on.
    #[must_use]
    pub fn lengths(&self) -> (u8, u8) {
        let own = self.prefix.prefix_len();
        match (self.ge, self.le) {
            (None, None) => (own, own),
            (Some(ge), None) => (ge, self.prefix.max_prefix_len()),
            (None, Some(le)) => (own, le),
            (Some(ge), Some(le)) => (ge, le),
        }
    }

    /// Whether the rule is about that prefix.
    #[must_use]
    pub fn matches(&self, prefix: IpNet) -> bool {
        let (shortest, longest) = self.lengths();
        (shortest..=longest).contains(&prefix.prefix_len())
            && self.prefix.contains(&prefix.network())
    }
}

/// What a rule of a prefix list says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrefixAction {
    /// It does not pass.
    Deny,
    /// It passes.
    Permit,
}
