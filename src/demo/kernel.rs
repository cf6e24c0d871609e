//! What is in a namespace's kernel, asked over netlink: not what a daemon believes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use vti::host::Host as _;
use vti::kernel::KernelHost;
use vti::netns::NetNs;
use vti::nft::Firewall;
use vti::observed::{Nexthop, NexthopId, Observed, RouteTarget};
use vti::plan::Hop;

use super::problem::Problem;
use super::status::KernelHop;

/// Causeway's routes, each with all its next hops.
pub(super) type Routes = BTreeMap<IpNet, BTreeSet<KernelHop>>;

/// Causeway's routes in a namespace. `state` is a folder that holds no state.
///
/// # Errors
/// The kernel can't be asked.
pub(super) fn routes(namespace: &NetNs, state: &Path) -> Result<Routes, Problem> {
    let observed = observe(namespace, state)?;
    let routes = observed.routes.iter().map(|(key, route)| {
        let hops = match &route.target {
            RouteTarget::Nexthop(id) => hops_of(&observed, *id),
            RouteTarget::Inline(hops) => hops.iter().map(|next| next.hop).collect(),
            RouteTarget::Blackhole | RouteTarget::Unknown => Vec::new(),
        };
        (key.prefix, hops.into_iter().map(shown).collect())
    });
    Ok(routes.collect())
}

/// What of Causeway's is in a namespace: after a clean stop, nothing.
///
/// # Errors
/// The kernel can't be asked.
pub(super) fn leftovers(namespace: &NetNs, state: &Path) -> Result<Vec<String>, Problem> {
    let observed = observe(namespace, state)?;
    let links = observed
        .links
        .iter()
        .filter(|(_, link)| link.is_ours() || link.kind == "tun");
    let mut left: Vec<String> = links.map(|(name, _)| format!("interface {name}")).collect();
    left.extend(
        observed
            .routes
            .keys()
            .map(|key| format!("route {}", key.prefix)),
    );
    left.extend(observed.nexthops.keys().map(|id| format!("nexthop {id}")));
    let table = namespace.run(|| Firewall::open().and_then(|mut firewall| firewall.observe()))?;
    match table {
        Ok(table) if !table.exists() => {}
        Ok(_) => left.push("firewall table".into()),
        Err(error) => left.push(format!("firewall that cannot be looked at: {error}")),
    }
    Ok(left)
}

fn observe(namespace: &NetNs, state: &Path) -> Result<Observed, Problem> {
    let observed = namespace.block_on(|| async {
        let mut host = KernelHost::open_with_state_in(state).await?;
        host.observe().await
    })?;
    Ok(observed?)
}

fn hops_of(observed: &Observed, id: NexthopId) -> Vec<Hop> {
    match observed.nexthops.get(&id) {
        Some(Nexthop::Single(hop)) => vec![*hop],
        // A group has single ones only, so this goes one level deep.
        Some(Nexthop::Group(members)) => members
            .iter()
            .filter_map(|member| match observed.nexthops.get(&member.id) {
                Some(Nexthop::Single(hop)) => Some(*hop),
                _ => None,
            })
            .collect(),
        Some(Nexthop::Unknown) | None => Vec::new(),
    }
}

fn shown(hop: Hop) -> KernelHop {
    let via = match hop.via {
        Some(IpAddr::V4(via)) => Some(via),
        Some(IpAddr::V6(_)) | None => None,
    };
    KernelHop {
        interface: hop.dev.to_string(),
        via,
    }
}
