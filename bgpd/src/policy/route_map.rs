//! Route maps: ordered rules that permit or deny a route by what it is, and change it on its way.
//!
//! A rule asks two kinds of questions. Most are about a route's attributes and source, which many prefixes share: they are answered
//! once per set of attributes. Prefix lists are asked for each prefix. What no rule matches is denied.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{
    AsPathRegex, CommunityEdit, CommunityPattern, Decision, ExportSource, ExtendedPattern,
    LargePattern, NumberRange, PrefixList, StandardPattern,
};
use crate::wire::{Community, ExtendedCommunity, LargeCommunity, PathAttributes};
use crate::{Asn, LocalSource, PeerName};

/// A named map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMap {
    /// Its name, which [`Policy::RouteMap`](crate::Policy) refers to.
    pub name: String,
    rules: Vec<RouteRule>,
}

impl RouteMap {
    /// Puts the rules into the order of their sequence numbers.
    #[must_use]
    pub fn new(name: impl Into<String>, mut rules: Vec<RouteRule>) -> Self {
        rules.sort_by_key(|rule| rule.seq);
        Self {
            name: name.into(),
            rules,
        }
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[RouteRule] {
        &self.rules
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Its place; smaller ones are asked first.
    pub seq: u32,
    /// What it does with a route that meets all conditions.
    pub decision: Decision,
    /// What a route has to meet.
    pub conditions: Conditions,
    /// What becomes of a route that is permitted.
    pub actions: Actions,
}

/// Where a route comes from, as a rule asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteSource {
    /// A peer taught it.
    Learned,
    /// It is a route of our own.
    Own(LocalSource),
}

/// Conditions. An empty list, or `None`, asks for nothing; of a list one item has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Prefix lists by name, of which one has to permit the prefix.
    pub prefix_lists: Vec<String>,
    /// Expressions that match the AS path.
    pub as_paths: Vec<AsPathRegex>,
    /// Communities that it has.
    pub communities: Vec<StandardPattern>,
    /// Extended communities that it has.
    pub extended_communities: Vec<ExtendedPattern>,
    /// Large communities that it has.
    pub large_communities: Vec<LargePattern>,
    /// Networks that its next hop is in; a route of our own has none.
    pub next_hops: Vec<IpNet>,
    /// MULTI_EXIT_DISC; a route without one has none of these.
    pub med: Option<NumberRange>,
    /// The degree of preference that it has.
    pub local_pref: Option<NumberRange>,
    /// Peers of which one taught it.
    pub neighbors: Vec<PeerName>,
    /// Where it comes from.
    pub sources: Vec<RouteSource>,
}

/// What becomes of a route. `None`, or an edit of nothing, leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// LOCAL_PREF: the degree of preference on the way in, what peers in our AS are told on the way out.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Preference before all else that is known of learned routes; not told to anybody. Only on the way in.
    pub weight: Option<u16>,
    /// How many more times an AS stands in front of the path: on the way in the neighboring one, on the way out ours.
    pub prepend: u8,
    /// NEXT_HOP. An IPv6 next hop stays as it is.
    pub next_hop: Option<Ipv4Addr>,
    /// COMMUNITIES.
    pub communities: CommunityEdit<Community, StandardPattern>,
    /// EXTENDED_COMMUNITIES.
    pub extended_communities: CommunityEdit<ExtendedCommunity, ExtendedPattern>,
    /// LARGE_COMMUNITIES.
    pub large_communities: CommunityEdit<LargeCommunity, LargePattern>,
}

/// A route as rules see it, but for its prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteFacts<'a> {
    pub(crate) attributes: &'a PathAttributes,
    /// The degree of preference that it has before the map.
    pub(crate) local_pref: u32,
    pub(crate) source: &'a ExportSource,
}

impl Conditions {
    /// Whether a route meets all that is not about its prefix.
    pub(crate) fn hold_for(&self, route: &RouteFacts<'_>) -> bool {
        let set = route.attributes;
        let in_range = |range: Option<NumberRange>, number: Option<u32>| {
            range.is_none_or(|range| number.is_some_and(|number| range.contains(number)))
        };
        in_range(self.med, set.med)
            && in_range(self.local_pref, Some(route.local_pref))
            && self.sources_hold(route.source)
            && one_of(&self.next_hops, |network| {
                set.next_hop.is_some_and(|it| network.contains(&it))
            })
            && has_one(&self.communities, &set.communities)
            && has_one(&self.extended_communities, &set.extended_communities)
            && has_one(&self.large_communities, &set.large_communities)
            && one_of(&self.as_paths, |regex| regex.is_match(set.as_path.asns()))
    }

