//! Keeps the tunnels' own packets out of the tunnels, and this host's links out of the cloud's hands.
//!
//! A route over a tunnel that covers a peer's outer address would lead the tunnel's encrypted packets into a tunnel: it would stop
//! working as soon as it works. Where there is such a route, two more specific ones go before it: the peer's address by the way that
//! it has without us, and behind that a blackhole, which no interface takes along when it goes down. So the covering route has
//! nothing to steal at any moment. A route for exactly that address would never be used, and is withheld.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgpd::LocalSource;
use ipnet::IpNet;
use serde::Serialize;
use vti::ifname::IfName;
use vti::plan::{Forward, Hop, MAIN_TABLE, NextHop, NextHopSet, RouteDesired, RouteKey};
use vti::underlay::Way;

use super::Gateway;

/// Before every route that BGP teaches for the same address.
const PIN_METRIC: u32 = 1;

/// Behind every other one.
const LAST_METRIC: u32 = u32::MAX;

/// A route that is not installed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Withheld {
    pub(crate) prefix: IpNet,
    pub(crate) why: String,
}

/// A peer's outer address.
struct Outer {
    tunnel: String,
    remote: IpAddr,
    /// Where its packets come from.
    source: Option<IpAddr>,
    /// How it is reached without us.
    underlay: Option<Way>,
    /// A route of ours over a tunnel covers it.
    is_covered: bool,
}

/// What routes over tunnels must not take away.
pub(super) struct Guard {
    tunnels: BTreeSet<IfName>,
    outer: Vec<Outer>,
    /// Networks that this host is connected to otherwise, each with its interface.
    connected: Vec<(IpNet, String)>,
    withheld: Vec<Withheld>,
}

impl Gateway {
    pub(super) fn guard(&self) -> Guard {
        let is_tunnel = |name: &Option<String>| {
            name.as_deref()
                .is_some_and(|name| self.is_tunnel_interface(name))
        };
        let connected = self
            .facts
            .local_routes
            .iter()
            .filter(|(_, source, dev)| *source == LocalSource::Connected && !is_tunnel(dev))
            .filter_map(|(prefix, _, dev)| Some((*prefix, dev.clone()?)));
        Guard {
            tunnels: self.tunnels.values().map(|t| t.plan.interface).collect(),
            outer: self
                .tunnels
                .values()
                .map(|tunnel| {
                    let remote = tunnel.plan.connection.remote;
                    Outer {
                        tunnel: tunnel.plan.name.clone(),
                        remote,
                        source: tunnel.source(),
                        underlay: self.facts.underlay.get(&remote).cloned(),
                        is_covered: false,
                    }
                })
                .collect(),
            connected: connected.collect(),
            withheld: Vec::new(),
        }
    }

    /// Whether all who teach a route may take over networks of ours, by the site file.
    pub(super) fn may_overlap(&self, next_hops: &[bgpd::FibNextHop]) -> bool {
        next_hops.iter().all(|hop| {
            let mut peers = self.bgp.peer_configs();
            peers.any(|peer| peer.name == hop.peer && peer.allow_overlap)
        })
    }
}

impl Guard {
    /// Whether a route may be installed.
    pub(super) fn judge(
        &mut self,
        prefix: IpNet,
        route: &RouteDesired,
        may_overlap: impl FnOnce() -> bool,
    ) -> bool {
        let Some(tunnel) = self.tunnel_of(route) else {
            return true;
        };
        let why = self
            .would_be_useless(prefix, tunnel)
            .or_else(|| self.would_take(prefix, tunnel).filter(|_| !may_overlap()));
        if let Some(why) = why {
            self.withheld.push(Withheld { prefix, why });
            return false;
        }
        for outer in &mut self.outer {
            outer.is_covered |= prefix.contains(&outer.remote);
        }
        true
    }

    /// The tunnel that a route leads into.
    fn tunnel_of(&self, route: &RouteDesired) -> Option<IfName> {
        let Forward::Unicast(hops) = &route.forward else {
            return None;
        };
        let mut devices = hops.iter().map(|hop| hop.hop.dev);
        devices.find(|dev| self.tunnels.contains(dev))
    }

