//! What the host looks like: the value that [`crate::host::Host::observe`] brings back, and the
//! model of how each [`Op`] changes it.
//!
//! The model serves twice. The reconciler keeps its idea of the host up to date with it, so that a
//! change of one route needs no dump of all; and [`crate::fake::FakeHost`] is this model with
//! nothing behind it. It refuses what the kernel refuses, with the kernel's error numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use nix::errno::Errno;

use crate::{
    ifname::IfName,
    linkinfo::{Fit, Make},
    op::Op,
    plan::{ALIAS_MARK, Hop, LinkDesired, LinkKind, NextHopSet, RouteKey},
    sysctl::{Saved, Sysctl},
};

/// The host as it is: what is ours in full, and of the rest what we must not collide with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// How routes are written on this kernel.
    pub style: RouteStyle,
    /// All interfaces, by name.
    pub links: BTreeMap<IfName, LinkObserved>,
    /// The kernel's settings that exist on this host, with their present values.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// The settings that we changed, now or in a run before this one.
    pub saved: BTreeMap<Sysctl, Saved>,
    /// Our nexthop objects.
    pub nexthops: BTreeMap<NexthopId, Nexthop>,
    /// Ids within our range that somebody else uses.
    pub foreign_nexthops: BTreeSet<NexthopId>,
    /// Our routes.
    pub routes: BTreeMap<RouteKey, RouteObserved>,
    /// The routes of others: key to route protocol number.
    pub foreign_routes: BTreeMap<RouteKey, u8>,
}

/// How next hops are given to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteStyle {
    /// As objects of their own that routes refer to (Linux 5.3 and later).
    #[default]
    NexthopObjects,
    /// Written into each route.
    Multipath,
}

/// The id of a nexthop object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NexthopId(pub u32);

impl std::fmt::Display for NexthopId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkObserved {
    /// The kernel's number for it.
    pub index: u32,
    /// Its kind as the kernel names it (`tun`, `vti`, `xfrm`, `veth` …); empty for hardware.
    pub kind: String,
    /// What it is made of, if it is of a kind that carries tunnels.
    pub make: Option<Make>,
    /// Its alias; empty if it has none.
    pub alias: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// It has a carrier (for a TUN: a process has it open). The kernel says so only while it is up.
    pub carrier: bool,
    /// Its addresses with their prefix lengths.
    pub addresses: BTreeSet<IpNet>,
    /// Destinations that are reached on it without a gateway, by routes that are not ours.
    pub on_link: BTreeSet<IpNet>,
    /// This very interface was ours when it was looked at before, whatever its alias says now.
    pub remembered: bool,
}

/// The kernel gives each IPv6 interface an fe80:: address of its own accord.
pub(crate) fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

impl LinkObserved {
    /// An interface as it is when it has just been made; which MTU the kernel gives it is not known.
    pub(crate) fn made(kind: LinkKind) -> Self {
        let name = match kind {
            LinkKind::Tun => "tun",
            LinkKind::Vti { .. } => "vti",
            LinkKind::Xfrm { .. } => "xfrm",
        };
        Self {
            kind: name.to_owned(),
            make: Some(Make::of(kind)),
            ..Self::default()
        }
    }

    /// It carries our mark, or did when it was looked at before.
    pub fn is_ours(&self) -> bool {
        self.alias.starts_with(ALIAS_MARK) || self.remembered
    }

    /// It is nobody's, and exactly what is wanted: an interface as the data plane makes it, or as a person makes it beforehand. One
    /// that has another key, an alias, or an address that is not wanted belongs to somebody.
    pub fn is_adoptable(&self, want: &LinkDesired) -> bool {
        let is_free = |net: &IpNet| want.addresses.contains(net) || is_link_local(net);
        self.alias.is_empty()
            && self.fit(want.kind) == Fit::Same
            && self.addresses.iter().all(is_free)
    }

    /// How far it is from what it should be made of.
    pub(crate) fn fit(&self, wanted: LinkKind) -> Fit {
        self.make.map_or(Fit::Other, |make| make.fit(wanted))
    }

    /// The gateway can be reached on this interface without another one.
    pub fn reaches(&self, gateway: IpAddr) -> bool {
        self.addresses
            .iter()
            .chain(&self.on_link)
            .any(|net| net.contains(&gateway))
    }
}

/// A nexthop object of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nexthop {
    /// One way out.
    Single(Hop),
    /// A set of single ones with their weights, sorted by id.
    Group(Vec<Member>),
    /// Something that we never make; it is swept.
    Unknown,
}

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The single nexthop object.
    pub id: NexthopId,
    /// Its share, 1 to 255.
    pub weight: u8,
}

/// A route of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteObserved {
    /// What happens to a packet.
    pub target: RouteTarget,
    /// The preferred source address.
    pub prefsrc: Option<IpAddr>,
}

