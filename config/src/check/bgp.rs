//! The speaker and its neighbors.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{Asn, DefaultOriginate, Policy, Role, UpdateSource, duration_text};
use crate::profile::Timers;
use crate::read::{At, RawBgp, RawNeighbor, RawSite, RawTunnel, is_host};
use crate::suggest;

pub(super) fn check(raw: &RawSite, report: &mut Report<'_>) {
    let neighbors = raw
        .bgp
        .as_ref()
        .map(|bgp| bgp.neighbors.as_slice())
        .unwrap_or_default();
    for tunnel in &raw.tunnels {
        let used = |neighbor: &RawNeighbor| {
            neighbor
                .tunnel
                .as_ref()
                .is_some_and(|name| name.value == tunnel.name)
        };
        if !neighbors.iter().any(used) {
            let message = format!(
                "no BGP neighbor uses the tunnel {}: nothing will be sent through it",
                tunnel.name
            );
            let help = format!("add [bgp.neighbor.{0}] with tunnel = \"{0}\"", tunnel.name);
            drop(
                report
                    .warning(Code::TunnelUnused, tunnel.at.clone(), message)
                    .help(help),
            );
        }
    }
    let Some(bgp) = &raw.bgp else {
        return;
    };
    speaker(bgp, raw, report);
    for neighbor in neighbors {
        let tunnel = tunnel_of(neighbor, raw);
        unknown_tunnel(neighbor, raw, report);
        asns(neighbor, tunnel, bgp, report);
        addresses(neighbor, tunnel, raw, report);
        super::families::check(neighbor, report);
        let hold = timers(neighbor, tunnel, report);
        super::bfd::check(neighbor, tunnel, hold, report);
        session(neighbor, tunnel, report);
    }
    twice(raw, neighbors, report);
    super::range::check(neighbors, report);
}

/// The tunnel that a neighbor is reached through.
pub(super) fn tunnel_of<'r>(neighbor: &RawNeighbor, raw: &'r RawSite) -> Option<&'r RawTunnel> {
    let name = neighbor.tunnel.as_ref()?;
    raw.tunnels.iter().find(|tunnel| tunnel.name == name.value)
}

fn speaker(bgp: &RawBgp, raw: &RawSite, report: &mut Report<'_>) {
    if let Some(asn) = &bgp.asn {
        reserved(asn, report);
    }
    if let Some(At { value, span }) = bgp
        .maximum_paths
        .as_ref()
        .filter(|at| !(1..=256).contains(&at.value))
    {
        let message = format!("maximum-paths is {value}, and not from 1 to 256");
        drop(report.error(Code::MaximumPaths, span.clone(), message));
    }
    match &bgp.router_id {
        Some(At { value, span }) if value.is_unspecified() => {
            // RFC 6286 §2.1: four octets, not zero.
            drop(report.error(
                Code::BadValue,
                span.clone(),
                "the router ID 0.0.0.0 is no ID",
            ));
        }
        None if raw.gateway.fixed().is_none()
            && raw.tunnels.iter().all(|tunnel| tunnel.inside.is_none()) =>
        {
            let span = bgp.asn.as_ref().map_or(0..0, |asn| asn.span.clone());
            let message = "[bgp] has no \"router-id\", and there is no address to take it from";
            drop(
                report
                    .error(Code::MissingKey, span, message)
                    .help("add router-id = \"an address of ours\""),
            );
        }
        _ => {}
    }
}

fn reserved(asn: &At<Asn>, report: &mut Report<'_>) {
    let why = match asn.value.0 {
        0 => "RFC 7607: never to be used",
        23_456 => "RFC 6793: AS_TRANS, it stands for larger numbers",
        65_535 | u32::MAX => "RFC 7300: the last number is reserved",
        _ => return,
    };
    let message = format!("AS {} is reserved ({why})", asn.value);
    drop(report.error(Code::AsnReserved, asn.span.clone(), message));
}

