//! What the host should look like: a value that the daemon builds from the site and from what it
//! learnt, and that says nothing about how to get there (that is [`crate::diff`]).
//!
//! A TUN is made by the data plane that holds it, so one that is desired is expected to exist; interfaces whose packets the kernel
//! encrypts are made by the reconciler. Everything that the reconciler makes carries a mark, so that a later run can
//! tell it from what belongs to others: [`ROUTE_PROTOCOL`], [`ALIAS_MARK`] and [`NEXTHOP_IDS`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr},
    ops::{Deref, RangeInclusive},
    sync::Arc,
};

use ipnet::IpNet;
use serde::Serialize;

use crate::{ifname::IfName, sysctl::Sysctl};

/// The route protocol number of our routes and nexthop objects (`proto 210` in `ip route`).
/// Nobody else has it: see `docs/adr/0004-route-protocol.md`.
pub const ROUTE_PROTOCOL: u8 = 210;

/// How the alias of an interface of ours begins (`ip link set … alias causeway:…`).
pub const ALIAS_MARK: &str = "causeway:";

/// The ids of our nexthop objects. The kernel hands out ids from 1 upwards, as does FRR, so a range
/// far above them does not meet either. They begin like the protocol number, for the eye.
pub const NEXTHOP_IDS: RangeInclusive<u32> = 210_000_000..=210_999_999;

/// The metric of our routes unless a site says otherwise: worse than connected and static routes
/// (0), which an operator put there by hand; better than what DHCP clients and NetworkManager
/// install (100 and above). It is FRR's value too.
pub const DEFAULT_METRIC: u32 = 20;

/// The kernel's main routing table, `RT_TABLE_MAIN`.
pub const MAIN_TABLE: u32 = 254;

/// The host as it should be. The default value asks for nothing: applied, it removes all that is
/// ours and gives every sysctl back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Tunnel interfaces, by name. One of ours that is not listed is deleted as a leftover.
    pub links: BTreeMap<IfName, LinkDesired>,
    /// Kernel settings. What is not listed and was changed by us gets its old value back.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// Routes. One of ours that is not listed is deleted.
    #[serde(serialize_with = "serialize_routes")]
    pub routes: BTreeMap<RouteKey, RouteDesired>,
}

impl Desired {
    /// The settings that every gateway needs: IPv4 forwarding (IPv6 as well if `ipv6`), and ECMP
    /// that hashes ports too, so that flows between the same two hosts spread over the tunnels.
    pub fn with_gateway_sysctls(mut self, ipv6: bool) -> Self {
        self.sysctls.insert(Sysctl::Ipv4Forward, "1".into());
        self.sysctls.insert(Sysctl::Ipv4MultipathHash, "1".into());
        if ipv6 {
            self.sysctls.insert(Sysctl::Ipv6Forward, "1".into());
            self.sysctls.insert(Sysctl::Ipv6MultipathHash, "1".into());
        }
        self
    }

    /// Adds a tunnel interface with the settings that it needs:
    /// - loose reverse-path filtering, since clouds answer over another tunnel than the one that was asked through. The kernel
    ///   filters by the maximum of `all` and the interface's own value, so 2 here is loose even where `all` is 1 (strict);
    /// - forwarding of what comes out of it, as far as the host forwards at all ([`Self::with_gateway_sysctls`]): a host whose
    ///   default for new interfaces is 0 would drop it;
    /// - `disable_xfrm` 0 where the kernel encrypts: with 1 the kernel refuses to encrypt what is routed into the interface, and
    ///   drops it;
    /// - `disable_policy` 1 on a `vti`: its packets lose their security path when they are decrypted, so policies of others that
    ///   match everything would drop them as unprotected. The policies of an `xfrm` interface are found by its `if_id`, never those
    ///   of others, so there it stays 0 and the kernel goes on checking.
    pub fn with_tunnel(mut self, name: IfName, link: LinkDesired) -> Self {
        let mut set = |key, value: &str| self.sysctls.insert(key, value.into());
        set(Sysctl::RpFilter(name), "2");
        set(Sysctl::Forwarding(name), "1");
        if link.kind != LinkKind::Tun {
            set(Sysctl::DisableXfrm(name), "0");
        }
        if let LinkKind::Vti { .. } = link.kind {
            set(Sysctl::DisablePolicy(name), "1");
        }
        self.links.insert(name, link);
        self
    }

    /// Adds a route, or puts it in place of the one with the same key.
    pub fn with_route(mut self, key: RouteKey, route: RouteDesired) -> Self {
        self.routes.insert(key, route);
        self
    }
}

/// What a tunnel interface is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum LinkKind {
    /// A TUN, which the userspace plane makes and holds.
    #[default]
    Tun,
    /// A `vti` interface, found by the outer addresses of what arrives, with its key as mark.
    Vti {
        /// Input and output key.
        key: u32,
        /// Our outer address, once it is known.
        local: Option<Ipv4Addr>,
        /// The peer's outer address.
        remote: Ipv4Addr,
    },
    /// An `xfrm` interface, found by the `if_id` of the state that decrypted what arrives.
    Xfrm {
        /// The number that its policies and states carry.
        if_id: u32,
    },
}

