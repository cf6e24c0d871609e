//! Tunnels among each other and in the network: addresses, interfaces, reqids.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{Encapsulation, InterfaceKind, LARGEST_REQID};
use crate::read::{At, RawSite, RawTunnel, is_host};

pub(super) fn check(raw: &RawSite, report: &mut Report<'_>) {
    for tunnel in &raw.tunnels {
        remote(tunnel, raw, report);
        moving(tunnel, report);
        inside(tunnel, report);
        peer(tunnel, report);
        let span = tunnel
            .interface
            .as_ref()
            .map_or(tunnel.at.clone(), |interface| interface.span.clone());
        interface_name(&tunnel.interface(), span, report);
    }
    families(raw, report);
    swapped(raw, report);
    overlaps(raw, report);
    unique(raw, report);
}

fn remote(tunnel: &RawTunnel, raw: &RawSite, report: &mut Report<'_>) {
    let Some(At { value, span }) = tunnel.remote.clone() else {
        return;
    };
    // What a name stands for is known when it is looked up.
    let Some(remote) = value.address() else {
        return;
    };
    if !is_host(remote) {
        let message = format!("{remote} cannot be a peer's address");
        drop(report.error(Code::NotUnicast, span.clone(), message));
    }
    if let Some(ours) = raw.gateway.fixed().filter(|ours| remote == ours.value) {
        let message = format!("tunnel {}: remote {remote} is our own address", tunnel.name);
        drop(
            report
                .error(Code::RemoteIsOurs, span.clone(), message)
                .also(ours.span, "ours")
                .help(format!(
                    "write the public address of {}",
                    tunnel.facts().peer
                )),
        );
    }
    for network in &raw.gateway.networks {
        if network.value.contains(&remote) {
            let message = format!(
                "tunnel {}: remote {remote} is inside our own network {}",
                tunnel.name, network.value
            );
            drop(
                report
                    .error(Code::RemoteRouted, span.clone(), message)
                    .also(network.span.clone(), "our network"),
            );
        }
    }
}

/// All tunnels of a gateway share its sockets, which are of one family; a name stands for addresses of the others' family.
fn families(raw: &RawSite, report: &mut Report<'_>) {
    let mut first: Option<(&RawTunnel, IpAddr, Range<usize>)> = None;
    for tunnel in &raw.tunnels {
        let Some(At { value, span }) = &tunnel.remote else {
            continue;
        };
        let Some(remote) = value.address() else {
            continue;
        };
        if remote.is_ipv6()
            && let Some(kind) = &tunnel.interface_kind
            && kind.value == InterfaceKind::Vti
        {
            let message = format!(
                "tunnel {}: a vti interface has IPv4 outer addresses, and {remote} is none",
                tunnel.name
            );
            drop(
                report
                    .error(Code::ConflictingKeys, kind.span.clone(), message)
                    .help("interface-kind = \"xfrm\""),
            );
        }
        match &first {
            Some((other, address, at)) if address.is_ipv4() != remote.is_ipv4() => {
                let message = format!(
                    "the tunnels {} and {} have outer addresses of different families",
                    other.name, tunnel.name
                );
                drop(
                    report
                        .error(Code::Ipv6Unsupported, span.clone(), message)
                        .also(at.clone(), "the other family")
                        .help("write addresses of one family for all peers"),
                );
            }
            Some(_) => {}
            None => first = Some((tunnel, remote, span.clone())),
        }
    }
}

/// MOBIKE has to find the NATs of a new way, which is ruled out together with ESP in UDP.
fn moving(tunnel: &RawTunnel, report: &mut Report<'_>) {
    if let Some(mobike) = tunnel.mobike.as_ref().filter(|at| at.value)
        && let Some(encapsulation) = &tunnel.encapsulation
        && encapsulation.value == Encapsulation::Never
    {
        let message = format!(
            "tunnel {}: mobike does not go with encapsulation = \"never\"",
            tunnel.name
        );
        drop(
            report
                .error(Code::ConflictingKeys, mobike.span.clone(), message)
                .also(encapsulation.span.clone(), "no NAT may be found")
                .help("leave one of the two keys out"),
        );
    }
}

