//! Routes between sessions and tables: received UPDATEs in, pending ones out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Speaker;
use super::judge::JudgedSet;
use super::peer::export_context;
use crate::error::SessionError;
use crate::event::{Agreed, Event, StaleEnd};
use crate::policy::Refusal;
use crate::rib::{AttrId, Judged, PeerIndex};
use crate::wire::{Families, Family, Treatment, UpdateFault, UpdateFrame};
use crate::{DefaultOriginate, OverLimit};

/// How many faults in UPDATEs are told on one session: a peer that sends nothing else must not fill the log.
const MOST_FAULTS_TOLD: usize = 10;

impl Speaker {
    /// A session is established: its routes will be judged, and everything is to be told.
    pub(super) fn session_up(&mut self, now: Instant, index: PeerIndex, agreed: &Agreed) {
        self.returned(now, index, agreed);
        self.refresh_teacher(index);
        let is_held = self.holds_end_of_rib();
        let rib = &mut self.rib;
        if let Some(Some(peer)) = self.peers.get_mut(usize::from(index.0)) {
            peer.refusals_told.clear();
            peer.faults_told = 0;
            peer.limit_told = false;
            peer.end_of_rib_received = Families::NONE;
            peer.heard = Some(now);
            let enhanced = agreed.enhanced_route_refresh;
            peer.adj_out.begin(rib, agreed.families, enhanced);
            if peer.config.default_originate.is_some() {
                peer.adj_out.mark_default(rib);
            }
            peer.adj_out.hold_end_of_rib(is_held);
        }
    }

    /// A session is over: what it taught is gone, unless the peer is expected back, and what it was told is forgotten.
    pub(super) fn session_down(
        &mut self,
        now: Instant,
        index: PeerIndex,
        agreed: Agreed,
        keep: Option<Duration>,
    ) {
        match keep {
            Some(at_most) => self.keep_stale(now, index, agreed, at_most),
            None => {
                self.rib.forget(index, Families::BOTH);
                self.sweep(index, Families::BOTH, StaleEnd::Ended);
            }
        }
        let rib = &mut self.rib;
        if let Some(Some(peer)) = self.peers.get_mut(usize::from(index.0)) {
            peer.adj_out.end(rib);
            peer.end_of_rib_received = Families::NONE;
            peer.refreshes.end();
            peer.heard = None;
        }
    }

    /// Lets the tables know of a peer what is true now.
    pub(super) fn refresh_teacher(&mut self, index: PeerIndex) {
        let stamp = self.next_stamp();
        let Some(Some(peer)) = self.peers.get_mut(usize::from(index.0)) else {
            return;
        };
        peer.stamp = stamp;
        if let Some(teacher) = peer.teacher(&self.config) {
            self.rib.set_teacher(index, teacher);
        }
    }

    /// An UPDATE came in.
    pub(super) fn update(&mut self, now: Instant, index: PeerIndex, body: &[u8]) {
        if let Some(peer) = self.peer_mut(index) {
            peer.heard = Some(now);
        }
        if let Err(fault) = self.take_update(index, body) {
            self.session(now, index, |session, turn| {
                session.fail_established(turn, SessionError::Update(fault));
            });
        }
        self.enforce_limit(now, index);
    }

    fn take_update(&mut self, index: PeerIndex, body: &[u8]) -> Result<(), UpdateFault> {
        let Some(context) = self
            .peer(index)
            .and_then(|it| it.update_context(&self.config))
        else {
            return Ok(());
        };
        let frame = UpdateFrame::parse(body)?;
        let (family, is_ours) = (Family::IPV4_UNICAST, &context.families);
        // The message's own fields are IPv4 unicast, and of no meaning where that was not negotiated.
        let plain = |prefixes| {
            if is_ours.contains(family) {
                prefixes
            } else {
                &[][..]
            }
        };
        let (withdrawn, announced) = (plain(&frame.withdrawn[..]), plain(&frame.announced[..]));
        if frame.is_end_of_rib() {
            self.end_of_rib(index, family);
            return Ok(());
        }
        if let Some(id) = self.rib.attributes.known(frame.attributes, context) {
            self.rib.attributes.retain(id);
            self.withdraw_all(index, withdrawn);
            self.announce_all(index, id, announced);
            self.rib.attributes.release(id);
            return Ok(());
        }
        let read = frame.attributes(context)?;
        self.withdraw_all(index, withdrawn);
        self.withdraw_all(index, &read.withdrawn);
        if let Some(family) = read.end_of_rib {
            self.end_of_rib(index, family);
        }
        let is_clean = read.faults.is_empty();
        for (set, prefixes) in [
            (&read.set, announced),
            (&read.multiprotocol, read.announced.as_slice()),
        ] {
            match set {
                Some(set) => {
                    let id = self.rib.attributes.intern(set);
                    if is_clean {
                        self.rib.attributes.learn(frame.attributes, context, id);
                    }
                    self.announce_all(index, id, prefixes);
                    self.rib.attributes.release(id);
                }
                // RFC 7606, section 2: treat-as-withdraw.
                None => self.withdraw_all(index, prefixes),
            }
        }
        let prefixes = announced.len() + read.announced.len();
        self.tell_faults(index, read.faults, prefixes);
        Ok(())
    }

