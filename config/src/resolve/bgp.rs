//! Neighbors with what follows from their tunnels, and prefix lists in order.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::settings::{Settings, list};
use crate::model::{
    AddressFamily, Asn, Bgp, DefaultOriginate, Gateway, Neighbor, NeighborRange, Origin, OverLimit,
    Policy, PrefixList, PrefixRule, Redistribute, Role, SecretSource, Shutdown, Tunnel, TunnelRole,
    UpdateSource,
};
use crate::profile::{NeighborKind, Timers};
use crate::read::{At, RawBgp, RawList, RawNeighbor, RawRouteMap};

const MAXIMUM_PATHS: u16 = 16;
const RANGE_LIMIT: u16 = 32;
const MAX_PREFIXES_CLOUD: u32 = 10_000;
const MAX_PREFIXES_LAN: u32 = 1_000;
const MAX_PREFIXES_PAUSE: Duration = Duration::from_secs(60);
/// A service manager starts us again within seconds; until then, and not much longer, neighbors should wait.
const RESTART_TIME: Duration = Duration::from_secs(60);

pub(super) fn bgp(
    raw: &RawBgp,
    maps: &[RawRouteMap],
    gateway: &Gateway,
    tunnels: &[Tunnel],
    settings: &mut Settings<'_>,
) -> Option<Bgp> {
    settings.within("bgp");
    let asn = raw.asn.as_ref()?;
    settings.note("asn", Some(asn), asn.value.to_string());
    let derived = match gateway.address {
        Some(IpAddr::V4(address)) => Some((address, "gateway.address")),
        _ => tunnels
            .first()
            .map(|tunnel| (tunnel.inside.ours, "the first tunnel's inside")),
    };
    let router_id = match (&raw.router_id, derived) {
        (Some(written), _) => {
            settings.choose("router-id", &raw.router_id, written.value, Origin::Default)
        }
        (None, Some((address, from))) => {
            settings.choose("router-id", &None, address, Origin::Derived { from })
        }
        (None, None) => return None,
    };
    let written = raw.maximum_paths.as_ref();
    let maximum_paths = written.map_or(Some(MAXIMUM_PATHS), |at| u16::try_from(at.value).ok())?;
    settings.note("maximum-paths", written, maximum_paths.to_string());
    let multipath_relax = settings.choose(
        "multipath-relax",
        &raw.multipath_relax,
        true,
        Origin::Default,
    );
    let kinds: Vec<Redistribute> = raw
        .redistribute
        .iter()
        .flat_map(|list| &list.value)
        .map(|at| at.value)
        .collect();
    settings.note("redistribute", raw.redistribute.as_ref(), list(&kinds));
    let mut neighbors = Vec::new();
    let mut ranges = Vec::new();
    for neighbor in &raw.neighbors {
        if let Some(network) = &neighbor.range {
            ranges.push(range(neighbor, network, maps, asn.value, settings)?);
            continue;
        }
        neighbors.extend(resolve(neighbor, maps, asn.value, tunnels, settings)?);
    }
    Some(Bgp {
        asn: asn.value,
        router_id,
        maximum_paths,
        multipath_relax,
        redistribute: kinds.into_iter().collect(),
        neighbors,
        ranges,
    })
}

/// Whoever connects from a network.
fn range(
    raw: &RawNeighbor,
    network: &At<Ipv4Net>,
    maps: &[RawRouteMap],
    ours: Asn,
    settings: &mut Settings<'_>,
) -> Option<NeighborRange> {
    settings.within(format!("bgp.neighbor.{}", raw.name));
    settings.maybe("range", &raw.range);
    let limit = settings.choose(
        "range-limit",
        &raw.range_limit,
        RANGE_LIMIT,
        Origin::Default,
    );
    let written = raw.remote_asns.as_ref();
    let several = written.into_iter().flat_map(|list| &list.value);
    let mut asns: Vec<Asn> = several.map(|at| at.value).collect();
    if let Some(list) = written {
        settings.note("remote-asns", Some(list), self::list(&asns));
    }
    let address = network.value.addr().into();
    let template = template(raw, maps, ours, None, address, settings)?;
    if asns.is_empty() {
        asns.push(template.remote_asn);
    }
    Some(NeighborRange {
        network: network.value,
        limit,
        asns,
        template,
    })
}

