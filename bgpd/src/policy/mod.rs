//! What passes between us and a peer, and why not.
//!
//! Everything here is a pure function of a prefix, a route and parameters. Nothing is remembered, so a
//! verdict can be asked for again at any time, and a view never disagrees with what was done.

mod export;
mod import;
mod prefix_list;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

pub(crate) use export::{ExportContext, next_hop_address};
pub use export::{ExportSource, Withheld};
pub(crate) use import::ImportContext;
pub use prefix_list::{Decision, PrefixList, Rule};

use crate::{Asn, Policy};

/// All prefix lists by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PolicyTable {
    lists: BTreeMap<String, PrefixList>,
}

impl PolicyTable {
    pub(crate) fn new(lists: Vec<PrefixList>) -> Self {
        Self {
            lists: lists
                .into_iter()
                .map(|list| (list.name.clone(), list))
                .collect(),
        }
    }

    /// What a policy says of a prefix: the rule that permits it, or why it is refused.
    pub(crate) fn decide(
        &self,
        policy: Option<&Policy>,
        prefix: &IpNet,
    ) -> Result<Option<RuleName>, Refusal> {
        let name = match policy {
            None => return Err(Refusal::NoPolicy),
            Some(Policy::PermitAll) => return Ok(None),
            Some(Policy::DenyAll) => return Err(Refusal::DenyAll),
            Some(Policy::PrefixList(name)) => name,
        };
        let Some(list) = self.lists.get(name) else {
            return Err(Refusal::UnknownPrefixList { list: name.clone() });
        };
        match list.decide(prefix) {
            Some(rule) => {
                let name = RuleName {
                    list: name.clone(),
                    seq: Some(rule.seq),
                };
                match rule.decision {
                    Decision::Permit => Ok(Some(name)),
                    Decision::Deny => Err(Refusal::PrefixList(name)),
                }
            }
            None => Err(Refusal::PrefixList(RuleName {
                list: name.clone(),
                seq: None,
            })),
        }
    }
}

/// One rule of one prefix list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RuleName {
    /// The list.
    pub list: String,
    /// The rule's sequence number; `None` is the implicit denial at the list's end.
    pub seq: Option<u32>,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "prefix list {} seq {seq}", self.list),
            None => write!(f, "prefix list {}, no rule matches", self.list),
        }
    }
}

/// Why a route is not believed, or a prefix not told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// The peer has no policy for this direction (RFC 8212).
    NoPolicy,
    /// The peer's policy is to refuse everything.
    DenyAll,
    /// A rule of its prefix list denies it, or none permits it.
    PrefixList(RuleName),
    /// Its policy names a prefix list that does not exist.
    UnknownPrefixList {
        /// The name.
        list: String,
    },
    /// A default route from a cloud, which nobody asked for.
    DefaultRoute,
    /// A cloud claims a network of ours.
    OverlapsOwnNetwork {
        /// Our network.
        network: IpNet,
    },
    /// The tunnel would carry its own outer packets.
    CoversTunnelEnd {
        /// The tunnel's outer address.
        address: IpAddr,
    },
    /// No destination can be in there: loopback, multicast, class E, "this network".
    Martian,
    /// Our own AS is in its path: it comes from us (RFC 4271, section 9.1.2).
    AsLoop {
        /// Our AS.
        asn: Asn,
    },
    /// Its path does not begin with the peer's AS (RFC 4271, section 6.3).
    FirstAs {
        /// What it begins with.
        first: Option<Asn>,
        /// The peer's AS.
        peer: Asn,
    },
    /// Its next hop is our own address of the session (RFC 4271, section 5.1.3).
    NextHopIsOurs,
    /// It was reflected back to us (RFC 4456, section 8).
    ReflectionLoop,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("the peer has no policy for this direction (RFC 8212)"),
            Self::DenyAll => f.write_str("the policy is to deny everything"),
            Self::PrefixList(rule) => write!(f, "denied by {rule}"),
            Self::UnknownPrefixList { list } => write!(f, "there is no prefix list named {list}"),
            Self::DefaultRoute => f.write_str("a default route from a cloud was not asked for"),
            Self::OverlapsOwnNetwork { network } => write!(f, "it overlaps our network {network}"),
            Self::CoversTunnelEnd { address } => write!(f, "it covers the tunnel's end {address}"),
            Self::Martian => f.write_str("no destination can have such an address"),
            Self::AsLoop { asn } => write!(f, "our AS {asn} is in its path"),
            Self::FirstAs {
                first: Some(first),
                peer,
            } => {
                write!(f, "its path begins with AS {first}, the peer is AS {peer}")
            }
            Self::FirstAs { first: None, peer } => {
                write!(f, "its path does not begin with AS {peer}, the peer's")
            }
            Self::NextHopIsOurs => f.write_str("its next hop is ourselves"),
            Self::ReflectionLoop => f.write_str("it was reflected back to us"),
        }
    }
}

impl Refusal {
    /// A word for each kind, without its particulars: what refusals are counted by.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoPolicy => "no-policy",
            Self::DenyAll => "deny-all",
            Self::PrefixList(_) => "prefix-list",
            Self::UnknownPrefixList { .. } => "unknown-prefix-list",
            Self::DefaultRoute => "default-route",
            Self::OverlapsOwnNetwork { .. } => "overlaps-own-network",
            Self::CoversTunnelEnd { .. } => "covers-tunnel-end",
            Self::Martian => "martian",
            Self::AsLoop { .. } => "as-loop",
            Self::FirstAs { .. } => "first-as",
            Self::NextHopIsOurs => "next-hop-is-ours",
            Self::ReflectionLoop => "reflection-loop",
        }
    }
}

/// What came of judging a received route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It takes part in the selection; by that rule, if a prefix list permitted it.
    Accepted(Option<RuleName>),
    /// It is kept, for the case that the policy changes, and not used.
    Refused(Refusal),
}