    fn would_be_useless(&self, prefix: IpNet, through: IfName) -> Option<String> {
        let of_prefix = |outer: &&Outer| prefix == IpNet::from(outer.remote);
        let outer = self.outer.iter().find(of_prefix)?;
        Some(format!(
            "it is the outer address of tunnel {}, whose encrypted packets it would lead into {through}; deny it in the neighbor's import list",
            outer.tunnel
        ))
    }

    fn would_take(&self, prefix: IpNet, through: IfName) -> Option<String> {
        let (network, dev) = self
            .connected
            .iter()
            .find(|(network, _)| network.contains(&prefix))?;
        Some(format!(
            "it would lead what this host reaches on {dev} ({network}) into {through}; deny it in the neighbor's import list, or set allow-overlap there"
        ))
    }

    /// The routes that keep outer addresses where they are, and what was withheld.
    pub(super) fn finish(
        self,
        ours: &BTreeMap<RouteKey, RouteDesired>,
    ) -> (Vec<(RouteKey, RouteDesired)>, Vec<Withheld>) {
        let mut pins = Vec::new();
        for outer in self.outer.iter().filter(|outer| outer.is_covered) {
            let prefix = IpNet::from(outer.remote);
            let key = |metric| RouteKey {
                table: MAIN_TABLE,
                prefix,
                metric,
            };
            pins.push((key(LAST_METRIC), RouteDesired::blackhole()));
            let way = best(outer.underlay.clone(), self.ours_to(outer.remote, ours));
            // A route of somebody else's for exactly this address needs no other.
            let hops = way.filter(|way| way.prefix != prefix).map(|way| hops(&way));
            if let Some(hops) = hops.filter(|hops| !hops.is_empty()) {
                let mut route = RouteDesired::via(hops);
                route.prefsrc = outer.source;
                pins.push((key(PIN_METRIC), route));
            }
        }
        (pins, self.withheld)
    }

    /// The way to an address by those of our own routes that lead into no tunnel: a router on the LAN may teach us the way out.
    fn ours_to(&self, to: IpAddr, ours: &BTreeMap<RouteKey, RouteDesired>) -> Option<Way> {
        ours.iter()
            .filter(|(key, route)| key.prefix.contains(&to) && self.tunnel_of(route).is_none())
            .max_by_key(|(key, _)| key.prefix.prefix_len())
            .map(|(key, route)| Way {
                prefix: key.prefix,
                metric: key.metric,
                next_hops: match &route.forward {
                    Forward::Unicast(hops) => {
                        hops.iter().map(|hop| (hop.hop.dev, hop.hop.via)).collect()
                    }
                    Forward::Blackhole => Vec::new(),
                },
            })
    }
}

/// The one of two ways that the kernel would take.
fn best(a: Option<Way>, b: Option<Way>) -> Option<Way> {
    let rank = |way: &Way| (way.prefix.prefix_len(), std::cmp::Reverse(way.metric));
    a.into_iter().chain(b).max_by_key(rank)
}

