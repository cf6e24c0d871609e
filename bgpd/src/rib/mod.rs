//! The routing tables: what peers taught us, which of it is best, and what follows for the kernel.
//!
//! Adj-RIB-In and Loc-RIB are one structure: every received path is kept, refused ones too, with a
//! mark whether policy accepts it. What changes marks its prefix; [`Rib::settle`] then selects anew,
//! once per marked prefix however often it changed.

mod adj_out;
mod attribute_store;
mod best_path;
mod hops;
mod id_table;
mod next_hop;
mod paths;
mod prefix_table;
mod query;
mod stale;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

pub(crate) use adj_out::{AdjOut, Flushed, judge, originates};
pub(crate) use attribute_store::{AttrId, AttributeStore};
pub(crate) use best_path::Multipath;
pub use best_path::{LostBy, MultipathVerdict};
pub use next_hop::Eligibility;
pub(crate) use next_hop::{Reach, Resolver};
pub(crate) use paths::{Judged, PeerIndex, Rewritten};
pub(crate) use prefix_table::PrefixId;
pub(crate) use query::{BestPath, BestSource};

use crate::event::{FibChange, FibNextHop};
use crate::policy::{DEFAULT_LOCAL_PREF, degree_of_preference};
use crate::wire::{Families, Family, Origin, PathAttributes};
use crate::{Asn, LocalRoute, LocalSource, PeerName, Role};
use attribute_store::DecisionKey;
use best_path::{Candidate, select};
use hops::{HopId, HopSets, Hops};
use id_table::HashKey;
use paths::{Path, PathFlags, Paths};
use prefix_table::{PrefixTable, Row};

/// What the tables know of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Teacher {
    pub(crate) name: PeerName,
    pub(crate) address: IpAddr,
    pub(crate) interface: Option<String>,
    pub(crate) role: Role,
    /// It is in our AS.
    pub(crate) internal: bool,
    /// It is a client of ours (RFC 4456).
    pub(crate) client: bool,
    /// Degree of preference of what it teaches; `None` is LOCAL_PREF as received, or 100.
    pub(crate) local_pref: Option<u32>,
    pub(crate) router_id: Ipv4Addr,
}

impl Teacher {
    /// The degree of preference of what it teaches with this LOCAL_PREF, which is the last word where a route map spoke it.
    fn preference(&self, key: &DecisionKey, rewritten: bool) -> u32 {
        let configured = self.local_pref.filter(|_| !rewritten);
        degree_of_preference(configured, key.local_pref, key.is_leaving, self.internal)
    }
}

/// A teacher and the sizes of its Adj-RIB-In.
#[derive(Clone, Debug)]
struct Taught {
    teacher: Teacher,
    received: u32,
    /// Of them, how many are IPv6 prefixes.
    received_ipv6: u32,
    accepted: u32,
    /// Of what was received, how much is kept for its return.
    stale: u32,
}

/// The tables.
#[derive(Debug)]
pub(crate) struct Rib {
    prefixes: PrefixTable,
    paths: Paths,
    pub(crate) attributes: AttributeStore,
    pub(crate) resolver: Resolver,
    hops: Hops,
    hop_sets: HopSets,
    taught: Vec<Option<Taught>>,
    multipath: Multipath,
    dirty: Vec<PrefixId>,
    fib_queue: VecDeque<PrefixId>,
    fib_prefixes: usize,
    empty: Vec<PrefixId>,
    empty_threshold: usize,
    local: Vec<LocalRoute>,
}

impl Rib {
    /// Empty tables; `hash_key` is a number that peers cannot guess.
    pub(crate) fn new(hash_key: u64, multipath: Multipath) -> Self {
        let hash_key = HashKey(hash_key);
        Self {
            prefixes: PrefixTable::new(hash_key),
            paths: Paths::default(),
            attributes: AttributeStore::new(hash_key),
            resolver: Resolver::default(),
            hops: Hops::default(),
            hop_sets: HopSets::default(),
            taught: Vec::new(),
            multipath,
            dirty: Vec::new(),
            fib_queue: VecDeque::new(),
            fib_prefixes: 0,
            empty: Vec::new(),
            empty_threshold: 64,
            local: Vec::new(),
        }
    }

