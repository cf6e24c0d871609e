//! Filtering: named groups of addresses and ports, and the rules for what comes out of the tunnels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

/// Aliases that exist without being written.
pub mod builtin {
    /// The tunnels' outer addresses on the other side.
    pub const PEERS: &str = "peers";
    /// Our UDP ports for IKE and NAT traversal.
    pub const IKE_PORTS: &str = "ike-ports";
    /// Our own networks: `gateway.networks`.
    pub const HOME: &str = "home";
    /// All of them.
    pub const ALL: [&str; 3] = [HOME, IKE_PORTS, PEERS];
}

/// The firewall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Firewall {
    /// Whether there is one.
    pub enabled: bool,
    /// What happens to traffic out of a tunnel that no rule is about.
    pub from_cloud: Action,
    /// The rules for traffic out of the tunnels; the first that matches decides.
    pub rules: Vec<FirewallRule>,
    /// Every alias, the built-in ones too, with what it includes already in it; sorted, without duplicates.
    pub aliases: BTreeMap<String, Alias>,
    /// Those of them that have the tunnels' outer addresses on the other side in them: what a DNS name stands for is known only later.
    pub with_peers: BTreeSet<String>,
}

/// A named group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alias {
    /// Networks; an address is a /32.
    Networks(Vec<IpNet>),
    /// Ports of TCP or UDP.
    Ports(Vec<PortRange>),
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Networks(networks) => list(f, networks),
            Self::Ports(ports) => list(f, ports),
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Let it pass.
    Accept,
    /// Drop it silently.
    Drop,
}

/// One rule for traffic that comes out of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FirewallRule {
    /// The line of the file on which it begins (from 1).
    pub line: usize,
    /// What it does.
    pub action: Action,
    /// Where from.
    pub source: Networks,
    /// Where to.
    pub destination: Networks,
    /// Which protocol.
    pub protocol: Protocol,
    /// Which destination ports.
    pub ports: Ports,
    /// Whether a match is logged.
    pub log: bool,
}

/// Which addresses a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Networks {
    /// All.
    Any,
    /// Those of the alias.
    Alias(String),
    /// These.
    These(Vec<IpNet>),
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Alias(name) => f.write_str(name),
            Self::These(networks) => list(f, networks),
        }
    }
}

/// Which ports a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ports {
    /// All.
    Any,
    /// Those of the alias.
    Alias(String),
    /// These.
    These(Vec<PortRange>),
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Alias(name) => f.write_str(name),
            Self::These(ports) => list(f, ports),
        }
    }
}

/// A range of ports, both ends inclusive; never 0, never backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// Reads `443` or `8000-8100`; `None` where it is neither, backwards, or contains port 0.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        (first <= last).then_some(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Which protocol a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// All.
    Any,
    /// ICMP.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// The one with this IANA protocol number.
    Number(u8),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Icmp => f.write_str("icmp"),
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    f.write_str("[")?;
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        item.fmt(f)?;
    }
    f.write_str("]")
}
