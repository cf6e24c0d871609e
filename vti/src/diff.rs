//! From what is to what should be: the operations, in an order in which nothing that works is cut
//! before its replacement works.
//!
//! 1. kernel settings,
//! 2. interfaces,
//! 3. new nexthop objects and groups, and groups edited in place,
//! 4. routes added and pointed elsewhere,
//! 5. routes deleted,
//! 6. nexthop objects deleted, groups first,
//! 7. addresses and interfaces that are left over,
//! 8. kernel settings given back.
//!
//! Pure, and deterministic: equal inputs give equal operations. `diff(d, d)` is empty; any prefix of
//! the operations leaves a host from which the next diff arrives just the same. Routes and nexthop
//! objects have their own file, [`routes`].

mod routes;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::{
    ifname::IfName,
    observed::{LinkObserved, NexthopId, Observed},
    op::Op,
    plan::{Desired, Hop, LinkDesired, RouteKey},
    sysctl::Sysctl,
};

/// What is to be done, and what can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// What is desired and can't be had now.
    pub concerns: Vec<Concern>,
}

/// Something desired that can't be had now. None is fatal: what becomes possible later is done then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The interface does not exist (yet).
    LinkMissing {
        /// The interface.
        dev: IfName,
    },
    /// There is an interface of that name, and it is somebody else's. It is not touched.
    LinkForeign {
        /// The interface.
        dev: IfName,
        /// Its kind; empty for hardware.
        kind: String,
        /// Its alias; empty if it has none.
        alias: String,
    },
    /// This kernel has no such setting.
    SysctlMissing {
        /// The setting.
        key: Sysctl,
    },
    /// A next hop is left out of the routes that want it.
    HopUnusable {
        /// The next hop.
        hop: Hop,
        /// What is wrong with it.
        reason: HopTrouble,
        /// How many routes want it.
        routes: usize,
    },
    /// No next hop of the route can be used, so it is not installed.
    RouteWithheld {
        /// The route.
        key: RouteKey,
    },
    /// Somebody else has a route with this key. It is not touched, and ours is not installed.
    RouteForeign {
        /// The route.
        key: RouteKey,
        /// The other's route protocol number.
        protocol: u8,
    },
    /// The routes' source address is not one of this host's; they are installed without.
    SourceForeign {
        /// The address.
        source: IpAddr,
        /// How many routes want it.
        routes: usize,
    },
    /// All nexthop ids of our range are taken.
    NexthopIdsExhausted,
}

/// What is wrong with a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopTrouble {
    /// Its interface does not exist.
    NoInterface,
    /// Its interface is administratively down.
    Down,
    /// Its interface has no carrier.
    NoCarrier,
    /// Its gateway is on no network of its interface.
    Unreachable,
    /// Its address family is not the route's. One without a gateway counts as IPv4.
    WrongFamily,
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkMissing { dev } => write!(f, "interface {dev} does not exist yet"),
            Self::LinkForeign { dev, kind, alias } => {
                let kind = if kind.is_empty() { "hardware" } else { kind };
                write!(
                    f,
                    "interface {dev} ({kind}, alias `{alias}`) is not ours: left alone; give the tunnel another interface name"
                )
            }
            Self::SysctlMissing { key } => write!(f, "this kernel has no setting {key}"),
            Self::HopUnusable {
                hop,
                reason,
                routes,
            } => {
                write!(f, "next hop {hop} left out of {routes} route(s): {reason}")
            }
            Self::RouteWithheld { key } => {
                write!(
                    f,
                    "route {key} not installed: none of its next hops can be used"
                )
            }
            Self::RouteForeign { key, protocol } => {
                write!(
                    f,
                    "route {key} not installed: another program (route protocol {protocol}) has the same; remove that, or give ours another metric"
                )
            }
            Self::SourceForeign { source, routes } => {
                write!(
                    f,
                    "source address {source} is not one of this host's: left out of {routes} route(s)"
                )
            }
            Self::NexthopIdsExhausted => f.write_str("no free nexthop ids in our range"),
        }
    }
}

impl fmt::Display for HopTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoInterface => "its interface does not exist",
            Self::Down => "its interface is down",
            Self::NoCarrier => "its interface has no carrier",
            Self::Unreachable => "its gateway is on no network of its interface",
            Self::WrongFamily => {
                "its address family is not the route's; one without a gateway is IPv4"
            }
        })
    }
}

