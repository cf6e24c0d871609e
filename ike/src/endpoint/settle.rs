//! After every input: carries out what SAs want beyond themselves, keeps one SA per connection,
//! chooses the child that carries traffic, and initiates where something is missing.

use std::time::{Duration, Instant};

use super::Endpoint;
use super::tunnel::Tunnel;
use crate::child::PEER_DELETES;
use crate::connection::ConnectionId;
use crate::error::Cause;
use crate::event::{ChildSa, DownReason, Event, Note, Role};
use crate::sa::established::Origin;
use crate::sa::task::Task;
use crate::sa::task::collision::{self, Verdict};
use crate::sa::{Effect, InitialContact, Sa, State, initiator};
use crate::wire::IkeSpi;

/// Two SAs for one connection may stand side by side so long before we choose one: many peers
/// have deleted one by then.
const CROSSING_GRACE: Duration = Duration::from_millis(500);

/// The peer's patience for our IKE_AUTH response.
const FIRST_ANSWER: Duration = Duration::from_secs(20);

/// How long a peer that has restarted may take to say that it has its new child.
const CLINGING: Duration = Duration::from_secs(10);

impl Endpoint {
    /// Looks at the connections about which something has changed, and at no others.
    pub(super) fn settle(&mut self, now: Instant) {
        let mut ids = std::mem::take(&mut self.stirred);
        loop {
            ids.extend(self.sas.refresh());
            while let Some(effect) = self.cx.effects.pop_front() {
                self.carry_out(now, effect);
            }
            ids.extend(std::mem::take(&mut self.stirred));
            ids.extend(self.sas.refresh());
            for id in &ids {
                self.hasten_reaping(now, *id);
                self.attend(now, *id);
            }
            self.sas.refresh();
            for id in &ids {
                self.reconcile(now, *id);
            }
            if self.cx.effects.is_empty() {
                break;
            }
        }
        self.sas.refresh();
        ids.into_iter().for_each(|id| self.mark_due(id));
    }

    /// Lets the SAs of a connection start what they have to do.
    fn attend(&mut self, now: Instant, id: ConnectionId) {
        let cx = &mut self.cx;
        self.sas.each_of(id, |sa| sa.attend(cx, now));
    }

    /// Notes when a connection has something to do beside its SAs.
    fn mark_due(&mut self, id: ConnectionId) {
        let at = self.tunnels.get(&id).and_then(|tunnel| {
            let attempt = tunnel
                .next_attempt
                .filter(|_| self.needs_attempt(id, tunnel));
            [attempt, tunnel.dedupe_at, tunnel.clings_until]
                .into_iter()
                .flatten()
                .min()
        });
        let marked = self.tunnels.get_mut(&id);
        let before = marked.and_then(|tunnel| std::mem::replace(&mut tunnel.marked, at));
        if before != at {
            before.map(|before| self.due.remove(&(before, id)));
            at.map(|at| self.due.insert((at, id)));
        }
    }

