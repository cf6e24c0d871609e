//! Next hops and sets of them, each kept once, so that a tunnel's death is found in a few places
//! whatever the number of routes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::next_hop::Reach;
use super::paths::PeerIndex;

/// The number of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HopId(u32);

impl HopId {
    /// Of a route of our own, which needs none.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// An address that a peer named as a next hop.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) peer: PeerIndex,
    pub(super) address: IpAddr,
    pub(super) reach: Reach,
    references: u32,
}

/// All next hops in use.
#[derive(Debug, Default)]
pub(super) struct Hops {
    slots: Vec<Option<Hop>>,
    free: Vec<u32>,
    index: BTreeMap<(PeerIndex, IpAddr), u32>,
}

impl Hops {
    pub(super) fn get(&self, id: HopId) -> Option<&Hop> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    /// The number of a next hop, with one reference added; `reach` finds out about a new one.
    pub(super) fn intern(
        &mut self,
        peer: PeerIndex,
        address: IpAddr,
        reach: impl FnOnce() -> Reach,
    ) -> HopId {
        let id = match self.index.get(&(peer, address)) {
            Some(id) => *id,
            None => {
                let hop = Some(Hop {
                    peer,
                    address,
                    reach: reach(),
                    references: 0,
                });
                let id = self
                    .free
                    .pop()
                    .unwrap_or(u32::try_from(self.slots.len()).unwrap_or(0));
                match self.slots.get_mut(id as usize) {
                    Some(slot) => *slot = hop,
                    None => self.slots.push(hop),
                }
                self.index.insert((peer, address), id);
                id
            }
        };
        self.retain(HopId(id));
        HopId(id)
    }

    pub(super) fn retain(&mut self, id: HopId) {
        if let Some(Some(hop)) = self.slots.get_mut(id.0 as usize) {
            hop.references += 1;
        }
    }

    pub(super) fn release(&mut self, id: HopId) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else {
            return;
        };
        let Some(hop) = slot else { return };
        hop.references = hop.references.saturating_sub(1);
        if hop.references == 0 {
            self.index.remove(&(hop.peer, hop.address));
            *slot = None;
            self.free.push(id.0);
        }
    }

    /// Finds out anew about every next hop; returns those that it matters for.
    pub(super) fn update(&mut self, reach: impl Fn(PeerIndex, IpAddr) -> Reach) -> Vec<HopId> {
        let mut changed = Vec::new();
        for (id, hop) in (0..).zip(&mut self.slots) {
            let Some(hop) = hop else { continue };
            let now = reach(hop.peer, hop.address);
            if now != hop.reach {
                hop.reach = now;
                changed.push(HopId(id));
            }
        }
        changed
    }
}

/// The number of a set of next hops; zero is the empty one.
pub(super) type HopSetId = u32;

#[derive(Debug)]
struct HopSet {
    hops: Box<[HopId]>,
    references: u32,
}

/// The sets that share some prefix's traffic.
#[derive(Debug, Default)]
pub(super) struct HopSets {
    slots: Vec<Option<HopSet>>,
    free: Vec<u32>,
    index: BTreeMap<Box<[HopId]>, u32>,
}

impl HopSets {
    /// The next hops of a set.
    pub(super) fn get(&self, id: HopSetId) -> &[HopId] {
        let slot = id
            .checked_sub(1)
            .and_then(|slot| self.slots.get(slot as usize)?.as_ref());
        slot.map_or(&[], |set| &set.hops)
    }

    /// The number of a set, with one reference added; new sets hold on to their next hops.
    pub(super) fn intern(&mut self, mut hops: Vec<HopId>, all: &mut Hops) -> HopSetId {
        if hops.is_empty() {
            return 0;
        }
        hops.sort_unstable();
        if let Some(slot) = self.index.get(hops.as_slice()) {
            if let Some(Some(set)) = self.slots.get_mut(*slot as usize) {
                set.references += 1;
            }
            return slot + 1;
        }
        hops.iter().for_each(|hop| all.retain(*hop));
        let hops: Box<[HopId]> = hops.into();
        let slot = self
            .free
            .pop()
            .unwrap_or(u32::try_from(self.slots.len()).unwrap_or(0));
        self.index.insert(hops.clone(), slot);
        let set = Some(HopSet {
            hops,
            references: 1,
        });
        match self.slots.get_mut(slot as usize) {
            Some(it) => *it = set,
            None => self.slots.push(set),
        }
        slot + 1
    }

    pub(super) fn release(&mut self, id: HopSetId, all: &mut Hops) {
        let Some(slot) = id.checked_sub(1) else {
            return;
        };
        let Some(it) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let Some(set) = it else { return };
        set.references -= 1;
        if set.references == 0 {
            set.hops.iter().for_each(|hop| all.release(*hop));
            self.index.remove(&set.hops);
            *it = None;
            self.free.push(slot);
        }
    }
}
