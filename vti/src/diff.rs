//! From what is to what should be: the operations, in an order in which nothing that works is cut
//! before its replacement works.
//!
//! 1. kernel settings of the host as a whole,
//! 2. interfaces, made where they are missing, with their own settings,
//! 3. new nexthop objects and groups, and groups edited in place,
//! 4. routes added and pointed elsewhere,
//! 5. routes deleted,
//! 6. nexthop objects deleted, groups first,
//! 7. addresses and interfaces that are left over,
//! 8. kernel settings given back.
//!
//! Pure, and deterministic: equal inputs give equal operations. `diff(d, d)` is empty; any prefix of
//! the operations leaves a host from which the next diff arrives just the same. Routes and nexthop
//! objects have their own file, `diff/routes.rs`.

mod links;
mod routes;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, net::IpAddr};

use serde::{Serialize, Serializer};

use crate::{
    ifname::IfName,
    observed::{NexthopId, Observed},
    op::Op,
    plan::{Desired, Hop, RouteKey},
    sysctl::Sysctl,
};
use links::{Links, Settings};

/// What is to be done, and what can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// What is desired and can't be had now.
    pub concerns: Vec<Concern>,
    /// Interfaces that nobody had marked and that are exactly what is desired: they are taken for ours.
    pub adopted: Vec<IfName>,
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
    /// It is IPv4, as one without a gateway is, and the route is IPv6.
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
            Self::WrongFamily => "it is IPv4, as one without a gateway is, and the route is not",
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
    let remade = links::to_be_remade(observed, desired);
    let mut remaining = Cow::Borrowed(observed);
    for dev in &remade {
        // It is there, so it can be deleted.
        let _ = remaining.to_mut().delete_link(dev);
    }
    let links = Links::new(&remaining, desired, &mut plan);
    let settings = Settings::new(&remaining, desired);
    settings.set_shared(desired, &mut plan);
    // All of them before the first is made again: what the kernel takes along with them is known then.
    plan.ops
        .extend(remade.into_iter().map(|dev| Op::DelLink { dev }));
    links.prepare(&settings, &mut plan);
    routes::plan(&remaining, desired, &links, &mut plan);
    links.clear(&mut plan);
    settings.give_back(&links, &mut plan);
    plan
}

/// The nexthop ids that nobody uses, in ascending order.
fn free_ids(observed: &Observed) -> impl Iterator<Item = NexthopId> {
    crate::plan::NEXTHOP_IDS
        .map(NexthopId)
        .filter(|id| !observed.nexthops.contains_key(id) && !observed.foreign_nexthops.contains(id))
}
