//! Interfaces, and the kernel settings that hang on them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Concern, HopTrouble, Plan};
use crate::{
    ifname::IfName,
    linkinfo::Fit,
    observed::{LinkObserved, Observed, is_link_local},
    op::Op,
    plan::{Desired, Hop, LinkDesired, LinkKind},
    sysctl::Sysctl,
};

/// Interfaces of ours that are made of something that they cannot be changed from.
pub(super) fn to_be_remade(observed: &Observed, desired: &Desired) -> Vec<IfName> {
    let is_wrong = |(dev, want): &(&IfName, &LinkDesired)| {
        observed
            .links
            .get(*dev)
            .is_some_and(|link| link.is_ours() && link.fit(want.kind) == Fit::Other)
    };
    let wrong = desired.links.iter().filter(is_wrong);
    wrong.map(|(dev, _)| *dev).collect()
}

/// An interface that is ours to set up.
struct Ours<'a> {
    dev: IfName,
    /// What it is before that, or right after it was made.
    link: Cow<'a, LinkObserved>,
    want: &'a LinkDesired,
    is_new: bool,
}

/// The interfaces: those that are ours to set up, those that are left over, and what each will look
/// like once the plan's first half is done.
pub(super) struct Links<'a> {
    observed: &'a Observed,
    ours: BTreeMap<IfName, Ours<'a>>,
    stale: Vec<IfName>,
}