fn inside(tunnel: &RawTunnel, report: &mut Report<'_>) {
    let Some(At { value: net, span }) = tunnel.inside.clone() else {
        return;
    };
    let (ours, name) = (net.addr(), &tunnel.name);
    match net.prefix_len() {
        31 => {}
        30 if ours != net.network() && ours != net.broadcast() => {}
        30 => {
            let which = if ours == net.network() {
                "network's own"
            } else {
                "broadcast"
            };
            let message = format!(
                "tunnel {name}: {ours} is the {which} address of {}",
                net.trunc()
            );
            let hosts: Vec<String> = net.hosts().map(|host| host.to_string()).collect();
            drop(
                report
                    .error(Code::InsideNotPointToPoint, span.clone(), message)
                    .help(format!("usable in this /30: {}", hosts.join(" and "))),
            );
        }
        length => {
            let message = format!(
                "tunnel {name}: inside address {net} is in a /{length}, not in a /30 or /31"
            );
            drop(
                report
                    .error(Code::InsideNotPointToPoint, span.clone(), message)
                    .help(format!("write our address with the length of the tunnel's network, such as {ours}/31")),
            );
        }
    }
    let facts = tunnel.facts();
    if let Some((first, last)) = facts
        .forbidden_inside
        .iter()
        .find(|(first, last)| *first <= net.broadcast() && net.network() <= *last)
    {
        let message = format!(
            "tunnel {name}: {} keeps {first}-{last} for itself",
            facts.peer
        );
        drop(
            report
                .error(Code::InsideForbidden, span.clone(), message)
                .here(format!("{net} is inside")),
        );
    }
    if !is_host(ours.into()) {
        let message = format!("tunnel {name}: {ours} cannot be an interface's address");
        drop(report.error(Code::InsideForbidden, span, message));
    }
}

fn peer(tunnel: &RawTunnel, report: &mut Report<'_>) {
    let (Some(inside), Some(peer)) = (&tunnel.inside, &tunnel.peer_inside) else {
        return;
    };
    let (net, name) = (inside.value, &tunnel.name);
    let problem = if peer.value == net.addr() {
        format!(
            "tunnel {name}: our and the peer's inside address are both {}",
            peer.value
        )
    } else if !net.contains(&peer.value) {
        format!(
            "tunnel {name}: the peer's {} is not in our inside network {}",
            peer.value,
            net.trunc()
        )
    } else if net.prefix_len() == 30 && [net.network(), net.broadcast()].contains(&peer.value) {
        format!(
            "tunnel {name}: the peer's {} is not a usable address of {}",
            peer.value,
            net.trunc()
        )
    } else {
        return;
    };
    let draft = report
        .error(Code::InsidePeer, peer.span.clone(), problem)
        .also(inside.span.clone(), "our address");
    drop(draft.help("leave peer-inside out: it is then the other address of our network"));
}

/// Where the profile knows which end of a /31 is usually whose.
fn swapped(raw: &RawSite, report: &mut Report<'_>) {
    for tunnel in raw
        .tunnels
        .iter()
        .filter(|tunnel| tunnel.facts().ours_is_lower)
    {
        let Some(At { value: net, span }) = &tunnel.inside else {
            continue;
        };
        if net.prefix_len() == 31 && net.addr() != net.network() {
            let message = format!(
                "tunnel {}: our inside address {} is the upper one of its /31",
                tunnel.name,
                net.addr()
            );
            let help = format!(
                "{} usually has the upper one: if the console says so, write {}/31",
                tunnel.facts().peer,
                net.network()
            );
            drop(
                report
                    .warning(Code::InsideSwapped, span.clone(), message)
                    .help(help),
            );
        }
    }
}

