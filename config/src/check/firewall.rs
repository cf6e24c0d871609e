//! Aliases and the rules that use them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{Protocol, builtin};
use crate::read::{At, RawAlias, RawNetworks, RawPorts, RawRule, RawSite};
use crate::suggest;

/// The aliases of the file by name.
type Index<'r> = BTreeMap<&'r str, &'r RawAlias>;

/// What an alias holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Networks,
    Ports,
}

impl Kind {
    const fn text(self) -> &'static str {
        match self {
            Self::Networks => "networks",
            Self::Ports => "ports",
        }
    }
}

pub(super) fn check(raw: &RawSite, report: &mut Report<'_>) {
    let index: Index<'_> = raw
        .aliases
        .iter()
        .map(|alias| (alias.name.as_str(), alias))
        .collect();
    for alias in &raw.aliases {
        contents(alias, &index, report);
    }
    for rule in &raw.firewall.rules {
        for networks in [&rule.source, &rule.destination].into_iter().flatten() {
            if let RawNetworks::Alias(name) = &networks.value {
                refers(name, Kind::Networks, &networks.span, &index, report);
            }
        }
        ports(rule, &index, report);
    }
    unused(raw, report);
    without_effect(raw, report);
}

fn contents(alias: &RawAlias, index: &Index<'_>, report: &mut Report<'_>) {
    let name = &alias.name;
    if builtin::ALL.contains(&name.as_str()) {
        let message = format!("the alias {name} is built in");
        drop(
            report
                .error(Code::AliasBuiltin, alias.at.clone(), message)
                .help("choose another name"),
        );
    }
    if let (Some(networks), Some(ports)) = (&alias.networks, &alias.ports) {
        let message = format!("alias {name}: an alias holds either networks or ports");
        drop(
            report
                .error(Code::ConflictingKeys, ports.span.clone(), message)
                .also(networks.span.clone(), "networks")
                .help("make two aliases of it"),
        );
    }
    let holds = alias
        .networks
        .as_ref()
        .is_some_and(|list| !list.value.is_empty())
        || alias
            .ports
            .as_ref()
            .is_some_and(|list| !list.value.is_empty())
        || !alias.include.is_empty();
    if !holds {
        let message = format!("alias {name} is empty");
        drop(
            report
                .error(Code::AliasEmpty, alias.at.clone(), message)
                .help("a rule with it would match nothing"),
        );
    }
    if circular(alias, index) {
        let message = format!("alias {name} includes itself");
        drop(report.error(Code::AliasCircular, alias.at.clone(), message));
        return;
    }
    let own = kind(name, index);
    for At { value, span } in &alias.include {
        refers(value, own.unwrap_or(Kind::Networks), span, index, report);
    }
}

