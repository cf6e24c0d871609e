//! Who reaches the metrics.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::read::{RawSite, is_host};

pub(super) fn check(raw: &RawSite, report: &mut Report<'_>) {
    let Some(listen) = &raw.metrics.listen else {
        return;
    };
    let address = listen.value.ip();
    let is_possible = address.is_loopback() || address.is_unspecified() || is_host(address);
    if !is_possible {
        let message = format!("{address} cannot be an address of ours");
        drop(report.error(Code::NotUnicast, listen.span.clone(), message));
        return;
    }
    let Some(who) = reached_by(address, raw) else {
        return;
    };
    let port = listen.value.port();
    let message = format!("the metrics on {} are there for {who}", listen.value);
    drop(
        report
            .warning(Code::MetricsExposed, listen.span.clone(), message)
            .help(format!(
                "nobody is asked for a password: listen on 127.0.0.1:{port} or an address of the LAN"
            )),
    );
}

/// Who else than this host and its LAN.
fn reached_by(address: IpAddr, raw: &RawSite) -> Option<String> {
    if address.is_loopback() {
        return None;
    }
    if address.is_unspecified() {
        return Some(
            "whoever reaches any address of this host, from the WAN and out of the tunnels too"
                .to_owned(),
        );
    }
    let is_gateway = raw
        .gateway
        .fixed()
        .is_some_and(|it| IpAddr::from(it.value) == address);
    let inside = raw.tunnels.iter().find(|tunnel| {
        let inside = tunnel.inside.as_ref().map(|it| it.value);
        inside.is_some_and(|it| IpAddr::from(it.addr()) == address)
    });
    if let Some(tunnel) = inside {
        return Some(format!(
            "whoever reaches tunnel {} from its other end",
            tunnel.name
        ));
    }
    let is_public = is_gateway || is_global(address);
    is_public.then(|| "the WAN: it is a public address".to_owned())
}

/// Shared between a provider and its customers (RFC 6598): no public addresses, and no others' either.
const SHARED: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// Whether the address is one that the Internet routes.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_private() || address.is_link_local() || SHARED.contains(&address))
        }
        IpAddr::V6(address) => !(address.is_unique_local() || address.is_unicast_link_local()),
    }
}
