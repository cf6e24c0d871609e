//! The decision process (RFC 4271, section 9.1), and its reasons.
//!
//! The RFC's own form is used: step after step removes from the set of candidates those that are not
//! the best by the step's measure. So the outcome depends on the set alone and never on the order in
//! which paths arrived, although MULTI_EXIT_DISC is comparable only within one neighboring AS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use crate::Asn;
use crate::wire::Origin;

/// What the decision process knows of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// How a route of our own ranks among its like; `None` for a learned one.
    pub(super) local_rank: Option<u8>,
    /// What a route map says that it weighs; higher wins.
    pub(super) weight: u16,
    /// Degree of preference; higher wins.
    pub(super) local_pref: u32,
    /// AS_PATH's length.
    pub(super) hops: u32,
    /// ORIGIN.
    pub(super) origin: Origin,
    /// The AS that MULTI_EXIT_DISC is comparable within.
    pub(super) neighbor_as: Asn,
    /// MULTI_EXIT_DISC, zero if there is none (RFC 4271, section 9.1.2.2 c).
    pub(super) med: u32,
    /// Learned from another AS.
    pub(super) external: bool,
    /// The teacher's BGP Identifier, or ORIGINATOR_ID (RFC 4456, section 9).
    pub(super) router_id: Ipv4Addr,
    /// CLUSTER_LIST's length.
    pub(super) cluster_hops: u16,
    /// The teacher's address.
    pub(super) peer_address: IpAddr,
    /// Equal numbers stand for equal AS paths.
    pub(super) as_path: u64,
    /// Equal numbers stand for equal next hops.
    pub(super) next_hop: Option<IpAddr>,
}

/// The step that a path lost by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostBy {
    /// A route of our own is there, and comes before all that is learned.
    LocalRoute,
    /// A route map gave it less weight.
    Weight,
    /// Lower LOCAL_PREF.
    LocalPref,
    /// Longer AS_PATH (section 9.1.2.2 a).
    AsPathLength,
    /// Worse ORIGIN (b).
    Origin,
    /// Higher MULTI_EXIT_DISC from the same neighboring AS (c).
    MultiExitDisc,
    /// Learned inside our AS, and another one from outside (d).
    InternalPeer,
    /// Higher BGP Identifier (f).
    RouterId,
    /// Longer CLUSTER_LIST (RFC 4456, section 9).
    ClusterList,
    /// Higher address of the peer (g).
    PeerAddress,
}

impl LostBy {
    /// Whether the step only breaks a tie between paths that are equally good.
    #[must_use]
    pub fn is_tie_break(self) -> bool {
        matches!(self, Self::RouterId | Self::ClusterList | Self::PeerAddress)
    }
}

impl fmt::Display for LostBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LocalRoute => "a route of our own comes first",
            Self::Weight => "lower weight",
            Self::LocalPref => "lower local preference",
            Self::AsPathLength => "longer AS path",
            Self::Origin => "worse origin",
            Self::MultiExitDisc => "higher MED from the same AS",
            Self::InternalPeer => "internal, and an external path is there",
            Self::RouterId => "higher BGP identifier",
            Self::ClusterList => "longer cluster list",
            Self::PeerAddress => "higher peer address",
        })
    }
}

/// Whether a path carries traffic, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MultipathVerdict {
    /// It does.
    InSet,
    /// It takes no part in the selection.
    NotEligible,
    /// It is not as good as the best one.
    Worse,
    /// The best one is a route of our own, which the kernel has already.
    LocalBest,
    /// Equally long, but another AS path, and multipath is not relaxed.
    DifferentAsPath,
    /// A path in the set has the same next hop.
    SameNextHop,
    /// As many paths as may share the traffic are in the set.
    BeyondMaximum {
        /// How many that is.
        maximum: u16,
    },
}

/// What came of one prefix's candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// The index of the best candidate; `None` if there is no candidate.
    pub(super) best: Option<usize>,
    /// By candidate, the step that it lost by; `None` for the best one.
    pub(super) lost_by: Vec<Option<LostBy>>,
    /// By candidate, whether it carries traffic.
    pub(super) multipath: Vec<MultipathVerdict>,
    /// The indices of those that do, the best one first.
    pub(super) set: Vec<usize>,
}

/// The limits of multipath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Multipath {
    /// How many paths may share the traffic.
    pub(crate) maximum: u16,
    /// Equal length suffices.
    pub(crate) relax: bool,
}

