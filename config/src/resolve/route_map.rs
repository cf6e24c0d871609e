//! Route maps in order.

use super::bgp::numbered;
use crate::model::{
    CommunityEdit, PrefixAction, RouteChanges, RouteConditions, RouteMap, RouteRule,
};
use crate::read::{At, RawChanges, RawConditions, RawEdit, RawRouteMap, RawRouteRule, Several};

/// The sequence numbers of a map's rules: a rule without one comes ten after the rule before it.
pub(crate) fn sequence(map: &RawRouteMap) -> Vec<u32> {
    numbered(map.rules.iter().map(|rule| rule.seq.as_ref()))
}

/// A map with its rules in order.
pub(super) fn route_map(map: &RawRouteMap, line: usize) -> RouteMap {
    let rule = |(rule, seq): (&RawRouteRule, u32)| RouteRule {
        seq,
        action: value(&rule.action).unwrap_or(PrefixAction::Permit),
        conditions: conditions(&rule.conditions),
        changes: changes(&rule.changes),
    };
    let mut rules: Vec<RouteRule> = map.rules.iter().zip(sequence(map)).map(rule).collect();
    rules.sort_by_key(|rule| rule.seq);
    RouteMap { line, rules }
}

fn value<T: Clone>(written: &Option<At<T>>) -> Option<T> {
    written.as_ref().map(|at| at.value.clone())
}

fn all<T: Clone>(written: &Several<T>) -> Vec<T> {
    let items = written.iter().flat_map(|list| &list.value);
    items.map(|at| at.value.clone()).collect()
}

fn conditions(raw: &RawConditions) -> RouteConditions {
    RouteConditions {
        prefix_lists: all(&raw.prefix_list),
        as_paths: all(&raw.as_path),
        communities: all(&raw.community),
        extended_communities: all(&raw.extended_community),
        large_communities: all(&raw.large_community),
        next_hops: all(&raw.next_hop),
        med: value(&raw.med),
        local_pref: value(&raw.local_pref),
        neighbors: all(&raw.neighbor),
        sources: all(&raw.source),
    }
}

fn changes(raw: &RawChanges) -> RouteChanges {
    RouteChanges {
        local_pref: value(&raw.local_pref),
        med: value(&raw.med),
        weight: value(&raw.weight),
        prepend: value(&raw.prepend).unwrap_or(0),
        next_hop: value(&raw.next_hop),
        communities: edit(&raw.community),
        extended_communities: edit(&raw.extended_community),
        large_communities: edit(&raw.large_community),
    }
}

fn edit<C: Clone, P: Clone>(raw: &RawEdit<C, P>) -> CommunityEdit<C, P> {
    CommunityEdit {
        clear: raw.replace.is_some(),
        remove: all(&raw.remove),
        add: all(&raw.replace).into_iter().chain(all(&raw.add)).collect(),
    }
}
