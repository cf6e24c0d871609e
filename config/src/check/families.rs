//! The address families of a neighbor: what its session cannot carry, and what would have no next hop.

use std::net::IpAddr;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::AddressFamily;
use crate::read::{At, RawNeighbor, is_host};

pub(super) fn check(neighbor: &RawNeighbor, report: &mut Report<'_>) {
    let name = &neighbor.name;
    let written = neighbor.families.as_ref();
    if let Some(At { span, .. }) = written.filter(|list| list.value.is_empty()) {
        let message = format!("neighbor {name}: no address family, so nothing could be exchanged");
        drop(report.error(Code::BadValue, span.clone(), message));
    }
    let asked: Vec<&At<AddressFamily>> = written.iter().flat_map(|list| &list.value).collect();
    if neighbor.tunnel.is_some() {
        let ipv6 = asked.iter().find(|it| it.value == AddressFamily::Ipv6);
        if let Some(At { span, .. }) = ipv6 {
            let message = format!("neighbor {name}: tunnels carry IPv4, and no IPv6 yet");
            drop(
                report
                    .error(Code::Ipv6Unsupported, span.clone(), message)
                    .help("leave families out"),
            );
        }
    }
    let sessions: Vec<AddressFamily> = over(neighbor);
    if let [first, rest @ ..] = &sessions[..]
        && let Some(at) = rest.iter().position(|family| family != first)
        && let Some(address) = neighbor.addresses.get(at + 1)
        && let Some(At { span, .. }) = written
    {
        let message = format!(
            "neighbor {name}: with families all its addresses are of one family, and {} is not of the first one's",
            address.value
        );
        drop(
            report
                .error(Code::ConflictingKeys, address.span.clone(), message)
                .also(span.clone(), "the families")
                .help("write a section for each family"),
        );
    }
    if let (Some(bfd), Some(_)) = (
        &neighbor.bfd,
        sessions.iter().find(|it| **it == AddressFamily::Ipv6),
    ) {
        let message = format!("neighbor {name}: BFD is spoken over IPv4, and not over IPv6 yet");
        drop(
            report
                .error(Code::Ipv6Unsupported, bfd.span.clone(), message)
                .help("leave bfd out"),
        );
    }
    next_hop(neighbor, &sessions, &asked, report);
}

/// What the sessions are over.
fn over(neighbor: &RawNeighbor) -> Vec<AddressFamily> {
    if neighbor.addresses.is_empty() {
        // A tunnel's other end and a range are IPv4.
        return vec![AddressFamily::Ipv4];
    }
    let addresses = neighbor.addresses.iter();
    addresses
        .map(|address| AddressFamily::of(address.value))
        .collect()
}

/// Where the other family is exchanged too, its prefixes are told with an address of ours that the session does not show.
fn next_hop(
    neighbor: &RawNeighbor,
    sessions: &[AddressFamily],
    asked: &[&At<AddressFamily>],
    report: &mut Report<'_>,
) {
    let name = &neighbor.name;
    let others = |family: &AddressFamily| !sessions.contains(family);
    let other = asked.iter().find(|family| others(&family.value));
    match (&neighbor.next_hop_address, other) {
        (None, Some(other)) if other.value == AddressFamily::Ipv6 => {
            let message = format!(
                "neighbor {name}: IPv6 prefixes over an IPv4 session need an IPv6 address of ours as their next hop"
            );
            drop(
                report
                    .error(Code::MissingKey, other.span.clone(), message)
                    .help("add next-hop-address = \"our IPv6 address on its network\""),
            );
        }
        (Some(address), other) => {
            let family = AddressFamily::of(address.value);
            if other.is_none_or(|other| other.value != family) {
                let message = format!(
                    "neighbor {name}: {} is the next hop of no family that is exchanged besides the session's own",
                    address.value
                );
                drop(
                    report
                        .error(Code::ConflictingKeys, address.span.clone(), message)
                        .help("leave it out, or name its family in families"),
                );
            } else if !is_next_hop(address.value) {
                let message = format!("{} cannot be a next hop", address.value);
                drop(report.error(Code::NotUnicast, address.span.clone(), message));
            }
        }
        // IPv4 over IPv6 may do with the session's own address (RFC 8950).
        _ => {}
    }
}

fn is_next_hop(address: IpAddr) -> bool {
    is_host(address) && !matches!(address, IpAddr::V6(it) if it.is_unicast_link_local())
}
