//! What the gateway's firewall should say, as a value.
//!
//! A [`Ruleset`] is made by the daemon from the site file. It knows nothing of netlink: [`super::table`]
//! lowers it to sets, chains and rules, which are then either printed or sent to the kernel.
//!
//! Invariant: [`Ruleset::validate`] passed before anything is lowered, so that an alias which is named by
//! a rule exists and is of the kind that the rule needs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// UDP port of IKE (RFC 7296, section 2).
pub const IKE_PORT: u16 = 500;
/// UDP port of IKE and ESP in UDP when there is a NAT (RFC 3948, section 2).
pub const NAT_T_PORT: u16 = 4500;
/// The kernel's limit for an interface name, without the terminating NUL (`IFNAMSIZ` is 16).
pub const INTERFACE_NAME_MAX: usize = 15;
/// Longest alias or rule name that we accept: names become set names, comments and log prefixes.
pub const NAME_MAX: usize = 64;

/// Everything that the table `inet causeway` says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Ruleset {
    /// Named groups of networks or of ports; each becomes one or two named sets.
    pub aliases: BTreeMap<String, Alias>,
    /// Who may speak IKE and ESP to us; `None` leaves the WAN side untouched.
    pub wan: Option<WanRules>,
    /// The routed tunnel interfaces: what arrives on them comes from a cloud.
    pub tunnel_interfaces: Vec<String>,
    /// Rules for traffic from the cloud, in order; the first that matches decides.
    pub cloud: Vec<CloudRule>,
    /// What happens to traffic from the cloud that no rule matches.
    pub cloud_default: Action,
    /// BGP speakers across the tunnels: the interface and the peer's inside address.
    pub bgp: Vec<BgpPeer>,
    /// Interfaces, of those or others, at which TCP's MSS is lowered to what the route carries: where no data plane does it.
    pub clamp_mss: Vec<String>,
    /// BGP speakers on the home network. On the interfaces named here, TCP 179 is closed to all others.
    pub lan_bgp: Vec<BgpPeer>,
    /// Networks on the home network from which whoever comes may speak BGP. On the interfaces named here it is closed to all others, too.
    pub lan_bgp_ranges: Vec<BgpRange>,
}

/// A named group that several rules can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alias {
    /// Addresses and networks, IPv4 and IPv6 mixed. Overlaps are merged.
    Networks(Vec<IpNet>),
    /// Ports and port ranges. Overlaps are merged.
    Ports(Vec<PortRange>),
}

/// Ports from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// A range; `None` when `first` is above `last`.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// A range of one port.
    #[must_use]
    pub fn single(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// The lowest port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }
}

/// The WAN side: ESP, IKE and NAT-T from the peers and from nobody else.
///
/// `interface` and `addresses` narrow what the rules look at, for peers and strangers alike: what goes to
/// another interface or address of this host is not our business and passes untouched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WanRules {
    /// Name of the [`Alias::Networks`] that holds the peers' outer addresses.
    pub peers: String,
    /// Only on this interface; `None` is all of them.
    pub interface: Option<String>,
    /// Only towards these addresses of ours; empty is all of them.
    pub addresses: Vec<IpAddr>,
    /// UDP port of IKE.
    pub ike_port: u16,
    /// UDP port of IKE and ESP behind a NAT.
    pub nat_t_port: u16,
}

impl WanRules {
    /// The usual ports, any interface, any address of ours.
    #[must_use]
    pub fn from_peers(alias: impl Into<String>) -> Self {
        Self {
            peers: alias.into(),
            interface: None,
            addresses: Vec::new(),
            ike_port: IKE_PORT,
            nat_t_port: NAT_T_PORT,
        }
    }
}

/// One rule for what comes from the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloudRule {
    /// Shown with its counter and in the log.
    pub name: String,
    /// What to do with a packet that matches.
    pub action: Action,
    /// Where it comes from.
    pub source: Scope,
    /// Where it goes.
    pub destination: Scope,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its destination port; only with TCP and UDP.
    pub ports: Ports,
    /// Write a line to the kernel's log, at most five a second.
    pub log: bool,
}

/// The fate of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It goes on.
    #[default]
    Accept,
    /// It is discarded in silence.
    Drop,
}

/// A set of addresses in a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every address.
    #[default]
    Any,
    /// Those of an [`Alias::Networks`].
    Alias(String),
    /// Those of these networks.
    Networks(Vec<IpNet>),
}

/// A protocol in a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Every protocol.
    #[default]
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP for IPv4, ICMPv6 for IPv6.
    Icmp,
    /// An IANA protocol number.
    Number(u8),
}

/// Destination ports in a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ports {
    /// Every port, and protocols that have none.
    #[default]
    Any,
    /// Those of an [`Alias::Ports`].
    Alias(String),
    /// Those of these ranges.
    Ranges(Vec<PortRange>),
}

/// BGP speakers that are not named one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BgpRange {
    /// The interface that they are reached through.
    pub interface: String,
    /// Where they are.
    pub network: IpNet,
}

/// Somebody who may open a BGP session to us, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BgpPeer {
    /// The interface that it is reached through.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
}

