//! Routes, and the nexthop objects that they share.
//!
//! There is one object per way out and, as far as possible, one group per distinct set of next hops.
//! When all routes that use a group change alike, which is what a tunnel's death or return amounts to, the
//! group is edited and the routes are left alone: one request instead of thousands, and the kernel
//! switches all of them at the same instant. So two groups may come to have equal members, and a
//! group may have a single one; both are as good as any.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Concern, HopTrouble, Links, Plan, free_ids};
use crate::{
    observed::{Member, Nexthop, NexthopId, Observed, RouteObserved, RouteStyle, RouteTarget},
    op::Op,
    plan::{Desired, Forward, Hop, NextHop, NextHopSet, RouteDesired, RouteKey},
};

/// Plans the routes, with all that they need made before them and all that they leave behind
/// removed after them.
pub(super) fn plan(observed: &Observed, desired: &Desired, links: &Links<'_>, plan: &mut Plan) {
    let wanted = Resolver::new(links).resolve(observed, desired, plan);
    let (targets, leftovers) = match observed.style {
        RouteStyle::Multipath => (inline(&wanted), all_objects(observed)),
        RouteStyle::NexthopObjects => {
            let mut objects = Objects::new(observed, &wanted, plan);
            objects.edit_groups(&wanted, plan);
            let targets = objects.assign(&wanted, plan);
            let leftovers = objects.leftovers(&targets);
            (targets, leftovers)
        }
    };
    put_routes(observed, &wanted, &targets, &links.interrupted(), plan);
    let is_stale = |key: &&RouteKey| !targets.contains_key(key);
    plan.ops.extend(
        observed
            .routes
            .keys()
            .filter(is_stale)
            .map(|&key| Op::DelRoute { key }),
    );
    plan.ops
        .extend(leftovers.into_iter().map(|id| Op::DelNexthop { id }));
}

/// The routes that can be had, with only their usable next hops.
type Wanted = BTreeMap<RouteKey, (Forward, Option<IpAddr>)>;

fn put_routes(
    observed: &Observed,
    wanted: &Wanted,
    targets: &BTreeMap<RouteKey, RouteTarget>,
    interrupted: &BTreeSet<IpAddr>,
    plan: &mut Plan,
) {
    // The more specific route goes first: what it keeps out of a wider one's reach must not be caught for a moment.
    let mut ordered: Vec<(&RouteKey, &RouteTarget)> = targets.iter().collect();
    ordered.sort_by_key(|(key, _)| std::cmp::Reverse(key.prefix.prefix_len()));
    for (&key, target) in ordered {
        let prefsrc = wanted.get(&key).and_then(|(_, prefsrc)| *prefsrc);
        let route = RouteObserved {
            target: target.clone(),
            prefsrc,
        };
        match observed.routes.get(&key) {
            None => plan.ops.push(Op::AddRoute { key, route }),
            Some(now)
                if *now != route || prefsrc.is_some_and(|source| interrupted.contains(&source)) =>
            {
                plan.ops.push(Op::ReplaceRoute { key, route });
            }
            Some(_) => {}
        }
    }
}

/// Sorts out next hops and routes that can't be used now. Many routes have equal sets, so each hop
/// and each set is judged once.
struct Resolver<'a> {
    links: &'a Links<'a>,
    addresses: BTreeSet<IpAddr>,
    verdicts: BTreeMap<(Hop, bool), Result<(), HopTrouble>>,
    usable: BTreeMap<(NextHopSet, bool), NextHopSet>,
    /// Unusable hop to the number of routes that want it.
    missed: BTreeMap<(Hop, bool), usize>,
    /// Addresses that are not this host's to the number of routes that want them as their source.
    strangers: BTreeMap<IpAddr, usize>,
}

impl<'a> Resolver<'a> {
    fn new(links: &'a Links<'a>) -> Self {
        Self {
            links,
            addresses: links.addresses(),
            verdicts: BTreeMap::new(),
            usable: BTreeMap::new(),
            missed: BTreeMap::new(),
            strangers: BTreeMap::new(),
        }
    }

    fn resolve(mut self, observed: &Observed, desired: &Desired, plan: &mut Plan) -> Wanted {
        let mut wanted = Wanted::new();
        for (&key, route) in &desired.routes {
            if let Some(&protocol) = observed.foreign_routes.get(&key) {
                plan.concerns.push(Concern::RouteForeign { key, protocol });
                continue;
            }
            match self.forward(key.prefix, route) {
                Some(forward) => {
                    let source = self.source(route);
                    wanted.insert(key, (forward, source));
                }
                None => plan.concerns.push(Concern::RouteWithheld { key }),
            }
        }
        for (&(hop, v6), &routes) in &self.missed {
            if let Some(&Err(reason)) = self.verdicts.get(&(hop, v6)) {
                plan.concerns.push(Concern::HopUnusable {
                    hop,
                    reason,
                    routes,
                });
            }
        }
        for (&source, &routes) in &self.strangers {
            plan.concerns
                .push(Concern::SourceForeign { source, routes });
        }
        wanted
    }