    /// Sets what is known of a peer; its paths are selected anew.
    pub(crate) fn set_teacher(&mut self, peer: PeerIndex, teacher: Teacher) {
        let slot = usize::from(peer.0);
        if self.taught.len() <= slot {
            self.taught.resize(slot + 1, None);
        }
        let Some(slot) = self.taught.get_mut(slot) else {
            return;
        };
        match slot {
            Some(taught) if taught.teacher == teacher => return,
            Some(taught) => taught.teacher = teacher,
            None => {
                *slot = Some(Taught {
                    teacher,
                    received: 0,
                    received_ipv6: 0,
                    accepted: 0,
                    stale: 0,
                })
            }
        }
        self.mark_where(|path| path.peer == peer);
        self.refresh_hops();
    }

    /// A peer is no more; it has taught nothing any longer.
    pub(crate) fn forget_teacher(&mut self, peer: PeerIndex) {
        self.forget(peer, Families::BOTH);
        if let Some(slot) = self.taught.get_mut(usize::from(peer.0)) {
            *slot = None;
        }
    }

    /// Other limits of multipath; everything is selected anew.
    pub(crate) fn set_multipath(&mut self, multipath: Multipath) {
        if self.multipath != multipath {
            self.multipath = multipath;
            self.mark_where(|_| true);
        }
    }

    /// A peer teaches a path in place of an earlier one. Returns whether the prefix is new from it.
    pub(crate) fn announce(
        &mut self,
        peer: PeerIndex,
        prefix: IpNet,
        attributes: AttrId,
        judged: Judged,
    ) -> bool {
        let effective = judged.rewritten.map_or(attributes, |it| it.attributes);
        let Some(next_hop) = self.attributes.next_hop(effective) else {
            return false;
        };
        let hop = self.hop(peer, next_hop);
        let flags = PathFlags::learned(judged.accepted);
        self.put(
            prefix,
            Path {
                peer,
                flags,
                attributes,
                hop,
                next: None,
            },
            judged.rewritten,
        )
    }

    /// A peer takes a prefix back. Returns whether it had taught it.
    pub(crate) fn withdraw(&mut self, peer: PeerIndex, prefix: &IpNet) -> bool {
        let Some(id) = self.prefixes.find(prefix) else {
            return false;
        };
        self.take(id, |path| path.peer == peer)
    }

    /// Forgets everything of these families that a peer taught. Returns how many prefixes that was.
    pub(crate) fn forget(&mut self, peer: PeerIndex, families: Families) -> usize {
        if self.received(peer) == 0 || families.is_empty() {
            return 0;
        }
        self.ids_of(families)
            .into_iter()
            .filter(|id| self.take(*id, |path| path.peer == peer))
            .count()
    }

    /// Judges everything anew that a peer taught.
    pub(crate) fn rejudge(
        &mut self,
        peer: PeerIndex,
        mut judge: impl FnMut(&mut AttributeStore, &IpNet, AttrId) -> Judged,
    ) {
        if self.received(peer) == 0 {
            return;
        }
        let ids: Vec<(PrefixId, IpNet)> = self.prefixes.iter().collect();
        for (id, prefix) in ids {
            let head = self.prefixes.row(id).and_then(|row| row.head);
            let found = self.paths.chain(head).find(|(_, path)| path.peer == peer);
            let Some((path_id, path)) = found.map(|(id, path)| (id, *path)) else {
                continue;
            };
            let judged = judge(&mut self.attributes, &prefix, path.attributes);
            let same = judged.rewritten == self.paths.rewritten(path_id);
            if same && judged.accepted == path.flags.is_accepted() {
                continue;
            }
            if !same {
                self.rewrite(path_id, judged.rewritten);
                self.find_hop(path_id);
                self.touch(id, path_id);
            }
            let before = accepted(&path);
            if let Some(path) = self.paths.get_mut(path_id) {
                path.flags = path.flags.judged(judged.accepted);
            }
            let family = Family::of(&prefix);
            self.count(peer, family, 0, i32::from(judged.accepted) - before);
            self.mark(id);
        }
    }

    /// Takes what a route map made of a path in place of what it had made before.
    fn rewrite(&mut self, id: paths::PathId, new: Option<Rewritten>) {
        if let Some(new) = new {
            self.attributes.retain(new.attributes);
        }
        if let Some(old) = self.paths.rewrite(id, new) {
            self.attributes.release(old.attributes);
        }
    }

    /// Gives a learned path the next hop that it has by now.
    fn find_hop(&mut self, id: paths::PathId) {
        let Some(path) = self.paths.get(id).copied() else {
            return;
        };
        let rewritten = self.paths.rewritten(id);
        let effective = rewritten.map_or(path.attributes, |it| it.attributes);
        let Some(next_hop) = self.attributes.next_hop(effective) else {
            return;
        };
        let hop = self.hop(path.peer, next_hop);
        self.hops.release(path.hop);
        if let Some(path) = self.paths.get_mut(id) {
            path.hop = hop;
        }
    }