/// What an alias of that name holds, by its own keys or else by what it includes.
fn kind(name: &str, index: &Index<'_>) -> Option<Kind> {
    let mut seen = BTreeSet::new();
    let mut next = vec![name];
    while let Some(name) = next.pop() {
        match name {
            builtin::PEERS | builtin::HOME => return Some(Kind::Networks),
            builtin::IKE_PORTS => return Some(Kind::Ports),
            _ => {}
        }
        let Some(alias) = index.get(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        match (&alias.networks, &alias.ports) {
            (Some(_), _) => return Some(Kind::Networks),
            (None, Some(_)) => return Some(Kind::Ports),
            // The first that is included decides.
            (None, None) => {
                next.extend(alias.include.iter().rev().map(|other| other.value.as_str()))
            }
        }
    }
    None
}

/// Whether following `include` from an alias comes back to it.
fn circular(alias: &RawAlias, index: &Index<'_>) -> bool {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = alias
        .include
        .iter()
        .map(|other| other.value.as_str())
        .collect();
    while let Some(name) = next.pop() {
        if name == alias.name {
            return true;
        }
        if let Some(other) = index.get(name).filter(|_| seen.insert(name)) {
            next.extend(other.include.iter().map(|other| other.value.as_str()));
        }
    }
    false
}

/// Checks that a name is an alias of the kind that is needed.
fn refers(name: &str, wanted: Kind, at: &Range<usize>, index: &Index<'_>, report: &mut Report<'_>) {
    let known = builtin::ALL.contains(&name) || index.get(name).is_some();
    if !known {
        let draft = report.error(
            Code::UnknownAlias,
            at.clone(),
            format!("there is no alias \"{name}\""),
        );
        let names = index.keys().copied().chain(builtin::ALL);
        match suggest::nearest(name, names) {
            Some(near) => drop(draft.help(format!("did you mean \"{near}\"?"))),
            None => drop(draft.help(format!(
                "add {name} = {{ {} = […] }} under [alias]",
                wanted.text()
            ))),
        }
        return;
    }
    if let Some(found) = kind(name, index).filter(|found| *found != wanted) {
        let message = format!(
            "the alias {name} holds {}, and {} are needed here",
            found.text(),
            wanted.text()
        );
        let draft = report.error(Code::AliasKind, at.clone(), message);
        if let Some(alias) = index.get(name) {
            drop(draft.also(alias.at.clone(), "the alias"));
        }
    }
}

fn ports(rule: &RawRule, index: &Index<'_>, report: &mut Report<'_>) {
    let Some(ports) = &rule.ports else {
        return;
    };
    if let RawPorts::Alias(name) = &ports.value {
        refers(name, Kind::Ports, &ports.span, index, report);
    }
    let protocol = rule
        .protocol
        .as_ref()
        .map_or(Protocol::Any, |protocol| protocol.value);
    if !matches!(protocol, Protocol::Tcp | Protocol::Udp) {
        let message = format!("a rule for the protocol {protocol} cannot have ports");
        drop(
            report
                .error(Code::PortsWithoutProtocol, ports.span.clone(), message)
                .help("add protocol = \"tcp\" or \"udp\"; for both write two rules"),
        );
    }
}

fn unused(raw: &RawSite, report: &mut Report<'_>) {
    let included = raw
        .aliases
        .iter()
        .flat_map(|alias| &alias.include)
        .map(|name| name.value.as_str());
    let mut used: BTreeSet<&str> = included.collect();
    for rule in &raw.firewall.rules {
        for networks in [&rule.source, &rule.destination].into_iter().flatten() {
            if let RawNetworks::Alias(name) = &networks.value {
                used.insert(name);
            }
        }
        if let Some(At {
            value: RawPorts::Alias(name),
            ..
        }) = &rule.ports
        {
            used.insert(name);
        }
    }
    for alias in raw
        .aliases
        .iter()
        .filter(|alias| !used.contains(alias.name.as_str()))
    {
        let message = format!("the alias {} is never used", alias.name);
        drop(report.warning(Code::UnusedAlias, alias.at.clone(), message));
    }
}

fn without_effect(raw: &RawSite, report: &mut Report<'_>) {
    let firewall = &raw.firewall;
    let Some(first) = firewall.rules.first() else {
        return;
    };
    if let Some(enabled) = firewall.enabled.as_ref().filter(|enabled| !enabled.value) {
        let message = "the firewall is off, so its rules have no effect";
        drop(
            report
                .warning(Code::RuleWithoutEffect, enabled.span.clone(), message)
                .also(first.at.clone(), "a rule"),
        );
        return;
    }
    let any = |networks: &Option<At<RawNetworks>>| {
        networks
            .as_ref()
            .is_none_or(|at| matches!(at.value, RawNetworks::Any))
    };
    let everything = |rule: &RawRule| {
        let protocol = rule
            .protocol
            .as_ref()
            .is_none_or(|at| at.value == Protocol::Any);
        protocol && rule.ports.is_none() && any(&rule.source) && any(&rule.destination)
    };
    let place = firewall.rules.iter().position(everything);
    let after =
        place.and_then(|place| Some((firewall.rules.get(place)?, firewall.rules.get(place + 1)?)));
    if let Some((all, next)) = after {
        let message = "this rule is never reached: the one before matches everything";
        drop(
            report
                .warning(Code::RuleWithoutEffect, next.at.clone(), message)
                .also(all.at.clone(), "matches everything"),
        );
    }
}