/// A tunnel interface as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkDesired {
    /// What makes it.
    pub kind: LinkKind,
    /// The interface's alias; it must begin with [`ALIAS_MARK`].
    pub alias: String,
    /// Addresses with their prefix lengths, for example 10.1.0.0/31. Any other is removed.
    pub addresses: BTreeSet<IpNet>,
    /// The interface's MTU in bytes.
    pub mtu: u32,
}

impl LinkDesired {
    /// An interface for the tunnel of that name, whose alias is `causeway:<tunnel>`.
    pub fn new(tunnel: &str, mtu: u32, addresses: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            kind: LinkKind::default(),
            alias: format!("{ALIAS_MARK}{tunnel}"),
            addresses: addresses.into_iter().collect(),
            mtu,
        }
    }

    /// The same, made of something else than a TUN.
    pub fn of(self, kind: LinkKind) -> Self {
        Self { kind, ..self }
    }
}

/// What tells one route from another in the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouteKey {
    /// The routing table.
    pub table: u32,
    /// The destination, without host bits.
    pub prefix: IpNet,
    /// The route's priority: lower wins.
    pub metric: u32,
}

impl RouteKey {
    /// A key in the main table with our usual metric. Host bits of `prefix` are cleared.
    pub fn main(prefix: IpNet) -> Self {
        Self {
            table: MAIN_TABLE,
            prefix: prefix.trunc(),
            metric: DEFAULT_METRIC,
        }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        write!(f, " metric {}", self.metric)
    }
}

/// A route as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteDesired {
    /// What happens to a packet.
    pub forward: Forward,
    /// The source address of packets that the gateway itself sends by this route.
    pub prefsrc: Option<IpAddr>,
}

impl RouteDesired {
    /// A route by way of these next hops.
    pub fn via(next_hops: impl Into<NextHopSet>) -> Self {
        Self {
            forward: Forward::Unicast(next_hops.into()),
            prefsrc: None,
        }
    }

    /// A route that drops in silence.
    pub fn blackhole() -> Self {
        Self {
            forward: Forward::Blackhole,
            prefsrc: None,
        }
    }
}

/// What a route does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Forward {
    /// Drops it in silence.
    Blackhole,
    /// Sends it to one of the next hops, chosen by a hash of the flow. Next hops that cannot be
    /// used now are left out; if none is left, the route is withheld.
    Unicast(NextHopSet),
}

/// The next hops of a route: sorted, without repetition, and shared, because thousands of routes
/// have the same few sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopSet(Arc<[NextHop]>);

impl FromIterator<NextHop> for NextHopSet {
    fn from_iter<I: IntoIterator<Item = NextHop>>(iter: I) -> Self {
        let mut hops: Vec<NextHop> = iter.into_iter().collect();
        hops.sort_unstable();
        hops.dedup_by_key(|h| h.hop);
        Self(hops.into())
    }
}

impl<const N: usize> From<[NextHop; N]> for NextHopSet {
    fn from(hops: [NextHop; N]) -> Self {
        hops.into_iter().collect()
    }
}

impl Deref for NextHopSet {
    type Target = [NextHop];

    fn deref(&self) -> &[NextHop] {
        &self.0
    }
}

impl Serialize for NextHopSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// One of a route's next hops, with its share of the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NextHop {
    /// Where to.
    pub hop: Hop,
    /// The share, relative to the other weights of the set. The kernel takes 1 to 255; 0 counts as 1.
    pub weight: u8,
}

impl NextHop {
    /// The gateway `via`, reached through `dev`, with weight 1.
    pub fn via(via: IpAddr, dev: IfName) -> Self {
        Self {
            hop: Hop {
                dev,
                via: Some(via),
                onlink: false,
            },
            weight: 1,
        }
    }

    /// The interface itself, without a gateway: only for point-to-point interfaces.
    pub fn dev(dev: IfName) -> Self {
        Self {
            hop: Hop {
                dev,
                via: None,
                onlink: false,
            },
            weight: 1,
        }
    }
}

/// A way out of this host: an interface and, unless it is point to point, a gateway on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Hop {
    /// The interface.
    pub dev: IfName,
    /// The gateway.
    pub via: Option<IpAddr>,
    /// Take the gateway as reachable on the interface, whatever the addresses say.
    pub onlink: bool,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(via) = self.via {
            write!(f, "via {via} ")?;
        }
        write!(f, "dev {}", self.dev)?;
        if self.onlink {
            f.write_str(" onlink")
        } else {
            Ok(())
        }
    }
}

/// A map's keys must be text in JSON, so routes are written as a list of pairs.
fn serialize_routes<S: serde::Serializer>(
    routes: &BTreeMap<RouteKey, RouteDesired>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(routes.iter())
}