    /// Puts a full set of local routes in the place of the earlier one.
    pub(crate) fn set_local(&mut self, mut routes: Vec<LocalRoute>) {
        routes
            .iter_mut()
            .for_each(|route| route.prefix = route.prefix.trunc());
        routes.sort();
        routes.dedup_by(|a, b| (a.prefix, a.source) == (b.prefix, b.source));
        if routes == self.local {
            return;
        }
        let old = std::mem::replace(&mut self.local, routes.clone());
        for gone in old.iter().filter(|it| !routes.contains(it)) {
            if let Some(id) = self.prefixes.find(&gone.prefix) {
                let source = gone.source;
                let is_it = |path: &Path| is_local(path) && path.flags.source() == source;
                self.take(id, is_it);
            }
        }
        for new in routes.iter().filter(|it| !old.contains(it)) {
            self.put_local(new);
        }
        if self.resolver.set_connected(&routes) {
            self.refresh_hops();
        }
    }

    fn put_local(&mut self, route: &LocalRoute) {
        let origin = match route.source {
            // As a network statement would have it; the others entered by other means.
            LocalSource::Static => Origin::Igp,
            LocalSource::Connected | LocalSource::Kernel => Origin::Incomplete,
        };
        let attributes = self.attributes.intern(&PathAttributes::local(origin));
        let flags = PathFlags::local(route.source, route.redistribute);
        let peer = PeerIndex::LOCAL;
        self.put(
            route.prefix,
            Path {
                peer,
                flags,
                attributes,
                hop: HopId::NONE,
                next: None,
            },
            None,
        );
        self.attributes.release(attributes);
    }

    /// Finds out anew about all next hops; returns how many prefixes that concerns.
    pub(crate) fn refresh_hops(&mut self) -> usize {
        let (taught, resolver) = (&self.taught, &self.resolver);
        let changed = self
            .hops
            .update(|peer, address| reach(taught, resolver, peer, address));
        if changed.is_empty() {
            return 0;
        }
        let (prefixes, paths) = (&self.prefixes, &self.paths);
        let concerned: Vec<PrefixId> = prefixes
            .iter()
            .filter(|(id, _)| {
                let head = prefixes.row(*id).and_then(|row| row.head);
                paths
                    .chain(head)
                    .any(|(_, path)| changed.binary_search(&path.hop).is_ok())
            })
            .map(|(id, _)| id)
            .collect();
        for id in &concerned {
            self.mark(*id);
            if let Some(row) = self.prefixes.row_mut(*id) {
                row.fib_stale = true;
            }
        }
        concerned.len()
    }

