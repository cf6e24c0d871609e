//! Aliases with what they include, and the rules.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::settings::Settings;
use crate::model::{
    Action, Alias, Daemon, Firewall, FirewallRule, Gateway, Networks, Origin, PortRange, Ports,
    Protocol, Tunnel, builtin,
};
use crate::read::{At, RawAlias, RawNetworks, RawPorts, RawRule, RawSite};

pub(super) fn firewall(
    raw: &RawSite,
    gateway: &Gateway,
    tunnels: &[Tunnel],
    daemon: &Daemon,
    settings: &mut Settings<'_>,
) -> Option<Firewall> {
    settings.within("firewall");
    let enabled = settings.choose("enabled", &raw.firewall.enabled, true, Origin::Default);
    let from_cloud = settings.choose(
        "from-cloud",
        &raw.firewall.from_cloud,
        Action::Accept,
        Origin::Default,
    );
    let rules = raw
        .firewall
        .rules
        .iter()
        .map(|rule| resolve(rule, settings))
        .collect::<Option<_>>()?;
    let mut aliases = BTreeMap::from([
        (
            builtin::HOME.to_owned(),
            Alias::Networks(tidy(gateway.networks.clone())),
        ),
        (
            builtin::PEERS.to_owned(),
            Alias::Networks(tidy(
                tunnels
                    .iter()
                    .filter_map(|tunnel| tunnel.remote.address().map(IpNet::from))
                    .collect(),
            )),
        ),
        (
            builtin::IKE_PORTS.to_owned(),
            Alias::Ports(tidy(vec![
                PortRange::one(daemon.ike_port),
                PortRange::one(daemon.nat_port),
            ])),
        ),
    ]);
    let built_in = aliases.clone();
    let index: BTreeMap<&str, &RawAlias> = raw
        .aliases
        .iter()
        .map(|alias| (alias.name.as_str(), alias))
        .collect();
    let mut with_peers = BTreeSet::from([builtin::PEERS.to_owned()]);
    for alias in &raw.aliases {
        let mut contents = Contents::default();
        contents.add(&alias.name, &index, &built_in);
        if contents.has_peers {
            with_peers.insert(alias.name.clone());
        }
        aliases.insert(alias.name.clone(), contents.into_alias());
    }
    settings.within("alias");
    for (name, alias) in &aliases {
        let written = index.get(name.as_str()).map(|raw| raw.at.start);
        settings.record(
            name,
            written,
            alias.to_string(),
            Origin::Derived {
                from: "the rest of the file",
            },
        );
    }
    Some(Firewall {
        enabled,
        from_cloud,
        rules,
        aliases,
        with_peers,
    })
}

/// What an alias holds.
#[derive(Default)]
struct Contents {
    networks: Vec<IpNet>,
    ports: Vec<PortRange>,
    /// It includes the built-in alias of the peers.
    has_peers: bool,
}

impl Contents {
    /// Takes what is in the alias and in everything that it includes.
    fn add(
        &mut self,
        name: &str,
        index: &BTreeMap<&str, &RawAlias>,
        built_in: &BTreeMap<String, Alias>,
    ) {
        let mut seen = BTreeSet::new();
        let mut next = vec![name];
        while let Some(name) = next.pop() {
            self.has_peers |= name == builtin::PEERS;
            match built_in.get(name) {
                Some(Alias::Networks(networks)) => self.networks.extend(networks),
                Some(Alias::Ports(ports)) => self.ports.extend(ports),
                None => {}
            }
            let Some(alias) = index.get(name).filter(|_| seen.insert(name)) else {
                continue;
            };
            self.networks.extend(
                alias
                    .networks
                    .iter()
                    .flat_map(|list| &list.value)
                    .map(|at| at.value),
            );
            self.ports.extend(
                alias
                    .ports
                    .iter()
                    .flat_map(|list| &list.value)
                    .map(|at| at.value),
            );
            next.extend(alias.include.iter().map(|other| other.value.as_str()));
        }
    }

    fn into_alias(self) -> Alias {
        if self.ports.is_empty() {
            Alias::Networks(tidy(self.networks))
        } else {
            Alias::Ports(tidy(self.ports))
        }
    }
}

fn tidy<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values.dedup();
    values
}

fn resolve(raw: &RawRule, settings: &Settings<'_>) -> Option<FirewallRule> {
    let networks = |written: &Option<At<RawNetworks>>| match written.as_ref().map(|at| &at.value) {
        None | Some(RawNetworks::Any) => Networks::Any,
        Some(RawNetworks::Alias(name)) => Networks::Alias(name.clone()),
        Some(RawNetworks::These(networks)) => Networks::These(tidy(networks.clone())),
    };
    Some(FirewallRule {
        line: settings.line_of(raw.at.start),
        action: raw.action.as_ref()?.value,
        source: networks(&raw.source),
        destination: networks(&raw.destination),
        protocol: raw.protocol.as_ref().map_or(Protocol::Any, |at| at.value),
        ports: match raw.ports.as_ref().map(|at| &at.value) {
            None => Ports::Any,
            Some(RawPorts::Alias(name)) => Ports::Alias(name.clone()),
            Some(RawPorts::These(ports)) => Ports::These(tidy(ports.clone())),
        },
        log: raw.log.as_ref().is_some_and(|at| at.value),
    })
}
