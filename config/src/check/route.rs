//! Routes of the site's own.

use std::collections::BTreeMap;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::Remote;
use crate::read::{At, RawRoute, RawSite, is_host};

pub(super) fn check(raw: &RawSite, report: &mut Report<'_>) {
    let mut seen = BTreeMap::new();
    for route in &raw.routes {
        way(route, report);
        let Some(prefix) = &route.prefix else {
            continue;
        };
        if let Some(first) = seen.insert(prefix.value, prefix.span.clone()) {
            let message = format!("two routes to {}", prefix.value);
            drop(
                report
                    .error(Code::Route, prefix.span.clone(), message)
                    .also(first, "also here"),
            );
        }
        for tunnel in &raw.tunnels {
            let inside = |remote: &&At<Remote>| {
                let address = remote.value.address();
                address.is_some_and(|address| prefix.value.contains(&address))
            };
            if let Some(remote) = tunnel.remote.as_ref().filter(inside)
                && route.drops()
            {
                let message = format!(
                    "{} goes nowhere, and the remote of tunnel {} is in it",
                    prefix.value, tunnel.name
                );
                drop(
                    report
                        .error(Code::Route, prefix.span.clone(), message)
                        .also(remote.span.clone(), "the remote"),
                );
            }
        }
    }
}

/// Either nowhere, or to a router on an interface.
fn way(route: &RawRoute, report: &mut Report<'_>) {
    let other = route.via.as_ref().map(|via| via.span.clone());
    let other = other.or(route.interface.as_ref().map(|it| it.span.clone()));
    match (route.drops(), other) {
        (true, Some(other)) => {
            let message = "a blackhole leads nowhere, so it has neither via nor interface";
            drop(report.error(Code::ConflictingKeys, other, message));
        }
        (true, None) => {}
        (false, _) if route.via.is_none() || route.interface.is_none() => drop(
            report
                .error(Code::Route, route.at.clone(), "the route has no way")
                .help("give via (a router) and the interface that it is on, or blackhole = true"),
        ),
        (false, _) => {}
    }
    if let Some(via) = route.via.as_ref().filter(|it| !is_host(it.value)) {
        let message = format!("{} cannot be a router's address", via.value);
        drop(report.error(Code::NotUnicast, via.span.clone(), message));
    }
    if let (Some(via), Some(prefix)) = (&route.via, &route.prefix)
        && via.value.is_ipv6() != prefix.value.addr().is_ipv6()
    {
        let message = format!(
            "the way to {} leads to {}, which is of the other address family",
            prefix.value, via.value
        );
        drop(
            report
                .error(Code::Route, via.span.clone(), message)
                .also(prefix.span.clone(), "the destination"),
        );
    }
    if let Some(interface) = &route.interface {
        super::tunnel::interface_name(&interface.value, interface.span.clone(), report);
    }
}