    /// Selects anew what has changed; returns the prefixes with another best path, or another set of
    /// attributes on it.
    pub(crate) fn settle(&mut self) -> Vec<PrefixId> {
        let mut changed = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            if self.settle_one(id) {
                changed.push(id);
            }
        }
        changed
    }

    fn settle_one(&mut self, id: PrefixId) -> bool {
        let Some(row) = self.prefixes.row(id).copied() else {
            return false;
        };
        let (ids, candidates) = self.candidates(&row);
        let selection = select(&candidates, self.multipath);
        let best = selection.best.and_then(|index| ids.get(index).copied());
        let hop_of = |index: &usize| self.paths.get(*ids.get(*index)?).map(|path| path.hop);
        let hops: Vec<HopId> = selection.set.iter().filter_map(hop_of).collect();
        let fib = self.hop_sets.intern(hops, &mut self.hops);
        // The reference of the old set goes, the one of the new set stays with the row.
        self.hop_sets.release(row.fib, &mut self.hops);
        let tell_kernel = fib != row.fib || (row.fib_stale && fib != 0);
        self.fib_prefixes += usize::from(fib != 0);
        self.fib_prefixes -= usize::from(row.fib != 0);
        if tell_kernel && !row.fib_queued {
            self.fib_queue.push_back(id);
        }
        let empty = row.head.is_none();
        if empty && !row.listed_empty {
            self.empty.push(id);
        }
        let Some(row) = self.prefixes.row_mut(id) else {
            return false;
        };
        let changed = row.best_touched || row.best != best;
        *row = Row {
            best,
            fib,
            fib_queued: row.fib_queued || tell_kernel,
            dirty: false,
            listed_empty: row.listed_empty || empty,
            fib_stale: false,
            best_touched: false,
            ..*row
        };
        changed
    }

    /// The paths of a prefix that take part, and what the decision process asks of them.
    fn candidates(&self, row: &Row) -> (Vec<paths::PathId>, Vec<Candidate>) {
        self.paths
            .chain(row.head)
            .filter_map(|(id, path)| Some((id, self.candidate(id, path)?)))
            .unzip()
    }

    fn candidate(&self, id: paths::PathId, path: &Path) -> Option<Candidate> {
        let rewritten = self.paths.rewritten(id);
        let effective = rewritten.map_or(path.attributes, |it| it.attributes);
        let key = self.attributes.key(effective)?;
        if is_local(path) {
            return Some(Candidate {
                local_rank: Some(path.flags.source() as u8),
                weight: 0,
                local_pref: DEFAULT_LOCAL_PREF,
                hops: 0,
                origin: key.origin,
                neighbor_as: Asn::ZERO,
                med: 0,
                external: false,
                router_id: Ipv4Addr::UNSPECIFIED,
                cluster_hops: 0,
                peer_address: Ipv4Addr::UNSPECIFIED.into(),
                as_path: key.as_path,
                next_hop: None,
            });
        }
        let usable = matches!(self.hops.get(path.hop)?.reach, Reach::Usable(_));
        if !path.flags.is_accepted() || !usable {
            return None;
        }
        let teacher = self.teacher(path.peer)?;
        Some(Candidate {
            local_rank: None,
            weight: rewritten.map_or(0, |it| it.weight),
            local_pref: teacher.preference(key, rewritten.is_some()),
            hops: key.hops,
            origin: key.origin,
            neighbor_as: key.first_as.unwrap_or(Asn::ZERO),
            med: key.med,
            external: !teacher.internal,
            router_id: key.originator_id.unwrap_or(teacher.router_id),
            cluster_hops: key.cluster_hops,
            peer_address: teacher.address,
            as_path: key.as_path,
            next_hop: self.attributes.next_hop(effective),
        })
    }

    /// The next change for the kernel, with what is true now.
    pub(crate) fn poll_fib(&mut self) -> Option<FibChange> {
        let id = self.fib_queue.pop_front()?;
        let row = self.prefixes.row_mut(id)?;
        row.fib_queued = false;
        let set = row.fib;
        Some(FibChange {
            prefix: self.prefixes.key(id)?,
            next_hops: self.fib_next_hops(set),
        })
    }

    fn fib_next_hops(&self, set: hops::HopSetId) -> Vec<FibNextHop> {
        let next_hop = |hop: &HopId| {
            let hop = self.hops.get(*hop)?;
            let interface = match &hop.reach {
                Reach::Usable(interface) => interface.clone(),
                Reach::Down(_) | Reach::Unresolved => return None,
            };
            let peer = self.teacher(hop.peer)?.name.clone();
            Some(FibNextHop {
                via: hop.address,
                interface,
                peer,
            })
        };
        let mut next_hops: Vec<_> = self.hop_sets.get(set).iter().filter_map(next_hop).collect();
        next_hops.sort();
        next_hops
    }

    /// Gives back the numbers of prefixes that have no path any more and that nobody needs.
    pub(crate) fn reclaim(&mut self, is_needed: impl Fn(PrefixId) -> bool) {
        if self.empty.len() < self.empty_threshold {
            return;
        }
        for id in std::mem::take(&mut self.empty) {
            let Some(row) = self.prefixes.row_mut(id) else {
                continue;
            };
            if row.head.is_some() {
                row.listed_empty = false;
            } else if row.dirty || row.fib_queued || is_needed(id) {
                self.empty.push(id);
            } else {
                self.prefixes.remove(id);
            }
        }
        self.empty_threshold = (self.empty.len() * 2).max(64);
    }

    /// Puts a path in the place of the one from the same source. Returns whether there was none.
    fn put(&mut self, prefix: IpNet, path: Path, rewritten: Option<Rewritten>) -> bool {
        let id = self.prefixes.find_or_insert(prefix);
        let Some(head) = self.prefixes.row(id).map(|row| row.head) else {
            return false;
        };
        let found = self
            .paths
            .chain(head)
            .find(|(_, old)| same_source(old, &path));
        let found = found.map(|(id, old)| (id, *old));
        self.attributes.retain(path.attributes);
        match found {
            Some((path_id, old)) => {
                if let Some(slot) = self.paths.get_mut(path_id) {
                    *slot = Path {
                        next: old.next,
                        ..path
                    };
                }
                self.rewrite(path_id, rewritten);
                self.drop_references(&old);
                self.uncount_stale(&old);
                self.touch(id, path_id);
                let family = Family::of(&prefix);
                self.count(path.peer, family, 0, accepted(&path) - accepted(&old));
            }
            None => {
                let added = self.paths.add(Path { next: head, ..path });
                if let Some(path_id) = added {
                    self.rewrite(path_id, rewritten);
                }
                if let Some(row) = self.prefixes.row_mut(id) {
                    row.head = added;
                }
                self.count(path.peer, Family::of(&prefix), 1, accepted(&path));
            }
        }
        self.mark(id);
        found.is_none()
    }

    /// Takes the path out of a prefix's chain that `is_it` holds for. Returns whether there was one.
    fn take(&mut self, id: PrefixId, is_it: impl Fn(&Path) -> bool) -> bool {
        let head = self.prefixes.row(id).and_then(|row| row.head);
        let mut before = None;
        let mut found = None;
        for (path_id, path) in self.paths.chain(head) {
            if is_it(path) {
                found = Some((path_id, path.next));
                break;
            }
            before = Some(path_id);
        }
        let Some((path_id, next)) = found else {
            return false;
        };
        match before.and_then(|before| self.paths.get_mut(before)) {
            Some(before) => before.next = next,
            None => {
                if let Some(row) = self.prefixes.row_mut(id) {
                    row.head = next;
                }
            }
        }
        self.rewrite(path_id, None);
        if let Some(path) = self.paths.remove(path_id) {
            self.drop_references(&path);
            if let Some(prefix) = self.prefixes.key(id) {
                self.count(path.peer, Family::of(&prefix), -1, -accepted(&path));
            }
            self.uncount_stale(&path);
        }
        self.touch(id, path_id);
        self.mark(id);
        true
    }

    fn drop_references(&mut self, path: &Path) {
        self.attributes.release(path.attributes);
        self.hops.release(path.hop);
    }

    fn hop(&mut self, peer: PeerIndex, address: IpAddr) -> HopId {
        let (taught, resolver) = (&self.taught, &self.resolver);
        self.hops
            .intern(peer, address, || reach(taught, resolver, peer, address))
    }

    /// Remembers that what the best path was is no more.
    fn touch(&mut self, id: PrefixId, path: paths::PathId) {
        if let Some(row) = self.prefixes.row_mut(id) {
            row.best_touched |= row.best == Some(path);
        }
    }

    fn mark(&mut self, id: PrefixId) {
        let Some(row) = self.prefixes.row_mut(id) else {
            return;
        };
        if !std::mem::replace(&mut row.dirty, true) {
            self.dirty.push(id);
        }
    }

    fn mark_where(&mut self, concerns: impl Fn(&Path) -> bool) {
        let ids: Vec<PrefixId> = self.prefixes.iter().map(|(id, _)| id).collect();
        for id in ids {
            let head = self.prefixes.row(id).and_then(|row| row.head);
            if self.paths.chain(head).any(|(_, path)| concerns(path)) {
                self.mark(id);
            }
        }
    }

    /// The numbers of all prefixes of these families.
    fn ids_of(&self, families: Families) -> Vec<PrefixId> {
        self.prefixes
            .iter()
            .filter(|(_, prefix)| families.contains(Family::of(prefix)))
            .map(|(id, _)| id)
            .collect()
    }

    fn count(&mut self, peer: PeerIndex, family: Family, received: i32, accepted: i32) {
        if let Some(Some(taught)) = self.taught.get_mut(usize::from(peer.0)) {
            if family == Family::IPV6_UNICAST {
                taught.received_ipv6 = taught.received_ipv6.saturating_add_signed(received);
            }
            taught.received = taught.received.saturating_add_signed(received);
            taught.accepted = taught.accepted.saturating_add_signed(accepted);
        }
    }

    fn teacher(&self, peer: PeerIndex) -> Option<&Teacher> {
        Some(&self.taught.get(usize::from(peer.0))?.as_ref()?.teacher)
    }
}

fn reach(
    taught: &[Option<Taught>],
    resolver: &Resolver,
    peer: PeerIndex,
    next_hop: IpAddr,
) -> Reach {
    match taught.get(usize::from(peer.0)) {
        Some(Some(Taught { teacher, .. })) => {
            resolver.reach(next_hop, teacher.address, teacher.interface.as_deref())
        }
        _ => Reach::Unresolved,
    }
}

fn is_local(path: &Path) -> bool {
    path.peer == PeerIndex::LOCAL
}

fn same_source(a: &Path, b: &Path) -> bool {
    a.peer == b.peer && (!is_local(a) || a.flags.source() == b.flags.source())
}

fn accepted(path: &Path) -> i32 {
    i32::from(path.flags.is_accepted())
}