    /// The source address, if the kernel will take it: a route without one is better than none.
    fn source(&mut self, route: &RouteDesired) -> Option<IpAddr> {
        let source = route.prefsrc?;
        if self.addresses.contains(&source) {
            return Some(source);
        }
        *self.strangers.entry(source).or_default() += 1;
        None
    }

    fn forward(&mut self, prefix: IpNet, route: &RouteDesired) -> Option<Forward> {
        let Forward::Unicast(all) = &route.forward else {
            return Some(Forward::Blackhole);
        };
        let v6 = matches!(prefix, IpNet::V6(_));
        let set = match self.usable.get(&(all.clone(), v6)) {
            Some(set) => set.clone(),
            None => {
                let set = self.usable_of(all, v6);
                self.usable.insert((all.clone(), v6), set.clone());
                set
            }
        };
        for missed in all.iter().filter(|h| !set.iter().any(|u| u.hop == h.hop)) {
            *self.missed.entry((missed.hop, v6)).or_default() += 1;
        }
        (!set.is_empty()).then_some(Forward::Unicast(set))
    }

    fn usable_of(&mut self, all: &NextHopSet, v6: bool) -> NextHopSet {
        let mut hops: Vec<NextHop> = Vec::with_capacity(all.len());
        for next_hop in all.iter() {
            let hop = next_hop.hop;
            let links = self.links;
            let verdict = self
                .verdicts
                .entry((hop, v6))
                .or_insert_with(|| check(links, &hop, v6));
            if verdict.is_ok() {
                hops.push(NextHop {
                    hop,
                    weight: next_hop.weight.max(1),
                });
            }
        }
        // A weight says nothing about a next hop that has no competitor.
        if let [only] = &mut hops[..] {
            only.weight = 1;
        }
        hops.into_iter().collect()
    }
}

fn check(links: &Links<'_>, hop: &Hop, v6: bool) -> Result<(), HopTrouble> {
    // A nexthop object without a gateway has a family too, and ours is IPv4. IPv4 routes may have an IPv6 gateway (RFC 8950).
    if v6 && !hop.via.is_some_and(|via| via.is_ipv6()) {
        return Err(HopTrouble::WrongFamily);
    }
    links.check(hop)
}

fn inline(wanted: &Wanted) -> BTreeMap<RouteKey, RouteTarget> {
    let target = |forward: &Forward| match forward {
        Forward::Blackhole => RouteTarget::Blackhole,
        Forward::Unicast(hops) => RouteTarget::Inline(hops.clone()),
    };
    wanted
        .iter()
        .map(|(key, (forward, _))| (*key, target(forward)))
        .collect()
}

fn all_objects(observed: &Observed) -> Vec<NexthopId> {
    groups_first(observed, |_| true)
}

/// Groups come before single objects, since deleting a member changes the group.
fn groups_first(observed: &Observed, chosen: impl Fn(&NexthopId) -> bool) -> Vec<NexthopId> {
    let (groups, singles): (Vec<_>, Vec<_>) = observed
        .nexthops
        .iter()
        .filter(|(id, _)| chosen(id))
        .partition(|(_, nexthop)| matches!(nexthop, Nexthop::Group(_)));
    groups
        .into_iter()
        .chain(singles)
        .map(|(id, _)| *id)
        .collect()
}

/// The nexthop objects as they will be, while the plan grows.
struct Objects<'a> {
    observed: &'a Observed,
    singles: BTreeMap<Hop, NexthopId>,
    groups: BTreeMap<NexthopId, Vec<Member>>,
    /// The members that each wanted set of next hops amounts to.
    members: BTreeMap<NextHopSet, Vec<Member>>,
    fresh: Box<dyn Iterator<Item = NexthopId> + 'a>,
}

impl<'a> Objects<'a> {
    /// Adopts what is there and makes the single objects that are missing.
    fn new(observed: &'a Observed, wanted: &Wanted, plan: &mut Plan) -> Self {
        let mut objects = Self {
            observed,
            singles: BTreeMap::new(),
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            fresh: Box::new(free_ids(observed)),
        };
        for (&id, nexthop) in &observed.nexthops {
            match nexthop {
                Nexthop::Single(hop) => drop(objects.singles.entry(*hop).or_insert(id)),
                Nexthop::Group(members) => drop(objects.groups.insert(id, members.clone())),
                Nexthop::Unknown => {}
            }
        }
        for (forward, _) in wanted.values() {
            if let Forward::Unicast(set) = forward
                && !objects.members.contains_key(set)
            {
                let members = objects.members_of(set, plan);
                objects.members.insert(set.clone(), members);
            }
        }
        objects
    }

