//! Whether the tables of others let our packets through, and if not, which rule is in the way.
//!
//! Every base chain on a packet's path gets to see it, and a drop in any of them is final: our own accept
//! cannot overrule it. So the rules of all other tables are read and followed with a packet of which some
//! fields are known. Where a rule depends on what we cannot know, both ways are followed; if they end
//! differently the answer is [`Outcome::Unclear`], never a guess.
//!
//! Two packets are followed for each flow: one that begins a connection and one that belongs to a
//! connection which exists. A host firewall that only accepts replies lets our tunnels work until the peer
//! has to speak first, and that is told apart.
//!
//! Not seen: the ingress hooks of `netdev` tables, bridges, eBPF, and the rules of iptables-legacy, of which
//! only the table names are reported.

mod chain;
mod lookup;
mod packet;
mod rule;
mod words;
mod xt;

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::error::Error;
use super::firewall::Firewall;
use super::ruleset::{IKE_PORT, NAT_T_PORT};
use super::set::protocol_text;
use super::table::TABLE;
use super::wire::family;
use chain::Walk;
use packet::Packet;

/// Through which hooks a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// To this host: prerouting, input.
    In,
    /// Through this host: prerouting, forward, postrouting.
    Through,
    /// From this host: output, postrouting.
    Out,
}

/// A kind of packet that has to get through. What is `None` may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// For people.
    pub name: String,
    /// Where it passes.
    pub path: Path,
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// The interface that it arrives on.
    pub incoming: Option<String>,
    /// The interface that it leaves by.
    pub outgoing: Option<String>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// IANA protocol number.
    pub protocol: Option<u8>,
    /// Source port of TCP and UDP.
    pub source_port: Option<u16>,
    /// Destination port of TCP and UDP.
    pub destination_port: Option<u16>,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ESP: u8 = 50;
const BGP_PORT: u16 = 179;

impl Flow {
    /// ESP, IKE and NAT-T from a peer to us. A peer behind a NAT may have other source ports.
    #[must_use]
    pub fn from_peer(peer: IpAddr, wan: Option<&str>, ours: Option<IpAddr>) -> [Self; 3] {
        Self::services(|name| Self {
            name: format!("{name} from {peer}"),
            incoming: wan.map(str::to_owned),
            source: Some(peer),
            destination: ours,
            ..Self::new(Path::In, peer.is_ipv6())
        })
    }

    /// ESP, IKE and NAT-T from us to a peer.
    #[must_use]
    pub fn to_peer(peer: IpAddr, wan: Option<&str>, ours: Option<IpAddr>) -> [Self; 3] {
        Self::services(|name| Self {
            name: format!("{name} to {peer}"),
            outgoing: wan.map(str::to_owned),
            source: ours,
            destination: Some(peer),
            ..Self::new(Path::Out, peer.is_ipv6())
        })
    }

    /// A peer that opens a BGP session to us through a tunnel.
    #[must_use]
    pub fn bgp_from(peer: IpAddr, interface: &str) -> Self {
        Self {
            name: format!("BGP from {peer} on {interface}"),
            incoming: Some(interface.to_owned()),
            source: Some(peer),
            protocol: Some(TCP),
            destination_port: Some(BGP_PORT),
            ..Self::new(Path::In, peer.is_ipv6())
        }
    }

    /// From the cloud into the home network: any address and protocol, unless `source` and `destination`
    /// say more. IPv4 unless they are IPv6.
    #[must_use]
    pub fn from_cloud(tunnel: &str, source: Option<IpAddr>, destination: Option<IpAddr>) -> Self {
        let ipv6 = source
            .or(destination)
            .is_some_and(|address| address.is_ipv6());
        let name = format!("from the cloud through {tunnel}");
        let incoming = Some(tunnel.to_owned());
        Self {
            name,
            incoming,
            source,
            destination,
            ..Self::new(Path::Through, ipv6)
        }
    }

