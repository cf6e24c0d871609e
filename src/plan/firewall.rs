//! Aliases and rules, for the firewall.

use std::collections::BTreeMap;

use config::model::{self, Role, UpdateSource, builtin};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use vti::nft::{
    Action, Alias, BgpPeer, BgpRange, CloudRule, PortRange, Ports, Protocol, Ruleset, Scope,
    WanRules,
};

/// All addresses. No alias of a site file can have that name.
const ANYWHERE: &str = "_anywhere";

/// The rules that the site asks for; `None` where it leaves the firewall to others.
pub(super) fn ruleset(site: &model::Site) -> Result<Option<Ruleset>, String> {
    let firewall = &site.firewall;
    if !firewall.enabled {
        return Ok(None);
    }
    let mut wan = WanRules::from_peers(builtin::PEERS);
    wan.interface.clone_from(&site.gateway.wan);
    wan.ike_port = site.daemon.ike_port;
    wan.nat_t_port = site.daemon.nat_port;
    let mut aliases: BTreeMap<String, Alias> = firewall
        .aliases
        .iter()
        .map(|(name, group)| (name.clone(), alias(group)))
        .collect();
    // A peer that sets up by itself and may move comes from wherever it is; who it is, IKE has it prove.
    if site
        .tunnels
        .iter()
        .any(|tunnel| tunnel.mobike && !tunnel.initiate)
    {
        wan.peers = ANYWHERE.to_owned();
        let all = vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        aliases.insert(wan.peers.clone(), Alias::Networks(all));
    }
    let ruleset = Ruleset {
        aliases,
        wan: (!site.tunnels.is_empty()).then_some(wan),
        tunnel_interfaces: site
            .tunnels
            .iter()
            .map(|tunnel| tunnel.interface.clone())
            .collect(),
        cloud: firewall
            .rules
            .iter()
            .enumerate()
            .map(|(place, rule)| cloud(place, rule))
            .collect(),
        cloud_default: action(firewall.from_cloud),
        // What the plane does not do itself is known when there is one.
        clamp_mss: Vec::new(),
        bgp: speakers(site, Role::Cloud),
        lan_bgp: speakers(site, Role::Lan),
        lan_bgp_ranges: ranges(site),
    };
    ruleset
        .validate()
        .map_err(|error| format!("[firewall]: {error}"))?;
    Ok(Some(ruleset))
}

fn alias(group: &model::Alias) -> Alias {
    match group {
        model::Alias::Networks(networks) => Alias::Networks(networks.clone()),
        model::Alias::Ports(ports) => Alias::Ports(ports.iter().filter_map(range).collect()),
    }
}

fn range(ports: &model::PortRange) -> Option<PortRange> {
    PortRange::new(ports.first, ports.last)
}

fn cloud(place: usize, rule: &model::FirewallRule) -> CloudRule {
    CloudRule {
        name: format!("rule {}", place + 1),
        action: action(rule.action),
        source: scope(&rule.source),
        destination: scope(&rule.destination),
        protocol: match rule.protocol {
            model::Protocol::Any => Protocol::Any,
            model::Protocol::Icmp => Protocol::Icmp,
            model::Protocol::Tcp => Protocol::Tcp,
            model::Protocol::Udp => Protocol::Udp,
            model::Protocol::Number(number) => Protocol::Number(number),
        },
        ports: match &rule.ports {
            model::Ports::Any => Ports::Any,
            model::Ports::Alias(name) => Ports::Alias(name.clone()),
            model::Ports::These(ports) => Ports::Ranges(ports.iter().filter_map(range).collect()),
        },
        log: rule.log,
    }
}

fn action(action: model::Action) -> Action {
    match action {
        model::Action::Accept => Action::Accept,
        model::Action::Drop => Action::Drop,
    }
}

fn scope(networks: &model::Networks) -> Scope {
    match networks {
        model::Networks::Any => Scope::Any,
        model::Networks::Alias(name) => Scope::Alias(name.clone()),
        model::Networks::These(networks) => Scope::Networks(networks.clone()),
    }
}

/// From where on the home network whoever comes may open a BGP session to us. A range that the site file keeps down takes nobody.
fn ranges(site: &model::Site) -> Vec<BgpRange> {
    let ranges = site.bgp.iter().flat_map(|bgp| &bgp.ranges);
    let open = ranges.filter(|range| range.template.shutdown == model::Shutdown::No);
    open.filter_map(|range| match &range.template.source {
        Some(UpdateSource::Interface(interface)) => Some(BgpRange {
            interface: interface.clone(),
            network: range.network.into(),
        }),
        Some(UpdateSource::Address(_)) | None => None,
    })
    .collect()
}

/// Who may open a BGP session to us, and through which interface.
fn speakers(site: &model::Site, role: Role) -> Vec<BgpPeer> {
    let neighbors = site.bgp.iter().flat_map(|bgp| &bgp.neighbors);
    neighbors
        .filter_map(|neighbor| {
            let tunnel = neighbor
                .tunnel
                .as_deref()
                .and_then(|name| site.tunnel(name));
            let interface = match (tunnel, &neighbor.source) {
                (Some(tunnel), _) => tunnel.interface.clone(),
                (None, Some(UpdateSource::Interface(name))) => name.clone(),
                // Without an interface nothing is closed to others, so nothing need be opened.
                (None, Some(UpdateSource::Address(_)) | None) => return None,
            };
            let over_tunnel = tunnel.is_some();
            let wanted = over_tunnel == (role == Role::Cloud);
            wanted.then_some(BgpPeer {
                interface,
                address: neighbor.address,
            })
        })
        .collect()
}