/// Runs the decision process.
#[must_use]
pub(super) fn select(candidates: &[Candidate], multipath: Multipath) -> Selection {
    let mut selection = Selection {
        best: None,
        lost_by: vec![None; candidates.len()],
        multipath: vec![MultipathVerdict::Worse; candidates.len()],
        set: Vec::new(),
    };
    let mut alive: Vec<usize> = (0..candidates.len()).collect();
    for step in STEPS {
        if alive.len() <= 1 {
            break;
        }
        eliminate(candidates, &mut alive, step, &mut selection.lost_by);
    }
    selection.best = alive.first().copied();
    share(candidates, multipath, &mut selection);
    selection
}

/// One step: its reason, and what is smaller the better.
type Step = (LostBy, fn(&Candidate) -> u64);

/// RFC 4271, section 9.1.2.2, with local routes and weight in front and RFC 4456's step. Interior cost (e) is
/// not among them: next hops are on networks that we are connected to.
const STEPS: [Step; 10] = [
    (LostBy::LocalRoute, |it| {
        it.local_rank.map_or(u64::from(u8::MAX) + 1, u64::from)
    }),
    (LostBy::Weight, |it| u64::from(u16::MAX - it.weight)),
    (LostBy::LocalPref, |it| u64::from(u32::MAX - it.local_pref)),
    (LostBy::AsPathLength, |it| u64::from(it.hops)),
    (LostBy::Origin, |it| it.origin as u64),
    (LostBy::MultiExitDisc, |it| u64::from(it.med)),
    (LostBy::InternalPeer, |it| u64::from(!it.external)),
    (LostBy::RouterId, |it| u64::from(u32::from(it.router_id))),
    (LostBy::ClusterList, |it| u64::from(it.cluster_hops)),
    // Sessions run over IPv4; the order of IPv6 addresses only has to be an order.
    (LostBy::PeerAddress, |it| match it.peer_address {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64 ^ u128::from(address) as u64,
    }),
];

/// Removes from `alive` what is not the best by this step's measure.
fn eliminate(
    candidates: &[Candidate],
    alive: &mut Vec<usize>,
    (reason, measure): Step,
    lost_by: &mut [Option<LostBy>],
) {
    let of = |index: &usize| candidates.get(*index);
    let by_as = reason == LostBy::MultiExitDisc;
    let beaten: Vec<usize> = alive
        .iter()
        .copied()
        .filter(|index| {
            let Some(it) = of(index) else { return true };
            alive.iter().filter_map(of).any(|other| {
                (!by_as || other.neighbor_as == it.neighbor_as) && measure(other) < measure(it)
            })
        })
        .collect();
    for index in &beaten {
        if let Some(lost) = lost_by.get_mut(*index) {
            *lost = Some(reason);
        }
    }
    alive.retain(|index| !beaten.contains(index));
}

/// Finds the paths that share the traffic with the best one.
fn share(candidates: &[Candidate], limits: Multipath, selection: &mut Selection) {
    let Some(best) = selection.best else { return };
    let Some(top) = candidates.get(best) else {
        return;
    };
    if top.local_rank.is_some() {
        selection.multipath.fill(MultipathVerdict::LocalBest);
        return;
    }
    let equal = |index: &usize| match selection.lost_by.get(*index) {
        Some(Some(reason)) => reason.is_tie_break(),
        Some(None) => true,
        None => false,
    };
    let mut ties: Vec<usize> = (0..candidates.len()).filter(equal).collect();
    // The best one is first by construction: the tie breaks are the order.
    ties.sort_by_key(|index| {
        candidates
            .get(*index)
            .map(|it| (it.router_id, it.cluster_hops, it.peer_address))
    });
    for index in ties {
        let Some(it) = candidates.get(index) else {
            continue;
        };
        let same_next_hop = |other: &usize| {
            candidates
                .get(*other)
                .is_some_and(|other| other.next_hop == it.next_hop)
        };
        let verdict = if index != best && !limits.relax && it.as_path != top.as_path {
            MultipathVerdict::DifferentAsPath
        } else if selection.set.iter().any(same_next_hop) {
            MultipathVerdict::SameNextHop
        } else if selection.set.len() >= usize::from(limits.maximum.max(1)) {
            MultipathVerdict::BeyondMaximum {
                maximum: limits.maximum,
            }
        } else {
            selection.set.push(index);
            MultipathVerdict::InSet
        };
        if let Some(slot) = selection.multipath.get_mut(index) {
            *slot = verdict;
        }
    }
}

#[cfg(test)]
mod tests;
