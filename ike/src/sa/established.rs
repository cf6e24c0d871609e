//! An authenticated IKE SA: what is asked of it, and what it has to do in time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::auth::Authenticated;
use super::channel::Channel;
use super::parts::Parts;
use super::task::followup::{self, Pending};
use super::task::{Active, Task, child, collision, delete, mobike, rekey_child, rekey_ike};
use super::{Effect, Link, State, Turn};
use crate::child::{Child, REAP_AFTER};
use crate::connection::ConnectionId;
use crate::context::Context;
use crate::error::Cause;
use crate::event::{DownReason, Event, Note, Role};
use crate::wire::{Exchange, IkeSpi, Notify, NotifyType, Payload, Protocol, WireError};

/// An unprotected hint makes us ask the peer at most this often.
const SUSPICION: Duration = Duration::from_secs(5);

/// Both sides are authenticated.
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Established {
    pub(crate) channel: Channel,
    pub(crate) peer: Authenticated,
    pub(crate) since: Instant,
    /// The set-up that it goes back to.
    pub(crate) origin: Origin,
    /// Until then the peer may not know this SA, because its copy of our answer is under way.
    /// Cleared by its first message here, or by its deleting the old SA.
    pub(crate) unconfirmed_until: Option<Instant>,
    /// Children by our inbound SPI.
    pub(crate) children: BTreeMap<u32, Child>,
    /// It comes from a crossed rekeying that is still open on our side: the children may follow.
    pub(crate) awaits_children: bool,
    /// What is to be done, in the order of urgency.
    pub(crate) queue: BTreeSet<Task>,
    /// What is to be done later.
    pub(crate) postponed: Vec<(Instant, Task)>,
    /// What our request under way is about.
    pub(crate) active: Option<Active>,
    /// The peer rekeys this SA, and has one more key exchange to do.
    pub(crate) pending: Option<Box<Pending>>,
    /// Our SPI of the SA that has taken this one's place and its children.
    pub(crate) replaced_by: Option<IkeSpi>,
    /// It is being deleted by us, for this reason.
    pub(crate) closing: Option<DownReason>,
    /// When the peer has to have deleted it after a crossing or a rekeying.
    pub(crate) reap_at: Option<Instant>,
    /// Our SPI of the SA that lost against the one which takes this one's place.
    pub(crate) rival: Option<IkeSpi>,
    pub(crate) last_heard: Instant,
    pub(crate) rekey_at: Option<Instant>,
    pub(crate) expires_at: Instant,
    /// When to choose among several children.
    pub(crate) choose_child_at: Option<Instant>,
    /// Failures to create a child, in a row.
    pub(crate) child_failures: u32,
    /// The peer accepts none of our groups in CREATE_CHILD_SA: a child comes with a new IKE SA only.
    pub(crate) pfs_refused: bool,
    /// Silence after which the peer is asked.
    liveness: Duration,
    pub(crate) suspected: Option<Instant>,
    /// Both sides have MOBIKE (RFC 4555): the SA can follow when an address changes.
    pub(crate) mobike: bool,
    /// Until then the peer has to have taken our new address.
    pub(crate) update_by: Option<Instant>,
    /// Our address as the peer sees it, hashed (RFC 4555 section 3.8).
    pub(crate) seen_as: Option<Vec<u8>>,
    /// We are elsewhere than where the peer sends to: another SA has to take its place, and after this it is over without one.
    pub(crate) strays_until: Option<Instant>,
}

/// Two children may stand side by side so long before one is chosen.
const CHILD_CROSSING: Duration = Duration::from_secs(2);

/// Children that were made in so much time of each other may be from exchanges that crossed.
const CREATED_AT_ONCE: Duration = Duration::from_secs(20);

/// What an IKE SA is made from.
pub(crate) struct Birth {
    pub(crate) channel: Channel,
    pub(crate) peer: Authenticated,
    pub(crate) low_nonce: Vec<u8>,
    /// Both sides have MOBIKE.
    pub(crate) mobike: bool,
    /// The set-up of the SA that is being rekeyed; none if this is one.
    pub(crate) origin: Option<Origin>,
}