    fn sources_hold(&self, source: &ExportSource) -> bool {
        let (kind, teacher) = match source {
            ExportSource::Local { source } => (RouteSource::Own(*source), None),
            ExportSource::Learned { peer, .. } => (RouteSource::Learned, Some(peer)),
        };
        (self.sources.is_empty() || self.sources.contains(&kind))
            && one_of(&self.neighbors, |name| {
                teacher.is_some_and(|it| it.is_of(name))
            })
    }
}

fn one_of<T>(conditions: &[T], holds: impl Fn(&T) -> bool) -> bool {
    conditions.is_empty() || conditions.iter().any(holds)
}

fn has_one<C: Copy, P: CommunityPattern<C>>(patterns: &[P], communities: &[C]) -> bool {
    one_of(patterns, |pattern| {
        communities.iter().any(|it| pattern.matches(*it))
    })
}

impl Actions {
    /// Whether nothing becomes of a route.
    pub(crate) fn is_idle(&self) -> bool {
        let Self {
            local_pref,
            med,
            weight,
            prepend,
            next_hop,
            communities,
            extended_communities,
            large_communities,
        } = self;
        (local_pref, med, weight, next_hop) == (&None, &None, &None, &None)
            && *prepend == 0
            && communities.is_idle()
            && extended_communities.is_idle()
            && large_communities.is_idle()
    }

    /// Changes a route; `prepended` is the AS that is put in front of its path.
    pub(crate) fn apply(&self, set: &mut PathAttributes, prepended: Option<Asn>) {
        set.local_pref = self.local_pref.or(set.local_pref);
        set.med = self.med.or(set.med);
        // What has an IPv6 next hop cannot be told with an IPv4 one in its place.
        if !matches!(set.next_hop, Some(IpAddr::V6(_))) {
            set.next_hop = self.next_hop.map(IpAddr::V4).or(set.next_hop);
        }
        if let Some(asn) = prepended {
            set.as_path.prepend(asn, usize::from(self.prepend));
        }
        self.communities.apply(&mut set.communities);
        self.extended_communities
            .apply(&mut set.extended_communities);
        self.large_communities.apply(&mut set.large_communities);
    }
}

/// A map whose prefix lists are found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LinkedMap {
    pub(super) map: RouteMap,
    /// By rule, the places of its prefix lists. One that is nowhere permits nothing.
    lists: Vec<Vec<Option<usize>>>,
}

impl LinkedMap {
    pub(super) fn new(map: RouteMap, place: impl Fn(&str) -> Option<usize>) -> Self {
        let of = |rule: &RouteRule| {
            let lists = rule.conditions.prefix_lists.iter();
            lists.map(|name| place(name)).collect::<Vec<_>>()
        };
        let lists = map.rules.iter().map(of).collect();
        Self { map, lists }
    }

    /// The places of the rules whose conditions a route meets, whatever its prefix.
    pub(crate) fn rules_for(&self, route: &RouteFacts<'_>) -> Vec<usize> {
        let rules = self.map.rules.iter().enumerate();
        rules
            .filter(|(_, rule)| rule.conditions.hold_for(route))
            .map(|(place, _)| place)
            .collect()
    }

    /// The first of these rules that a prefix meets.
    pub(super) fn decide(
        &self,
        among: &[usize],
        prefix: &IpNet,
        lists: &[PrefixList],
    ) -> Option<usize> {
        let permits = |place: &Option<usize>| {
            let list = place.and_then(|place| lists.get(place));
            let rule = list.and_then(|list| list.decide(prefix));
            rule.is_some_and(|rule| rule.decision == Decision::Permit)
        };
        among.iter().copied().find(|place| {
            self.lists
                .get(*place)
                .is_some_and(|of_rule| one_of(of_rule, permits))
        })
    }

    pub(super) fn rule(&self, place: usize) -> Option<&RouteRule> {
        self.map.rules.get(place)
    }
}

#[cfg(test)]
#[path = "route_map/tests.rs"]
mod tests;