impl Serialize for Concern {
    /// As its text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What it takes to get from `observed` to `desired`.
pub fn diff(observed: &Observed, desired: &Desired) -> Plan {
    let mut plan = Plan::default();
    let links = Links::new(observed, desired, &mut plan);
    set_sysctls(observed, desired, &links, &mut plan);
    links.prepare(&mut plan);
    routes::plan(observed, desired, &links, &mut plan);
    links.clear(&mut plan);
    give_sysctls_back(observed, desired, &links, &mut plan);
    plan
}

fn set_sysctls(observed: &Observed, desired: &Desired, links: &Links<'_>, plan: &mut Plan) {
    for (&key, to) in &desired.sysctls {
        if key.interface().is_some_and(|dev| links.is_foreign(dev)) {
            continue;
        }
        match observed.sysctls.get(&key) {
            // A setting of an interface that is not there is not worth a second complaint.
            None if key.interface().is_some() => {}
            None => plan.concerns.push(Concern::SysctlMissing { key }),
            Some(from) if from != to => {
                plan.ops.push(Op::SetSysctl {
                    key,
                    from: from.clone(),
                    to: to.clone(),
                });
            }
            Some(_) => {}
        }
    }
}

fn give_sysctls_back(observed: &Observed, desired: &Desired, links: &Links<'_>, plan: &mut Plan) {
    for (&key, saved) in &observed.saved {
        if desired.sysctls.contains_key(&key) {
            continue;
        }
        plan.ops.push(match observed.sysctls.get(&key) {
            // Settings of an interface that was just deleted went with it.
            Some(now) if *now == saved.ours && !links.is_stale(key) => Op::RestoreSysctl {
                key,
                to: saved.original.clone(),
            },
            _ => Op::ForgetSysctl { key },
        });
    }
}

/// The interfaces: those that are ours to set up, those that are left over, and what each will look
/// like once the plan's first half is done.
struct Links<'a> {
    observed: &'a Observed,
    ours: Vec<(IfName, &'a LinkObserved, &'a LinkDesired)>,
    stale: Vec<IfName>,
}

impl<'a> Links<'a> {
    fn new(observed: &'a Observed, desired: &'a Desired, plan: &mut Plan) -> Self {
        let mut ours = Vec::new();
        for (&dev, want) in &desired.links {
            match observed.links.get(&dev) {
                None => plan.concerns.push(Concern::LinkMissing { dev }),
                Some(link) if !link.is_adoptable() => plan.concerns.push(Concern::LinkForeign {
                    dev,
                    kind: link.kind.clone(),
                    alias: link.alias.clone(),
                }),
                Some(link) => ours.push((dev, link, want)),
            }
        }
        let is_stale = |(dev, link): &(&IfName, &LinkObserved)| {
            link.is_ours() && !desired.links.contains_key(dev)
        };
        let stale = observed
            .links
            .iter()
            .filter(is_stale)
            .map(|(dev, _)| *dev)
            .collect();
        Self {
            observed,
            ours,
            stale,
        }
    }

    /// The interface exists and is not ours to touch.
    fn is_foreign(&self, dev: IfName) -> bool {
        self.observed
            .links
            .get(&dev)
            .is_some_and(|link| !link.is_adoptable())
    }

    /// The setting belongs to an interface that is left over.
    fn is_stale(&self, key: Sysctl) -> bool {
        key.interface().is_some_and(|dev| self.stale.contains(&dev))
    }

    /// Everything that routes may need.
    fn prepare(&self, plan: &mut Plan) {
        for (dev, link, want) in &self.ours {
            let dev = *dev;
            // The mark comes first: whatever happens next, it can be found again.
            if link.alias != want.alias {
                plan.ops.push(Op::SetAlias {
                    dev,
                    alias: want.alias.clone(),
                });
            }
            if link.mtu != want.mtu {
                plan.ops.push(Op::SetMtu { dev, mtu: want.mtu });
            }
            let doomed = entangled(link, want);
            plan.ops.extend(
                doomed
                    .iter()
                    .map(|&address| Op::DelAddress { dev, address }),
            );
            for &address in &want.addresses {
                let lost = doomed.iter().any(|d| d.trunc() == address.trunc());
                if lost || !link.addresses.contains(&address) {
                    plan.ops.push(Op::AddAddress { dev, address });
                }
            }
            if !link.up {
                plan.ops.push(Op::SetUp { dev });
            }
        }
    }

