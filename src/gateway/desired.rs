//! What the host should look like, from what the site file asks for and what IKE and BGP say.

use bgpd::FibNextHop;
use ipnet::IpNet;
use vti::ifname::IfName;
use vti::plan::{Desired, LinkDesired, NextHop, NextHopSet, RouteDesired, RouteKey};

use super::Gateway;
use super::outer::Withheld;

impl Gateway {
    /// The host as it should be now, and the routes that it is better off without. Nothing at all once we stop.
    pub(super) fn desired(&self) -> (Desired, Vec<Withheld>) {
        if self.stopping {
            return (Desired::default(), Vec::new());
        }
        let mut desired = Desired::default().with_gateway_sysctls(false);
        for tunnel in self.tunnels.values() {
            let plan = &tunnel.plan;
            let link = LinkDesired::new(&plan.name, u32::from(tunnel.inner_mtu()), [plan.inside]);
            desired = desired.with_tunnel(plan.interface, link);
        }
        let mut guard = self.guard();
        for (prefix, next_hops) in &self.fib {
            if let Some(route) = self.route(next_hops)
                && guard.judge(*prefix, &route, || self.may_overlap(next_hops))
            {
                desired = desired.with_route(self.route_key(*prefix), route);
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
    fn route(&self, next_hops: &[FibNextHop]) -> Option<RouteDesired> {
        let hops: NextHopSet = next_hops
            .iter()
            .filter_map(|hop| {
                let interface = hop.interface.as_deref()?;
                Some(NextHop::via(hop.via, interface.parse::<IfName>().ok()?))
            })
            .collect();
        (!hops.is_empty()).then(|| RouteDesired::via(hops))
    }
}
