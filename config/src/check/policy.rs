//! Prefix lists: their rules, who uses them, and what they let through.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::bgp::tunnel_of;
use super::route_map::lists_of;
use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{Policy, PrefixAction, PrefixList, Role};
use crate::read::{At, RawList, RawNeighbor, RawSite};
use crate::resolve::prefix_list;
use crate::suggest;

pub(super) fn check(raw: &RawSite, report: &mut Report<'_>) {
    for list in &raw.lists {
        rules(list, report);
    }
    let neighbors = raw
        .bgp
        .as_ref()
        .map(|bgp| bgp.neighbors.as_slice())
        .unwrap_or_default();
    let mut used: BTreeSet<&str> = raw
        .maps
        .iter()
        .flat_map(lists_of)
        .map(|name| name.value.as_str())
        .collect();
    for neighbor in neighbors {
        for policy in [&neighbor.import, &neighbor.export].into_iter().flatten() {
            if let Policy::PrefixList(name) = &policy.value {
                used.insert(name.as_str());
                unknown(name, policy, raw, report);
            }
        }
        if neighbor.role() == Role::Cloud {
            imported(neighbor, raw, report);
            exported(neighbor, raw, report);
        }
    }
    for list in raw
        .lists
        .iter()
        .filter(|list| !used.contains(list.name.as_str()))
    {
        let message = format!("the prefix list {} is never used", list.name);
        let help = "name it as a neighbor's import or export or in a route map, or remove it";
        drop(
            report
                .warning(Code::UnusedPrefixList, list.at.clone(), message)
                .help(help),
        );
    }
}

fn rules(list: &RawList, report: &mut Report<'_>) {
    let mut seen = BTreeMap::new();
    for (rule, seq) in list.rules.iter().zip(crate::resolve::sequence(list)) {
        let span = rule
            .seq
            .as_ref()
            .map_or(rule.at.clone(), |seq| seq.span.clone());
        if let Some(first) = seen.insert(seq, span.clone()) {
            let message = format!("prefix list {}: sequence number {seq} twice", list.name);
            drop(
                report
                    .error(Code::DuplicateSequence, span, message)
                    .also(first, "also here"),
            );
        }
        let length = rule.prefix.value.prefix_len();
        let (ge, le) = (rule.ge.as_ref(), rule.le.as_ref());
        let shortest = ge.map_or(length, |ge| ge.value);
        let most = rule.prefix.value.max_prefix_len();
        let longest = le.map_or(most, |le| le.value);
        if (length..=most).contains(&shortest) && (shortest..=most).contains(&longest) {
            continue;
        }
        let span = le
            .or(ge)
            .map_or(rule.at.clone(), |bound| bound.span.clone());
        let message = format!(
            "prefix list {}: no prefix inside {} can match",
            list.name, rule.prefix.value
        );
        let help = format!("it has to be {length} <= ge <= le <= {most}");
        drop(report.error(Code::PrefixLengths, span, message).help(help));
    }
}

fn unknown(name: &str, policy: &At<Policy>, raw: &RawSite, report: &mut Report<'_>) {
    let lists = raw.lists.iter().map(|list| list.name.as_str());
    let maps = raw.maps.iter().map(|map| map.name.as_str());
    let names = lists.chain(maps);
    if names.clone().any(|known| known == name) {
        return;
    }
    let what = if raw.maps.is_empty() {
        "prefix list"
    } else {
        "prefix list or route map"
    };
    let message = format!("there is no {what} \"{name}\"");
    let draft = report.error(Code::UnknownPrefixList, policy.span.clone(), message);
    let names = names.chain(["all", "none"]);
    match suggest::nearest(name, names) {
        Some(near) => drop(draft.help(format!("did you mean \"{near}\"?"))),
        None => drop(draft.help(format!(
            "add {name} = [{{ permit = \"…\" }}] under [prefix-list]"
        ))),
    }
}

/// A list that a route map names.
pub(super) fn known_list(name: &At<String>, raw: &RawSite, report: &mut Report<'_>) {
    let names = raw.lists.iter().map(|list| list.name.as_str());
    if names.clone().any(|known| known == name.value) {
        return;
    }
    let message = format!("there is no prefix list \"{}\"", name.value);
    let draft = report.error(Code::UnknownPrefixList, name.span.clone(), message);
    match suggest::nearest(&name.value, names) {
        Some(near) => drop(draft.help(format!("did you mean \"{near}\"?"))),
        None => drop(draft.help(format!(
            "add {} = [{{ permit = \"…\" }}] under [prefix-list]",
            name.value
        ))),
    }
}

/// The list that a policy names, where there is one and its rules make sense.
fn list_of<'r>(policy: Option<&At<Policy>>, raw: &'r RawSite) -> Option<(&'r RawList, PrefixList)> {
    let Policy::PrefixList(name) = &policy?.value else {
        return None;
    };
    let list = raw.lists.iter().find(|list| list.name == *name)?;
    Some((list, prefix_list(list, 0)))
}

