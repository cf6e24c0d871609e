//! Reading the tables: for exporting, and for whoever looks at them.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::attribute_store::AttrId;
use super::best_path::{MultipathVerdict, Selection, select};
use super::hops::HopId;
use super::next_hop::{Eligibility, Reach};
use super::paths::{Path, PathId, PeerIndex};
use super::prefix_table::PrefixId;
use super::{Rib, is_local};
use crate::LocalSource;
use crate::policy::{DEFAULT_LOCAL_PREF, ExportSource, Refusal, Verdict};
use crate::view::{PathSource, PathView, RouteView};
use crate::wire::{Family, PathAttributes};

/// A prefix's best path, as far as exporting it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BestPath {
    pub(crate) prefix: IpNet,
    pub(crate) attributes: AttrId,
    /// They are what a route map made.
    pub(crate) rewritten: bool,
    pub(crate) source: BestSource,
}

/// Where a best path comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BestSource {
    /// It is a route of our own.
    Own(LocalSource),
    /// This peer taught it.
    Peer(PeerIndex),
}

impl Rib {
    /// How many prefixes a peer has taught.
    pub(crate) fn received(&self, peer: PeerIndex) -> u32 {
        self.taught
            .get(usize::from(peer.0))
            .and_then(Option::as_ref)
            .map_or(0, |it| it.received)
    }

    /// How many prefixes of one family a peer has taught.
    pub(crate) fn received_of(&self, peer: PeerIndex, family: Family) -> u32 {
        let taught = self.taught.get(usize::from(peer.0));
        taught
            .and_then(Option::as_ref)
            .map_or(0, |it| match family {
                Family::IPV6_UNICAST => it.received_ipv6,
                _ => it.received.saturating_sub(it.received_ipv6),
            })
    }

    /// How many of them policy accepts.
    pub(crate) fn accepted(&self, peer: PeerIndex) -> u32 {
        self.taught
            .get(usize::from(peer.0))
            .and_then(Option::as_ref)
            .map_or(0, |it| it.accepted)
    }

    /// Prefixes that have a path.
    pub(crate) fn prefix_count(&self) -> usize {
        let empty = |id: &&PrefixId| {
            self.prefixes
                .row(**id)
                .is_some_and(|row| row.head.is_none())
        };
        self.prefixes.len() - self.empty.iter().filter(empty).count()
    }

    /// All paths.
    pub(crate) fn path_count(&self) -> usize {
        self.paths.len()
    }

    /// Prefixes with next hops for the kernel.
    pub(crate) fn fib_count(&self) -> usize {
        self.fib_prefixes
    }

    /// One more than the largest number of a prefix.
    pub(crate) fn bound(&self) -> usize {
        self.prefixes.bound()
    }

    pub(crate) fn prefix(&self, id: PrefixId) -> Option<IpNet> {
        self.prefixes.key(id)
    }

    /// The number of a prefix, which it gets if it has none. Somebody has to need it, or it goes again.
    pub(super) fn number_of(&mut self, prefix: IpNet) -> PrefixId {
        let id = self.prefixes.find_or_insert(prefix);
        if let Some(row) = self.prefixes.row_mut(id)
            && row.head.is_none()
            && !std::mem::replace(&mut row.listed_empty, true)
        {
            self.empty.push(id);
        }
        id
    }

    pub(crate) fn find(&self, prefix: &IpNet) -> Option<PrefixId> {
        self.prefixes.find(prefix)
    }

    /// What there is to tell of a prefix: its best path, unless nobody is to be told of it.
    pub(crate) fn best(&self, id: PrefixId) -> Option<BestPath> {
        let path_id = self.prefixes.row(id)?.best?;
        let path = self.paths.get(path_id)?;
        if path.flags.is_hidden() {
            return None;
        }
        let rewritten = self.paths.rewritten(path_id);
        Some(BestPath {
            prefix: self.prefixes.key(id)?,
            attributes: rewritten.map_or(path.attributes, |it| it.attributes),
            rewritten: rewritten.is_some(),
            source: if is_local(path) {
                BestSource::Own(path.flags.source())
            } else {
                BestSource::Peer(path.peer)
            },
        })
    }

    /// The degree of preference that a best path won with.
    pub(crate) fn preference(&self, best: &BestPath) -> u32 {
        match best.source {
            BestSource::Own(_) => DEFAULT_LOCAL_PREF,
            BestSource::Peer(peer) => self.local_pref(peer, best.attributes, best.rewritten),
        }
    }

    /// The degree of preference that a peer's path takes part with.
    fn local_pref(&self, peer: PeerIndex, attributes: AttrId, rewritten: bool) -> u32 {
        match (self.teacher(peer), self.attributes.key(attributes)) {
            (Some(teacher), Some(key)) => teacher.preference(key, rewritten),
            _ => DEFAULT_LOCAL_PREF,
        }
    }

    /// The source of a best path, for the export rules; `None` if its peer is gone.
    pub(crate) fn export_source(&self, source: BestSource) -> Option<ExportSource> {
        let peer = match source {
            BestSource::Own(source) => return Some(ExportSource::Local { source }),
            BestSource::Peer(peer) => peer,
        };
        let teacher = self.teacher(peer)?;
        Some(ExportSource::Learned {
            peer: teacher.name.clone(),
            role: teacher.role,
            internal: teacher.internal,
            client: teacher.client,
        })
    }