/// A way's next hops. Its gateways were reachable for whoever wrote it, whatever networks the interface has.
fn hops(way: &Way) -> NextHopSet {
    way.next_hops
        .iter()
        .map(|(dev, via)| NextHop {
            hop: Hop {
                dev: *dev,
                via: *via,
                onlink: via.is_some(),
            },
            weight: 1,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: &str = "198.51.100.1";

    fn way(prefix: &str, metric: u32, via: &str) -> Way {
        Way {
            prefix: prefix.parse().unwrap(),
            metric,
            next_hops: vec![("wan0".parse().unwrap(), via.parse().ok())],
        }
    }

    fn guard(underlay: Option<Way>) -> Guard {
        Guard {
            tunnels: ["cw-a", "cw-b"].map(|name| name.parse().unwrap()).into(),
            outer: vec![Outer {
                tunnel: "a".into(),
                remote: REMOTE.parse().unwrap(),
                source: "203.0.113.10".parse().ok(),
                underlay,
                is_covered: false,
            }],
            connected: vec![("172.31.0.0/24".parse().unwrap(), "mgmt0".into())],
            withheld: Vec::new(),
        }
    }

    fn through(dev: &str) -> RouteDesired {
        let via = "10.1.0.1".parse().unwrap();
        RouteDesired::via([NextHop::via(via, dev.parse().unwrap())])
    }

    /// What is installed for these routes, and what is not.
    fn outcome(
        underlay: Option<Way>,
        routes: &[(&str, &str)],
        may_overlap: bool,
    ) -> (Vec<String>, Vec<String>) {
        let mut guard = guard(underlay);
        let mut ours = BTreeMap::new();
        for (prefix, dev) in routes {
            let prefix: IpNet = prefix.parse().unwrap();
            if guard.judge(prefix, &through(dev), || may_overlap) {
                ours.insert(RouteKey::main(prefix), through(dev));
            }
        }
        let (pins, withheld) = guard.finish(&ours);
        ours.extend(pins);
        let installed = ours.iter().map(|(key, route)| {
            let forward = match &route.forward {
                Forward::Blackhole => "blackhole".to_owned(),
                Forward::Unicast(hops) => hops[0].hop.to_string(),
            };
            format!("{} {} {forward}", key.prefix, key.metric)
        });
        let withheld = withheld.iter().map(|one| one.prefix.to_string());
        (installed.collect(), withheld.collect())
    }

    #[test]
    fn a_default_route_over_a_tunnel_goes_with_the_peers_own_way() {
        let by_isp = way("0.0.0.0/0", 100, "203.0.113.1");
        let (installed, withheld) = outcome(Some(by_isp), &[("0.0.0.0/0", "cw-a")], false);
        assert_eq!(
            installed,
            [
                "0.0.0.0/0 20 via 10.1.0.1 dev cw-a",
                "198.51.100.1/32 1 via 203.0.113.1 dev wan0 onlink",
                "198.51.100.1/32 4294967295 blackhole",
            ]
        );
        assert_eq!(withheld, Vec::<String>::new());
    }

    #[test]
    fn without_another_way_what_would_go_into_a_tunnel_is_dropped() {
        let (installed, _) = outcome(None, &[("198.51.100.0/24", "cw-b")], true);
        assert_eq!(
            installed,
            [
                "198.51.100.0/24 20 via 10.1.0.1 dev cw-b",
                "198.51.100.1/32 4294967295 blackhole",
            ]
        );
    }

    #[test]
    fn the_peers_own_address_is_never_routed_into_a_tunnel() {
        let by_isp = || Some(way("0.0.0.0/0", 100, "203.0.113.1"));
        let (installed, withheld) = outcome(by_isp(), &[("198.51.100.1/32", "cw-a")], true);
        assert_eq!(
            (installed.len(), withheld),
            (0, vec!["198.51.100.1/32".into()])
        );
    }

    #[test]
    fn a_way_of_our_own_that_leads_into_no_tunnel_counts() {
        let routes = [("0.0.0.0/0", "lan0"), ("198.51.0.0/16", "cw-a")];
        let (installed, _) = outcome(None, &routes, true);
        assert!(
            installed.contains(&"198.51.100.1/32 1 via 10.1.0.1 dev lan0 onlink".to_owned()),
            "{installed:?}"
        );
    }

    #[test]
    fn an_exact_way_of_somebody_elses_stays_the_only_one() {
        let exact = way("198.51.100.1/32", 0, "203.0.113.1");
        let (installed, _) = outcome(Some(exact), &[("0.0.0.0/0", "cw-a")], false);
        assert_eq!(
            installed,
            [
                "0.0.0.0/0 20 via 10.1.0.1 dev cw-a",
                "198.51.100.1/32 4294967295 blackhole",
            ]
        );
    }

    #[test]
    fn a_link_of_this_host_is_not_given_away_unless_it_is_meant() {
        for (prefix, may_overlap, taken) in [
            ("172.31.0.0/25", false, false),
            ("172.31.0.0/24", false, false),
            ("172.31.0.0/25", true, true),
            ("172.16.0.0/12", false, true),
        ] {
            let (installed, withheld) = outcome(None, &[(prefix, "cw-a")], may_overlap);
            assert_eq!(
                (installed.len(), withheld.len()),
                (usize::from(taken), usize::from(!taken)),
                "{prefix}"
            );
        }
    }

    #[test]
    fn routes_into_no_tunnel_are_nobodys_business() {
        let routes = [("198.51.100.1/32", "lan0"), ("172.31.0.0/25", "lan0")];
        let (installed, withheld) = outcome(None, &routes, false);
        assert_eq!((installed.len(), withheld.len()), (2, 0));
    }
}