    /// What no route needs any more.
    fn clear(&self, plan: &mut Plan) {
        for (dev, link, want) in &self.ours {
            let entangled = entangled(link, want);
            let doomed = stale_addresses(link, want).filter(|a| !entangled.contains(a));
            plan.ops
                .extend(doomed.map(|address| Op::DelAddress { dev: *dev, address }));
        }
        plan.ops
            .extend(self.stale.iter().map(|&dev| Op::DelLink { dev }));
    }

    /// Addresses that stay, but go for a moment because they are secondary to one that does not. The
    /// kernel flushes the routes that have them as their source.
    fn interrupted(&self) -> BTreeSet<IpAddr> {
        let mut interrupted = BTreeSet::new();
        for (_, link, want) in &self.ours {
            let doomed = entangled(link, want);
            let kept = want.addresses.intersection(&link.addresses);
            let goes = |kept: &&IpNet| doomed.iter().any(|d| d.trunc() == kept.trunc());
            interrupted.extend(kept.filter(goes).map(IpNet::addr));
        }
        interrupted
    }

    /// The addresses that are this host's when routes are made, and stay so.
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let mut addresses = BTreeSet::new();
        for (dev, link) in &self.observed.links {
            let lasting = match self.ours.iter().find(|(ours, ..)| ours == dev) {
                Some((_, _, want)) => &want.addresses,
                None if self.stale.contains(dev) => continue,
                None => &link.addresses,
            };
            addresses.extend(lasting.iter().map(IpNet::addr));
        }
        addresses
    }

    /// Whether the kernel will take a next hop once the interfaces are prepared.
    fn check(&self, hop: &Hop) -> Result<(), HopTrouble> {
        if self.stale.contains(&hop.dev) {
            return Err(HopTrouble::NoInterface);
        }
        let link = self
            .observed
            .links
            .get(&hop.dev)
            .ok_or(HopTrouble::NoInterface)?;
        let ours = self
            .ours
            .iter()
            .find(|(dev, ..)| *dev == hop.dev)
            .map(|(_, _, want)| want);
        match (link.up, link.carrier, ours) {
            (true, true, _) | (false, _, Some(_)) => {}
            (true, false, _) => return Err(HopTrouble::NoCarrier),
            (false, _, None) => return Err(HopTrouble::Down),
        }
        let Some(via) = hop.via.filter(|_| !hop.onlink) else {
            return Ok(());
        };
        let reached = match ours {
            // Connected routes of addresses that go away go with them.
            Some(want) => want.addresses.iter().any(|net| net.contains(&via)),
            None => link.reaches(via),
        };
        if reached {
            Ok(())
        } else {
            Err(HopTrouble::Unreachable)
        }
    }
}

fn stale_addresses(link: &LinkObserved, want: &LinkDesired) -> impl Iterator<Item = IpNet> {
    let stale = |a: &&IpNet| !want.addresses.contains(a) && !is_link_local(a);
    link.addresses.iter().filter(stale).copied()
}

/// Stale addresses in the same network as a desired one. A second address in a network is secondary
/// to the first and disappears with it (unless `promote_secondaries` is set), so these have to go
/// before theirs come.
fn entangled(link: &LinkObserved, want: &LinkDesired) -> BTreeSet<IpNet> {
    let shares = |stale: &IpNet| want.addresses.iter().any(|a| a.trunc() == stale.trunc());
    stale_addresses(link, want).filter(shares).collect()
}

/// The kernel gives each IPv6 interface an fe80:: address of its own accord.
fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

/// The nexthop ids that nobody uses, in ascending order.
fn free_ids(observed: &Observed) -> impl Iterator<Item = NexthopId> {
    crate::plan::NEXTHOP_IDS
        .map(NexthopId)
        .filter(|id| !observed.nexthops.contains_key(id) && !observed.foreign_nexthops.contains(id))
}
