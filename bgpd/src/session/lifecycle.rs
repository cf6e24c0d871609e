//! How a session begins and ends: orders, dials, timers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::{Connection, Direction, Handshake, OPEN_HOLD, Step};
use super::{Change, Dial, Established, Idle, Opening, Phase, Session, Turn, negotiate};
use crate::OverLimit;
use crate::error::SessionError;
use crate::event::{Action, ConnId, DownReason, Event, Refused};
use crate::rib::Flushed;
use crate::wire::{Notification, RouteRefresh, keepalive};

/// The first pause after a failed attempt; it doubles up to the peer's `connect_retry`.
const RETRY: Duration = Duration::from_millis(250);

/// The first pause after an error; it doubles up to the caps below.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_CAP: Duration = Duration::from_secs(30);

/// A peer that has to connect to us may try seldom, so it must not be turned away for long.
const PASSIVE_BACK_OFF_CAP: Duration = Duration::from_secs(5);

/// A session that was up for so long was a good one: pauses start small again.
const SETTLED: Duration = Duration::from_secs(10);

impl Session {
    /// Starts trying, from whatever is not a session.
    pub(crate) fn start(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::Idle(_)) {
            self.failures = 0;
            self.errors = 0;
            self.open(turn, Duration::ZERO);
        }
    }

    /// The peer may send more prefixes than before, or what happens beyond that is another thing: one that is kept waiting for having
    /// sent too many is tried anew.
    pub(crate) fn limit_changed(&mut self, turn: &mut Turn<'_>) {
        let for_limit = matches!(
            self.last_error,
            Some(DownReason::Failed(SessionError::MaximumPrefixes { .. }))
        );
        match self.phase {
            Phase::Idle(Idle::OverLimit) => self.start(turn),
            Phase::Idle(Idle::BackOff { .. }) if for_limit => self.start(turn),
            _ => {}
        }
    }

    /// Ends whatever there is with Cease and stays down.
    pub(crate) fn disable(&mut self, turn: &mut Turn<'_>, text: &str) {
        let subcode = Notification::ADMINISTRATIVE_SHUTDOWN;
        self.cease(turn, Notification::cease_with_text(subcode, text));
        self.phase = Phase::Idle(Idle::Disabled {
            text: text.to_owned(),
        });
    }

    /// Ends whatever there is with this Cease and starts anew, unless it is not being tried.
    pub(crate) fn reset(&mut self, turn: &mut Turn<'_>, cease: Notification) {
        if !matches!(self.phase, Phase::Idle(Idle::Disabled { .. })) {
            self.cease(turn, cease);
            self.failures = 0;
            self.errors = 0;
            self.open(turn, Duration::ZERO);
        }
    }

    /// Ends whatever there is with this Cease; the phase is Idle then. It is meant: nothing is kept, and the peer is told so.
    pub(crate) fn cease(&mut self, turn: &mut Turn<'_>, cease: Notification) {
        if let Phase::Established(it) = &mut self.phase {
            let goodbye = it.agreed.without_grace(cease.clone());
            it.connection.close(turn, &mut self.sent, Some(&goodbye));
        }
        self.close_all(turn, Some(&cease));
        self.ended(turn, DownReason::Ceased(cease));
    }

    /// The way to the peer is dead: the session is over, whatever its timers say.
    pub(crate) fn path_down(&mut self, turn: &mut Turn<'_>) {
        if !matches!(self.phase, Phase::Idle(_)) {
            self.close_all(turn, None);
            self.ended(turn, DownReason::PathDown);
            self.open(turn, RETRY);
        }
    }

    /// BFD says that the path to the peer is dead (RFC 5882, section 3.2). Its connection ends within the time that BFD takes; what
    /// the peer still hears of it is why. A session that is only being tried finds out by itself.
    pub(crate) fn bfd_down(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::Established(_)) {
            self.cease(turn, Notification::cease(Notification::BFD_DOWN));
            self.open(turn, RETRY);
        }
    }

    /// Gives up trying until it is started again. An established session stays.
    pub(crate) fn hold(&mut self, turn: &mut Turn<'_>, text: &str) {
        if let Phase::Established(_) | Phase::Idle(Idle::Disabled { .. }) = self.phase {
            return;
        }
        let goodbye = Notification::cease(Notification::CONNECTION_REJECTED);
        self.close_all(turn, Some(&goodbye));
        self.phase = Phase::Idle(Idle::Disabled {
            text: text.to_owned(),
        });
    }

    /// The peer's interface came up or went down.
    pub(crate) fn interface_changed(&mut self, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        if let Dial::Pending { conn, .. } = opening.dial {
            turn.outbox.act(Action::Close { conn });
        }
        // A connection that was begun before may wait for a retransmission that is far off.
        if let Some(mut stale) = opening.outgoing.take() {
            stale.connection.close(turn, &mut self.sent, None);
        }
        self.failures = 0;
        self.plan_dial(turn, Duration::ZERO);
    }

    /// Other parameters that do not end the session.
    pub(crate) fn adjust(&mut self, turn: &mut Turn<'_>) {
        match &mut self.phase {
            Phase::Established(it) => {
                let config = turn.terms.config;
                it.agreed.keepalive = negotiate::keepalive(it.agreed.hold_time, config.keepalive);
                if it.keepalive_at.is_some() {
                    it.keepalive_at = Some(turn.now);
                }
            }
            Phase::Opening(it) if (it.dial == Dial::Passive) != turn.terms.config.passive => {
                if let Dial::Pending { conn, .. } = it.dial {
                    turn.outbox.act(Action::Close { conn });
                }
                if it.outgoing.is_none() {
                    self.plan_dial(turn, Duration::ZERO);
                }
            }
            _ => {}
        }
    }

    /// The dial succeeded.
    pub(crate) fn handle_connected(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        local: SocketAddr,
    ) {
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        if opening.is_dialling(conn) {
            opening.dial = Dial::Connected;
            let connection = Connection::new(conn, Direction::Outgoing, local);
            opening.outgoing = Some(Handshake::begin(connection, turn, &mut self.sent));
            self.last_dial_failure = None;
        }
    }

    /// The dial failed.
    pub(crate) fn handle_connect_failed(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        reason: &str,
    ) {
        if matches!(&self.phase, Phase::Opening(opening) if opening.is_dialling(conn)) {
            self.dial_failed(turn, reason);
        }
    }

    fn dial_failed(&mut self, turn: &mut Turn<'_>, reason: &str) {
        if self.last_dial_failure.as_deref() != Some(reason) {
            self.last_dial_failure = Some(reason.to_owned());
            let peer = turn.terms.config.name.clone();
            turn.outbox.tell(Event::ConnectFailed {
                peer,
                reason: reason.to_owned(),
            });
        }
        self.redial(turn);
    }

    /// The peer connected. A second connection of its own takes the place of the first: it has
    /// forgotten that one, or will find it closed.
    pub(crate) fn handle_accepted(
        &mut self,
        turn: &mut Turn<'_>,
        local: SocketAddr,
    ) -> Result<ConnId, Refused> {
        let peer = || turn.terms.config.name.clone();
        if let Phase::Idle(idle) = &self.phase {
            return Err(match idle {
                Idle::Disabled { text } => Refused::Disabled {
                    peer: peer(),
                    text: text.clone(),
                },
                Idle::OverLimit => {
                    let text = "it sent too many prefixes".to_owned();
                    Refused::Disabled { peer: peer(), text }
                }
                Idle::BackOff { until } => {
                    let remaining = until.saturating_duration_since(turn.now);
                    Refused::BackingOff {
                        peer: peer(),
                        remaining,
                    }
                }
            });
        }
        let conn = turn.outbox.next_conn();
        let connection = Connection::new(conn, Direction::Incoming, local);
        let handshake = Handshake::begin(connection, turn, &mut self.sent);
        let slot = match &mut self.phase {
            Phase::Opening(opening) => &mut opening.incoming,
            Phase::Established(established) => &mut established.rival,
            // Answered above.
            Phase::Idle(_) => return Ok(conn),
        };
        if let Some(mut old) = slot.replace(handshake) {
            let cease = Notification::cease(Notification::COLLISION);
            old.connection.close(turn, &mut self.sent, Some(&cease));
        }
        Ok(conn)
    }

    /// A connection ended without our doing.
    pub(crate) fn handle_closed(&mut self, turn: &mut Turn<'_>, conn: ConnId, reason: &str) {
        let lost = DownReason::ConnectionLost {
            reason: reason.to_owned(),
        };
        match &mut self.phase {
            Phase::Idle(_) => {}
            Phase::Opening(opening) => {
                if opening.is_dialling(conn) {
                    return self.dial_failed(turn, reason);
                }
                if let Some(direction) = opening.direction_of(conn) {
                    self.phase.forget(conn);
                    self.drop_handshake(turn, direction, None, Some(lost));
                }
            }
            Phase::Established(established) => {
                if established.connection.id == conn {
                    self.phase.forget(conn);
                    self.lost(turn, lost);
                } else if established
                    .rival
                    .as_ref()
                    .is_some_and(|it| it.connection.id == conn)
                {
                    established.rival = None;
                }
            }
        }
    }

    /// The socket took some octets.
    pub(crate) fn handle_sent(&mut self, now: Instant, conn: ConnId, count: usize) {
        if let Some(connection) = self.phase.connection_mut(conn) {
            connection.sent(now, count);
        }
    }

    /// Writes UPDATEs on the established session, and what marks where they begin and end.
    pub(crate) fn send_updates(&mut self, turn: &mut Turn<'_>, flushed: Flushed) {
        if let Phase::Established(it) = &mut self.phase
            && !flushed.bytes.is_empty()
        {
            self.sent.updates += flushed.updates;
            self.sent.refreshes += flushed.refreshes;
            it.connection.send(turn, flushed.bytes);
        }
    }

    /// Asks for a family's routes again, if the peer can be asked.
    pub(crate) fn ask_refresh(&mut self, turn: &mut Turn<'_>) {
        if let Phase::Established(it) = &mut self.phase
            && it.agreed.route_refresh
        {
            for family in it.agreed.families.iter() {
                self.sent.refreshes += 1;
                let request = RouteRefresh::request(family).message();
                it.connection.send(turn, request);
            }
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        match &mut self.phase {
            Phase::Idle(Idle::BackOff { until }) if *until <= turn.now => {
                self.open(turn, Duration::ZERO);
            }
            Phase::Idle(_) => {}
            Phase::Opening(_) => self.opening_timeout(turn),
            Phase::Established(_) => self.established_timeout(turn),
        }
    }

    fn opening_timeout(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        for direction in [Direction::Outgoing, Direction::Incoming] {
            let Phase::Opening(opening) = &mut self.phase else {
                return;
            };
            let Some(handshake) = opening.slot(direction) else {
                continue;
            };
            if handshake.deadline <= now {
                let error = SessionError::HoldTimerExpired { after: OPEN_HOLD };
                let goodbye = error.notification();
                let reason = Some(DownReason::Failed(error));
                self.drop_handshake(turn, direction, Some(&goodbye), reason);
            } else if handshake.ready_until.is_some_and(|at| at <= now) {
                return self.establish(turn, direction);
            } else if handshake.keepalive_at.is_some_and(|at| at <= now) {
                handshake.connection.send(turn, keepalive());
                self.sent.keepalives += 1;
                if let Step::OpenConfirm { agreed, .. } = &handshake.step {
                    let at = turn.outbox.jittered(now, agreed.keepalive);
                    handshake.keepalive_at = Some(at);
                }
            }
        }
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        match opening.dial {
            Dial::Waiting { at } if at <= now => self.dial(turn),
            Dial::Pending { conn, deadline } if deadline <= now => {
                turn.outbox.act(Action::Close { conn });
                self.dial_failed(turn, "no answer");
            }
            _ => {}
        }
    }

    fn established_timeout(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let Phase::Established(it) = &mut self.phase else {
            return;
        };
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let conn = it.connection.id;
        if due(it.hold_deadline) {
            let after = it.agreed.hold_time;
            return self.fail(turn, conn, SessionError::HoldTimerExpired { after });
        }
        if due(it.connection.send_deadline) {
            let after = it.connection.send_hold;
            return self.fail(turn, conn, SessionError::SendHoldTimerExpired { after });
        }
        if due(it.keepalive_at) {
            it.keepalive_at = Some(turn.outbox.jittered(now, it.agreed.keepalive));
            it.connection.send(turn, keepalive());
            self.sent.keepalives += 1;
        }
        if it.rival.as_ref().is_some_and(|rival| rival.deadline <= now)
            && let Some(mut rival) = it.rival.take()
        {
            rival.connection.close(turn, &mut self.sent, None);
        }
    }

    /// Begins trying, with our own dial after a pause.
    pub(super) fn open(&mut self, turn: &mut Turn<'_>, pause: Duration) {
        let dial = Dial::Passive;
        self.phase = Phase::Opening(Box::new(Opening {
            dial,
            outgoing: None,
            incoming: None,
        }));
        self.plan_dial(turn, pause);
    }

    /// Tries again after the pause that the number of failures asks for.
    pub(super) fn redial(&mut self, turn: &mut Turn<'_>) {
        let pause = RETRY * 2u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.plan_dial(turn, pause.min(turn.terms.config.connect_retry.max(RETRY)));
    }

    fn plan_dial(&mut self, turn: &mut Turn<'_>, pause: Duration) {
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        opening.dial = if turn.terms.config.passive {
            Dial::Passive
        } else if !turn.terms.interface_up {
            Dial::Held
        } else {
            Dial::Waiting {
                at: turn.outbox.jittered(turn.now, pause),
            }
        };
        if pause.is_zero() && matches!(opening.dial, Dial::Waiting { .. }) {
            self.dial(turn);
        }
    }

    fn dial(&mut self, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        let config = turn.terms.config;
        let conn = turn.outbox.next_conn();
        let deadline = turn.now + config.connect_retry.max(RETRY);
        opening.dial = Dial::Pending { conn, deadline };
        turn.outbox.act(Action::Connect {
            peer: config.name.clone(),
            conn,
            local: config.update_source,
            remote: SocketAddr::new(config.address, config.port),
            interface: config.interface.clone(),
            ttl: config.ttl,
            min_ttl: config.min_ttl,
            md5: config.md5.clone(),
        });
    }

    /// One connection has gone all the way; the others are turned away or given up.
    pub(super) fn establish(&mut self, turn: &mut Turn<'_>, direction: Direction) {
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        let Some(handshake) = opening.slot(direction).take() else {
            return;
        };
        let Step::OpenConfirm { open, agreed } = handshake.step else {
            return;
        };
        let rival = opening.outgoing.take().or_else(|| opening.incoming.take());
        if let Dial::Pending { conn, .. } = opening.dial {
            turn.outbox.act(Action::Close { conn });
        }
        let hold = !agreed.hold_time.is_zero();
        self.their_capabilities = Some(open.capabilities);
        self.since = turn.now;
        self.established_count += 1;
        self.last_dial_failure = None;
        turn.changes.push(Change::Up(agreed.clone()));
        let peer = turn.terms.config.name.clone();
        turn.outbox.tell(Event::PeerUp {
            peer,
            agreed: agreed.clone(),
        });
        self.phase = Phase::Established(Box::new(Established {
            connection: handshake.connection,
            hold_deadline: hold.then(|| turn.now + agreed.hold_time),
            keepalive_at: handshake.keepalive_at,
            agreed,
            rival,
        }));
    }

    /// Ends everything because of what a peer did on one connection, and says so on that one.
    pub(crate) fn fail(&mut self, turn: &mut Turn<'_>, conn: ConnId, error: SessionError) {
        let mut goodbye = error.notification();
        if let (Phase::Established(it), SessionError::MaximumPrefixes { .. }) =
            (&self.phase, &error)
        {
            goodbye = it.agreed.without_grace(goodbye);
        }
        let Some(connection) = self.phase.connection_mut(conn) else {
            return;
        };
        connection.close(turn, &mut self.sent, Some(&goodbye));
        self.lost(turn, DownReason::Failed(error));
    }

    /// Ends the established session because of what the peer did.
    pub(crate) fn fail_established(&mut self, turn: &mut Turn<'_>, error: SessionError) {
        if let Phase::Established(it) = &self.phase {
            let conn = it.connection.id;
            self.fail(turn, conn, error);
        }
    }

    /// A session or an attempt is over; what follows depends on whose fault it was.
    pub(super) fn lost(&mut self, turn: &mut Turn<'_>, reason: DownReason) {
        if self.since(turn.now) >= SETTLED && self.agreed().is_some() {
            self.failures = 0;
            self.errors = 0;
        }
        let cease = Notification::cease(Notification::CONFIGURATION_CHANGE);
        self.close_all(turn, Some(&cease));
        self.ended(turn, reason.clone());
        let over_limit = match &reason {
            DownReason::Failed(SessionError::MaximumPrefixes { .. }) => {
                Some(turn.terms.config.max_prefixes_in.over)
            }
            _ => None,
        };
        match over_limit {
            Some(OverLimit::Shutdown {
                restart: Some(pause),
            }) => {
                self.phase = Phase::Idle(Idle::BackOff {
                    until: turn.now + pause,
                });
            }
            Some(_) => self.phase = Phase::Idle(Idle::OverLimit),
            None if is_error(&reason) => self.back_off(turn),
            None => {
                self.open(turn, RETRY);
                self.redial(turn);
            }
        }
    }

    /// RFC 4271, section 8.1.1: DampPeerOscillations.
    fn back_off(&mut self, turn: &mut Turn<'_>) {
        let passive = turn.terms.config.passive;
        let cap = if passive {
            PASSIVE_BACK_OFF_CAP
        } else {
            BACK_OFF_CAP
        };
        let pause = (BACK_OFF * 2u32.saturating_pow(self.errors.min(16))).min(cap);
        self.errors += 1;
        let until = turn.outbox.jittered(turn.now, pause);
        self.phase = Phase::Idle(Idle::BackOff { until });
    }

    /// Tells what ended. The phase is Idle then, until the caller says otherwise.
    fn ended(&mut self, turn: &mut Turn<'_>, reason: DownReason) {
        let idle = Phase::Idle(Idle::Disabled {
            text: String::new(),
        });
        let before = std::mem::replace(&mut self.phase, idle);
        let peer = turn.terms.config.name.clone();
        match before {
            Phase::Idle(_) => return,
            Phase::Established(it) => {
                let after = self.since(turn.now);
                self.since = turn.now;
                let keep = turn.terms.retention(&it.agreed, &reason);
                let agreed = it.agreed;
                turn.changes.push(Change::Down { agreed, keep });
                turn.outbox.tell(Event::PeerDown {
                    peer,
                    reason: reason.clone(),
                    after,
                });
            }
            Phase::Opening(_) if matches!(reason, DownReason::Ceased(_) | DownReason::PathDown) => {
            }
            Phase::Opening(_) => {
                turn.outbox.tell(Event::OpenFailed {
                    peer,
                    reason: reason.clone(),
                });
            }
        }
        self.last_error = Some(reason);
    }

    /// Closes every connection and gives up the dial. The phase stays, for [`Session::ended`].
    fn close_all(&mut self, turn: &mut Turn<'_>, goodbye: Option<&Notification>) {
        let sent = &mut self.sent;
        match &mut self.phase {
            Phase::Idle(_) => {}
            Phase::Opening(opening) => {
                if let Dial::Pending { conn, .. } = opening.dial {
                    turn.outbox.act(Action::Close { conn });
                }
                for handshake in opening.outgoing.iter_mut().chain(&mut opening.incoming) {
                    handshake.connection.close(turn, sent, goodbye);
                }
            }
            Phase::Established(it) => {
                if let Some(rival) = &mut it.rival {
                    rival.connection.close(turn, sent, goodbye);
                }
                it.connection.close(turn, sent, goodbye);
            }
        }
    }
}

impl Phase {
    /// A connection is closed already: nothing more may be sent on it.
    fn forget(&mut self, conn: ConnId) {
        if let Some(connection) = self.connection_mut(conn) {
            connection.closed = true;
        }
    }
}

impl Opening {
    fn is_dialling(&self, conn: ConnId) -> bool {
        matches!(self.dial, Dial::Pending { conn: it, .. } if it == conn)
    }
}

/// Whether an ending is somebody's fault, so that trying again at once would end the same way.
fn is_error(reason: &DownReason) -> bool {
    match reason {
        DownReason::Failed(error) => !error.is_transient(),
        // RFC 4271, section 6.7: Cease is no error.
        DownReason::NotificationReceived(notification) => notification.code != 6,
        DownReason::ConnectionLost { .. } | DownReason::Ceased(_) | DownReason::PathDown => false,
    }
}