    fn members_of(&mut self, set: &NextHopSet, plan: &mut Plan) -> Vec<Member> {
        let mut members = Vec::with_capacity(set.len());
        for &NextHop { hop, weight } in set.iter() {
            let id = match self.singles.get(&hop) {
                Some(&id) => id,
                None => {
                    let Some(id) = self.fresh_id(plan) else {
                        continue;
                    };
                    plan.ops.push(Op::AddNexthop { id, hop });
                    self.singles.insert(hop, id);
                    id
                }
            };
            members.push(Member { id, weight });
        }
        members.sort_unstable();
        members
    }

    fn fresh_id(&mut self, plan: &mut Plan) -> Option<NexthopId> {
        let id = self.fresh.next();
        if id.is_none() && !plan.concerns.contains(&Concern::NexthopIdsExhausted) {
            plan.concerns.push(Concern::NexthopIdsExhausted);
        }
        id
    }

    /// Edits each group whose routes all stay and all want the same other members.
    fn edit_groups(&mut self, wanted: &Wanted, plan: &mut Plan) {
        // Group to the one set that its routes want; `None` if they do not agree.
        let mut wishes: BTreeMap<NexthopId, Option<&NextHopSet>> = BTreeMap::new();
        for (key, route) in &self.observed.routes {
            let RouteTarget::Nexthop(id) = route.target else {
                continue;
            };
            let wish = match wanted.get(key) {
                Some((Forward::Unicast(set), _)) => Some(set),
                _ => None,
            };
            let agreed = wishes.entry(id).or_insert(wish);
            if *agreed != wish {
                *agreed = None;
            }
        }
        for (id, wish) in wishes {
            let Some(members) = wish.and_then(|set| self.members.get(set)) else {
                continue;
            };
            match self.groups.get_mut(&id) {
                Some(now) if !members.is_empty() && !same(now, members) => {
                    now.clone_from(members);
                    plan.ops.push(Op::ReplaceGroup {
                        id,
                        members: members.clone(),
                    });
                }
                _ => {}
            }
        }
    }

    /// Says what each route is to point at, and makes the groups that are missing.
    fn assign(&mut self, wanted: &Wanted, plan: &mut Plan) -> BTreeMap<RouteKey, RouteTarget> {
        let mut homes: BTreeMap<NextHopSet, NexthopId> = BTreeMap::new();
        let mut targets = BTreeMap::new();
        for (&key, (forward, _)) in wanted {
            let Forward::Unicast(set) = forward else {
                targets.insert(key, RouteTarget::Blackhole);
                continue;
            };
            let id = self.kept(&key, set).or_else(|| homes.get(set).copied());
            let Some(id) = id.or_else(|| self.home(set, plan)) else {
                continue;
            };
            if !self.is_kept_elsewhere(&key, id) {
                homes.entry(set.clone()).or_insert(id);
            }
            targets.insert(key, RouteTarget::Nexthop(id));
        }
        targets
    }

    /// The object that the route points at now, if it does what is wanted.
    fn kept(&self, key: &RouteKey, set: &NextHopSet) -> Option<NexthopId> {
        let RouteTarget::Nexthop(id) = self.observed.routes.get(key)?.target else {
            return None;
        };
        let members = self.members.get(set)?;
        let fits = match (self.groups.get(&id), &members[..]) {
            (Some(now), _) => same(now, members),
            (None, [only]) => only.id == id,
            (None, _) => false,
        };
        fits.then_some(id)
    }

    /// A route that stays on a group with one member does not draw others there: they can have the
    /// member itself.
    fn is_kept_elsewhere(&self, key: &RouteKey, id: NexthopId) -> bool {
        self.observed.routes.contains_key(key)
            && self
                .groups
                .get(&id)
                .is_some_and(|members| members.len() == 1)
    }

    /// The object for routes that are new to this set: the member itself if there is only one, else
    /// a group that exists, else a new one.
    fn home(&mut self, set: &NextHopSet, plan: &mut Plan) -> Option<NexthopId> {
        let members = self.members.get(set)?.clone();
        match &members[..] {
            [] => None,
            [only] => Some(only.id),
            _ => {
                let existing = self.groups.iter().find(|(_, now)| **now == members);
                if let Some((&id, _)) = existing {
                    return Some(id);
                }
                let id = self.fresh_id(plan)?;
                plan.ops.push(Op::AddGroup {
                    id,
                    members: members.clone(),
                });
                self.groups.insert(id, members);
                Some(id)
            }
        }
    }

    /// Our objects that nothing points at any more.
    fn leftovers(&self, targets: &BTreeMap<RouteKey, RouteTarget>) -> Vec<NexthopId> {
        let mut used = BTreeSet::new();
        for target in targets.values() {
            if let RouteTarget::Nexthop(id) = target
                && used.insert(*id)
                && let Some(members) = self.groups.get(id)
            {
                used.extend(members.iter().map(|m| m.id));
            }
        }
        groups_first(self.observed, |id| !used.contains(id))
    }
}

/// Equal members; the weight of one alone does not matter.
fn same(a: &[Member], b: &[Member]) -> bool {
    match (a, b) {
        ([a], [b]) => a.id == b.id,
        _ => a == b,
    }
}
