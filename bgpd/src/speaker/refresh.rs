//! Route refresh, both ways (RFC 2918), and what a peer has silently lost of what it taught (RFC 7313).

use std::time::{Duration, Instant};

use super::Speaker;
use crate::event::Event;
use crate::rib::PeerIndex;
use crate::wire::{Family, RefreshKind, RouteRefresh};

/// How long a peer may take to send everything again (RFC 7313, section 4, leaves it to us).
const LONGEST: Duration = Duration::from_secs(360);

/// How far apart two beginnings are that count. Each looks at the whole table and costs the peer 23 octets, so what comes faster
/// is ignored, with its end: then nothing is swept, as with a peer that does not know RFC 7313.
const APART: Duration = Duration::from_secs(1);

/// A peer's refreshes.
#[derive(Debug, Default)]
pub(super) struct Refreshes {
    /// When the last one began.
    began: Option<Instant>,
    /// It is not over, and may take so long.
    until: Option<Instant>,
}

impl Refreshes {
    /// When the one that is not over has to be.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.until
    }

    /// The session is over, and what it taught is somebody else's to keep or to forget.
    pub(super) fn end(&mut self) {
        self.until = None;
    }
}

impl Speaker {
    /// A ROUTE-REFRESH came in.
    pub(super) fn refresh(&mut self, now: Instant, index: PeerIndex, refresh: RouteRefresh) {
        // RFC 2918, section 4: of a family that was not negotiated, ignored.
        if refresh.family != Family::IPV4_UNICAST {
            return;
        }
        match refresh.kind {
            RefreshKind::Request => self.tell_all_again(index),
            RefreshKind::Begin => self.refresh_begins(now, index),
            RefreshKind::End => self.refresh_ends(index, true),
            RefreshKind::Unknown(_) => {}
        }
    }

    fn tell_all_again(&mut self, index: PeerIndex) {
        if let Some(Some(peer)) = self.peers.get_mut(usize::from(index.0)) {
            peer.adj_out.refresh(&self.rib);
        }
    }

    /// BoRR. One before End-of-RIB is ignored where End-of-RIB is to come (RFC 7313, section 4): until then what is stale has
    /// another reason.
    fn refresh_begins(&mut self, now: Instant, index: PeerIndex) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let agreed = peer.session.agreed();
        let sends_its_end = agreed.is_some_and(|agreed| agreed.graceful_restart.is_some());
        if sends_its_end && !peer.end_of_rib_received {
            return;
        }
        if peer
            .refreshes
            .began
            .is_some_and(|began| now < began + APART)
        {
            return;
        }
        peer.refreshes = Refreshes {
            began: Some(now),
            until: Some(now + LONGEST),
        };
        self.rib.mark_stale(index);
    }

    /// EoRR, or the time for it is over. One without a beginning means nothing.
    fn refresh_ends(&mut self, index: PeerIndex, ended: bool) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        if peer.refreshes.until.take().is_none() {
            return;
        }
        let peer = peer.config.name.clone();
        let prefixes = self.rib.sweep_stale(index);
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
            let until = self.peer(index).and_then(|peer| peer.refreshes.timeout());
            if until.is_some_and(|until| until <= now) {
                self.refresh_ends(index, false);
            }
        }
    }
}