fn unknown_tunnel(neighbor: &RawNeighbor, raw: &RawSite, report: &mut Report<'_>) {
    let Some(At { value: name, span }) = &neighbor.tunnel else {
        return;
    };
    if raw.tunnels.iter().any(|tunnel| tunnel.name == *name) {
        return;
    }
    let message = format!("neighbor {}: there is no tunnel \"{name}\"", neighbor.name);
    let draft = report.error(Code::UnknownTunnel, span.clone(), message);
    let names = || raw.tunnels.iter().map(|tunnel| tunnel.name.as_str());
    match suggest::nearest(name, names()) {
        Some(near) => drop(draft.help(format!("did you mean \"{near}\"?"))),
        None => drop(draft.help(format!(
            "tunnels: {}",
            names().collect::<Vec<_>>().join(", ")
        ))),
    }
}

fn asns(neighbor: &RawNeighbor, tunnel: Option<&RawTunnel>, bgp: &RawBgp, report: &mut Report<'_>) {
    let several = neighbor.remote_asns.iter().flat_map(|list| &list.value);
    let one = [&neighbor.remote_asn, &neighbor.local_asn];
    for asn in one.into_iter().flatten().chain(several.clone()) {
        reserved(asn, report);
    }
    let ours = neighbor.local_asn.as_ref().or(bgp.asn.as_ref());
    let usual = tunnel.and_then(|tunnel| tunnel.facts().remote_asn).map(Asn);
    let remote = neighbor.remote_asn.as_ref().map(|asn| asn.value).or(usual);
    // Of a tunnel that is unknown or whose profile is wrong nobody can say what it would have given.
    let knowable = neighbor.tunnel.is_none() || tunnel.is_some();
    if remote.is_none() && knowable && several.clone().next().is_none() {
        let message = format!("neighbor {} has no \"remote-asn\"", neighbor.name);
        drop(
            report
                .error(Code::MissingKey, neighbor.at.clone(), message)
                .help("add remote-asn = …: the neighbor's AS number"),
        );
    }
    if let (Some(tunnel), Some(ours)) = (tunnel, ours)
        && tunnel.facts().refused_asns.contains(&ours.value.0)
    {
        let message = format!(
            "neighbor {}: {} does not take AS {}",
            neighbor.name,
            tunnel.facts().peer,
            ours.value
        );
        drop(
            report
                .error(Code::AsnReserved, ours.span.clone(), message)
                .help("private AS numbers that it takes: 64512 to 65533"),
        );
    }
    let Some(ours) = ours else {
        return;
    };
    let same = several.filter(|asn| asn.value == ours.value);
    let same = same.map(|asn| asn.span.clone()).next();
    let same = same.or_else(|| {
        let span = neighbor.remote_asn.as_ref().map(|asn| asn.span.clone());
        (remote == Some(ours.value)).then(|| span.unwrap_or(neighbor.at.clone()))
    });
    if let Some(At { value: true, span }) = &neighbor.route_reflector_client
        && same.is_none()
        && remote.is_some_and(|remote| remote != ours.value)
    {
        let message = format!(
            "neighbor {}: only a neighbor of our own AS {} can be a client of a route reflector",
            neighbor.name, ours.value
        );
        drop(
            report
                .error(Code::ConflictingKeys, span.clone(), message)
                .also(ours.span.clone(), "ours")
                .help("leave it out: between ASes routes are told anyway"),
        );
    }
    // Inside one AS a session is internal, which is fine on the LAN unless somebody gave us another AS there.
    if let Some(span) = same
        && (neighbor.role() == Role::Cloud || neighbor.local_asn.is_some())
    {
        let message = format!(
            "neighbor {}: both ends are AS {}, and this is an external session",
            neighbor.name, ours.value
        );
        drop(
            report
                .error(Code::AsnSame, span, message)
                .also(ours.span.clone(), "ours"),
        );
    }
}

