//! What passes between us and a peer, and why not.
//!
//! Everything here is a pure function of a prefix, a route and parameters. Nothing is remembered, so a
//! verdict can be asked for again at any time, and a view never disagrees with what was done.

mod as_path_regex;
mod export;
mod import;
mod numbers;
mod prefix_list;
mod route_map;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

pub use as_path_regex::{AsPathNode, AsPathRegex, TooLarge};
pub(crate) use export::{ExportContext, OwnNextHops};
pub use export::{ExportSource, Withheld};
pub(crate) use import::{DEFAULT_LOCAL_PREF, ImportContext, degree_of_preference};
pub use numbers::{
    CommunityEdit, CommunityPattern, ExtendedPattern, LargePattern, NumberRange, StandardPattern,
};
pub use prefix_list::{Decision, PrefixList, Rule};
pub use route_map::{Actions, Conditions, RouteMap, RouteRule, RouteSource};
pub(crate) use route_map::{LinkedMap, RouteFacts};

use crate::{Asn, Policy};

/// All that policies can name: prefix lists and route maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// The lists, each with a name of its own.
    pub prefix_lists: Vec<PrefixList>,
    /// The maps, each with a name of its own.
    pub route_maps: Vec<RouteMap>,
}

impl From<Vec<PrefixList>> for Policies {
    fn from(prefix_lists: Vec<PrefixList>) -> Self {
        Self {
            prefix_lists,
            route_maps: Vec::new(),
        }
    }
}

/// The same, found by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PolicyTable {
    /// By name.
    lists: Vec<PrefixList>,
    maps: BTreeMap<String, LinkedMap>,
}

impl PolicyTable {
    pub(crate) fn new(policies: Policies) -> Self {
        let mut lists = policies.prefix_lists;
        lists.sort_by(|a, b| a.name.cmp(&b.name));
        let place = |name: &str| lists.binary_search_by(|it| it.name.as_str().cmp(name)).ok();
        let maps = policies.route_maps.into_iter();
        let maps = maps
            .map(|map| (map.name.clone(), LinkedMap::new(map, place)))
            .collect();
        Self { lists, maps }
    }

    /// A policy with what it names.
    fn find<'a>(&'a self, policy: Option<&'a Policy>) -> Found<'a> {
        let list = |name: &str| self.lists.binary_search_by(|it| it.name.as_str().cmp(name));
        match policy {
            None => Found::NoPolicy,
            Some(Policy::PermitAll) => Found::PermitAll,
            Some(Policy::DenyAll) => Found::DenyAll,
            Some(Policy::PrefixList(name)) => {
                match list(name).ok().and_then(|it| self.lists.get(it)) {
                    Some(list) => Found::List(list),
                    None => Found::UnknownList(name),
                }
            }
            Some(Policy::RouteMap(name)) => match self.maps.get(name) {
                Some(map) => Found::Map(map),
                None => Found::UnknownMap(name),
            },
        }
    }

    /// A policy before one route, of which `facts` are asked only where the policy wants to know them.
    pub(crate) fn judge<'a>(
        &'a self,
        policy: Option<&'a Policy>,
        rules_for: impl FnOnce(&LinkedMap) -> Vec<usize>,
    ) -> RouteJudge<'a> {
        let found = self.find(policy);
        let rules = match found {
            Found::Map(map) => rules_for(map),
            _ => Vec::new(),
        };
        RouteJudge {
            lists: &self.lists,
            found,
            rules,
        }
    }
}

