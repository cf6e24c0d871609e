//! Route maps: their rules, what they name, who uses them, and what has no effect.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{Policy, PrefixAction, Role};
use crate::read::{At, RawNeighbor, RawRouteMap, RawRouteRule, RawSite};
use crate::resolve::rule_sequence;
use crate::suggest;

pub(super) fn check(raw: &RawSite, report: &mut Report<'_>) {
    for map in &raw.maps {
        names(map, raw, report);
        order(map, report);
        for rule in &map.rules {
            denies_and_sets(rule, map, report);
        }
    }
    let neighbors = || raw.bgp.iter().flat_map(|bgp| &bgp.neighbors);
    let used: BTreeSet<&str> = neighbors()
        .flat_map(|it| [&it.import, &it.export])
        .filter_map(|policy| Some(map_of(policy.as_ref(), raw)?.name.as_str()))
        .collect();
    for map in raw
        .maps
        .iter()
        .filter(|map| !used.contains(map.name.as_str()))
    {
        let message = format!("the route map {} is never used", map.name);
        drop(
            report
                .warning(Code::UnusedRouteMap, map.at.clone(), message)
                .help("name it as a neighbor's import or export, or remove it"),
        );
    }
    for neighbor in neighbors() {
        exported(neighbor, raw, report);
    }
}

/// The map that a policy names.
pub(super) fn map_of<'r>(policy: Option<&At<Policy>>, raw: &'r RawSite) -> Option<&'r RawRouteMap> {
    let Policy::PrefixList(name) = &policy?.value else {
        return None;
    };
    raw.maps.iter().find(|map| map.name == *name)
}

/// The lists that a map's rules name.
pub(super) fn lists_of(map: &RawRouteMap) -> impl Iterator<Item = &At<String>> {
    let conditions = map.rules.iter().map(|rule| &rule.conditions);
    conditions
        .flat_map(|conditions| &conditions.prefix_list)
        .flat_map(|lists| &lists.value)
}

/// A map's own name, and the names in it.
fn names(map: &RawRouteMap, raw: &RawSite, report: &mut Report<'_>) {
    if let Some(list) = raw.lists.iter().find(|list| list.name == map.name) {
        let message = format!("\"{}\" is both a prefix list and a route map", map.name);
        drop(
            report
                .error(Code::PolicyNameTwice, map.at.clone(), message)
                .also(list.at.clone(), "the prefix list")
                .help("rename one of them: import and export could mean either"),
        );
    }
    for list in lists_of(map) {
        super::policy::known_list(list, raw, report);
    }
    let neighbors: Vec<&str> = raw
        .bgp
        .iter()
        .flat_map(|bgp| &bgp.neighbors)
        .map(|neighbor| neighbor.name.as_str())
        .collect();
    let asked = map.rules.iter().flat_map(|rule| &rule.conditions.neighbor);
    for name in asked.flat_map(|names| &names.value) {
        if neighbors.contains(&name.value.as_str()) {
            continue;
        }
        let message = format!("there is no neighbor \"{}\"", name.value);
        let draft = report.error(Code::UnknownNeighbor, name.span.clone(), message);
        match suggest::nearest(&name.value, neighbors.iter().copied()) {
            Some(near) => drop(draft.help(format!("did you mean \"{near}\"?"))),
            None => drop(draft.help(format!("neighbors: {}", neighbors.join(", ")))),
        }
    }
}

/// Each number once, and nothing behind a rule that is about everything.
fn order(map: &RawRouteMap, report: &mut Report<'_>) {
    let mut by_seq: BTreeMap<u32, &RawRouteRule> = BTreeMap::new();
    for (rule, seq) in map.rules.iter().zip(rule_sequence(map)) {
        let span = |rule: &RawRouteRule| -> Range<usize> {
            rule.seq
                .as_ref()
                .map_or(rule.at.clone(), |seq| seq.span.clone())
        };
        if let Some(first) = by_seq.insert(seq, rule) {
            let message = format!("route map {}: sequence number {seq} twice", map.name);
            drop(
                report
                    .error(Code::DuplicateSequence, span(rule), message)
                    .also(span(first), "also here"),
            );
        }
    }
    let mut rules = by_seq.into_iter();
    let Some((all, last)) = rules.find(|(_, rule)| rule.conditions.is_empty()) else {
        return;
    };
    if let Some((seq, rule)) = rules.next() {
        let message = format!(
            "route map {}: rule {seq} is never asked, as rule {all} is about every route",
            map.name
        );
        drop(
            report
                .warning(Code::RouteRuleWithoutEffect, rule.at.clone(), message)
                .also(last.at.clone(), "this one"),
        );
    }
}

fn denies_and_sets(rule: &RawRouteRule, map: &RawRouteMap, report: &mut Report<'_>) {
    let denies = rule
        .action
        .as_ref()
        .is_some_and(|action| action.value == PrefixAction::Deny);
    if let Some(at) = rule.changes.at.clone().filter(|_| denies) {
        let message = format!("route map {}: a rule that denies sets nothing", map.name);
        drop(report.warning(Code::RouteRuleWithoutEffect, at, message));
    }
}

/// What is told by a map: a cloud only what lists permit, and nobody a weight.
fn exported(neighbor: &RawNeighbor, raw: &RawSite, report: &mut Report<'_>) {
    let Some(policy) = &neighbor.export else {
        return;
    };
    let Some(map) = map_of(Some(policy), raw) else {
        return;
    };
    let permits = map.rules.iter().filter(|rule| {
        let action = rule.action.as_ref().map(|action| action.value);
        action != Some(PrefixAction::Deny)
    });
    for rule in permits {
        let lists = rule.conditions.prefix_list.as_ref();
        let bounded = lists.is_some_and(|lists| !lists.value.is_empty());
        if neighbor.role() == Role::Cloud && !bounded {
            let message = format!(
                "neighbor {}: a cloud is told only what a prefix list permits, and this rule of route map {} names none",
                neighbor.name, map.name
            );
            drop(
                report
                    .error(Code::ExportAllToCloud, rule.at.clone(), message)
                    .also(policy.span.clone(), "the map is used here")
                    .help("add match.prefix-list = \"…\", a list that permits our networks"),
            );
        }
        if let Some(weight) = &rule.changes.weight {
            let message = format!(
                "route map {}: weight counts only on the way in, and this map is what neighbor {} is told by",
                map.name, neighbor.name
            );
            drop(report.warning(Code::RouteRuleWithoutEffect, weight.span.clone(), message));
        }
    }
}
