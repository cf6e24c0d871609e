//! Graceful restart (RFC 4724): a peer that is away and whose routes are kept, and our own return.
//!
//! In one thing our own restart is not done as the RFC's section 4.1 has it: routes are selected, put into the kernel and told at
//! once, not only when all peers have been heard. What makes a restart graceful is that nothing is taken away too early, so it is
//! End-of-RIB alone that waits, and [`Event::RestartOver`] says when the kernel's old routes may go. A peer that never comes back
//! then delays nobody's traffic.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Speaker;
use super::peer::{Kept, Peer};
use crate::PeerName;
use crate::event::{Agreed, Event, StaleEnd};
use crate::rib::PeerIndex;
use crate::wire::Families;

/// How long a peer that is back may take to tell everything again.
const RESYNCHRONIZATION: Duration = Duration::from_secs(360);

/// A peer that does not send End-of-RIB has sent everything when it has been quiet for so long.
const QUIET: Duration = Duration::from_secs(5);

/// Our own restart, while it is not over.
#[derive(Debug)]
pub(super) struct Deferral {
    deadline: Instant,
    local_routes_known: bool,
    synchronized: BTreeSet<PeerIndex>,
    /// End-of-RIB may be sent.
    told: bool,
}

impl Deferral {
    pub(super) fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            local_routes_known: false,
            synchronized: BTreeSet::new(),
            told: false,
        }
    }
}

impl Speaker {
    /// A peer is away for a restart: what it taught stays.
    pub(super) fn keep_stale(
        &mut self,
        now: Instant,
        index: PeerIndex,
        agreed: Agreed,
        at_most: Duration,
    ) {
        // RFC 4724, section 4.2: restarts that follow each other keep nothing twice.
        self.sweep(index, Families::BOTH, StaleEnd::LostAgain);
        let restart = agreed.graceful_restart.as_ref();
        let families = restart.map_or(Families::NONE, |it| it.forwards);
        self.rib.forget(index, Families::BOTH.without(families));
        let prefixes = self.rib.mark_stale(index, families) as usize;
        let Some(peer) = self.peer_mut(index).filter(|_| prefixes > 0) else {
            return;
        };
        let until = now + at_most;
        peer.kept = Some(Kept {
            until,
            families,
            agreed,
        });
        let peer = peer.config.name.clone();
        self.outbox.tell(Event::StaleKept {
            peer,
            prefixes,
            at_most,
        });
    }

    /// A peer whose routes may have been kept has a session again.
    pub(super) fn returned(&mut self, now: Instant, index: PeerIndex, agreed: &Agreed) {
        let restart = agreed.graceful_restart.as_ref();
        let preserved = restart.map_or(Families::NONE, |it| it.forwarding_preserved);
        let lost = Families::BOTH.without(preserved.and(agreed.families));
        self.sweep(index, lost, StaleEnd::ForwardingLost);
        if let Some(kept) = self.peer_mut(index).and_then(|peer| peer.kept.as_mut()) {
            kept.until = now + RESYNCHRONIZATION;
        }
    }