/// One neighbor for each address.
fn resolve(
    raw: &RawNeighbor,
    maps: &[RawRouteMap],
    ours: Asn,
    tunnels: &[Tunnel],
    settings: &mut Settings<'_>,
) -> Option<Vec<Neighbor>> {
    settings.within(format!("bgp.neighbor.{}", raw.name));
    let tunnel = match &raw.tunnel {
        Some(name) => Some(tunnels.iter().find(|tunnel| tunnel.name == name.value)?),
        None => None,
    };
    settings.maybe("tunnel", &raw.tunnel);
    let mut addresses: Vec<IpAddr> = raw.addresses.iter().map(|at| at.value).collect();
    if addresses.is_empty() {
        addresses.push(tunnel?.inside.peer.into());
    }
    settings.record(
        "address",
        raw.addresses.first().map(|at| at.span.start),
        list(&addresses),
        Origin::Derived { from: "the tunnel" },
    );
    let first = *addresses.first()?;
    let template = template(raw, maps, ours, tunnel, first, settings)?;
    let neighbor = |address: IpAddr| Neighbor {
        name: if raw.several {
            format!("{}/{address}", raw.name)
        } else {
            raw.name.clone()
        },
        address,
        families: match raw.families {
            Some(_) => template.families.clone(),
            None => [AddressFamily::of(address)].into(),
        },
        ..template.clone()
    };
    Some(addresses.into_iter().map(neighbor).collect())
}

/// The neighbor with that address, which is as good as any of its section.
fn template(
    raw: &RawNeighbor,
    maps: &[RawRouteMap],
    ours: Asn,
    tunnel: Option<&Tunnel>,
    address: IpAddr,
    settings: &mut Settings<'_>,
) -> Option<Neighbor> {
    let line = settings.line_of(raw.at.start);
    let kind = raw
        .profile
        .as_ref()
        .map_or(NeighborKind::Generic, |kind| kind.value);
    let facts = tunnel.map(|tunnel| tunnel.profile.facts());
    let usual: Timers = facts.map_or(kind.timers(), |facts| facts.timers);
    let by_profile = || Origin::Profile {
        name: facts.map_or(kind.name(), |facts| facts.name),
    };
    let remote_asn = raw
        .remote_asn
        .as_ref()
        .map(|at| at.value)
        .or(tunnel.and_then(|tunnel| tunnel.remote_asn))
        .or(raw
            .remote_asns
            .as_ref()
            .and_then(|list| Some(list.value.first()?.value)))?;
    settings.record(
        "remote-asn",
        raw.remote_asn.as_ref().map(|at| at.span.start),
        remote_asn.to_string(),
        by_profile(),
    );
    let local_asn = settings.choose(
        "local-asn",
        &raw.local_asn,
        ours,
        Origin::Derived { from: "bgp.asn" },
    );
    let families = families(raw, address, settings);
    let next_hop_address = settings.maybe("next-hop-address", &raw.next_hop_address);
    let role = raw.role();
    let from = if tunnel.is_some() {
        "the tunnel"
    } else {
        "having no tunnel"
    };
    settings.choose("role", &raw.role, role, Origin::Derived { from });
    let source = raw
        .source
        .as_ref()
        .map(|at| at.value.clone())
        .or(tunnel.map(|tunnel| UpdateSource::Address(tunnel.inside.ours.into())));
    if let Some(source) = &source {
        settings.record(
            "source",
            raw.source.as_ref().map(|at| at.span.start),
            source.to_string(),
            Origin::Derived { from: "the tunnel" },
        );
    }
    let hold_time = settings.duration("hold-time", &raw.hold_time, usual.hold, by_profile());
    // RFC 4271 §10: a third of the hold time, in whole seconds.
    let (third, from_hold) = match raw.hold_time {
        Some(_) => (
            Duration::from_secs(hold_time.as_secs() / 3),
            Origin::Derived { from: "hold-time" },
        ),
        None => (usual.keepalive, by_profile()),
    };
    let keepalive = settings.duration("keepalive", &raw.keepalive, third, from_hold);
    let (local_pref, prepend, by_role) = preference(tunnel);
    let cap = if role == Role::Cloud {
        MAX_PREFIXES_CLOUD
    } else {
        MAX_PREFIXES_LAN
    };
    Some(Neighbor {
        name: raw.name.clone(),
        group: raw.name.clone(),
        line,
        address,
        port: settings.choose("port", &raw.port, 179, Origin::Default),
        remote_asn,
        local_asn: (local_asn != ours).then_some(local_asn),
        families,
        next_hop_address,
        role,
        tunnel: raw.tunnel.as_ref().map(|at| at.value.clone()),
        source,
        passive: settings.choose("passive", &raw.passive, false, Origin::Default),
        shutdown: settings.choose_shown(
            "shutdown",
            &raw.shutdown,
            Shutdown::No,
            Origin::Default,
            ToString::to_string,
        ),
        hold_time,
        keepalive,
        connect_retry: settings.duration(
            "connect-retry",
            &raw.connect_retry,
            usual.connect_retry,
            by_profile(),
        ),
        graceful_restart: settings.choose(
            "graceful-restart",
            &raw.graceful_restart,
            true,
            Origin::Default,
        ),
        restart_time: settings.duration(
            "restart-time",
            &raw.restart_time,
            RESTART_TIME,
            Origin::Default,
        ),
        ttl_security: settings.choose("ttl-security", &raw.ttl_security, false, Origin::Default),
        bfd: super::bfd::bfd(&raw.bfd, settings),
        md5: settings.maybe::<SecretSource>("md5", &raw.md5),
        import: policy(settings.maybe("import", &raw.import)?, maps),
        export: policy(settings.maybe("export", &raw.export)?, maps),
        max_prefixes: settings.choose(
            "max-prefixes",
            &raw.max_prefixes,
            cap,
            Origin::Derived { from: "the role" },
        ),
        max_prefixes_action: settings.choose(
            "max-prefixes-action",
            &raw.max_prefixes_action,
            OverLimit::Restart,
            Origin::Default,
        ),
        max_prefixes_pause: settings.duration(
            "max-prefixes-pause",
            &raw.max_prefixes_pause,
            MAX_PREFIXES_PAUSE,
            Origin::Default,
        ),
        max_prefixes_out: settings
            .maybe("max-prefixes-out", &raw.max_prefixes_out)
            .or(facts.and_then(|facts| facts.prefix_cap)),
        allow_own_as: settings.choose("allow-own-as", &raw.allow_own_as, 0, Origin::Default),
        as_override: settings.choose("as-override", &raw.as_override, false, Origin::Default),
        remove_private_as: settings.choose(
            "remove-private-as",
            &raw.remove_private_as,
            false,
            Origin::Default,
        ),
        default_originate: settings.choose_shown(
            "default-originate",
            &raw.default_originate,
            DefaultOriginate::Never,
            Origin::Default,
            ToString::to_string,
        ),
        next_hop_self: settings.choose("next-hop-self", &raw.next_hop_self, true, Origin::Default),
        route_reflector_client: settings.choose(
            "route-reflector-client",
            &raw.route_reflector_client,
            false,
            Origin::Default,
        ),
        allow_default: settings.choose("allow-default", &raw.allow_default, false, Origin::Default),
        allow_overlap: settings.choose("allow-overlap", &raw.allow_overlap, false, Origin::Default),
        local_pref: settings.choose("local-pref", &raw.local_pref, local_pref, by_role.clone()),
        prepend: settings.choose("prepend", &raw.prepend, prepend, by_role),
        med: settings.maybe("med", &raw.med),
    })
}