/// What a route points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Nowhere: packets are dropped in silence.
    Blackhole,
    /// A nexthop object, single or group.
    Nexthop(NexthopId),
    /// Next hops within the route itself.
    Inline(NextHopSet),
    /// Something that we never make; it is replaced or swept.
    Unknown,
}

impl Observed {
    /// Changes the model as the kernel would change.
    ///
    /// # Errors
    /// The kernel's error number, where it would refuse; the model is unchanged then.
    pub fn apply(&mut self, op: &Op) -> Result<(), Errno> {
        match op {
            Op::SetSysctl { key, from, to } => self.set_sysctl(*key, from, to),
            Op::RestoreSysctl { key, to } => {
                self.write_sysctl(*key, to)?;
                self.saved.remove(key);
                Ok(())
            }
            Op::ForgetSysctl { key } => self.saved.remove(key).map(drop).ok_or(Errno::ENOENT),
            Op::AddLink { dev, kind } => self.add_link(*dev, *kind),
            Op::ChangeLink { dev, kind } => {
                let link = self.link(dev)?;
                if link.fit(*kind) == Fit::Other {
                    return Err(Errno::EOPNOTSUPP);
                }
                link.make = Some(Make::of(*kind));
                Ok(())
            }
            Op::SetAlias { dev, alias } => {
                self.link(dev)?.alias.clone_from(alias);
                Ok(())
            }
            Op::SetMtu { dev, mtu } => {
                self.link(dev)?.mtu = *mtu;
                Ok(())
            }
            Op::SetUp { dev } => {
                let link = self.link(dev)?;
                (link.up, link.carrier) = (true, true);
                Ok(())
            }
            Op::AddAddress { dev, address } => {
                self.link(dev)?.addresses.insert(*address);
                Ok(())
            }
            Op::DelAddress { dev, address } => {
                let removed = self.link(dev)?.addresses.remove(address);
                self.flush_sources();
                removed.then_some(()).ok_or(Errno::EADDRNOTAVAIL)
            }
            Op::DelLink { dev } => self.delete_link(dev),
            Op::AddNexthop { id, hop } => self.add_single(*id, *hop),
            Op::AddGroup { id, members } => self.add_group(*id, members, Presence::Absent),
            Op::ReplaceGroup { id, members } => self.add_group(*id, members, Presence::Present),
            Op::DelNexthop { id } => {
                self.nexthops
                    .contains_key(id)
                    .then_some(())
                    .ok_or(Errno::ENOENT)?;
                self.forget_nexthops(&BTreeSet::from([*id]));
                Ok(())
            }
            Op::AddRoute { key, route } => self.put_route(*key, route, Presence::Absent),
            Op::ReplaceRoute { key, route } => self.put_route(*key, route, Presence::Present),
            Op::DelRoute { key } => self.routes.remove(key).map(drop).ok_or(Errno::ESRCH),
        }
    }

    fn link(&mut self, dev: &IfName) -> Result<&mut LinkObserved, Errno> {
        self.links.get_mut(dev).ok_or(Errno::ENODEV)
    }

    fn set_sysctl(&mut self, key: Sysctl, from: &str, to: &str) -> Result<(), Errno> {
        self.write_sysctl(key, to)?;
        let saved = self.saved.entry(key).or_insert_with(|| Saved {
            original: from.to_owned(),
            ours: String::new(),
        });
        to.clone_into(&mut saved.ours);
        Ok(())
    }

    fn write_sysctl(&mut self, key: Sysctl, to: &str) -> Result<(), Errno> {
        let value = self.sysctls.get_mut(&key).ok_or(Errno::ENOENT)?;
        let before = std::mem::replace(value, to.to_owned());
        if key == Sysctl::Ipv4Forward && before != to {
            // The kernel switches every interface along with it.
            for (key, value) in &mut self.sysctls {
                if matches!(key, Sysctl::Forwarding(_)) {
                    to.clone_into(value);
                }
            }
        }
        Ok(())
    }

    fn add_link(&mut self, dev: IfName, kind: LinkKind) -> Result<(), Errno> {
        if self.links.contains_key(&dev) {
            return Err(Errno::EEXIST);
        }
        self.links.insert(dev, LinkObserved::made(kind));
        for default in Sysctl::of_new_interfaces() {
            if let Some(value) = self.sysctls.get(&default) {
                self.sysctls.insert(default.on(dev), value.clone());
            }
        }
        Ok(())
    }

    /// The interface goes, and with it what hangs on it: its settings, its nexthop objects, the
    /// routes that have no other way out.
    pub fn delete_link(&mut self, dev: &IfName) -> Result<(), Errno> {
        self.links.remove(dev).ok_or(Errno::ENODEV)?;
        self.sysctls.retain(|key, _| key.interface() != Some(*dev));
        self.flush_device(dev);
        self.flush_sources();
        Ok(())
    }