    /// What is kept of these families for a peer goes; nothing happens if nothing is.
    pub(super) fn sweep(&mut self, index: PeerIndex, families: Families, why: StaleEnd) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let kept = peer.kept.as_ref().map_or(Families::NONE, |it| it.families);
        let families = families.and(kept);
        if families.is_empty() {
            return;
        }
        let rest = kept.without(families);
        match &mut peer.kept {
            Some(kept) if !rest.is_empty() => kept.families = rest,
            kept => *kept = None,
        }
        let peer = peer.config.name.clone();
        let prefixes = self.rib.sweep_stale(index, families);
        self.outbox.tell(Event::StaleSwept {
            peer,
            prefixes,
            why,
        });
    }

    /// The way to a peer, or our wish for it, has ended: nothing is kept for one that is away.
    pub(super) fn sweep_absent(&mut self, index: PeerIndex, why: StaleEnd) {
        if self
            .peer(index)
            .is_some_and(|peer| peer.session.agreed().is_none())
        {
            self.sweep(index, Families::BOTH, why);
        }
    }

    /// Sweeps what has been kept for as long as it may be.
    pub(super) fn sweep_overdue(&mut self, now: Instant) {
        for index in self.indices() {
            let Some(peer) = self.peer(index) else {
                continue;
            };
            if peer.kept.as_ref().is_some_and(|kept| kept.until <= now) {
                let is_back = peer.session.agreed().is_some();
                let why = if is_back {
                    StaleEnd::NoEndOfRib
                } else {
                    StaleEnd::NotBack
                };
                self.sweep(index, Families::BOTH, why);
            }
        }
    }

    /// Our own routes have been told to us, so that End-of-RIB will not lie for lack of them.
    pub(super) fn local_routes_are_known(&mut self) {
        if let Some(deferral) = &mut self.deferral {
            deferral.local_routes_known = true;
        }
    }

    /// A peer is no more; its place may be taken by another one.
    pub(super) fn forget_restart(&mut self, index: PeerIndex) {
        if let Some(deferral) = &mut self.deferral {
            deferral.synchronized.remove(&index);
        }
    }

    /// When our own restart has to be looked at.
    pub(super) fn restart_timeout(&self) -> Option<Instant> {
        let deferral = self.deferral.as_ref()?;
        let quiet = self
            .peers
            .iter()
            .flatten()
            .filter(|peer| is_silent_about_its_end(peer))
            .filter_map(|peer| Some(peer.heard? + QUIET));
        // One that was quiet in time has been noted, and must not be waited for again.
        let quiet = quiet.filter(|at| self.now.is_none_or(|now| *at > now));
        quiet.chain([deferral.deadline]).min()
    }

    /// Sees who has been heard out since our restart, and whether it is over.
    pub(super) fn follow_restart(&mut self) {
        let (Some(now), Some(mut deferral)) = (self.now, self.deferral.take()) else {
            return;
        };
        let mut unheard: Vec<PeerName> = Vec::new();
        let mut all_excused = true;
        for index in self.indices() {
            let Some(peer) = self.peer(index) else {
                continue;
            };
            let name = peer.config.name.clone();
            if is_heard_out(peer, now) {
                if deferral.synchronized.insert(index) {
                    self.outbox.tell(Event::Synchronized { peer: name });
                }
            } else if peer.session.is_tried() && !deferral.synchronized.contains(&index) {
                all_excused &= has_restarted(peer);
                unheard.push(name);
            }
        }
        let overdue = now >= deferral.deadline;
        let known = deferral.local_routes_known;
        if overdue || (known && all_excused && !deferral.told) {
            deferral.told = true;
            for peer in self.peers.iter_mut().flatten() {
                peer.adj_out.hold_end_of_rib(false);
            }
        }
        // Nobody knows which members of a range are still to come back.
        if overdue || (known && unheard.is_empty() && self.ranges.is_empty()) {
            self.outbox.tell(Event::RestartOver { unheard });
        } else {
            self.deferral = Some(deferral);
        }
    }

    /// Whether End-of-RIB has to wait for what we have not heard yet ourselves.
    pub(super) fn holds_end_of_rib(&self) -> bool {
        self.deferral.as_ref().is_some_and(|it| !it.told)
    }
}

/// Whether a peer has sent what it has to send.
fn is_heard_out(peer: &Peer, now: Instant) -> bool {
    peer.has_sent_all()
        || is_silent_about_its_end(peer) && peer.heard.is_some_and(|heard| heard + QUIET <= now)
}

/// Whether a peer has restarted itself. It may wait for our End-of-RIB, so ours does not wait for its own (RFC 4724, section 4.1).
fn has_restarted(peer: &Peer) -> bool {
    let restart = peer
        .session
        .agreed()
        .and_then(|it| it.graceful_restart.as_ref());
    restart.is_some_and(|it| it.restarted)
}

/// Whether a peer with a session need not send End-of-RIB, for lack of the capability.
fn is_silent_about_its_end(peer: &Peer) -> bool {
    let agreed = peer.session.agreed();
    agreed.is_some_and(|agreed| agreed.graceful_restart.is_none()) && !peer.has_sent_all()
}
