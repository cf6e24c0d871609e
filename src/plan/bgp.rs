//! Neighbors and their policies, for BGP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bgpd::policy::{Policies, PrefixList, Rule};
use bgpd::wire::Family;
use bgpd::{
    Asn, DefaultOriginate, GracefulRestart, OverLimit, PeerConfig, PeerName, PeerRange, Policy,
    PrefixLimit, Role, SpeakerConfig,
};
use config::model::{self, Redistribute as Kind, UpdateSource};
use ipnet::IpNet;

use super::{Redistribute, TunnelPlan};

pub(super) fn speaker(site: &model::Site) -> SpeakerConfig {
    let Some(bgp) = &site.bgp else {
        // Without [bgp] there is nobody to speak to; the speaker exists and is silent.
        return SpeakerConfig {
            asn: Asn(64512),
            router_id: Ipv4Addr::new(127, 0, 0, 1),
            maximum_paths: 1,
            multipath_relax: true,
        };
    };
    SpeakerConfig {
        asn: Asn(bgp.asn.0),
        router_id: bgp.router_id,
        maximum_paths: bgp.maximum_paths,
        multipath_relax: bgp.multipath_relax,
    }
}

pub(super) fn redistribute(site: &model::Site) -> Redistribute {
    let kinds = site.bgp.as_ref().map(|bgp| &bgp.redistribute);
    let has = |kind| kinds.is_some_and(|kinds| kinds.contains(&kind));
    Redistribute {
        connected: has(Kind::Connected),
        fixed: has(Kind::Static),
        kernel: has(Kind::Kernel),
    }
}

pub(super) fn policies(site: &model::Site) -> Result<Policies, String> {
    let lists = site.prefix_lists.iter();
    Ok(Policies {
        prefix_lists: lists.map(|(name, list)| prefix_list(name, list)).collect(),
        route_maps: super::route_map::route_maps(site)?,
    })
}

fn prefix_list(name: &str, list: &model::PrefixList) -> PrefixList {
    let rules = list
        .rules
        .iter()
        .map(|rule| Rule {
            seq: rule.seq,
            decision: super::route_map::decision(rule.action),
            prefix: rule.prefix,
            ge: rule.ge,
            le: rule.le,
        })
        .collect();
    PrefixList::new(name, rules)
}

/// The neighbors that the site file keeps down, with what they are told.
pub(super) fn shut_down(site: &model::Site) -> BTreeMap<PeerName, String> {
    let neighbors = site.bgp.iter().flat_map(|bgp| &bgp.neighbors);
    let with_words = |neighbor: &model::Neighbor| {
        let words = match &neighbor.shutdown {
            model::Shutdown::No => return None,
            model::Shutdown::Silent => "shutdown = true in the site file".to_owned(),
            model::Shutdown::Saying(words) => words.clone(),
        };
        Some((neighbor.name.clone().into(), words))
    };
    neighbors.filter_map(with_words).collect()
}

pub(super) fn peers(site: &model::Site, tunnels: &[TunnelPlan]) -> Result<Vec<PeerConfig>, String> {
    let neighbors = site.bgp.iter().flat_map(|bgp| &bgp.neighbors);
    let mut peers = Vec::new();
    for neighbor in neighbors {
        let mut peer = peer(site, neighbor)?;
        peer.graceful_restart = graceful_restart(neighbor, &peer, tunnels);
        peers.push(peer);
    }
    Ok(peers)
}

/// Who may become a neighbor by connecting. A range that the site file keeps down takes nobody.
pub(super) fn ranges(site: &model::Site) -> Result<Vec<PeerRange>, String> {
    let ranges = site.bgp.iter().flat_map(|bgp| &bgp.ranges);
    let open = ranges.filter(|range| range.template.shutdown == model::Shutdown::No);
    open.map(|range| {
        let mut template = peer(site, &range.template)?;
        template.graceful_restart = graceful_restart(&range.template, &template, &[]);
        Ok(PeerRange {
            name: range.template.name.clone().into(),
            network: IpNet::V4(range.network),
            limit: range.limit,
            asns: range.asns.iter().map(|asn| Asn(asn.0)).collect(),
            template,
        })
    })
    .collect()
}

/// What the neighbor may expect of our restarts, and we of its own. Interfaces and SAs of the kernel's plane live on without us, those in
/// user space do not. A tunnel's own liveness says soon whether it is dead, so what a cloud's gateway taught may outlive a hold time that
/// ran out (RFC 8538). Of a node on the LAN the hold time is the only sign of death there is.
fn graceful_restart(
    neighbor: &model::Neighbor,
    peer: &PeerConfig,
    tunnels: &[TunnelPlan],
) -> Option<GracefulRestart> {
    let over = |tunnel: &&TunnelPlan| Some(tunnel.interface()) == peer.interface.as_deref();
    let tunnel = tunnels.iter().find(over);
    neighbor.graceful_restart.then_some(GracefulRestart {
        restart_time: neighbor.restart_time,
        notification: tunnel.is_some(),
        forwarding: tunnel.is_none_or(outlives_us),
    })
}