    /// The BGP Identifier of the internal peer that a best path comes from, if it comes from one.
    pub(crate) fn internal_teacher(&self, source: BestSource) -> Option<Ipv4Addr> {
        let BestSource::Peer(peer) = source else {
            return None;
        };
        let teacher = self.teacher(peer).filter(|it| it.internal)?;
        Some(teacher.router_id)
    }

    /// Everything that a peer taught, in the order of prefixes.
    pub(crate) fn received_routes(&self, peer: PeerIndex) -> Vec<(IpNet, AttrId)> {
        let mut routes: Vec<(IpNet, AttrId)> = self
            .prefixes
            .iter()
            .filter_map(|(id, prefix)| {
                let head = self.prefixes.row(id)?.head;
                let (_, path) = self.paths.chain(head).find(|(_, path)| path.peer == peer)?;
                Some((prefix, path.attributes))
            })
            .collect();
        routes.sort_unstable();
        routes
    }

    /// The prefixes that pass the filter and have a path, in their order.
    pub(crate) fn matching(
        &self,
        mut filter: impl FnMut(&IpNet) -> bool,
    ) -> Vec<(IpNet, PrefixId)> {
        let mut found: Vec<(IpNet, PrefixId)> = self
            .prefixes
            .iter()
            .filter(|(id, prefix)| {
                self.prefixes.row(*id).is_some_and(|row| row.head.is_some()) && filter(prefix)
            })
            .map(|(id, prefix)| (prefix, id))
            .collect();
        found.sort_unstable();
        found
    }

    /// Whether a peer teaches a prefix.
    pub(crate) fn teaches(&self, peer: PeerIndex, id: PrefixId) -> bool {
        let head = self.prefixes.row(id).and_then(|row| row.head);
        self.paths.chain(head).any(|(_, path)| path.peer == peer)
    }

    /// All about one prefix. `verdict` says what import policy finds of a path of a peer.
    pub(crate) fn route_view(
        &self,
        id: PrefixId,
        verdict: impl Fn(PeerIndex, &IpNet, &PathAttributes) -> Option<Verdict>,
    ) -> Option<RouteView> {
        let row = self.prefixes.row(id)?;
        let prefix = self.prefixes.key(id)?;
        let (ids, candidates) = self.candidates(row);
        let selection = select(&candidates, self.multipath);
        let place = |id: PathId| ids.iter().position(|it| *it == id);
        let mut paths: Vec<PathView> = self
            .paths
            .chain(row.head)
            .filter_map(|(id, path)| {
                let verdict = |set: &PathAttributes| verdict(path.peer, &prefix, set);
                self.path_view(id, path, place(id), &selection, verdict)
            })
            .collect();
        // The best one, then what it shares with, then by how far the others came.
        paths.sort_by_key(|path| {
            let out = path.eligibility != Eligibility::Eligible;
            (
                !path.best,
                path.multipath != MultipathVerdict::InSet,
                out,
                std::cmp::Reverse(path.lost_by),
            )
        });
        Some(RouteView {
            prefix,
            next_hops: self.fib_next_hops(row.fib),
            paths,
        })
    }

    fn path_view(
        &self,
        id: PathId,
        path: &Path,
        place: Option<usize>,
        selection: &Selection,
        verdict: impl Fn(&PathAttributes) -> Option<Verdict>,
    ) -> Option<PathView> {
        let received = self.attributes.set(path.attributes)?;
        let rewritten = self.paths.rewritten(id);
        let effective = rewritten.map_or(path.attributes, |it| it.attributes);
        let (rule, refusal) = match verdict(&received) {
            Some(Verdict::Accepted(rule)) => (rule, None),
            Some(Verdict::Refused(refusal)) => (None, Some(refusal)),
            None => (None, None),
        };
        let eligibility = match place {
            Some(_) => Eligibility::Eligible,
            None => self.why_not_eligible(path.hop, refusal),
        };
        let teacher = self.teacher(path.peer);
        let source = match teacher {
            Some(teacher) => PathSource::Peer(teacher.name.clone()),
            None => PathSource::Local(path.flags.source()),
        };
        Some(PathView {
            source,
            attributes: self.attributes.set(effective)?,
            received: rewritten.map(|_| received),
            rule,
            local_pref: self.local_pref(path.peer, effective, rewritten.is_some()),
            weight: rewritten.map_or(0, |it| it.weight),
            stale: path.flags.is_stale(),
            eligibility,
            best: place.is_some() && place == selection.best,
            lost_by: place.and_then(|place| *selection.lost_by.get(place)?),
            multipath: place
                .and_then(|place| selection.multipath.get(place).copied())
                .unwrap_or(MultipathVerdict::NotEligible),
        })
    }

    fn why_not_eligible(&self, hop: HopId, refusal: Option<Refusal>) -> Eligibility {
        if let Some(refusal) = refusal {
            return Eligibility::Refused(refusal);
        }
        match self.hops.get(hop) {
            Some(hop) => match &hop.reach {
                Reach::Usable(_) => Eligibility::Eligible,
                Reach::Down(interface) => Eligibility::InterfaceDown {
                    interface: interface.clone(),
                },
                Reach::Unresolved => Eligibility::NextHopUnresolved {
                    next_hop: hop.address,
                },
            },
            None => Eligibility::Eligible,
        }
    }
}