fn overlaps(raw: &RawSite, report: &mut Report<'_>) {
    for (place, tunnel) in raw.tunnels.iter().enumerate() {
        let Some(inside) = &tunnel.inside else {
            continue;
        };
        let net = inside.value.trunc();
        for other in raw.tunnels.iter().take(place) {
            let Some(earlier) = &other.inside else {
                continue;
            };
            if net.contains(&earlier.value.trunc()) || earlier.value.trunc().contains(&net) {
                let message = format!(
                    "the inside networks of the tunnels {} and {} overlap: {} and {}",
                    other.name,
                    tunnel.name,
                    earlier.value.trunc(),
                    net
                );
                drop(
                    report
                        .error(Code::InsideOverlap, inside.span.clone(), message)
                        .also(earlier.span.clone(), format!("{} has it here", other.name))
                        .help("give each tunnel a pair of its own, on the cloud's side too"),
                );
            }
        }
        for ours in &raw.gateway.networks {
            let IpNet::V4(network) = ours.value else {
                continue;
            };
            if network.contains(&net) || net.contains(&network) {
                let message = format!(
                    "tunnel {}: the inside network {net} overlaps our network {network}",
                    tunnel.name
                );
                drop(
                    report
                        .error(Code::InsideOverlap, inside.span.clone(), message)
                        .also(ours.span.clone(), "our network"),
                );
            }
        }
    }
}

/// What must not be there twice: remotes, reqids, interfaces.
fn unique(raw: &RawSite, report: &mut Report<'_>) {
    let mut remotes = BTreeMap::new();
    let mut reqids = BTreeMap::new();
    let mut interfaces = BTreeMap::new();
    if let Some(wan) = &raw.gateway.wan {
        interfaces.insert(wan.value.clone(), ("the WAN", wan.span.clone()));
    }
    for tunnel in &raw.tunnels {
        let name = tunnel.name.as_str();
        if let Some(At { value, span }) = &tunnel.remote
            && let Some((other, first)) = insert(&mut remotes, value.clone(), (name, span.clone()))
        {
            let message = format!("the tunnels {other} and {name} have the same remote {value}");
            let help = format!(
                "each tunnel of {} has an address of its own",
                tunnel.facts().peer
            );
            drop(
                report
                    .error(Code::RemoteTwice, span.clone(), message)
                    .also(first, "also here")
                    .help(help),
            );
        }
        if let Some(At { value, span }) = &tunnel.reqid {
            if *value == 0 {
                drop(report.error(
                    Code::Reqid,
                    span.clone(),
                    format!("tunnel {name}: reqid 0 means none"),
                ));
            } else if *value > LARGEST_REQID {
                drop(report.error(
                    Code::Reqid,
                    span.clone(),
                    format!("tunnel {name}: reqid {value} is larger than {LARGEST_REQID}"),
                ));
            } else if let Some((other, first)) = insert(&mut reqids, *value, (name, span.clone())) {
                let message = format!("the tunnels {other} and {name} have the same reqid {value}");
                drop(
                    report
                        .error(Code::Reqid, span.clone(), message)
                        .also(first, "also here")
                        .help("leave the key out: each tunnel then gets one of its own"),
                );
            }
        }
        let span = tunnel
            .interface
            .as_ref()
            .map_or(tunnel.at.clone(), |interface| interface.span.clone());
        if let Some((other, first)) =
            insert(&mut interfaces, tunnel.interface(), (name, span.clone()))
        {
            let message = format!(
                "{other} and {name} have the same interface {}",
                tunnel.interface()
            );
            drop(
                report
                    .error(Code::InterfaceTwice, span, message)
                    .also(first, "also here"),
            );
        }
    }
}

/// Remembers the first, and gives it where there is one already.
fn insert<'n, K: Ord>(
    seen: &mut BTreeMap<K, (&'n str, Range<usize>)>,
    key: K,
    here: (&'n str, Range<usize>),
) -> Option<(&'n str, Range<usize>)> {
    if let Some(first) = seen.get(&key) {
        return Some(first.clone());
    }
    seen.insert(key, here);
    None
}

/// Whether Linux takes a name for an interface (`dev_valid_name`), and it is none that means all of them.
pub(super) fn interface_name(name: &str, at: Range<usize>, report: &mut Report<'_>) {
    let bad = |letter: char| {
        letter == '/' || letter == ':' || letter.is_whitespace() || letter.is_control()
    };
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > 15 {
        format!("has {} octets, and 15 is the most", name.len())
    } else if name.chars().any(bad) {
        "has a '/', ':', blank or control character".to_owned()
    } else if [".", "..", "all", "default"].contains(&name) {
        "has a meaning of its own".to_owned()
    } else {
        return;
    };
    drop(
        report
            .error(Code::InterfaceName, at, format!("the interface name \"{name}\" {problem}"))
            .help("a tunnel's interface is named by interface = \"…\", else it is cw- and the tunnel's name"),
    );
}