impl<'a> Links<'a> {
    pub(super) fn new(observed: &'a Observed, desired: &'a Desired, plan: &mut Plan) -> Self {
        let mut ours = BTreeMap::new();
        for (&dev, want) in &desired.links {
            let (link, is_new) = match observed.links.get(&dev) {
                None if want.kind == LinkKind::Tun => {
                    plan.concerns.push(Concern::LinkMissing { dev });
                    continue;
                }
                None => (Cow::Owned(LinkObserved::made(want.kind)), true),
                Some(link) if link.is_ours() => (Cow::Borrowed(link), false),
                Some(link) if link.is_adoptable(want) => {
                    if want.kind != LinkKind::Tun {
                        plan.adopted.push(dev);
                    }
                    (Cow::Borrowed(link), false)
                }
                Some(link) => {
                    let kind = match &link.make {
                        Some(make) => make.to_string(),
                        None => link.kind.clone(),
                    };
                    let alias = link.alias.clone();
                    plan.concerns
                        .push(Concern::LinkForeign { dev, kind, alias });
                    continue;
                }
            };
            let one = Ours {
                dev,
                link,
                want,
                is_new,
            };
            ours.insert(dev, one);
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

    /// Everything that routes may need.
    pub(super) fn prepare(&self, settings: &Settings<'_>, plan: &mut Plan) {
        for ours in self.ours.values() {
            ours.prepare(settings, plan);
        }
    }

    /// What no route needs any more.
    pub(super) fn clear(&self, plan: &mut Plan) {
        for Ours {
            dev, link, want, ..
        } in self.ours.values()
        {
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
    pub(super) fn interrupted(&self) -> BTreeSet<IpAddr> {
        let mut interrupted = BTreeSet::new();
        for Ours { link, want, .. } in self.ours.values() {
            let doomed = entangled(link, want);
            let kept = want.addresses.intersection(&link.addresses);
            let goes = |kept: &&IpNet| doomed.iter().any(|d| d.trunc() == kept.trunc());
            interrupted.extend(kept.filter(goes).map(IpNet::addr));
        }
        interrupted
    }

    /// The addresses that are this host's when routes are made, and stay so.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        let lasting = |dev: &IfName| !self.ours.contains_key(dev) && !self.stale.contains(dev);
        let others = self.observed.links.iter().filter(|(dev, _)| lasting(dev));
        let others = others.flat_map(|(_, link)| &link.addresses);
        let ours = self.ours.values().flat_map(|ours| &ours.want.addresses);
        others.chain(ours).map(IpNet::addr).collect()
    }

    /// Whether the kernel will take a next hop once the interfaces are prepared.
    pub(super) fn check(&self, hop: &Hop) -> Result<(), HopTrouble> {
        if self.stale.contains(&hop.dev) {
            return Err(HopTrouble::NoInterface);
        }
        let ours = self.ours.get(&hop.dev);
        let link = match ours {
            Some(ours) => &*ours.link,
            None => self
                .observed
                .links
                .get(&hop.dev)
                .ok_or(HopTrouble::NoInterface)?,
        };
        match (link.up, link.carrier, ours) {
            (true, true, _) | (false, _, Some(_)) => {}
            (true, false, _) => return Err(HopTrouble::NoCarrier),
            (false, _, None) => return Err(HopTrouble::Down),
        }
        // A link-local gateway is on every link that has IPv6.
        let is_link_local =
            |via: &IpAddr| matches!(via, IpAddr::V6(it) if it.is_unicast_link_local());
        let Some(via) = hop.via.filter(|via| !hop.onlink && !is_link_local(via)) else {
            return Ok(());
        };
        let reached = match ours {
            // Connected routes of addresses that go away go with them.
            Some(ours) => ours.want.addresses.iter().any(|net| net.contains(&via)),
            None => link.reaches(via),
        };
        if reached {
            Ok(())
        } else {
            Err(HopTrouble::Unreachable)
        }
    }
}

impl Ours<'_> {
    fn prepare(&self, settings: &Settings<'_>, plan: &mut Plan) {
        let Self {
            dev,
            link,
            want,
            is_new,
        } = self;
        let (dev, kind) = (*dev, want.kind);
        if *is_new {
            plan.ops.push(Op::AddLink { dev, kind });
        } else if link.fit(kind) == Fit::Changeable {
            plan.ops.push(Op::ChangeLink { dev, kind });
        }
        // The mark comes first: whatever happens next, it can be found again.
        if link.alias != want.alias {
            plan.ops.push(Op::SetAlias {
                dev,
                alias: want.alias.clone(),
            });
        }
        settings.set_on(dev, *is_new, plan);
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

/// The kernel settings, and what becomes of them.
pub(super) struct Settings<'a> {
    observed: &'a Observed,
    wanted: BTreeMap<Sysctl, &'a String>,
    /// The host's forwarding changes, and every interface's with it.
    forwarding: Option<&'a String>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(observed: &'a Observed, desired: &'a Desired) -> Self {
        let host = desired.sysctls.get(&Sysctl::Ipv4Forward);
        // An interface that forwards on a host that does not would be switched off with the host's own setting.
        let counts = |key: &Sysctl| host.is_some() || !matches!(key, Sysctl::Forwarding(_));
        let wanted = desired.sysctls.iter().filter(|(key, _)| counts(key));
        let now = observed.sysctls.get(&Sysctl::Ipv4Forward);
        Self {
            observed,
            wanted: wanted.map(|(key, value)| (*key, value)).collect(),
            forwarding: host.filter(|host| now.is_some_and(|now| now != *host)),
        }
    }

    /// Those of the host as a whole, and of interfaces that are not tunnels'.
    pub(super) fn set_shared(&self, desired: &Desired, plan: &mut Plan) {
        let is_tunnels = |dev: IfName| desired.links.contains_key(&dev);
        for (&key, to) in &self.wanted {
            match (key.interface(), self.now(key)) {
                // They come with the interface, if it is ours.
                (Some(dev), _) if is_tunnels(dev) => {}
                // A setting of an interface that is not there is not worth a complaint.
                (Some(_), now) => push(key, now, to, plan),
                (None, None) => plan.concerns.push(Concern::SysctlMissing { key }),
                (None, now) => push(key, now, to, plan),
            }
        }
    }

    /// Those of an interface of ours. One that is new has the defaults.
    fn set_on(&self, dev: IfName, is_new: bool, plan: &mut Plan) {
        for key in Sysctl::of_interface(dev) {
            if let Some(to) = self.wanted.get(&key) {
                let present = if is_new { key.on(IfName::DEFAULT) } else { key };
                push(key, self.now(present), to, plan);
            }
        }
    }

    /// Gives back what is no longer wanted.
    pub(super) fn give_back(&self, links: &Links<'_>, plan: &mut Plan) {
        let is_stale = |key: Sysctl| {
            key.interface()
                .is_some_and(|dev| links.stale.contains(&dev))
        };
        for (&key, saved) in &self.observed.saved {
            if self.wanted.contains_key(&key) {
                continue;
            }
            plan.ops.push(match self.now(key) {
                // Settings of an interface that was just deleted went with it.
                Some(now) if *now == saved.ours && !is_stale(key) => Op::RestoreSysctl {
                    key,
                    to: saved.original.clone(),
                },
                _ => Op::ForgetSysctl { key },
            });
        }
    }

    /// A setting's value once those of the host as a whole are set.
    fn now(&self, key: Sysctl) -> Option<&'a String> {
        let now = self.observed.sysctls.get(&key)?;
        match (key, self.forwarding) {
            (Sysctl::Forwarding(_), Some(forwarding)) => Some(forwarding),
            _ => Some(now),
        }
    }
}

fn push(key: Sysctl, now: Option<&String>, to: &str, plan: &mut Plan) {
    if let Some(from) = now.filter(|now| *now != to) {
        plan.ops.push(Op::SetSysctl {
            key,
            from: from.clone(),
            to: to.to_owned(),
        });
    }
}
