//! How the values of a site fit together, and how they fit what is known about the other ends.
//!
//! Works on what was read, absent values included, so that each check has its say whatever else is wrong.

mod bfd;
mod bgp;
mod certificate;
mod families;
mod firewall;
mod metrics;
mod plane;
mod policy;
mod range;
mod role;
mod route;
mod route_map;
mod suite;
mod tunnel;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::read::{RawSite, is_host};
use crate::secrets::Secrets;

/// Checks everything.
pub(crate) fn check(raw: &RawSite, secrets: &dyn Secrets, report: &mut Report<'_>) {
    gateway(raw, report);
    tunnel::check(raw, report);
    for tunnel in &raw.tunnels {
        suite::check(tunnel, report);
    }
    plane::check(raw, report);
    role::check(raw, report);
    suite::check_secrets(raw, secrets, report);
    certificate::check(raw, secrets, report);
    bgp::check(raw, report);
    policy::check(raw, report);
    route_map::check(raw, report);
    route::check(raw, report);
    firewall::check(raw, report);
    metrics::check(raw, report);
}

fn gateway(raw: &RawSite, report: &mut Report<'_>) {
    if let Some(address) = raw
        .gateway
        .fixed()
        .filter(|address| !is_host(address.value.into()))
    {
        let message = format!("{} cannot be a gateway's address", address.value);
        drop(report.error(Code::NotUnicast, address.span, message));
    }
    if let Some(wan) = &raw.gateway.wan {
        tunnel::interface_name(&wan.value, wan.span.clone(), report);
    }
    let daemon = &raw.daemon;
    let ports = |port: &Option<crate::read::At<u16>>, default| {
        port.as_ref().map_or(default, |port| port.value)
    };
    if ports(&daemon.ike_port, 500) == ports(&daemon.nat_port, 4500) {
        let span = daemon
            .nat_port
            .as_ref()
            .or(daemon.ike_port.as_ref())
            .map_or(0..0, |port| port.span.clone());
        let message = "ike-port and nat-port are the same";
        drop(
            report.error(Code::ConflictingKeys, span, message).help(
                "IKE without and with UDP encapsulation are told apart by the port (RFC 3948)",
            ),
        );
    }
}