    /// From the home network into the cloud.
    #[must_use]
    pub fn to_cloud(tunnel: &str, source: Option<IpAddr>, destination: Option<IpAddr>) -> Self {
        let ipv6 = source
            .or(destination)
            .is_some_and(|address| address.is_ipv6());
        let name = format!("into the cloud through {tunnel}");
        let outgoing = Some(tunnel.to_owned());
        Self {
            name,
            outgoing,
            source,
            destination,
            ..Self::new(Path::Through, ipv6)
        }
    }

    /// A flow of which nothing else is known.
    #[must_use]
    pub fn new(path: Path, ipv6: bool) -> Self {
        Self {
            name: String::new(),
            path,
            ipv6,
            incoming: None,
            outgoing: None,
            source: None,
            destination: None,
            protocol: None,
            source_port: None,
            destination_port: None,
        }
    }

    fn services(base: impl Fn(&str) -> Self) -> [Self; 3] {
        let udp = |name, port| Self {
            protocol: Some(UDP),
            source_port: Some(port),
            destination_port: Some(port),
            ..base(name)
        };
        let esp = Self {
            protocol: Some(ESP),
            ..base("ESP")
        };
        [esp, udp("IKE", IKE_PORT), udp("NAT-T", NAT_T_PORT)]
    }

    /// The flow as matches of the nft language.
    fn matches(&self) -> String {
        let mut words = Vec::new();
        words.extend(
            self.incoming
                .iter()
                .map(|name| format!("iifname \"{name}\"")),
        );
        words.extend(
            self.outgoing
                .iter()
                .map(|name| format!("oifname \"{name}\"")),
        );
        let ip = if self.ipv6 { "ip6" } else { "ip" };
        words.extend(
            self.source
                .iter()
                .map(|address| format!("{ip} saddr {address}")),
        );
        words.extend(
            self.destination
                .iter()
                .map(|address| format!("{ip} daddr {address}")),
        );
        let protocol = self.protocol.map(protocol_text);
        words.extend(match (protocol, self.destination_port) {
            (Some(protocol), Some(port)) => Some(format!("{protocol} dport {port}")),
            (Some(protocol), None) => Some(format!("meta l4proto {protocol}")),
            (None, _) => None,
        });
        words.join(" ")
    }
}

/// What becomes of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Passage {
    /// The flow.
    pub flow: Flow,
    /// Its fate.
    pub outcome: Outcome,
}

/// The fate of a flow in the tables of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Nobody else is in its way.
    Passes,
    /// It is dropped or rejected.
    Dropped {
        /// Where.
        by: Place,
        /// Whether replies pass nevertheless.
        when: When,
        /// A command that would let it through.
        remedy: String,
    },
    /// Its addresses are rewritten: it goes elsewhere, or arrives with another source.
    Rewritten {
        /// Where.
        by: Place,
        /// A command that would exempt it.
        remedy: String,
    },
    /// It may be dropped, depending on something that cannot be known here.
    Unclear {
        /// Where it would be dropped.
        by: Place,
        /// The rules that could not be decided, each with the reason.
        doubts: Vec<Doubt>,
    },
}

/// A rule that could not be decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// The rule.
    pub place: Place,
    /// What it depends on.
    pub on: String,
}

/// Which packets of a flow are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// All of them.
    Always,
    /// Only those that do not belong to a connection which we began: the flow works as long as the
    /// kernel remembers that we spoke first.
    UnlessEstablished,
    /// Only those that belong to a connection which exists: the flow begins and then stops.
    OnceEstablished,
}

/// A place in somebody's rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// Name of the table.
    pub table: String,
    /// Name of the chain.
    pub chain: String,
    /// Name of the base chain through which it was reached; often the same.
    pub base_chain: String,
    /// The hook of that base chain.
    pub hook: &'static str,
    /// The rule, or the policy behind the last of them.
    pub at: At,
}

