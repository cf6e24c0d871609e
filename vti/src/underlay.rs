//! The way to an address as it is without us: what carries the encrypted packets, whatever routes we add above it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{ifname::IfName, query::Snapshot};

/// A route of somebody else's, or a network that this host is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The destination that it is for.
    pub prefix: IpNet,
    /// Its priority: lower wins among equal prefixes.
    pub metric: u32,
    /// Interface and gateway of each next hop; empty where packets are dropped.
    pub next_hops: Vec<(IfName, Option<IpAddr>)>,
}

/// The way to `to` in the main table: the longest prefix wins, then the lowest metric. Our own routes take no part, nor do
/// routes over the interfaces that `is_tunnel` names: what carries a tunnel cannot lead through one.
pub fn underlay(
    snapshot: &Snapshot,
    to: IpAddr,
    is_tunnel: impl Fn(IfName) -> bool,
) -> Option<Way> {
    let connected = snapshot.connected.iter().map(|(prefix, dev)| Way {
        prefix: *prefix,
        metric: 0,
        next_hops: vec![(*dev, None)],
    });
    let routes = snapshot.routes.iter().map(|route| Way {
        prefix: route.prefix,
        metric: route.metric,
        next_hops: route.next_hops.clone(),
    });
    connected
        .chain(routes)
        .filter(|way| way.prefix.contains(&to))
        .filter(|way| !way.next_hops.iter().any(|(dev, _)| is_tunnel(*dev)))
        .max_by_key(|way| (way.prefix.prefix_len(), std::cmp::Reverse(way.metric)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Foreign, Origin};

    fn dev(name: &str) -> IfName {
        name.parse().unwrap()
    }

    fn snapshot(connected: &[(&str, &str)], routes: &[(&str, u32, &str, &str)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (prefix, name) in connected {
            snapshot
                .connected
                .insert(prefix.parse().unwrap(), dev(name));
        }
        for (prefix, metric, via, name) in routes {
            snapshot.routes.push(Foreign {
                prefix: prefix.parse().unwrap(),
                metric: *metric,
                protocol: 4,
                origin: Origin::Static,
                next_hops: vec![(dev(name), via.parse().ok())],
            });
        }
        snapshot
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric_and_never_a_tunnel() {
        let all = snapshot(
            &[("203.0.113.0/24", "wan0"), ("198.51.100.0/28", "dmz0")],
            &[
                ("0.0.0.0/0", 100, "203.0.113.1", "wan0"),
                ("0.0.0.0/0", 200, "192.0.2.1", "wan1"),
                ("198.51.100.0/24", 0, "192.168.2.9", "lan0"),
                ("198.51.100.1/32", 0, "", "cw-oci-1"),
            ],
        );
        let via = |to: &str| {
            let way = underlay(&all, to.parse().unwrap(), |dev| {
                dev.as_str().starts_with("cw-")
            });
            way.map(|way| {
                let (dev, via) = way.next_hops[0];
                (way.prefix.to_string(), dev.to_string(), via.is_some())
            })
        };
        let some = |prefix: &str, dev: &str, via| Some((prefix.to_owned(), dev.to_owned(), via));
        assert_eq!(via("192.0.2.77"), some("0.0.0.0/0", "wan0", true));
        assert_eq!(via("198.51.100.200"), some("198.51.100.0/24", "lan0", true));
        assert_eq!(via("198.51.100.1"), some("198.51.100.0/28", "dmz0", false));
        assert_eq!(via("203.0.113.7"), some("203.0.113.0/24", "wan0", false));
    }

    #[test]
    fn without_any_route_there_is_no_way() {
        let none = snapshot(&[("192.168.2.0/24", "lan0")], &[]);
        let to = "198.51.100.1".parse().unwrap();
        assert_eq!(underlay(&none, to, |_| false), None);
        let only_a_tunnel = snapshot(&[], &[("0.0.0.0/0", 0, "10.1.0.1", "cw-oci-1")]);
        assert_eq!(underlay(&only_a_tunnel, to, |_| true), None);
    }
}