/// What a cloud may teach us.
fn imported(neighbor: &RawNeighbor, raw: &RawSite, report: &mut Report<'_>) {
    let Some((raw_list, list)) = list_of(neighbor.import.as_ref(), raw) else {
        return;
    };
    let at = |rule: &crate::model::PrefixRule| {
        let written = raw_list
            .rules
            .iter()
            .find(|written| written.prefix.value == rule.prefix);
        written.map_or(raw_list.at.clone(), |written| written.prefix.span.clone())
    };
    let allowed = |flag: &Option<At<bool>>| flag.as_ref().is_some_and(|flag| flag.value);
    let name = &raw_list.name;
    for rule in list
        .rules
        .iter()
        .filter(|rule| rule.action == PrefixAction::Permit)
    {
        if rule.lengths().0 == 0
            && list.permits(default_of(rule.prefix))
            && !allowed(&neighbor.allow_default)
        {
            let default = default_of(rule.prefix);
            let message =
                format!("prefix list {name} permits {default} from a cloud, which is refused");
            let help = "deny it, or set allow-default = true on the neighbor if it is meant";
            drop(
                report
                    .warning(Code::DefaultRefused, at(rule), message)
                    .help(help),
            );
        }
        if !allowed(&neighbor.allow_overlap) {
            for ours in &raw.gateway.networks {
                let network = ours.value;
                if let Some(witness) = overlap(&list, rule, network) {
                    let message = format!(
                        "prefix list {name} permits {witness} from a cloud, which overlaps our {network}"
                    );
                    let help = "the two sites must not share addresses: narrow the list, or set allow-overlap = true on the neighbor";
                    drop(
                        report
                            .error(Code::PermittedOverlap, at(rule), message)
                            .also(ours.span.clone(), "our network")
                            .help(help),
                    );
                }
            }
        }
        for (tunnel, remote) in raw
            .tunnels
            .iter()
            .filter_map(|tunnel| Some((tunnel, tunnel.remote.as_ref()?)))
        {
            let Some(address) = remote.value.address() else {
                continue;
            };
            if let Some(witness) = overlap(&list, rule, IpNet::from(address)) {
                let message = format!(
                    "prefix list {name} permits {witness}, in which the remote of tunnel {} is",
                    tunnel.name
                );
                let help =
                    "the tunnel's own packets must not be routed into a tunnel: narrow the list";
                drop(
                    report
                        .warning(Code::RemoteRouted, at(rule), message)
                        .also(remote.span.clone(), "the remote")
                        .help(help),
                );
            }
        }
    }
}

/// The default route of a prefix's family.
fn default_of(prefix: IpNet) -> IpNet {
    match prefix {
        IpNet::V4(_) => Ipv4Net::default().into(),
        IpNet::V6(_) => Ipv6Net::default().into(),
    }
}

/// A prefix that the rule lets through and that shares addresses with `network`; the default route is not counted.
fn overlap(list: &PrefixList, rule: &crate::model::PrefixRule, network: IpNet) -> Option<IpNet> {
    if !rule.prefix.contains(&network) && !network.contains(&rule.prefix) {
        return None;
    }
    let inner = if rule.prefix.contains(&network) {
        network
    } else {
        rule.prefix
    };
    let (shortest, longest) = rule.lengths();
    (shortest.max(1)..=longest.min(inner.max_prefix_len()))
        .filter_map(|length| IpNet::new(inner.addr(), length).ok())
        .map(|prefix| prefix.trunc())
        .find(|prefix| rule.matches(*prefix) && list.permits(*prefix))
}

/// What a cloud may be told.
fn exported(neighbor: &RawNeighbor, raw: &RawSite, report: &mut Report<'_>) {
    let Some(tunnel) = tunnel_of(neighbor, raw) else {
        return;
    };
    let Some(cap) = tunnel.facts().prefix_cap else {
        return;
    };
    if let Some(most) = neighbor
        .max_prefixes_out
        .as_ref()
        .filter(|it| it.value > cap)
    {
        let message = format!(
            "neighbor {}: up to {} prefixes, and {} bears {cap}",
            neighbor.name,
            most.value,
            tunnel.facts().peer
        );
        drop(report.warning(Code::ExportTooWide, most.span.clone(), message));
    }
    let Some((raw_list, list)) = list_of(neighbor.export.as_ref(), raw) else {
        return;
    };
    let most: u64 = list
        .rules
        .iter()
        .filter(|rule| rule.action == PrefixAction::Permit)
        .map(prefixes)
        .fold(0, u64::saturating_add);
    if most > u64::from(cap) {
        let message = format!(
            "prefix list {} permits up to {most} prefixes, and {} bears {cap}",
            raw_list.name,
            tunnel.facts().peer
        );
        let span = raw_list.at.clone();
        drop(
            report
                .warning(Code::ExportTooWide, span, message)
                .help("narrow the list: a smaller le, or the networks one by one"),
        );
    }
}

/// How many different prefixes a rule matches.
fn prefixes(rule: &crate::model::PrefixRule) -> u64 {
    let (shortest, longest) = rule.lengths();
    let own = rule.prefix.prefix_len();
    (shortest.max(own)..=longest.min(rule.prefix.max_prefix_len()))
        .map(|length| {
            1_u64
                .checked_shl(u32::from(length - own))
                .unwrap_or(u64::MAX)
        })
        .fold(0, u64::saturating_add)
}