/// The addresses that a neighbor section stands for.
fn effective(neighbor: &RawNeighbor, raw: &RawSite) -> Vec<(IpAddr, Range<usize>)> {
    if neighbor.addresses.is_empty() {
        let span = neighbor
            .tunnel
            .as_ref()
            .map_or(neighbor.at.clone(), |tunnel| tunnel.span.clone());
        return tunnel_of(neighbor, raw)
            .and_then(RawTunnel::peer)
            .map(|peer| (peer.into(), span))
            .into_iter()
            .collect();
    }
    neighbor
        .addresses
        .iter()
        .map(|address| (address.value, address.span.clone()))
        .collect()
}

fn addresses(
    neighbor: &RawNeighbor,
    tunnel: Option<&RawTunnel>,
    raw: &RawSite,
    report: &mut Report<'_>,
) {
    if neighbor.several && neighbor.addresses.is_empty() {
        let message = format!("neighbor {} has no address", neighbor.name);
        drop(
            report
                .error(Code::MissingKey, neighbor.at.clone(), message)
                .help("add addresses = [\"…\"]"),
        );
    }
    for At {
        value: address,
        span,
    } in &neighbor.addresses
    {
        let insides = raw
            .tunnels
            .iter()
            .filter_map(|tunnel| tunnel.inside.as_ref());
        let inside = insides.map(|inside| At {
            value: IpAddr::V4(inside.value.addr()),
            span: inside.span.clone(),
        });
        let ours = raw
            .gateway
            .fixed()
            .map(|fixed| fixed.map(IpAddr::V4))
            .into_iter()
            .chain(inside)
            .find(|ours| ours.value == *address);
        if let Some(ours) = ours {
            let message = format!("neighbor {}: {address} is our own address", neighbor.name);
            drop(
                report
                    .error(Code::NeighborIsUs, span.clone(), message)
                    .also(ours.span, "ours")
                    .help("if this is a tunnel's inside address: is `inside` really ours, and not the cloud's?"),
            );
        } else if let Some(peer) = tunnel
            .and_then(RawTunnel::peer)
            .map(IpAddr::V4)
            .filter(|peer| peer != address)
        {
            let message = format!(
                "neighbor {}: {address} is not the tunnel's other end, which is {peer}",
                neighbor.name
            );
            drop(
                report
                    .error(Code::ConflictingKeys, span.clone(), message)
                    .help("leave the address out: it follows from the tunnel"),
            );
        }
        if is_link_local(*address) {
            let message = format!(
                "neighbor {}: {address} is link-local, and a session needs addresses that hold on every link",
                neighbor.name
            );
            drop(report.error(Code::NotUnicast, span.clone(), message));
        } else if !is_host(*address) {
            let message = format!("{address} cannot be a neighbor's address");
            drop(report.error(Code::NotUnicast, span.clone(), message));
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn twice(raw: &RawSite, neighbors: &[RawNeighbor], report: &mut Report<'_>) {
    let mut seen: BTreeMap<IpAddr, (&str, Range<usize>)> = BTreeMap::new();
    for neighbor in neighbors {
        for (address, span) in effective(neighbor, raw) {
            if let Some((other, first)) = seen.get(&address) {
                let message = format!(
                    "the neighbors {other} and {} have the same address {address}",
                    neighbor.name
                );
                drop(
                    report
                        .error(Code::NeighborTwice, span, message)
                        .also(first.clone(), "also here"),
                );
            } else {
                seen.insert(address, (&neighbor.name, span));
            }
        }
    }
}

/// Checks the timers, and returns the hold time that we offer.
fn timers(neighbor: &RawNeighbor, tunnel: Option<&RawTunnel>, report: &mut Report<'_>) -> Duration {
    let name = &neighbor.name;
    let kind = neighbor
        .profile
        .as_ref()
        .map_or(crate::profile::NeighborKind::Generic, |kind| kind.value);
    let usual: Timers = tunnel.map_or(kind.timers(), |tunnel| tunnel.facts().timers);
    let hold = neighbor
        .hold_time
        .as_ref()
        .map_or(usual.hold, |hold| hold.value);
    if let Some(At { value, span }) = &neighbor.hold_time {
        let text = duration_text(*value);
        let sub_second = value.subsec_millis() != 0;
        if sub_second
            || (*value < Duration::from_secs(3) && !value.is_zero())
            || *value > Duration::from_secs(65_535)
        {
            let message = format!(
                "neighbor {name}: a hold time of {text} is neither 0 nor from 3 to 65535 whole seconds"
            );
            drop(report.error(Code::Timers, span.clone(), message));
        } else if let Some((least, most)) = tunnel.and_then(|tunnel| tunnel.facts().hold_range)
            && !(least..=most).contains(&value.as_secs())
        {
            let message = format!(
                "neighbor {name}: the cloud supports hold times from {least}s to {most}s, not {text}"
            );
            drop(report.warning(Code::Timers, span.clone(), message));
        }
    }
    if let Some(At { value, span }) = &neighbor.keepalive
        && (*value >= hold || value.is_zero())
        && !hold.is_zero()
    {
        let (value, hold) = (duration_text(*value), duration_text(hold));
        let message = format!(
            "neighbor {name}: a keepalive every {value} cannot hold a session with hold time {hold}"
        );
        drop(
            report
                .error(Code::Timers, span.clone(), message)
                .help("a third of the hold time is usual"),
        );
    }
    if let Some(At { span, .. }) = neighbor
        .connect_retry
        .as_ref()
        .filter(|at| at.value < Duration::from_secs(1))
    {
        let message = format!("neighbor {name}: connect-retry is less than a second");
        drop(report.error(Code::Timers, span.clone(), message));
    }
    if let Some(At { span, .. }) = neighbor
        .max_prefixes_pause
        .as_ref()
        .filter(|at| at.value < Duration::from_secs(1))
    {
        let message = format!("neighbor {name}: max-prefixes-pause is less than a second");
        drop(report.error(Code::Timers, span.clone(), message));
    }
    // RFC 4724 §3: twelve bits of seconds.
    let fits = |time: Duration| time.subsec_nanos() == 0 && (1..=4095).contains(&time.as_secs());
    if let Some(At { value, span }) = neighbor.restart_time.as_ref().filter(|at| !fits(at.value)) {
        let text = duration_text(*value);
        let message = format!(
            "neighbor {name}: a restart time of {text} is not from 1 to 4095 whole seconds"
        );
        drop(report.error(Code::Timers, span.clone(), message));
    }
    hold
}

fn session(neighbor: &RawNeighbor, tunnel: Option<&RawTunnel>, report: &mut Report<'_>) {
    let name = &neighbor.name;
    if let (Some(md5), Some(tunnel)) = (&neighbor.md5, tunnel)
        && !tunnel.facts().md5
    {
        let message = format!(
            "neighbor {name}: {} does not support TCP MD5",
            tunnel.facts().peer
        );
        drop(
            report
                .error(Code::Md5Unsupported, md5.span.clone(), message)
                .help("leave it out"),
        );
    }
    if let Some(At {
        value: UpdateSource::Interface(interface),
        span,
    }) = &neighbor.source
    {
        super::tunnel::interface_name(interface, span.clone(), report);
    }
    if let Some(originate) = &neighbor.default_originate
        && originate.value != DefaultOriginate::Never
        && neighbor.role() == Role::Cloud
    {
        let message = format!("neighbor {name}: a cloud is not told a default route");
        drop(
            report
                .error(Code::ExportAllToCloud, originate.span.clone(), message)
                .help("leave default-originate out; if the cloud is to reach the internet through this site, permit 0.0.0.0/0 in its list"),
        );
    }
    if let Some(At {
        value: Policy::All,
        span,
    }) = &neighbor.export
        && neighbor.role() == Role::Cloud
    {
        let message = format!("neighbor {name}: a cloud is told only what a prefix list permits");
        drop(
            report
                .error(Code::ExportAllToCloud, span.clone(), message)
                .help("name a list under [prefix-list] that permits our networks"),
        );
    }
}