    fn withdraw_all(&mut self, index: PeerIndex, prefixes: &[IpNet]) {
        for prefix in prefixes {
            self.rib.withdraw(index, prefix);
        }
    }

    /// Takes prefixes into the Adj-RIB-In and judges them.
    fn announce_all(&mut self, index: PeerIndex, id: AttrId, prefixes: &[IpNet]) {
        let Some(Some(peer)) = self.peers.get_mut(usize::from(index.0)) else {
            return;
        };
        let mut refused: Vec<(IpNet, Refusal)> = Vec::new();
        let Some(import) = peer.import(&self.config, &self.policy) else {
            return;
        };
        let good = match self.rib.attributes.judged(id, peer.stamp) {
            Some(good) => good,
            None => {
                let verdict = self
                    .rib
                    .attributes
                    .set(id)
                    .map(|set| import.judge_attributes(&set));
                let good = verdict == Some(Ok(()));
                if let (Some(Err(refusal)), Some(first)) = (verdict, prefixes.first()) {
                    refused.push((*first, refusal));
                }
                self.rib.attributes.set_judged(id, peer.stamp, good);
                good
            }
        };
        let mut set = JudgedSet::new(import, &self.rib.attributes, id, good);
        for prefix in prefixes {
            let (judged, refusal) = set.judge(&mut self.rib.attributes, prefix);
            self.rib.announce(index, *prefix, id, judged);
            if let Some(refusal) = refusal
                && !peer.refusals_told.contains(refusal.kind())
            {
                refused.push((*prefix, refusal));
            }
        }
        set.release(&mut self.rib.attributes);
        for (prefix, refusal) in refused {
            if peer.refusals_told.insert(refusal.kind()) {
                let peer = peer.config.name.clone();
                self.outbox.tell(Event::RouteRefused {
                    peer,
                    prefix,
                    refusal,
                });
            }
        }
    }

    fn end_of_rib(&mut self, index: PeerIndex, family: Family) {
        let families = [family].into_iter().collect();
        self.sweep(index, families, StaleEnd::EndOfRib);
        let received = self.rib.received(index);
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let had_all = peer.has_sent_all();
        peer.end_of_rib_received.insert(family);
        if peer.has_sent_all() && !had_all {
            let peer = peer.config.name.clone();
            self.outbox.tell(Event::EndOfRib { peer, received });
        }
    }