/// What a policy names.
#[derive(Clone, Copy, Debug)]
enum Found<'a> {
    NoPolicy,
    PermitAll,
    DenyAll,
    List(&'a PrefixList),
    UnknownList(&'a str),
    Map(&'a LinkedMap),
    UnknownMap(&'a str),
}

/// A policy before one route, whatever its prefix: what is asked of the route is answered.
#[derive(Clone, Debug)]
pub(crate) struct RouteJudge<'a> {
    lists: &'a [PrefixList],
    found: Found<'a>,
    /// The places of a map's rules that the route meets.
    rules: Vec<usize>,
}

impl<'a> RouteJudge<'a> {
    /// What the policy says of the route with this prefix: what permits it, or why it is refused.
    pub(crate) fn decide(&self, prefix: &IpNet) -> Result<Permit<'a>, Refusal> {
        let by_list = |list: &str, seq| RuleName::prefix_list(list, seq);
        match self.found {
            Found::NoPolicy => Err(Refusal::NoPolicy),
            Found::PermitAll => Ok(Permit::Everything),
            Found::DenyAll => Err(Refusal::DenyAll),
            Found::UnknownList(name) => Err(Refusal::UnknownPrefixList { list: name.into() }),
            Found::UnknownMap(name) => Err(Refusal::UnknownRouteMap { map: name.into() }),
            Found::List(list) => match list.decide(prefix) {
                Some(rule) if rule.decision == Decision::Permit => Ok(Permit::List(list, rule)),
                rule => Err(Refusal::PrefixList(by_list(
                    &list.name,
                    rule.map(|it| it.seq),
                ))),
            },
            Found::Map(map) => {
                let place = map.decide(&self.rules, prefix, self.lists);
                let rule = place.and_then(|place| Some((place, map.rule(place)?)));
                match rule {
                    Some((place, rule)) if rule.decision == Decision::Permit => Ok(Permit::Map {
                        map: &map.map.name,
                        place,
                        rule,
                    }),
                    rule => Err(Refusal::RouteMap(RuleName::route_map(
                        &map.map.name,
                        rule.map(|(_, rule)| rule.seq),
                    ))),
                }
            }
        }
    }
}

/// What permits a route.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Permit<'a> {
    /// The policy permits everything.
    Everything,
    /// A rule of a prefix list.
    List(&'a PrefixList, &'a Rule),
    /// A rule of a route map, which is at that place in it.
    Map {
        map: &'a str,
        place: usize,
        rule: &'a RouteRule,
    },
}

impl<'a> Permit<'a> {
    /// The rule for people.
    pub(crate) fn name(&self) -> Option<RuleName> {
        match self {
            Self::Everything => None,
            Self::List(list, rule) => Some(RuleName::prefix_list(&list.name, Some(rule.seq))),
            Self::Map { map, rule, .. } => Some(RuleName::route_map(map, Some(rule.seq))),
        }
    }

    /// What becomes of the route, and the place of the rule that says so; `None` if nothing does.
    pub(crate) fn actions(&self) -> Option<(usize, &'a Actions)> {
        match self {
            Self::Map { place, rule, .. } if !rule.actions.is_idle() => {
                Some((*place, &rule.actions))
            }
            _ => None,
        }
    }
}

/// What a rule is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    /// A prefix list.
    PrefixList,
    /// A route map.
    RouteMap,
}

/// One rule of one prefix list or route map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RuleName {
    /// What it is one of.
    pub kind: RuleKind,
    /// The list or map.
    pub list: String,
    /// The rule's sequence number; `None` is the implicit denial at the end.
    pub seq: Option<u32>,
}

impl RuleName {
    /// A rule of a prefix list.
    #[must_use]
    pub fn prefix_list(list: &str, seq: Option<u32>) -> Self {
        Self {
            kind: RuleKind::PrefixList,
            list: list.to_owned(),
            seq,
        }
    }

    /// A rule of a route map.
    #[must_use]
    pub fn route_map(map: &str, seq: Option<u32>) -> Self {
        Self {
            kind: RuleKind::RouteMap,
            list: map.to_owned(),
            seq,
        }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RuleKind::PrefixList => "prefix list",
            RuleKind::RouteMap => "route map",
        };
        match self.seq {
            Some(seq) => write!(f, "{kind} {} seq {seq}", self.list),
            None => write!(f, "{kind} {}, no rule matches", self.list),
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
    /// A rule of its route map denies it, or none permits it.
    RouteMap(RuleName),
    /// Its policy names a route map that does not exist.
    UnknownRouteMap {
        /// The name.
        map: String,
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
            Self::PrefixList(rule) | Self::RouteMap(rule) => write!(f, "denied by {rule}"),
            Self::UnknownRouteMap { map } => write!(f, "there is no route map named {map}"),
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
            Self::RouteMap(_) => "route-map",
            Self::UnknownRouteMap { .. } => "unknown-route-map",
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
    /// It takes part in the selection; by that rule, if a list or map permitted it.
    Accepted(Option<RuleName>),
    /// It is kept, for the case that the policy changes, and not used.
    Refused(Refusal),
}
