//! The stage: network namespaces and the cables between them, as in the reference site.
//!
//! ```text
//!                 ┌─ switch ─ node-1, node-2, node-3         192.168.200.31 .32 .33, AS 65000
//!  home ─────── gateway ─── isp ─┬─ transit-1 ─ drg-1 ─┐     198.51.100.1, inside 10.1.0.1/31, AS 31898
//!  192.168.2.250    203.0.113.10 ├─ transit-2 ─ drg-2 ─┴ vcn ─ instance
//!                                └─ stranger                 198.51.100.2, inside 10.2.0.1/31; 10.0.0.9
//! ```
//!
//! Nothing here prepares the way for Causeway: gateway, DRGs, VCN and nodes get addresses and a default route, as a machine
//! has them after its installation, and the rest is their daemons' work. The transit routers stand for the way through the
//! internet, so that it can be cut without any interface noticing.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use vti::netns::NetNs;

use super::problem::Problem;

/// A namespace of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Home,
    Gateway,
    Switch,
    Node1,
    Node2,
    Node3,
    Isp,
    Stranger,
    Transit1,
    Transit2,
    Drg1,
    Drg2,
    Vcn,
    Instance,
}

impl Place {
    /// All of them, in the order of their discriminants.
    pub(super) const ALL: [Self; 14] = [
        Self::Home,
        Self::Gateway,
        Self::Switch,
        Self::Node1,
        Self::Node2,
        Self::Node3,
        Self::Isp,
        Self::Stranger,
        Self::Transit1,
        Self::Transit2,
        Self::Drg1,
        Self::Drg2,
        Self::Vcn,
        Self::Instance,
    ];

    /// The Kubernetes nodes.
    pub(super) const NODES: [Self; 3] = [Self::Node1, Self::Node2, Self::Node3];

    /// Where a daemon runs; the gateway last, so that its peers are there when it starts.
    pub(super) const DAEMONS: [Self; 7] = [
        Self::Drg1,
        Self::Drg2,
        Self::Vcn,
        Self::Node1,
        Self::Node2,
        Self::Node3,
        Self::Gateway,
    ];

    /// Its name for people, and the end of its namespace's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Gateway => "gateway",
            Self::Switch => "switch",
            Self::Node1 => "node-1",
            Self::Node2 => "node-2",
            Self::Node3 => "node-3",
            Self::Isp => "isp",
            Self::Stranger => "stranger",
            Self::Transit1 => "transit-1",
            Self::Transit2 => "transit-2",
            Self::Drg1 => "drg-1",
            Self::Drg2 => "drg-2",
            Self::Vcn => "vcn",
            Self::Instance => "instance",
        }
    }
}

/// Addresses that more than one module needs.
pub(super) mod at {
    use std::net::Ipv4Addr;

    /// The host at home.
    pub(in crate::demo) const HOME: Ipv4Addr = Ipv4Addr::new(192, 168, 2, 250);
    /// The gateway's public address.
    pub(in crate::demo) const WAN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
    /// The DRGs' public addresses.
    pub(in crate::demo) const DRGS: [Ipv4Addr; 2] = [
        Ipv4Addr::new(198, 51, 100, 1),
        Ipv4Addr::new(198, 51, 100, 2),
    ];
    /// The clouds' ends inside the tunnels.
    pub(in crate::demo) const INSIDE: [Ipv4Addr; 2] =
        [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1)];
    /// The instance in the VCN.
    pub(in crate::demo) const INSTANCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    /// The nodes.
    pub(in crate::demo) const NODES: [Ipv4Addr; 3] = [
        Ipv4Addr::new(192, 168, 200, 31),
        Ipv4Addr::new(192, 168, 200, 32),
        Ipv4Addr::new(192, 168, 200, 33),
    ];
    /// The service that every node announces.
    pub(in crate::demo) const SERVICE: Ipv4Addr = Ipv4Addr::new(172, 16, 200, 1);
    /// Somebody on the internet.
    pub(in crate::demo) const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
}

/// One end of a cable: where, what the interface is called there, and its address, if it has one.
type End = (Place, &'static str, &'static str);

/// Every cable.
const CABLES: [(End, End); 15] = {
    use Place::*;
    [
        (
            (Home, "eth0", "192.168.2.250/24"),
            (Gateway, "lan0", "192.168.2.1/24"),
        ),
        // The second network that the site tells the cloud of.
        (
            (Home, "eth1", "172.24.0.10/24"),
            (Gateway, "lan24", "172.24.0.1/24"),
        ),
        (
            (Switch, "uplink", ""),
            (Gateway, "lan200", "192.168.200.1/24"),
        ),
        ((Switch, "port1", ""), (Node1, "eth0", "192.168.200.31/24")),
        ((Switch, "port2", ""), (Node2, "eth0", "192.168.200.32/24")),
        ((Switch, "port3", ""), (Node3, "eth0", "192.168.200.33/24")),
        (
            (Gateway, "wan0", "203.0.113.10/24"),
            (Isp, "customer", "203.0.113.1/24"),
        ),
        (
            (Stranger, "eth0", "192.0.2.66/24"),
            (Isp, "others", "192.0.2.1/24"),
        ),
        (
            (Isp, "transit1", "100.64.1.0/31"),
            (Transit1, "isp", "100.64.1.1/31"),
        ),
        (
            (Isp, "transit2", "100.64.2.0/31"),
            (Transit2, "isp", "100.64.2.1/31"),
        ),
        (
            (Transit1, "drg", "198.51.100.0/31"),
            (Drg1, "wan0", "198.51.100.1/31"),
        ),
        (
            (Transit2, "drg", "198.51.100.3/31"),
            (Drg2, "wan0", "198.51.100.2/31"),
        ),
        (
            (Drg1, "vcn0", "172.31.1.0/31"),
            (Vcn, "drg1", "172.31.1.1/31"),
        ),
        (
            (Drg2, "vcn0", "172.31.2.0/31"),
            (Vcn, "drg2", "172.31.2.1/31"),
        ),
        (
            (Vcn, "subnet0", "10.0.0.1/16"),
            (Instance, "eth0", "10.0.0.9/16"),
        ),
    ]
};