/// What is exchanged: the session's own family, unless the file says otherwise.
fn families(
    raw: &RawNeighbor,
    address: IpAddr,
    settings: &mut Settings<'_>,
) -> BTreeSet<AddressFamily> {
    let written = raw.families.as_ref();
    let several = written.into_iter().flat_map(|list| &list.value);
    let mut families: BTreeSet<AddressFamily> = several.map(|at| at.value).collect();
    if families.is_empty() {
        families.insert(AddressFamily::of(address));
    }
    let shown: Vec<AddressFamily> = families.iter().copied().collect();
    settings.record(
        "families",
        written.map(|list| list.span.start),
        list(&shown),
        Origin::Derived {
            from: "the address",
        },
    );
    families
}

/// LOCAL_PREF of what a neighbor teaches us and how often we prepend to what we tell it, as its tunnel's role has it: both directions
/// have to agree on one tunnel, or traffic comes back by another one than it went.
fn preference(tunnel: Option<&Tunnel>) -> (u32, u8, Origin) {
    let from = Origin::Derived {
        from: "the tunnel's role",
    };
    match tunnel.and_then(|tunnel| Some((tunnel.role?, tunnel.profile.facts()))) {
        Some((role @ TunnelRole::Primary, _)) => (role.local_pref(), 0, from),
        Some((role @ TunnelRole::Backup, facts)) => (role.local_pref(), facts.backup_prepend, from),
        None => (100, 0, Origin::Default),
    }
}

/// A policy, where what it names may be a route map.
fn policy(written: Policy, maps: &[RawRouteMap]) -> Policy {
    match written {
        Policy::PrefixList(name) if maps.iter().any(|map| map.name == name) => {
            Policy::RouteMap(name)
        }
        other => other,
    }
}

/// The sequence numbers of a list's rules: a rule without one comes ten after the rule before it.
pub(crate) fn sequence(list: &RawList) -> Vec<u32> {
    numbered(list.rules.iter().map(|rule| rule.seq.as_ref()))
}

/// The same for any rules, by what is written of their numbers.
pub(super) fn numbered<'r>(written: impl Iterator<Item = Option<&'r At<u32>>>) -> Vec<u32> {
    let next = |last: &mut u32, written: Option<&At<u32>>| {
        *last = written.map_or(last.saturating_add(10), |at| at.value);
        Some(*last)
    };
    written.scan(0, next).collect()
}

/// A prefix list with its rules in order.
pub(crate) fn prefix_list(list: &RawList, line: usize) -> PrefixList {
    let rule = |(rule, seq): (&crate::read::RawPrefixRule, u32)| PrefixRule {
        seq,
        action: rule.action,
        prefix: rule.prefix.value,
        ge: rule.ge.as_ref().map(|at| at.value),
        le: rule.le.as_ref().map(|at| at.value),
    };
    let mut rules: Vec<PrefixRule> = list.rules.iter().zip(sequence(list)).map(rule).collect();
    rules.sort_by_key(|rule| rule.seq);
    PrefixList { line, rules }
}
