//! Route refresh, both ways (RFC 2918), and what a peer has silently lost of what it taught (RFC 7313).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Speaker;
use crate::event::Event;
use crate::rib::PeerIndex;
use crate::wire::{Families, Family, RefreshKind, RouteRefresh};

/// How long a peer may take to send everything again (RFC 7313, section 4, leaves it to us).
const LONGEST: Duration = Duration::from_secs(360);

/// How far apart two beginnings are that count. Each looks at the whole table and costs the peer 23 octets, so what comes faster
/// is ignored, with its end: then nothing is swept, as with a peer that does not know RFC 7313.
const APART: Duration = Duration::from_secs(1);

/// A peer's refreshes, by family: the last one of each.
#[derive(Debug, Default)]
pub(super) struct Refreshes(BTreeMap<Family, Round>);

#[derive(Debug)]
struct Round {
    began: Instant,
    /// It is not over, and may take so long.
    until: Option<Instant>,
}

impl Refreshes {
    /// When the one that is not over has to be.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.0.values().filter_map(|round| round.until).min()
    }

    /// The session is over, and what it taught is somebody else's to keep or to forget.
    pub(super) fn end(&mut self) {
        self.0.values_mut().for_each(|round| round.until = None);
    }
}

impl Speaker {
    /// A ROUTE-REFRESH came in.
    pub(super) fn refresh(&mut self, now: Instant, index: PeerIndex, refresh: RouteRefresh) {
        // RFC 2918, section 4: of a family that was not negotiated, ignored.
        let family = refresh.family;
        let agreed = self.peer(index).and_then(|peer| peer.session.agreed());
        if !agreed.is_some_and(|agreed| agreed.families.contains(family)) {
            return;
        }
        match refresh.kind {
            RefreshKind::Request => self.tell_all_again(index, family),
            RefreshKind::Begin => self.refresh_begins(now, index, family),
            RefreshKind::End => self.refresh_ends(index, family, true),
            RefreshKind::Unknown(_) => {}
        }
    }

    fn tell_all_again(&mut self, index: PeerIndex, family: Family) {
        if let Some(Some(peer)) = self.peers.get_mut(usize::from(index.0)) {
            peer.adj_out.refresh(&self.rib, family);
        }
    }

    /// BoRR. One before End-of-RIB is ignored where End-of-RIB is to come (RFC 7313, section 4): until then what is stale has
    /// another reason.
    fn refresh_begins(&mut self, now: Instant, index: PeerIndex, family: Family) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let agreed = peer.session.agreed();
        let sends_its_end = agreed.is_some_and(|agreed| agreed.graceful_restart.is_some());
        if sends_its_end && !peer.end_of_rib_received.contains(family) {
            return;
        }
        let last = peer.refreshes.0.get(&family);
        if last.is_some_and(|last| now < last.began + APART) {
            return;
        }
        let round = Round {
            began: now,
            until: Some(now + LONGEST),
        };
        peer.refreshes.0.insert(family, round);
        self.rib.mark_stale(index, [family].into_iter().collect());
    }

    /// EoRR, or the time for it is over. One without a beginning means nothing.
    fn refresh_ends(&mut self, index: PeerIndex, family: Family, ended: bool) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let round = peer.refreshes.0.get_mut(&family);
        if round.and_then(|round| round.until.take()).is_none() {
            return;
        }
        let peer = peer.config.name.clone();
        let families = [family].into_iter().collect();
        let prefixes = self.rib.sweep_stale(index, families);
        if prefixes > 0 {
            self.outbox.tell(Event::NotRefreshed {
                peer,
                prefixes,
                ended,
            });
        }
    }

    pub(super) fn end_overdue_refreshes(&mut self, now: Instant) {
        for index in self.indices() {
            for family in Families::BOTH.iter() {
                let round = self.peer(index).and_then(|it| it.refreshes.0.get(&family));
                let until = round.and_then(|round| round.until);
                if until.is_some_and(|until| until <= now) {
                    self.refresh_ends(index, family, false);
                }
            }
        }
    }
}