fn peer(site: &model::Site, neighbor: &model::Neighbor) -> Result<PeerConfig, String> {
    let role = match neighbor.role {
        model::Role::Cloud => Role::Cloud,
        model::Role::Lan => Role::Lan,
    };
    let tunnel = neighbor
        .tunnel
        .as_deref()
        .and_then(|name| site.tunnel(name));
    let mut peer = PeerConfig::new(
        neighbor.name.clone(),
        neighbor.address,
        Asn(neighbor.remote_asn.0),
        role,
    );
    peer.port = neighbor.port;
    peer.local_asn = neighbor.local_asn.map(|asn| Asn(asn.0));
    peer.families = neighbor.families.iter().map(family).collect();
    peer.next_hop_address = neighbor.next_hop_address;
    peer.passive = neighbor.passive;
    peer.hold_time = neighbor.hold_time;
    peer.keepalive = Some(neighbor.keepalive);
    peer.connect_retry = neighbor.connect_retry;
    peer.import = Some(policy(&neighbor.import));
    peer.export = Some(policy(&neighbor.export));
    peer.local_pref = Some(neighbor.local_pref);
    peer.prepend = neighbor.prepend;
    peer.med = neighbor.med;
    if neighbor.ttl_security {
        // RFC 5082, section 3: a neighbor on the same network sends and receives with 255.
        (peer.ttl, peer.min_ttl) = (Some(u8::MAX), Some(u8::MAX));
    }
    peer.max_prefixes_in = PrefixLimit {
        max: neighbor.max_prefixes,
        over: match neighbor.max_prefixes_action {
            model::OverLimit::Warn => OverLimit::Warn,
            model::OverLimit::Shutdown => OverLimit::Shutdown { restart: None },
            model::OverLimit::Restart => OverLimit::Shutdown {
                restart: Some(neighbor.max_prefixes_pause),
            },
        },
    };
    peer.max_prefixes_out = neighbor.max_prefixes_out;
    peer.allow_own_as = neighbor.allow_own_as;
    peer.as_override = neighbor.as_override;
    peer.remove_private_as = neighbor.remove_private_as;
    peer.next_hop_self = neighbor.next_hop_self;
    peer.route_reflector_client = neighbor.route_reflector_client;
    peer.default_originate = match neighbor.default_originate {
        model::DefaultOriginate::Never => None,
        model::DefaultOriginate::Always => Some(DefaultOriginate::Always),
        model::DefaultOriginate::While(network) => Some(DefaultOriginate::While(network)),
    };
    peer.allow_default = neighbor.allow_default;
    peer.allow_overlap = neighbor.allow_overlap;
    match (&neighbor.source, tunnel) {
        (Some(UpdateSource::Address(address)), _) => peer.update_source = Some(*address),
        (Some(UpdateSource::Interface(name)), _) => peer.interface = Some(name.clone()),
        (None, Some(tunnel)) => peer.update_source = Some(IpAddr::V4(tunnel.inside.ours)),
        (None, None) => {}
    }
    if let Some(tunnel) = tunnel {
        peer.interface = Some(tunnel.interface.clone());
    }
    peer.own_networks = own_networks(site);
    peer.outer_addresses = outer_addresses(site);
    Ok(peer)
}

fn family(family: &model::AddressFamily) -> Family {
    match family {
        model::AddressFamily::Ipv4 => Family::IPV4_UNICAST,
        model::AddressFamily::Ipv6 => Family::IPV6_UNICAST,
    }
}

/// Whether what a tunnel carries goes on while this program is away.
pub(super) fn outlives_us(tunnel: &TunnelPlan) -> bool {
    tunnel.spec.binding.is_some()
}

fn policy(policy: &model::Policy) -> Policy {
    match policy {
        model::Policy::All => Policy::PermitAll,
        model::Policy::None => Policy::DenyAll,
        model::Policy::PrefixList(name) => Policy::PrefixList(name.clone()),
        model::Policy::RouteMap(name) => Policy::RouteMap(name.clone()),
    }
}

/// What no cloud may claim: our networks and the tunnels' own addresses.
fn own_networks(site: &model::Site) -> Vec<IpNet> {
    let inside = site.tunnels.iter().filter_map(|tunnel| {
        let net = ipnet::Ipv4Net::new(tunnel.inside.ours, tunnel.inside.prefix_len).ok()?;
        Some(IpNet::V4(net.trunc()))
    });
    site.gateway
        .networks
        .iter()
        .copied()
        .chain(inside)
        .collect()
}

fn outer_addresses(site: &model::Site) -> Vec<IpAddr> {
    site.tunnels
        .iter()
        .filter_map(|tunnel| tunnel.remote.address())
        .chain(site.gateway.address)
        .collect()
}