/// The set-up that an IKE SA goes back to. Rekeying hands it on, so that both sides judge two SAs of
/// one connection alike whatever has become of them meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// When its first message was sent or received.
    pub(crate) born: Instant,
    /// When it was authenticated.
    pub(crate) since: Instant,
    pub(crate) role: Role,
    pub(crate) low_nonce: Vec<u8>,
}

/// A responder takes its answer for arrived after so long.
pub(crate) const CONFIRMED_AFTER: Duration = Duration::from_secs(60);

impl Established {
    pub(crate) fn new(turn: &mut Turn<'_>, birth: Birth) -> Self {
        let now = turn.now;
        let lifetime = turn.connection.ike_lifetime;
        let origin = birth.origin.unwrap_or(Origin {
            born: turn.link.born,
            since: now,
            role: turn.link.role,
            low_nonce: birth.low_nonce,
        });
        Self {
            channel: birth.channel,
            peer: birth.peer,
            since: now,
            origin,
            unconfirmed_until: None,
            children: BTreeMap::new(),
            awaits_children: false,
            queue: BTreeSet::new(),
            postponed: Vec::new(),
            active: None,
            pending: None,
            replaced_by: None,
            closing: None,
            reap_at: None,
            rival: None,
            last_heard: now,
            rekey_at: Some(now + turn.cx.share(lifetime, 70, 85)),
            expires_at: now + lifetime,
            choose_child_at: None,
            child_failures: 0,
            pfs_refused: false,
            liveness: turn.connection.liveness.interval,
            suspected: None,
            mobike: birth.mobike,
            update_by: None,
            seen_as: None,
            strays_until: None,
        }
    }

    /// Says that the SA stands.
    pub(crate) fn announce(&self, turn: &mut Turn<'_>) {
        turn.cx.events.push_back(Event::IkeUp {
            connection: turn.connection.id,
            sa: turn.link.id(),
            role: turn.link.role,
            peer: self.peer.identity().clone(),
            suite: self.channel.suite.to_string(),
            path: turn.link.path,
        });
    }

    /// Whether it can carry new exchanges.
    pub(crate) const fn is_usable(&self) -> bool {
        self.replaced_by.is_none() && self.closing.is_none() && self.reap_at.is_none()
    }

    /// Something says that the peer may have lost this SA. Returns whether we ask it now.
    pub(crate) fn suspect(&mut self, now: Instant) -> bool {
        if self.suspected.is_some_and(|at| now < at + SUSPICION) {
            return false;
        }
        self.suspected = Some(now);
        self.queue.insert(Task::Liveness);
        true
    }

    /// Whether a hint that the peer has lost this SA has come since it was last heard, and the
    /// question after it had to be repeated. A forged hint alone is not enough.
    pub(crate) fn is_suspected(&self, link: &Link) -> bool {
        self.suspected.is_some_and(|at| at > self.last_heard) && link.window.repeats() > 0
    }

    /// Whether a change of our address can be told on it: the side that set it up first decides about addresses (RFC 4555 section 2.1).
    pub(crate) fn can_move(&self) -> bool {
        self.is_usable() && self.mobike && self.origin.role == Role::Initiator
    }

    /// We have left the address that the peer sends to.
    pub(crate) fn stray(&mut self, until: Instant) {
        self.strays_until.get_or_insert(until);
        self.queue.remove(&Task::RekeyIke);
        self.queue.remove(&Task::UpdateAddresses);
    }

    /// Whether it is the one that the connection is to have: no hint that the peer lost it, and we are where the peer thinks we are.
    pub(crate) fn is_sound(&self, link: &Link) -> bool {
        self.is_usable() && self.strays_until.is_none() && !self.is_suspected(link)
    }

