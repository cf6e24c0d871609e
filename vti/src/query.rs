//! Questions to the kernel that the daemon has besides reconciling: which way a packet would go,
//! what an interface is, and what there is to redistribute into BGP.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use nix::errno::Errno;
use serde::Serialize;

use crate::{
    host::Error,
    ifname::IfName,
    link,
    netlink::{Answer, Socket},
    observed::LinkObserved,
    plan::ROUTE_PROTOCOL,
    route::{self, Told},
};

/// `RTN_LOCAL`: the destination is this host itself.
const RTN_LOCAL: u8 = 2;
/// The route protocol numbers of linux/rtnetlink.h that matter here.
const RTPROT_KERNEL: u8 = 2;
const RTPROT_BOOT: u8 = 3;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// A socket for questions, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Lookup {
    socket: Socket,
}

/// The way that a packet would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// The interface.
    pub dev: IfName,
    /// The gateway; `None` if the destination is on the interface's own network.
    pub via: Option<IpAddr>,
    /// The source address that the kernel would choose.
    pub source: Option<IpAddr>,
    /// The largest packet in bytes, headers included: the interface's MTU, or less where the route
    /// or a learnt path MTU says so.
    pub mtu: u32,
    /// The destination is an address of this host.
    pub is_local: bool,
}

/// What other programs and people put into the kernel: what BGP may redistribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Networks of interfaces that are up with a carrier, loopback and link-local ones left out.
    pub connected: BTreeMap<IpNet, IfName>,
    /// Routes in the main table, without connected ones and without ours.
    pub routes: Vec<Foreign>,
    /// The addresses of each interface, without link-local ones.
    pub addresses: BTreeMap<IfName, BTreeSet<IpNet>>,
    /// All interfaces, and whether they are up with a carrier.
    pub usable: BTreeMap<IfName, bool>,
}

/// A route that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// The destination.
    pub prefix: IpNet,
    /// The metric.
    pub metric: u32,
    /// The route protocol number, as in `/etc/iproute2/rt_protos`.
    pub protocol: u8,
    /// Whose it is.
    pub origin: Origin,
    /// Interface and gateway of each next hop; empty for a blackhole.
    pub next_hops: Vec<(IfName, Option<IpAddr>)>,
}

/// Who put a route into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Origin {
    /// A person or a network configuration: `ip route add` (protocol boot) or protocol static.
    Static,
    /// The kernel itself or another program: DHCP, router advertisements, another routing daemon.
    Kernel,
}

impl Lookup {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// The socket can't be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            socket: Socket::open()?,
        })
    }

    /// The way that a packet to `to` would take, from any source or from the given one; `None` if
    /// there is no route.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub fn path(&mut self, to: IpAddr, from: Option<IpAddr>) -> Result<Option<Path>, Error> {
        let told = match self.socket.ask(&route::lookup(to, from), Told::read_any) {
            Ok(told) => told,
            Err(r) if matches!(r.errno, Errno::ENETUNREACH | Errno::EHOSTUNREACH) => None,
            // Blackhole, prohibit and the like say so by an error number too.
            Err(r) if matches!(r.errno, Errno::EINVAL | Errno::EACCES) => None,
            Err(r) => return Err(unanswered("a route", r.errno, r.said)),
        };
        let Some(told) = told else { return Ok(None) };
        let Some(&(index, via, ..)) = told.hops.first() else {
            return Ok(None);
        };
        let Some(dev) = name_of(index) else {
            return Ok(None);
        };
        let device_mtu = self.interface(dev)?.map_or(u32::MAX, |link| link.mtu);
        let mtu = told
            .mtu
            .filter(|&mtu| mtu != 0)
            .map_or(device_mtu, |mtu| mtu.min(device_mtu));
        let is_local = told.kind == RTN_LOCAL;
        Ok(Some(Path {
            dev,
            via,
            source: told.prefsrc,
            mtu,
            is_local,
        }))
    }

    /// The interface of that name, without its addresses; `None` if there is none.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub fn interface(&mut self, dev: IfName) -> Result<Option<LinkObserved>, Error> {
        match self.socket.ask(&link::ask(dev), link::read) {
            Ok(found) => Ok(found.map(|(_, link)| link)),
            Err(refusal) if refusal.errno == Errno::ENODEV => Ok(None),
            Err(refusal) => Err(unanswered("an interface", refusal.errno, refusal.said)),
        }
    }

    /// All interfaces with their addresses.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn interfaces(&mut self) -> Result<BTreeMap<IfName, LinkObserved>, Error> {
        link::observe(&mut self.socket).await
    }

    /// What there is to redistribute.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let links = self.interfaces().await?;
        let mut told = Vec::new();
        let collect = |answer: Option<&Answer<'_>>| match answer {
            None => told.clear(),
            Some(answer) => told.extend(Told::read(answer)),
        };
        self.socket.dump("routes", &route::dump(), collect).await?;
        let names: BTreeMap<u32, IfName> =
            links.iter().map(|(dev, link)| (link.index, *dev)).collect();
        let mut snapshot = Snapshot::default();
        for (dev, link) in &links {
            let addresses: BTreeSet<IpNet> = link
                .addresses
                .iter()
                .filter(|net| is_routable(net))
                .copied()
                .collect();
            let usable = link.up && link.carrier;
            snapshot.usable.insert(*dev, usable);
            if usable {
                snapshot
                    .connected
                    .extend(addresses.iter().map(|net| (net.trunc(), *dev)));
            }
            snapshot.addresses.insert(*dev, addresses);
        }
        let foreign = told
            .iter()
            .filter(|told| told.key.table == crate::plan::MAIN_TABLE);
        snapshot
            .routes
            .extend(foreign.filter_map(|told| as_foreign(told, &names)));
        snapshot
            .routes
            .sort_by_key(|route| (route.prefix, route.metric, route.protocol));
        Ok(snapshot)
    }
}

fn unanswered(what: &'static str, errno: Errno, said: String) -> Error {
    Error::Unanswered { what, errno, said }
}

fn name_of(index: u32) -> Option<IfName> {
    nix::net::if_::if_indextoname(index)
        .ok()?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Neither loopback nor link-local: something that a neighbor could have a use for.
fn is_routable(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => !net.addr().is_loopback() && !net.addr().is_link_local(),
        IpNet::V6(net) => !net.addr().is_loopback() && !net.addr().is_unicast_link_local(),
    }
}

fn as_foreign(told: &Told, names: &BTreeMap<u32, IfName>) -> Option<Foreign> {
    let is_connected = told.protocol == RTPROT_KERNEL
        && told.kind == RTN_UNICAST
        && told.hops.iter().all(|(_, via, ..)| via.is_none())
        && (told.scope == RT_SCOPE_LINK || told.key.prefix.addr().is_ipv6());
    if told.protocol == ROUTE_PROTOCOL || is_connected {
        return None;
    }
    let hop =
        |&(index, via, ..): &(u32, Option<IpAddr>, u8, bool)| Some((*names.get(&index)?, via));
    let origin = match told.protocol {
        RTPROT_BOOT | RTPROT_STATIC => Origin::Static,
        _ => Origin::Kernel,
    };
    Some(Foreign {
        prefix: told.key.prefix,
        metric: told.key.metric,
        protocol: told.protocol,
        origin,
        next_hops: told.hops.iter().filter_map(hop).collect(),
    })
}