/// Further addresses: the service on every node, and a network of the cloud that the site does not believe.
const ADDRESSES: [End; 4] = [
    (Place::Node1, "lo", "172.16.200.1/32"),
    (Place::Node2, "lo", "172.16.200.1/32"),
    (Place::Node3, "lo", "172.16.200.1/32"),
    (Place::Vcn, "subnet0", "10.99.0.1/24"),
];

/// Routes: where, to what, by way of whom.
const ROUTES: [(Place, &str, [u8; 4]); 13] = {
    use Place::*;
    [
        (Home, "0.0.0.0/0", [192, 168, 2, 1]),
        (Gateway, "0.0.0.0/0", [203, 0, 113, 1]),
        (Node1, "0.0.0.0/0", [192, 168, 200, 1]),
        (Node2, "0.0.0.0/0", [192, 168, 200, 1]),
        (Node3, "0.0.0.0/0", [192, 168, 200, 1]),
        (Stranger, "0.0.0.0/0", [192, 0, 2, 1]),
        (Isp, "198.51.100.0/31", [100, 64, 1, 1]),
        (Isp, "198.51.100.2/31", [100, 64, 2, 1]),
        (Transit1, "0.0.0.0/0", [100, 64, 1, 0]),
        (Transit2, "0.0.0.0/0", [100, 64, 2, 0]),
        (Drg1, "0.0.0.0/0", [198, 51, 100, 0]),
        (Drg2, "0.0.0.0/0", [198, 51, 100, 3]),
        (Instance, "0.0.0.0/0", [10, 0, 0, 1]),
    ]
};

/// The routers that are not Causeway's.
const ROUTERS: [Place; 3] = [Place::Isp, Place::Transit1, Place::Transit2];

/// The namespaces, wired up. They go when this is dropped.
#[derive(Debug)]
pub(super) struct Topology {
    /// In the order of [`Place::ALL`].
    namespaces: Vec<NetNs>,
}

impl Topology {
    /// Builds it. `prefix` sets this demo's namespaces apart from those of others.
    ///
    /// # Errors
    /// What the kernel refuses; what was built until then is gone.
    pub(super) fn build(prefix: &str) -> Result<Self, Problem> {
        let named = Place::ALL
            .iter()
            .map(|place| NetNs::create(&format!("{prefix}{}", place.name())));
        let topology = Self {
            namespaces: named.collect::<Result<_, _>>()?,
        };
        for router in ROUTERS {
            let router = topology.at(router);
            router.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
            router.sysctl("net/ipv4/conf/default/rp_filter", "0")?;
            router.sysctl("net/ipv4/ip_forward", "1")?;
        }
        for (near, far) in CABLES {
            topology
                .at(near.0)
                .veth(near.1, (topology.at(far.0), far.1))?;
            topology.address(near)?;
            topology.address(far)?;
        }
        topology
            .at(Place::Switch)
            .bridge("vlan200", &["uplink", "port1", "port2", "port3"])?;
        for end in ADDRESSES {
            topology.address(end)?;
        }
        for (place, prefix, via) in ROUTES {
            topology
                .at(place)
                .route(network(prefix)?, IpAddr::V4(Ipv4Addr::from(via)))?;
        }
        Ok(topology)
    }

    /// The namespace of a place.
    pub(super) fn at(&self, place: Place) -> &NetNs {
        &self.namespaces[place as usize]
    }

    /// Cuts or mends the way to the first DRG. Packets vanish on it: no interface goes down, and nobody sends ICMP, because a
    /// host that does not forward drops what is not for it in silence.
    pub(super) fn set_first_way(&self, open: bool) -> Result<(), Problem> {
        self.at(Place::Transit1)
            .sysctl("net/ipv4/ip_forward", if open { "1" } else { "0" })?;
        Ok(())
    }

    /// How much there is.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.namespaces.len(), CABLES.len())
    }

    fn address(&self, (place, interface, address): End) -> Result<(), Problem> {
        if !address.is_empty() {
            self.at(place).address(interface, network(address)?)?;
        }
        Ok(())
    }
}

fn network(text: &str) -> Result<IpNet, Problem> {
    text.parse()
        .map_err(|error| Problem::Unverified(format!("{text}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_place_is_where_its_number_says() {
        for (number, place) in Place::ALL.iter().enumerate() {
            assert_eq!(*place as usize, number);
        }
        let names: BTreeSet<_> = Place::ALL.iter().map(|place| place.name()).collect();
        assert_eq!(names.len(), Place::ALL.len());
    }

    #[test]
    fn cables_end_in_one_network_and_interfaces_have_one_cable() {
        let mut taken = BTreeSet::new();
        for (near, far) in CABLES {
            assert!(
                taken.insert((near.0, near.1)) && taken.insert((far.0, far.1)),
                "{near:?} {far:?}"
            );
            assert!(near.1.len() <= 15 && far.1.len() <= 15);
            if !near.2.is_empty() && !far.2.is_empty() {
                assert_eq!(
                    network(near.2).unwrap().trunc(),
                    network(far.2).unwrap().trunc()
                );
            }
        }
    }
}