    fn tell_faults(&mut self, index: PeerIndex, faults: Vec<UpdateFault>, prefixes: usize) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        if faults.is_empty() {
            return;
        }
        peer.update_faults += 1;
        let room = MOST_FAULTS_TOLD.saturating_sub(peer.faults_told);
        peer.faults_told += faults.len().min(room);
        let name = peer.config.name.clone();
        for fault in faults.into_iter().take(room) {
            let withdrawn = if fault.treatment == Treatment::TreatAsWithdraw {
                prefixes
            } else {
                0
            };
            self.outbox.tell(Event::UpdateFault {
                peer: name.clone(),
                fault,
                withdrawn,
            });
        }
    }

    /// Ends a session that has taught more prefixes than it may, or says so.
    pub(super) fn enforce_limit(&mut self, now: Instant, index: PeerIndex) {
        let count = |family| (self.rib.received_of(index, family), family);
        let most = Families::BOTH.iter().map(count).max();
        let (Some((received, family)), Some(peer)) = (most, self.peer_mut(index)) else {
            return;
        };
        let limit = peer.config.max_prefixes_in;
        if received <= limit.max {
            return;
        }
        let told = std::mem::replace(&mut peer.limit_told, true);
        let name = peer.config.name.clone();
        if !told {
            self.outbox.tell(Event::PrefixLimit {
                peer: name,
                received,
                limit: limit.max,
            });
        }
        if matches!(limit.over, OverLimit::Shutdown { .. }) {
            let error = SessionError::MaximumPrefixes {
                family,
                received,
                limit: limit.max,
            };
            self.session(now, index, |session, turn| {
                session.fail_established(turn, error)
            });
        }
    }

    /// Judges everything anew that a peer has taught.
    pub(super) fn rejudge(&mut self, index: PeerIndex) {
        let Some(Some(peer)) = self.peers.get(usize::from(index.0)) else {
            return;
        };
        let Some(import) = peer.import(&self.config, &self.policy) else {
            return;
        };
        // There may be as many sets as prefixes: more than a bit is kept of each only for a route map.
        let plain = import.judge_without_reading();
        let (mut good, mut sets) = (BTreeMap::new(), BTreeMap::new());
        self.rib.rejudge(index, |attributes, prefix, id| {
            let judge = || {
                attributes
                    .set(id)
                    .is_some_and(|set| import.judge_attributes(&set).is_ok())
            };
            let good = *good.entry(id).or_insert_with(judge);
            match &plain {
                Some(plain) => Judged {
                    accepted: good && import.judge_prefix(plain, prefix).is_ok(),
                    rewritten: None,
                },
                None => {
                    let set = sets
                        .entry(id)
                        .or_insert_with(|| JudgedSet::new(import, attributes, id, good));
                    set.judge(attributes, prefix).0
                }
            }
        });
        for set in sets.into_values() {
            set.release(&mut self.rib.attributes);
        }
    }

    /// The rules for telling are others, for every peer.
    pub(super) fn tell_anew(&mut self) {
        for peer in self
            .peers
            .iter_mut()
            .flatten()
            .filter(|it| it.session.agreed().is_some())
        {
            peer.adj_out.mark_all(&self.rib);
            if peer.config.default_originate.is_some() {
                peer.adj_out.mark_default(&mut self.rib);
            }
        }
    }

    /// Selects anew what has changed, and marks what is to be told.
    pub(super) fn settle(&mut self) {
        self.part_with_absent();
        self.follow_restart();
        let changed = self.rib.settle();
        if changed.is_empty() {
            return;
        }
        for peer in self
            .peers
            .iter_mut()
            .flatten()
            .filter(|it| it.session.agreed().is_some())
        {
            changed.iter().for_each(|id| peer.adj_out.mark(*id));
            if let Some(DefaultOriginate::While(needed)) = peer.config.default_originate
                && self
                    .rib
                    .find(&needed)
                    .is_some_and(|id| changed.contains(&id))
            {
                peer.adj_out.mark_default(&mut self.rib);
            }
        }
    }

    /// Lets the next peer whose socket has room write some UPDATEs; `false` if there is none.
    pub(super) fn write_updates(&mut self) -> bool {
        let Some(now) = self.now else { return false };
        let count = self.peers.len();
        for step in 0..count {
            let slot = (self.turn_of + step) % count;
            let ready = self
                .peers
                .get(slot)
                .and_then(Option::as_ref)
                .is_some_and(|peer| peer.adj_out.has_pending() && peer.session.send_room() > 0);
            if ready {
                self.turn_of = slot + 1;
                self.write_updates_of(now, slot);
                return true;
            }
        }
        false
    }

    fn write_updates_of(&mut self, now: Instant, slot: usize) {
        let Some(Some(peer)) = self.peers.get_mut(slot) else {
            return;
        };
        let Some(agreed) = peer.session.agreed() else {
            return;
        };
        let four_octet_as = agreed.four_octet_as;
        let context = export_context(&peer.config, agreed, &self.config, &self.policy);
        let flushed = peer.adj_out.flush(&mut self.rib, &context, four_octet_as);
        if flushed.limit_reached
            && let Some(limit) = peer.config.max_prefixes_out
        {
            let peer = peer.config.name.clone();
            self.outbox.tell(Event::ExportLimit { peer, limit });
        }
        let index = PeerIndex(u16::try_from(slot).unwrap_or(u16::MAX));
        self.session(now, index, |session, turn| {
            session.send_updates(turn, flushed);
        });
    }
}