/// Where in a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "at")]
pub enum At {
    /// The policy of the base chain.
    Policy,
    /// A rule.
    Rule {
        /// The kernel's number for it, as in `nft -a list ruleset`.
        handle: u64,
        /// Its position in the chain, from 1.
        position: usize,
        /// The rule in the manner of the nft language.
        text: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            table,
            chain,
            hook,
            at,
            ..
        } = self;
        match at {
            At::Policy => {
                write!(
                    f,
                    "the policy of chain {chain} (hook {hook}) in table {family} {table}"
                )
            }
            At::Rule {
                handle,
                position,
                text,
            } => write!(
                f,
                "rule {position} (handle {handle}) of chain {chain} in table {family} {table}: {text}"
            ),
        }
    }
}

impl fmt::Display for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.flow.name;
        match &self.outcome {
            Outcome::Passes => write!(f, "{name}: passes"),
            Outcome::Dropped { by, when, remedy } => {
                let when = match when {
                    When::Always => "dropped",
                    When::UnlessEstablished => "dropped unless we spoke first,",
                    When::OnceEstablished => "dropped after its first packets,",
                };
                write!(f, "{name}: {when} by {by}; add: {remedy}")
            }
            Outcome::Rewritten { by, remedy } => {
                write!(f, "{name}: addresses rewritten by {by}; add: {remedy}")
            }
            Outcome::Unclear { by, doubts } => {
                write!(
                    f,
                    "{name}: perhaps dropped or rewritten by {by}; it depends on"
                )?;
                doubts
                    .iter()
                    .try_for_each(|doubt| write!(f, " {} in {};", doubt.on, doubt.place))
            }
        }
    }
}

/// The answer of [`Firewall::trace`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// One for each flow, in the order of the question.
    pub passages: Vec<Passage>,
    /// Tables of iptables-legacy, whose rules nf_tables does not show. Usually empty.
    pub legacy_tables: Vec<String>,
}

impl Firewall {
    /// Follows the flows through all tables but ours.
    ///
    /// # Errors
    /// When the kernel does not answer, or the rules never hold still.
    pub fn trace(&mut self, flows: &[Flow]) -> Result<Trace, Error> {
        let listing = self.list_stable(|found, table| match found {
            family::INET => table != TABLE,
            family::IPV4 | family::IPV6 => true,
            _ => false,
        })?;
        let walk = Walk::new(&listing);
        let passages = flows.iter().map(|flow| Passage {
            flow: flow.clone(),
            outcome: outcome(&walk, flow),
        });
        Ok(Trace {
            passages: passages.collect(),
            legacy_tables: legacy_tables(),
        })
    }
}

/// Follows the first packet of a connection and then one of a connection that exists.
fn outcome(walk: &Walk<'_>, flow: &Flow) -> Outcome {
    // An interface that is not there yet has no number, and no rule can mean it by number.
    const NO_INTERFACE: u32 = 0;
    let index = |name: &Option<String>| {
        let name = name.as_deref()?;
        Some(nix::net::if_::if_nametoindex(name).unwrap_or(NO_INTERFACE))
    };
    let indexes = (index(&flow.incoming), index(&flow.outgoing));
    let first = walk.follow(flow, &Packet::new(flow, indexes, false));
    let later = walk.follow(flow, &Packet::new(flow, indexes, true));
    match (first, later) {
        (Outcome::Dropped { by, remedy, .. }, Outcome::Passes) => Outcome::Dropped {
            by,
            when: When::UnlessEstablished,
            remedy,
        },
        (Outcome::Passes, Outcome::Dropped { by, remedy, .. }) => Outcome::Dropped {
            by,
            when: When::OnceEstablished,
            remedy,
        },
        (Outcome::Passes, later) => later,
        (first, _) => first,
    }
}

fn legacy_tables() -> Vec<String> {
    let files = [
        "/proc/thread-self/net/ip_tables_names",
        "/proc/thread-self/net/ip6_tables_names",
    ];
    let mut names: Vec<String> = files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .flat_map(|names| names.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    names.sort();
    names.dedup();
    names
}