/// Why a [`Ruleset`] cannot be made into a table. Nothing was changed on the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesetError {
    /// A rule names an alias that does not exist.
    #[error("{rule}: there is no alias `{alias}`")]
    UnknownAlias {
        /// The rule that names it.
        rule: String,
        /// The name.
        alias: String,
    },
    /// A rule names an alias of the other kind.
    #[error("{rule}: the alias `{alias}` does not hold {wanted}")]
    AliasKind {
        /// The rule that names it.
        rule: String,
        /// The name.
        alias: String,
        /// What the rule needs: `networks` or `ports`.
        wanted: &'static str,
    },
    /// A rule limits ports, but its protocol is neither TCP nor UDP.
    #[error("{rule}: ports can only be given for tcp or udp")]
    PortsWithoutProtocol {
        /// The rule.
        rule: String,
    },
    /// A name that nf_tables would not take.
    #[error("{kind} `{name}`: {problem}")]
    Name {
        /// `alias`, `rule` or `interface`.
        kind: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Ruleset {
    /// Checks names and references.
    ///
    /// # Errors
    /// The first problem, in the order WAN, tunnels, cloud rules, BGP.
    pub fn validate(&self) -> Result<(), RulesetError> {
        for name in self.aliases.keys() {
            check_alias_name(name)?;
        }
        if let Some(wan) = &self.wan {
            self.networks("the WAN rules", &wan.peers)?;
            wan.interface
                .iter()
                .try_for_each(|name| check_interface(name))?;
        }
        self.tunnel_interfaces
            .iter()
            .chain(&self.clamp_mss)
            .try_for_each(|name| check_interface(name))?;
        self.cloud
            .iter()
            .try_for_each(|rule| self.validate_cloud(rule))?;
        let speakers = self.bgp.iter().chain(&self.lan_bgp);
        let speakers = speakers.map(|peer| &peer.interface);
        let ranges = self.lan_bgp_ranges.iter().map(|range| &range.interface);
        speakers
            .chain(ranges)
            .try_for_each(|interface| check_interface(interface))
    }

    fn validate_cloud(&self, rule: &CloudRule) -> Result<(), RulesetError> {
        check_rule_name(&rule.name)?;
        for scope in [&rule.source, &rule.destination] {
            if let Scope::Alias(alias) = scope {
                self.networks(&rule.name, alias)?;
            }
        }
        if let Ports::Alias(alias) = &rule.ports {
            self.ports(&rule.name, alias)?;
        }
        let has_ports = matches!(
            rule.protocol,
            Protocol::Tcp | Protocol::Udp | Protocol::Number(6 | 17)
        );
        if rule.ports != Ports::Any && !has_ports {
            return Err(RulesetError::PortsWithoutProtocol {
                rule: rule.name.clone(),
            });
        }
        Ok(())
    }

    fn networks(&self, rule: &str, alias: &str) -> Result<&[IpNet], RulesetError> {
        match self.alias(rule, alias)? {
            Alias::Networks(networks) => Ok(networks),
            Alias::Ports(_) => Err(RulesetError::AliasKind {
                rule: rule.to_owned(),
                alias: alias.to_owned(),
                wanted: "networks",
            }),
        }
    }

    fn ports(&self, rule: &str, alias: &str) -> Result<&[PortRange], RulesetError> {
        match self.alias(rule, alias)? {
            Alias::Ports(ranges) => Ok(ranges),
            Alias::Networks(_) => Err(RulesetError::AliasKind {
                rule: rule.to_owned(),
                alias: alias.to_owned(),
                wanted: "ports",
            }),
        }
    }

    fn alias(&self, rule: &str, alias: &str) -> Result<&Alias, RulesetError> {
        self.aliases
            .get(alias)
            .ok_or_else(|| RulesetError::UnknownAlias {
                rule: rule.to_owned(),
                alias: alias.to_owned(),
            })
    }

    /// Whether anything from the cloud can be refused. If not, connections need not be tracked.
    pub(super) fn can_refuse_cloud(&self) -> bool {
        self.cloud_default == Action::Drop
            || self.cloud.iter().any(|rule| rule.action == Action::Drop)
    }
}

/// An alias becomes an identifier of the nft language: a letter or `_`, then letters, digits, `_`, `-`, `.`.
fn check_alias_name(name: &str) -> Result<(), RulesetError> {
    let problem = if name.is_empty() || name.len() > NAME_MAX {
        "must have 1 to 64 characters"
    } else if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        "must begin with a letter"
    } else if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    {
        "may hold only letters, digits, `_`, `-` and `.`"
    } else {
        return Ok(());
    };
    Err(RulesetError::Name {
        kind: "alias",
        name: name.to_owned(),
        problem,
    })
}

/// A rule's name becomes a quoted string: the nft language has no escape inside quotes.
fn check_rule_name(name: &str) -> Result<(), RulesetError> {
    let problem = if name.is_empty() || name.len() > NAME_MAX {
        "must have 1 to 64 bytes"
    } else if name.chars().any(|c| c == '"' || c.is_control()) {
        "may hold neither quotes nor control characters"
    } else {
        return Ok(());
    };
    Err(RulesetError::Name {
        kind: "rule",
        name: name.to_owned(),
        problem,
    })
}

fn check_interface(name: &str) -> Result<(), RulesetError> {
    let problem = if name.is_empty() || name.len() > INTERFACE_NAME_MAX {
        "must have 1 to 15 bytes"
    } else if name
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || "/:\"*\\".contains(c))
    {
        "holds a character that an interface's name cannot have"
    } else {
        return Ok(());
    };
    Err(RulesetError::Name {
        kind: "interface",
        name: name.to_owned(),
        problem,
    })
}
