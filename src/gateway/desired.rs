//! What the host should look like, from what the site file asks for and what IKE and BGP say.

use std::net::IpAddr;

use bgpd::FibNextHop;
use ipnet::IpNet;
use vti::ifname::IfName;
use vti::plan::{Desired, LinkDesired, LinkKind, NextHop, NextHopSet, RouteDesired, RouteKey};
use vti::plane::Binding;

use super::outer::Withheld;
use super::{Gateway, Tunnel};

impl Gateway {
    /// The host as it should be now, and the routes that it is better off without. Nothing at all once we stop.
    pub(super) fn desired(&self) -> (Desired, Vec<Withheld>) {
        if self.stopping {
            return (Desired::default(), Vec::new());
        }
        let mut desired = Desired::default().with_gateway_sysctls(self.plan.forwards_ipv6());
        for tunnel in self.tunnels.values() {
            let plan = &tunnel.plan;
            let link = LinkDesired::new(&plan.name, u32::from(tunnel.inner_mtu()), [plan.inside]);
            if let Some(kind) = kind(tunnel) {
                desired = desired.with_tunnel(plan.interface, link.of(kind));
            }
        }
        let mut guard = self.guard();
        for (prefix, next_hops) in &self.fib {
            if let Some(route) = self.route(prefix, next_hops)
                && guard.judge(*prefix, &route, || self.may_overlap(next_hops))
            {
                desired = desired.with_route(self.route_key(*prefix), route);
            }
        }
        // What a process before us left goes on until its neighbors have spoken. It has judged what may overlap.
        for prefix in self
            .inherited
            .prefixes()
            .filter(|it| !self.fib.contains_key(it))
        {
            if let Some(route) = self.route(prefix, &[])
                && guard.judge(*prefix, &route, || true)
            {
                desired = desired.with_route(self.route_key(*prefix), route);
            }
        }
        for route in &self.plan.routes {
            let forward = match route.hop {
                Some((via, dev)) => {
                    RouteDesired::via([NextHop::via(via, dev)].into_iter().collect::<NextHopSet>())
                }
                None => RouteDesired::blackhole(),
            };
            if guard.judge(route.prefix, &forward, || true) {
                desired = desired.with_route(self.route_key(route.prefix), forward);
            }
        }
        let (pins, withheld) = guard.finish(&desired.routes);
        desired.routes.extend(pins);
        (desired, withheld)
    }

    fn route_key(&self, prefix: IpNet) -> RouteKey {
        RouteKey::main(prefix)
    }

    /// A route by way of those next hops whose interface is known. The speaker resolves next hops by connected networks, so one without
    /// an interface is one that the host cannot reach now.
    fn route(&self, prefix: &IpNet, next_hops: &[FibNextHop]) -> Option<RouteDesired> {
        let learned = next_hops.iter().filter_map(|hop| {
            let interface = hop.interface.as_deref()?;
            Some(NextHop::via(hop.via, interface.parse::<IfName>().ok()?))
        });
        let hops: NextHopSet = learned.chain(self.inherited.hops(prefix)).collect();
        (!hops.is_empty()).then(|| RouteDesired::via(hops))
    }
}

/// What a tunnel's interface is made of. `None` where there is no such thing: a `vti` has IPv4 outer addresses.
fn kind(tunnel: &Tunnel) -> Option<LinkKind> {
    match tunnel.plan.spec.binding {
        None => Some(LinkKind::Tun),
        Some(Binding::IfId(if_id)) => Some(LinkKind::Xfrm { if_id }),
        Some(Binding::Mark(key)) => {
            let IpAddr::V4(remote) = tunnel.plan.connection.remote else {
                return None;
            };
            let local = tunnel.source().and_then(|source| match source {
                IpAddr::V4(local) => Some(local),
                IpAddr::V6(_) => None,
            });
            Some(LinkKind::Vti { key, local, remote })
        }
    }
}