    /// Takes a request that is new in the window.
    pub(crate) fn handle_request(
        mut self: Box<Self>,
        turn: &mut Turn<'_>,
        exchange: Exchange,
        id: u32,
        parts: Parts,
    ) -> State {
        if self.awaits_children && !deletes_ike(&parts) {
            // The peer has decided already and asks about children that are not here yet. It asks
            // again, and by then the old SA's exchange or deletion has told us too.
            turn.cx.counters.unexpected += 1;
            return State::Established(self);
        }
        // With a window of one, a new request says that the answer to the last one has arrived.
        self.children
            .values_mut()
            .for_each(|child| child.unconfirmed_until = None);
        let answer = match exchange {
            Exchange::Informational => return delete::answer(self, turn, id, &parts),
            Exchange::CreateChildSa => self.answer_create(turn, &parts),
            Exchange::IkeFollowupKe => followup::answer(&mut self, turn, &parts),
            Exchange::IkeSaInit
            | Exchange::IkeIntermediate
            | Exchange::IkeAuth
            | Exchange::Other(_) => {
                turn.cx.counters.unexpected += 1;
                vec![Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX))]
            }
        };
        turn.reply(&mut self.channel, exchange, id, &answer);
        State::Established(self)
    }

    /// CREATE_CHILD_SA is three exchanges in one (RFC 7296 section 1.3).
    fn answer_create(&mut self, turn: &mut Turn<'_>, parts: &Parts) -> Vec<Payload> {
        let refuse = |kind| vec![Payload::Notify(Notify::new(kind))];
        let ike = parts
            .sa
            .iter()
            .flatten()
            .any(|p| p.protocol == Protocol::Ike);
        if ike {
            return match collision::admit_ike_rekey(self) {
                Ok(()) => rekey_ike::answer(self, turn, parts),
                Err(notify) => refuse(notify),
            };
        }
        // What it had begun it has given up, or it would go on with that.
        self.pending = None;
        let Some(rekeyed) = parts.notify(NotifyType::REKEY_SA) else {
            return match collision::admit_create_child(self) {
                Ok(()) => child::answer(self, turn, parts, None),
                Err(notify) => refuse(notify),
            };
        };
        // The SPI is the one of the peer's inbound SA, so of our outbound one (section 1.3.3).
        let spi_out = <[u8; 4]>::try_from(rekeyed.spi.as_slice()).map(u32::from_be_bytes);
        let old = self
            .children
            .values()
            .find(|c| spi_out.is_ok_and(|spi| c.sa.spi_out == spi));
        match collision::admit_child_rekey(self, old) {
            Ok(old) => rekey_child::answer(self, turn, parts, old),
            Err(NotifyType::CHILD_SA_NOT_FOUND) => {
                let mut notify = Notify::new(NotifyType::CHILD_SA_NOT_FOUND);
                notify.protocol = rekeyed.protocol;
                notify.spi.clone_from(&rekeyed.spi);
                vec![Payload::Notify(notify)]
            }
            Err(notify) => refuse(notify),
        }
    }

    /// Takes the response to our request.
    pub(crate) fn handle_response(
        mut self: Box<Self>,
        turn: &mut Turn<'_>,
        parts: Result<Parts, WireError>,
    ) -> State {
        self.suspected = None;
        // Whoever answers here has had our IKE_AUTH response, and with it the first child.
        let since = self.since;
        for child in self
            .children
            .values_mut()
            .filter(|child| child.created <= since)
        {
            child.unconfirmed_until = None;
        }
        let parts = parts.unwrap_or_else(|error| {
            turn.cx.counters.bad_inner += 1;
            let cause = Cause::Malformed {
                what: error.to_string(),
            };
            turn.fail(Exchange::CreateChildSa, Role::Initiator, cause, false);
            Parts::default()
        });
        match self.active.take() {
            Some(Active::CreateChild(request)) => child::finish(&mut self, turn, request, &parts),
            Some(Active::RekeyChild(request)) => {
                rekey_child::finish(&mut self, turn, request, &parts);
            }
            Some(Active::RekeyIke(request)) => {
                rekey_ike::finish(&mut self, turn, *request, &parts);
            }
            Some(Active::DeleteChild(spi)) => delete::finish_child(&mut self, turn, spi),
            Some(Active::DeleteIke) => {
                let reason = self.closing.take().unwrap_or(DownReason::Administrative);
                return self.close(turn, reason);
            }
            Some(Active::UpdateAddresses(local)) => {
                mobike::finish_update(&mut self, turn, local, &parts);
            }
            Some(Active::CheckRoute(cookie)) => {
                mobike::finish_check(&mut self, turn, &cookie, &parts);
            }
            Some(Active::Liveness) => mobike::notice_mapping(&mut self, turn, &parts),
            None => {}
        }
        State::Established(self)
    }

    /// Looks at the times, and starts the most urgent task if no request is under way.
    pub(crate) fn attend(mut self: Box<Self>, turn: &mut Turn<'_>) -> State {
        if self.expires_at <= turn.now || self.reap_at.is_some_and(|at| at <= turn.now) {
            // After a crossing the peer should have deleted it; after a rekeying likewise.
            let reason = match (self.replaced_by, self.reap_at) {
                (Some(_), _) => DownReason::Replaced,
                (None, Some(_)) => DownReason::Duplicate,
                (None, None) => DownReason::Expired,
            };
            self.reap_at = None;
            self.expires_at = turn.now + REAP_AFTER;
            self.begin_close(reason);
        }
        if self.update_by.is_some_and(|at| at <= turn.now) {
            self.update_by = None;
            mobike::give_way(&mut self, turn);
        }
        if self.is_usable() && self.strays_until.is_some_and(|at| at <= turn.now) {
            self.begin_close(DownReason::Moved);
            self.children.values_mut().for_each(|c| c.doomed = true);
            let id = turn.connection.id;
            turn.cx.reasons.insert(id, DownReason::Moved);
        }
        self.liveness = turn.connection.liveness.interval;
        self.schedule(turn.now);
        // One that is replaced or closes has nothing to choose any more.
        self.choose_child_at = None;
        if self.is_usable() && self.unconfirmed_until.is_none() {
            self.want_child(turn);
            self.keep_one_child(turn);
        }
        if self.unconfirmed_until.is_some_and(|until| turn.now < until) {
            return State::Established(self);
        }
        self.unconfirmed_until = None;
        self.pending.take_if(|pending| pending.until <= turn.now);
        if mobike::lacks_sight(&self, turn) {
            self.queue.insert(Task::Liveness);
        }
        while self.active.is_none() && !turn.link.window.is_waiting() {
            // What is about SAs has to wait while the peer is in the middle of replacing this one.
            let mut waits = self.queue.iter().copied();
            let Some(task) = waits.find(|task| self.pending.is_none() || !task.is_about_sas())
            else {
                break;
            };
            self.queue.remove(&task);
            self.start(turn, task);
        }
        State::Established(self)
    }

    /// What the peer has to delete need not stay long once the peer has our answer: what it does not
    /// delete then, it will not.
    fn hasten_reaping(&mut self, now: Instant) {
        let known: Vec<u32> = self
            .children
            .values()
            .filter(|child| child.unconfirmed_until.is_none())
            .map(|child| child.sa.spi_in)
            .collect();
        for child in self.children.values_mut().filter(|c| c.reap_at.is_some()) {
            // One that was replaced: the peer has the heir. One that lost a crossing: the peer has it.
            let decisive = child.replaced_by.unwrap_or(child.sa.spi_in);
            if known.contains(&decisive) {
                child.reap_soon(now);
            }
        }
    }

    /// A child that has lost a crossing is about to go, but the peer has come to send on it after all others: it knows nothing of the rule
    /// of RFC 7296 section 2.8.1, and would have no other one. Libreswan sends on the child that was made last, and does not go back to
    /// one before when that is deleted.
    fn keep_what_the_peer_uses(&mut self, now: Instant) {
        let latest = self.children.values().max_by_key(|child| child.heard);
        let Some(used) = latest
            .filter(|child| child.heard.is_some() && child.doomed)
            .filter(|child| child.reap_at.is_some_and(|at| at <= now))
            .filter(|child| child.expires_at > now)
            .map(|child| child.sa.spi_in)
        else {
            return;
        };
        for child in self.children.values_mut() {
            if child.sa.spi_in == used {
                child.doomed = false;
                child.replaced_by = None;
                child.reap_at = None;
            } else {
                child.replaced_by = Some(used);
                child.reap_at = None;
                self.queue.insert(Task::DeleteChild(child.sa.spi_in));
            }
        }
    }

    /// Queues what the clock asks for.
    fn schedule(&mut self, now: Instant) {
        self.hasten_reaping(now);
        let (due, later) = std::mem::take(&mut self.postponed)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.postponed = later;
        let due: Vec<(Instant, Task)> = due;
        self.queue.extend(due.into_iter().map(|(_, task)| task));
        self.keep_what_the_peer_uses(now);
        for child in self.children.values_mut() {
            let spi = child.sa.spi_in;
            if child.expires_at <= now || child.reap_at.is_some_and(|at| at <= now) {
                child.expires_at = now + REAP_AFTER;
                child.reap_at = None;
                child.doomed = true;
                self.queue.insert(Task::DeleteChild(spi));
            } else if child.rekey_at.is_some_and(|at| at <= now) {
                child.rekey_at = None;
                if child.is_current() {
                    self.queue.insert(Task::RekeyChild(spi));
                }
            }
        }
        if self.rekey_at.is_some_and(|at| at <= now) {
            self.rekey_at = None;
            self.queue.insert(Task::RekeyIke);
        }
        if now >= self.last_heard + self.liveness {
            self.queue.insert(Task::Liveness);
        }
    }

    /// Asks for a child if there is none and nothing is under way to make one. The IKE SA's
    /// initiator does so at once; the responder gives it time, so that not both do.
    fn want_child(&mut self, turn: &Turn<'_>) {
        let making = matches!(
            self.active,
            Some(Active::CreateChild(_) | Active::RekeyChild(_))
        ) || self.queue.contains(&Task::CreateChild)
            || self
                .postponed
                .iter()
                .any(|(_, task)| *task == Task::CreateChild);
        if making || self.children.values().any(Child::is_current) {
            return;
        }
        if self.pfs_refused {
            return self.begin_close(DownReason::Expired);
        }
        match turn.link.role {
            Role::Initiator => _ = self.queue.insert(Task::CreateChild),
            Role::Responder => {
                self.postponed
                    .push((turn.now + Duration::from_secs(3), Task::CreateChild));
            }
        }
    }

    /// Both sides may have made a child at once; then the nonces decide as between crossed
    /// rekeyings, after a moment in which the peer may have deleted one on its own.
    fn keep_one_child(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let mut current: Vec<&mut Child> = self
            .children
            .values_mut()
            .filter(|child| child.is_current())
            .collect();
        if self.active.is_some() || current.len() < 2 {
            return;
        }
        let youngest = current.iter().map(|child| child.created).max();
        if let Some(at) = youngest
            .map(|at| at + CHILD_CROSSING)
            .filter(|at| *at > now)
        {
            self.choose_child_at = Some(at);
            return;
        }
        let mut ended = Vec::new();
        if let Some(newest) = current.iter().max_by_key(|child| child.created)
            && newest.role == Role::Responder
        {
            // Long after the others the peer has asked for one more: it has lost them, whatever it says. Libreswan
            // does so when IKE SAs that crossed took its children along.
            let (heir, since) = (newest.sa.spi_in, newest.created);
            let lost = |child: &&mut Child| child.created + CREATED_AT_ONCE < since;
            for child in current.iter_mut().filter(|child| lost(child)) {
                child.replaced_by_peer(now, heir);
                ended.push(child.sa.spi_in);
            }
            current.retain(|child| child.is_current());
        }
        current.sort_by(|a, b| a.low_nonce.cmp(&b.low_nonce));
        // The highest of the low nonces stays.
        let stays = current.len() - 1;
        let kept = current.last().map_or(0, |child| child.sa.spi_in);
        for loser in current.into_iter().take(stays) {
            ended.push(loser.sa.spi_in);
            loser.doomed = true;
            match loser.role {
                Role::Initiator => _ = self.queue.insert(Task::DeleteChild(loser.sa.spi_in)),
                Role::Responder => loser.reap_at = Some(now + REAP_AFTER),
            }
        }
        turn.cx.events.push_back(Event::Note(Note::SeveralChildren {
            connection: turn.connection.id,
            kept,
            ended,
        }));
    }

    /// Tries again to make a child, later each time.
    pub(crate) fn retry_child(&mut self, turn: &mut Turn<'_>) {
        let base = Duration::from_secs(1 << self.child_failures.min(5));
        self.child_failures += 1;
        let wait = turn.cx.share(base, 75, 125);
        self.postponed.push((turn.now + wait, Task::CreateChild));
    }

    pub(crate) const fn child_made(&mut self) {
        self.child_failures = 0;
        self.pfs_refused = false;
    }

    /// Does a task again after a moment (RFC 7296 section 2.25).
    pub(crate) fn postpone(&mut self, turn: &mut Turn<'_>, task: Task) {
        let wait = turn.cx.share(Duration::from_secs(2), 50, 150);
        self.postponed.push((turn.now + wait, task));
    }

    /// Deletes the SA as soon as the window is free.
    pub(crate) fn begin_close(&mut self, reason: DownReason) {
        self.closing.get_or_insert(reason);
        if !matches!(self.active, Some(Active::DeleteIke)) {
            self.queue.insert(Task::DeleteIke);
        }
    }

    /// The SA is over: lets its children go and says so.
    pub(crate) fn close(self, turn: &mut Turn<'_>, reason: DownReason) -> State {
        let id = turn.link.id();
        self.abandon(turn.cx, turn.now, turn.connection.id, id, reason);
        State::Dead
    }

    /// The same without a turn, for the endpoint. Gives back the channel, for last words.
    pub(crate) fn abandon(
        self,
        cx: &mut Context,
        now: Instant,
        connection: ConnectionId,
        sa: crate::event::IkeSaId,
        reason: DownReason,
    ) -> Channel {
        if let Some(spi) = self.active.as_ref().and_then(Active::reserved_spi) {
            cx.release_spi(spi);
        }
        for spi in self.children.keys() {
            cx.bury(now, connection, *spi);
        }
        // With the end of this one the peer asks for no answer here any more: it has the rival, or never will.
        if let Some(spi) = self.rival {
            cx.effects.push_back(Effect::Confirm { spi });
        }
        if let Some(spi) = self.replaced_by {
            cx.effects.push_back(Effect::Inherited { spi });
        }
        // One that lost a crossed rekeying, or may have, was never announced: its end is no event.
        if self.replaced_by.is_none() && !self.awaits_children {
            cx.reasons.insert(connection, reason.clone());
            cx.events.push_back(Event::IkeDown {
                connection,
                sa,
                reason,
            });
        }
        self.channel
    }

    /// The peer says, without proof, that it has no such SA. If we only wait for its end: all the
    /// better.
    pub(crate) const fn ends_by_hearsay(&self) -> bool {
        !self.is_usable()
    }

    /// The peer has not answered within the budget.
    pub(crate) fn give_up(self: Box<Self>, turn: &mut Turn<'_>, waited: Duration) {
        if self.replaced_by.is_none() && self.closing.is_none() {
            let exchange = match self.active {
                Some(Active::CreateChild(_) | Active::RekeyChild(_) | Active::RekeyIke(_)) => {
                    Exchange::CreateChildSa
                }
                _ => Exchange::Informational,
            };
            let cause = Cause::NoAnswer {
                attempts: 1,
                waited,
            };
            turn.fail(exchange, Role::Initiator, cause, false);
        }
        let reason = self.closing.clone().unwrap_or(DownReason::NoAnswer);
        self.close(turn, reason);
    }

    /// When there is something to do beside answering.
    pub(crate) fn timeout(&self, link: &Link) -> Option<Instant> {
        let mut times: Vec<Instant> = vec![self.expires_at];
        times.extend(self.unconfirmed_until);
        times.extend(self.reap_at);
        times.extend(self.pending.as_ref().map(|pending| pending.until));
        times.extend(self.update_by);
        times.extend(self.strays_until.filter(|_| self.is_usable()));
        times.extend(self.rekey_at);
        times.extend(self.postponed.iter().map(|(at, _)| *at));
        times.extend(self.choose_child_at);
        for child in self.children.values() {
            times.push(child.expires_at);
            times.extend(child.rekey_at);
            times.extend(child.reap_at);
        }
        // While a request is under way its repetition is what tests the peer.
        if !link.window.is_waiting() && self.unconfirmed_until.is_none() {
            times.push(self.last_heard + self.liveness);
        }
        times.into_iter().min()
    }
}

fn deletes_ike(parts: &Parts) -> bool {
    parts
        .deletes
        .iter()
        .any(|delete| delete.protocol == Protocol::Ike)
}
