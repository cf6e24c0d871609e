//! Which prefixes cross the border, and what the kernels make of them.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::IpNet;

use super::bring_up::ENDS;
use super::{Tour, Verified};
use crate::demo::daemon::prefixes;
use crate::demo::kernel::{self, Routes};
use crate::demo::problem::Problem;
use crate::demo::status::KernelHop;
use crate::demo::topology::{Place, at};

/// What the site permits to leave.
const OURS: [&str; 2] = ["192.168.2.0/24", "172.24.0.0/24"];
/// What the cloud offers.
const OFFERED: [&str; 2] = ["10.0.0.0/16", "10.99.0.0/24"];
/// What of it the site permits to come in.
pub(super) const VCN: &str = "10.0.0.0/16";
/// The nodes' service.
const SERVICE: &str = "172.16.200.1/32";

const CONVERGENCE: Duration = Duration::from_secs(15);

/// Compares what was sent, what arrived and what is in the kernels with what the lists say.
pub(super) fn routes(tour: &mut Tour) -> Result<Verified, Problem> {
    let gateway = tour.daemon(Place::Gateway)?;
    let (ours, offered) = (set(&OURS)?, set(&OFFERED)?);
    for (name, end) in ENDS {
        let drg = tour.daemon(end)?;
        tour.until("the prefixes", CONVERGENCE, || {
            let (near, far) = (gateway.neighbor(name)?, drg.neighbor("home")?);
            let checks = [
                (format!("told {name}"), prefixes(&near.advertised), &ours),
                (
                    format!("arrived at {}", end.name()),
                    prefixes(&far.received),
                    &ours,
                ),
                (
                    format!("received from {name}"),
                    prefixes(&near.received),
                    &offered,
                ),
            ];
            Ok(checks
                .iter()
                .try_for_each(|(what, seen, wanted)| same(what, seen, wanted)))
        })?;
    }
    // Everything of ours that is in the gateway's kernel, so that nothing else is: 10.99.0.0/24 for example, which no list permits.
    let wanted = Routes::from([
        (network(VCN)?, cloud_hops(&[1, 2])),
        (
            network(SERVICE)?,
            at::NODES
                .into_iter()
                .map(|node| hop("lan200", node))
                .collect(),
        ),
    ]);
    tour.until("the gateway's routes", CONVERGENCE, || {
        let seen = kernel_routes(tour, Place::Gateway)?;
        Ok(if seen == wanted {
            Ok(())
        } else {
            Err(format!("in the kernel: {}", shown(&seen)))
        })
    })?;
    let back = BTreeSet::from([
        hop("drg1", Ipv4Addr::new(172, 31, 1, 0)),
        hop("drg2", Ipv4Addr::new(172, 31, 2, 0)),
    ]);
    let back: Routes = ours.iter().map(|prefix| (*prefix, back.clone())).collect();
    tour.until("the VCN's routes", CONVERGENCE, || {
        let seen = kernel_routes(tour, Place::Vcn)?;
        Ok(if seen == back {
            Ok(())
        } else {
            Err(format!("in the VCN's kernel: {}", shown(&seen)))
        })
    })?;
    let mut verified = Verified::new("2 ways to the VCN, 3 to the service")
        .line(format!(
            "out: {}; not the WAN, not VLAN 200, not the tunnels",
            join(&ours)
        ))
        .line(format!(
            "in: {VCN}; 10.99.0.0/24 was offered and is not believed"
        ));
    verified
        .lines
        .extend(wanted.iter().map(|(prefix, hops)| route(prefix, hops)));
    Ok(verified)
}

/// Causeway's routes in a place's kernel.
pub(super) fn kernel_routes(tour: &Tour, place: Place) -> Result<Routes, Problem> {
    kernel::routes(tour.topology()?.at(place), tour.workspace()?.dir())
}

/// The gateway's next hops by way of these tunnels.
pub(super) fn cloud_hops(tunnels: &[u8]) -> BTreeSet<KernelHop> {
    tunnels
        .iter()
        .map(|number| {
            hop(
                &format!("cw-oci-{number}"),
                Ipv4Addr::new(10, *number, 0, 1),
            )
        })
        .collect()
}

fn hop(interface: &str, via: Ipv4Addr) -> KernelHop {
    KernelHop {
        interface: interface.to_owned(),
        via: Some(via),
    }
}

/// A prefix from text.
pub(super) fn network(text: &str) -> Result<IpNet, Problem> {
    text.parse()
        .map_err(|error| Problem::Unverified(format!("{text}: {error}")))
}

fn set(texts: &[&str]) -> Result<BTreeSet<IpNet>, Problem> {
    texts.iter().map(|text| network(text)).collect()
}

fn same(what: &str, seen: &BTreeSet<IpNet>, wanted: &BTreeSet<IpNet>) -> Result<(), String> {
    if seen == wanted {
        return Ok(());
    }
    Err(format!("{what}: {}; wanted: {}", join(seen), join(wanted)))
}

fn join<T: Display>(items: &BTreeSet<T>) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() {
        "nothing".into()
    } else {
        items.join(", ")
    }
}

fn shown(routes: &Routes) -> String {
    let routes: Vec<String> = routes
        .iter()
        .map(|(prefix, hops)| route(prefix, hops))
        .collect();
    if routes.is_empty() {
        "no route".into()
    } else {
        routes.join("; ")
    }
}

fn route(prefix: &IpNet, hops: &BTreeSet<KernelHop>) -> String {
    format!("{prefix} {}", join(hops))
}