    fn carry_out(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Insert(sa) => self.sas.insert(*sa),
            Effect::Established { spi, contact } => {
                self.supersede(now, spi, contact);
            }
            Effect::Adopt {
                into,
                children,
                tasks,
                update_by,
                strays_until,
            } => {
                let heir = self.sas.get_mut(into);
                let connection = heir.as_ref().and_then(|sa| sa.connection);
                let sa = heir.as_ref().map(|sa| sa.link.id());
                match (heir.and_then(Sa::established_mut), connection, sa) {
                    (Some(heir), Some(connection), Some(sa)) => {
                        heir.awaits_children = false;
                        heir.children.extend(children);
                        heir.queue.extend(tasks);
                        heir.update_by = update_by;
                        heir.strays_until = strays_until;
                        self.cx.events.push_back(Event::IkeRekeyed {
                            connection,
                            sa,
                            suite: heir.channel.suite.to_string(),
                        });
                    }
                    _ => {
                        for (spi, child) in children {
                            self.cx.bury(now, child.sa.connection, spi);
                        }
                    }
                }
            }
            Effect::Confirm { spi } => {
                if let Some(e) = self.sas.get_mut(spi).and_then(Sa::established_mut) {
                    e.unconfirmed_until = None;
                }
            }
            Effect::Inherited { spi } => {
                let heir = self.sas.get_mut(spi).and_then(Sa::established_mut);
                let children = heir.into_iter().flat_map(|e| e.children.values_mut());
                children
                    .filter(|child| child.doomed)
                    .for_each(|child| child.reap_soon(now));
            }
            Effect::Doom { spi, in_favour_of } => {
                if let Some(loser) = self.sas.get_mut(spi).and_then(Sa::established_mut) {
                    loser.awaits_children = false;
                    loser.replaced_by = Some(in_favour_of);
                    loser.reap_at = Some(now + crate::child::REAP_AFTER);
                }
            }
            Effect::Failed {
                mut diagnosis,
                fatal,
            } => {
                self.stirred.insert(diagnosis.connection);
                let Some(tunnel) = self.tunnels.get_mut(&diagnosis.connection) else {
                    return;
                };
                let silence = matches!(diagnosis.cause, Cause::NoAnswer { .. });
                if fatal && !silence {
                    tunnel.back_off(&mut self.cx, now);
                }
                if tunnel.note_failure(now, &mut diagnosis) {
                    self.cx.events.push_back(Event::Failure(*diagnosis));
                }
            }
        }
    }

    /// IKE SAs that the peer has to delete, and does not although it knows what took their place, need not
    /// stay long.
    fn hasten_reaping(&mut self, now: Instant, id: ConnectionId) {
        let known: Vec<IkeSpi> = self
            .sas
            .of(id)
            .filter(|sa| {
                sa.established()
                    .is_some_and(|e| e.unconfirmed_until.is_none())
            })
            .map(|sa| sa.link.spi)
            .collect();
        self.sas.each_of(id, |sa| {
            if known.contains(&sa.link.spi)
                && let Some(e) = sa.established_mut()
                && e.replaced_by.is_some_and(|heir| known.contains(&heir))
            {
                let soon = now + PEER_DELETES;
                e.reap_at = e.reap_at.map(|at| at.min(soon));
            }
        });
    }

    /// A new SA stands: what does it make of the others of its connection?
    fn supersede(&mut self, now: Instant, spi: IkeSpi, contact: InitialContact) {
        let Some((new, id)) = self.sas.get(spi).and_then(|sa| Some((sa, sa.connection?))) else {
            return;
        };
        let (born, role) = (new.link.born, new.link.role);
        let mut restarted = false;
        self.sas.each_of(id, |sa| {
            if sa.link.spi == spi {
                return;
            }
            match &sa.state {
                // The peer was faster, and has not answered this one.
                State::InitSent(_) if role == Role::Responder => sa.state = State::Dead,
                // The peer knows of no other SA, so what was there before its first message is
                // dead. What came up meanwhile is a crossing, and both may have said the same.
                State::Established(e) if contact.received && e.since < born => {
                    restarted |= e.is_usable();
                    sa.discard(&mut self.cx, now, DownReason::PeerRestarted);
                }
                _ => {}
            }
            // The peer has dropped what it had before we said so; if it has not, it is told.
            if let Some(e) = sa.established_mut().filter(|e| e.since < born)
                && e.is_usable()
                && (contact.sent || e.strays_until.is_some())
            {
                let has_strayed = e.strays_until.is_some();
                e.begin_close(if has_strayed {
                    DownReason::Moved
                } else {
                    DownReason::Duplicate
                });
                e.children
                    .values_mut()
                    .for_each(|child| child.doomed = true);
            }
        });
        if restarted {
            // Its answer says that it has the new child, if no packet says so before.
            if let Some(e) = self.sas.get_mut(spi).and_then(Sa::established_mut) {
                e.queue.insert(Task::Liveness);
            }
            if let Some(tunnel) = self.tunnels.get_mut(&id) {
                tunnel.clings_until = Some(now + CLINGING);
                self.cx.delay_burials(id, now + CLINGING);
            }
            self.cx
                .events
                .push_back(Event::Note(Note::PeerRestarted { connection: id }));
        }
    }

    /// The set-ups to which the usable SAs of a connection go back. One set-up can have two SAs for a
    /// moment, while a crossed rekeying is open; that is not for us to judge.
    fn origins(&self, id: ConnectionId) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        for sa in self.sas.of(id) {
            if let Some(e) = sa.established().filter(|e| e.is_usable())
                && !origins.contains(&e.origin)
            {
                origins.push(e.origin.clone());
            }
        }
        origins
    }

    /// While the peer may still wait for our IKE_AUTH response, it has nothing but the other SA. Asks
    /// it, and looks again later; returns whether that is so.
    fn confirm_first(&mut self, now: Instant, id: ConnectionId) -> bool {
        let mut waiting = false;
        self.sas.each_of(id, |sa| {
            let Some(e) = sa.established_mut().filter(|e| e.is_usable()) else {
                return;
            };
            let new = now < e.since + FIRST_ANSWER;
            if new && e.children.values().any(|child| child.is_unconfirmed(now)) {
                e.queue.insert(Task::Liveness);
                waiting = true;
            }
        });
        if waiting && let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.dedupe_at = Some(now + CROSSING_GRACE);
        }
        waiting
    }

    /// Keeps the IKE SA of one set-up. Those that crossed are for the nonces to decide, as RFC 7296
    /// section 2.8.1 has it for rekeying; of others the newer one stays.
    fn dedupe(&mut self, now: Instant, id: ConnectionId) {
        if self.confirm_first(now, id) {
            return;
        }
        let origins = self.origins(id);
        let Some(stays) = origins
            .iter()
            .cloned()
            .reduce(|a, b| if outlives(&a, &b) { a } else { b })
        else {
            return;
        };
        self.sas.each_of(id, |sa| {
            let Some(e) = sa.established_mut().filter(|e| e.is_usable()) else {
                return;
            };
            if e.origin == stays {
                for child in e.children.values_mut().filter(|child| child.is_current()) {
                    child.ready = Some(self.cx.next_order());
                }
            } else if crossed(&e.origin, &stays) && e.origin.role == Role::Initiator {
                e.begin_close(DownReason::Duplicate);
            } else {
                e.reap_at = Some(now + PEER_DELETES);
            }
        });
        if origins
            .iter()
            .any(|origin| *origin != stays && crossed(origin, &stays))
        {
            let ours_stays = stays.role == Role::Initiator;
            let note = Note::Collision {
                connection: id,
                ours_stays,
            };
            self.cx.events.push_back(Event::Note(note));
        }
    }

    /// Brings a connection towards what is wanted.
    fn reconcile(&mut self, now: Instant, id: ConnectionId) {
        if self.origins(id).len() > 1
            && let Some(tunnel) = self.tunnels.get_mut(&id)
        {
            tunnel.dedupe_at.get_or_insert(now + CROSSING_GRACE);
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.tunnels.get(&id).is_some_and(|t| due(t.dedupe_at)) {
            if let Some(tunnel) = self.tunnels.get_mut(&id) {
                tunnel.dedupe_at = None;
            }
            self.dedupe(now, id);
            self.attend(now, id);
        }
        self.drop_pointless_attempts(now, id);
        self.choose_outbound(now, id);
        let Some(tunnel) = self.tunnels.get(&id) else {
            return;
        };
        if self.needs_attempt(id, tunnel) && tunnel.next_attempt.is_none_or(|at| at <= now) {
            self.initiate(now, id);
        }
        self.forget_removed(now, id);
    }

    /// Whether the connection is wanted up and no SA of it is there or on its way. An SA that the
    /// peer seems to have lost does not count.
    pub(super) fn needs_attempt(&self, id: ConnectionId, tunnel: &Tunnel) -> bool {
        tunnel.wanted
            && !self.stopping
            && !self.sas.of(id).any(|sa| match &sa.state {
                State::InitSent(_) | State::IntermediateSent(_) | State::AuthSent(_) => true,
                State::Established(e) => e.is_sound(&sa.link),
                State::HalfOpen(_) | State::Lingering { .. } | State::Dead => false,
            })
    }

    /// An SA that seemed lost has proved to live: what was begun beside it must not replace it.
    fn drop_pointless_attempts(&mut self, now: Instant, id: ConnectionId) {
        let sound = |sa: &Sa| sa.established().is_some_and(|e| e.is_sound(&sa.link));
        if !self.sas.of(id).any(sound) {
            return;
        }
        let cx = &mut self.cx;
        self.sas.each_of(id, |sa| {
            if matches!(sa.state, State::InitSent(_)) {
                sa.discard(cx, now, DownReason::Duplicate);
            }
        });
    }

    fn initiate(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.cx.connection(id) else {
            return;
        };
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.attempts += 1;
        tunnel.next_attempt = None;
        let attempts = tunnel.attempts;
        if let Some(sa) = initiator::initiate(&mut self.cx, now, &connection, attempts) {
            self.sas.insert(sa);
        } else {
            // No proposal names a group: nothing can be sent until the parameters change.
            tunnel.wanted = false;
        }
    }

    /// The best child carries our traffic.
    fn choose_outbound(&mut self, now: Instant, id: ConnectionId) {
        let best = self
            .sas
            .of(id)
            .filter_map(Sa::established)
            .flat_map(|e| e.children.values().map(|c| (e.closing.is_none(), c)))
            .filter_map(|(stays, c)| Some(((stays, c.preference()?), c)))
            .max_by_key(|(preference, _)| *preference)
            .map(|(_, child)| (child.sa.clone(), child.is_unconfirmed(now)));
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let clings = tunnel.outbound.is_some() && tunnel.clings_until.is_some_and(|at| now < at);
        if clings && best.as_ref().is_some_and(|(_, unconfirmed)| *unconfirmed) {
            return;
        }
        tunnel.clings_until = None;
        let best = best.map(|(sa, _)| sa);
        if tunnel.outbound == best.as_ref().map(|sa| sa.spi_in) {
            return;
        }
        let before = std::mem::replace(&mut tunnel.outbound, best.as_ref().map(|sa| sa.spi_in));
        match best {
            Some(sa) => self.use_outbound(now, id, sa, before.is_none()),
            None => {
                let reason = self.cx.reasons.remove(&id).unwrap_or(DownReason::Expired);
                tunnel.went_down(now);
                if reason == DownReason::DeletedByPeer {
                    tunnel.back_off(&mut self.cx, now);
                }
                self.cx
                    .events
                    .push_back(Event::OutboundClear { connection: id });
                self.cx.events.push_back(Event::TunnelDown {
                    connection: id,
                    reason,
                });
            }
        }
    }

    fn use_outbound(&mut self, now: Instant, id: ConnectionId, sa: ChildSa, first: bool) {
        self.cx.events.push_back(Event::OutboundUse(Box::new(sa)));
        self.cx.reasons.remove(&id);
        if first {
            if let Some(tunnel) = self.tunnels.get_mut(&id) {
                tunnel.went_up(now);
            }
            self.cx.events.push_back(Event::TunnelUp { connection: id });
        }
    }

    /// A removed connection goes when its last SA is gone.
    fn forget_removed(&mut self, now: Instant, id: ConnectionId) {
        let removed = self.tunnels.get(&id).is_some_and(|t| t.removed);
        if removed && self.sas.of(id).all(Sa::is_dead) {
            self.cx.exhume(now, Some(id));
            if let Some(at) = self.tunnels.remove(&id).and_then(|tunnel| tunnel.marked) {
                self.due.remove(&(at, id));
            }
            self.cx.connections.remove(&id);
            self.cx.reasons.remove(&id);
        }
    }
}

/// Whether each of two set-ups was begun before the other was done.
fn crossed(a: &Origin, b: &Origin) -> bool {
    a.born <= b.since && b.born <= a.since
}

/// Whether the first of two set-ups stays.
fn outlives(a: &Origin, b: &Origin) -> bool {
    if crossed(a, b) {
        collision::resolve(&a.low_nonce, &b.low_nonce) == Verdict::Ours
    } else {
        a.since >= b.since
    }
}