    /// It is an address of one of the interfaces.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.links
            .values()
            .flat_map(|link| &link.addresses)
            .any(|net| net.addr() == address)
    }

    /// The kernel's reaction to an address that goes: routes with it as their source go too, and
    /// nobody is told.
    fn flush_sources(&mut self) {
        let addresses: BTreeSet<IpAddr> = self
            .links
            .values()
            .flat_map(|link| &link.addresses)
            .map(IpNet::addr)
            .collect();
        let stays = |source: IpAddr| addresses.contains(&source);
        self.routes
            .retain(|_, route| route.prefsrc.is_none_or(stays));
    }

    /// The kernel's reaction to an interface that goes down: nexthop objects on it disappear, and
    /// groups and routes with them. It tells nobody.
    pub fn flush_device(&mut self, dev: &IfName) {
        let gone = |nexthop: &Nexthop| matches!(nexthop, Nexthop::Single(hop) if hop.dev == *dev);
        let ids: BTreeSet<NexthopId> = self
            .nexthops
            .iter()
            .filter(|(_, n)| gone(n))
            .map(|(id, _)| *id)
            .collect();
        self.forget_nexthops(&ids);
        self.routes.retain(|_, route| match &route.target {
            RouteTarget::Inline(hops) => !hops.iter().any(|h| h.hop.dev == *dev),
            _ => true,
        });
    }

    /// Removes nexthop objects, takes them out of groups, removes groups that are empty then, and
    /// routes that pointed at any of these.
    fn forget_nexthops(&mut self, ids: &BTreeSet<NexthopId>) {
        let mut gone = ids.clone();
        for (id, nexthop) in &mut self.nexthops {
            if let Nexthop::Group(members) = nexthop {
                members.retain(|m| !ids.contains(&m.id));
                if members.is_empty() {
                    gone.insert(*id);
                }
            }
        }
        self.nexthops.retain(|id, _| !gone.contains(id));
        self.routes.retain(|_, route| match route.target {
            RouteTarget::Nexthop(id) => !gone.contains(&id),
            _ => true,
        });
    }

    fn add_single(&mut self, id: NexthopId, hop: Hop) -> Result<(), Errno> {
        if self.nexthops.contains_key(&id) || self.foreign_nexthops.contains(&id) {
            return Err(Errno::EEXIST);
        }
        self.check_hop(&hop)?;
        self.nexthops.insert(id, Nexthop::Single(hop));
        Ok(())
    }

    fn check_hop(&self, hop: &Hop) -> Result<(), Errno> {
        let link = self.links.get(&hop.dev).ok_or(Errno::ENODEV)?;
        if !link.up || !link.carrier {
            return Err(Errno::ENETDOWN);
        }
        match hop.via {
            Some(via) if !hop.onlink && !link.reaches(via) => Err(Errno::EHOSTUNREACH),
            _ => Ok(()),
        }
    }

    fn add_group(
        &mut self,
        id: NexthopId,
        members: &[Member],
        expected: Presence,
    ) -> Result<(), Errno> {
        match (self.nexthops.get(&id), expected) {
            (None, Presence::Absent) if !self.foreign_nexthops.contains(&id) => {}
            (Some(Nexthop::Group(_)), Presence::Present) => {}
            (_, Presence::Absent) => return Err(Errno::EEXIST),
            (_, Presence::Present) => return Err(Errno::EINVAL),
        }
        let is_single = |m: &Member| matches!(self.nexthops.get(&m.id), Some(Nexthop::Single(_)));
        if members.is_empty() || !members.iter().all(is_single) {
            return Err(Errno::EINVAL);
        }
        let mut members = members.to_vec();
        members.sort_unstable();
        self.nexthops.insert(id, Nexthop::Group(members));
        Ok(())
    }

    fn put_route(
        &mut self,
        key: RouteKey,
        route: &RouteObserved,
        expected: Presence,
    ) -> Result<(), Errno> {
        match expected {
            Presence::Absent if self.routes.contains_key(&key) => return Err(Errno::EEXIST),
            Presence::Absent if self.foreign_routes.contains_key(&key) => {
                return Err(Errno::EEXIST);
            }
            Presence::Absent | Presence::Present => {}
        }
        if route
            .prefsrc
            .is_some_and(|source| !self.has_address(source))
        {
            return Err(Errno::EINVAL);
        }
        match &route.target {
            RouteTarget::Blackhole => {}
            RouteTarget::Nexthop(id) if self.nexthops.contains_key(id) => {}
            RouteTarget::Nexthop(_) | RouteTarget::Unknown => return Err(Errno::EINVAL),
            RouteTarget::Inline(hops) => {
                hops.iter().try_for_each(|h| self.check_hop(&h.hop))?;
            }
        }
        self.routes.insert(key, route.clone());
        Ok(())
    }
}

/// Whether an object has to be there before an operation.
#[derive(Clone, Copy)]
enum Presence {
    Absent,
    Present,
}
