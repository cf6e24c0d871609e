//! Routes that a process before this one left in the kernel, and that go on forwarding until BGP has said again what is true.
//!
//! Without this a start after a crash would sweep every route first and learn it again a moment later. Each next hop stays until the
//! neighbor behind it has sent all that it has, until its tunnel dies, or until the speaker waits for nobody any longer
//! (RFC 4724, section 4.1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use vti::observed::{Nexthop, NexthopId, Observed, RouteTarget};
use vti::plan::{NextHop, RouteKey};

/// The routes, by destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inherited(BTreeMap<IpNet, BTreeSet<NextHop>>);

impl Inherited {
    /// What of the host's state is ours and forwards packets. Routes in other tables or of another metric than we give are not among it:
    /// they are left to the reconciler, which sweeps them.
    pub(crate) fn of(observed: &Observed) -> Self {
        let routes = observed.routes.iter().filter_map(|(key, route)| {
            let hops = match &route.target {
                RouteTarget::Nexthop(id) => members(observed, *id),
                RouteTarget::Inline(hops) => hops.iter().copied().collect(),
                RouteTarget::Blackhole | RouteTarget::Unknown => BTreeSet::new(),
            };
            let kept = *key == RouteKey::main(key.prefix) && !hops.is_empty();
            kept.then_some((key.prefix, hops))
        });
        Self(routes.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.0.keys()
    }

    /// Whether one of them leads into this interface.
    pub(super) fn leads_into(&self, name: &str) -> bool {
        let mut hops = self.0.values().flatten();
        hops.any(|next_hop| next_hop.hop.dev.as_str() == name)
    }

    pub(super) fn hops(&self, prefix: &IpNet) -> impl Iterator<Item = NextHop> {
        self.0.get(prefix).into_iter().flatten().copied()
    }

    /// The neighbor at this address has said everything.
    pub(super) fn forget_via(&mut self, address: IpAddr) {
        self.retain(|next_hop| next_hop.hop.via != Some(address));
    }

    /// The tunnel of this interface carries nothing any more.
    pub(super) fn forget_interface(&mut self, name: &str) {
        self.retain(|next_hop| next_hop.hop.dev.as_str() != name);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn retain(&mut self, stays: impl Fn(&NextHop) -> bool) {
        self.0.retain(|_, hops| {
            hops.retain(&stays);
            !hops.is_empty()
        });
    }
}

/// The ways out that a nexthop object stands for.
fn members(observed: &Observed, id: NexthopId) -> BTreeSet<NextHop> {
    let single = |id: NexthopId, weight: u8| match observed.nexthops.get(&id) {
        Some(Nexthop::Single(hop)) => Some(NextHop { hop: *hop, weight }),
        _ => None,
    };
    match observed.nexthops.get(&id) {
        Some(Nexthop::Group(members)) => members
            .iter()
            .filter_map(|member| single(member.id, member.weight))
            .collect(),
        _ => single(id, 1).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use vti::observed::{Member, RouteObserved};
    use vti::plan::Hop;

    use super::*;

    fn prefix(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn hop(via: &str, dev: &str) -> Hop {
        NextHop::via(via.parse().unwrap(), dev.parse().unwrap()).hop
    }

    fn to(id: u32) -> RouteObserved {
        let target = RouteTarget::Nexthop(NexthopId(id));
        let prefsrc = None;
        RouteObserved { target, prefsrc }
    }

    fn found() -> Observed {
        let mut observed = Observed::default();
        let objects = [
            (1, Nexthop::Single(hop("192.168.200.31", "lan200"))),
            (2, Nexthop::Single(hop("192.168.200.32", "lan200"))),
            (3, Nexthop::Single(hop("10.1.0.1", "cw-oci-1"))),
            (
                4,
                Nexthop::Group(vec![
                    Member {
                        id: NexthopId(1),
                        weight: 1,
                    },
                    Member {
                        id: NexthopId(2),
                        weight: 1,
                    },
                ]),
            ),
        ];
        let objects = objects.map(|(id, nexthop)| (NexthopId(id), nexthop));
        observed.nexthops.extend(objects);
        observed
            .routes
            .insert(RouteKey::main(prefix("172.16.200.1/32")), to(4));
        observed
            .routes
            .insert(RouteKey::main(prefix("10.0.0.0/16")), to(3));
        let elsewhere = RouteKey {
            table: 100,
            ..RouteKey::main(prefix("10.9.0.0/16"))
        };
        observed.routes.insert(elsewhere, to(1));
        let blackhole = RouteObserved {
            target: RouteTarget::Blackhole,
            prefsrc: None,
        };
        observed
            .routes
            .insert(RouteKey::main(prefix("10.8.0.0/16")), blackhole);
        observed
    }

    fn vias(inherited: &Inherited, text: &str) -> Vec<String> {
        let prefix = prefix(text);
        let vias = inherited.hops(&prefix).filter_map(|it| it.hop.via);
        vias.map(|via| via.to_string()).collect()
    }

    #[test]
    fn what_forwards_in_our_table_is_inherited_with_all_its_ways() {
        let inherited = Inherited::of(&found());
        assert_eq!(inherited.len(), 2);
        let nodes = ["192.168.200.31", "192.168.200.32"];
        assert_eq!(vias(&inherited, "172.16.200.1/32"), nodes);
        assert_eq!(vias(&inherited, "10.0.0.0/16"), ["10.1.0.1"]);
    }

    #[test]
    fn each_way_goes_with_its_neighbor_or_its_tunnel() {
        let mut inherited = Inherited::of(&found());
        inherited.forget_via("192.168.200.31".parse().unwrap());
        assert_eq!(vias(&inherited, "172.16.200.1/32"), ["192.168.200.32"]);
        inherited.forget_interface("cw-oci-1");
        assert_eq!(inherited.len(), 1);
        inherited.forget_via("192.168.200.32".parse().unwrap());
        assert!(inherited.is_empty());
    }
}
