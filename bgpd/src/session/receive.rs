//! What comes in on a connection, and what each state makes of it (RFC 4271, section 8.2.2).

use std::time::Duration;

use super::connection::{Connection, Direction, Handshake, SETTLING, Step, count};
use super::{Dial, Phase, Received, Session, State, Turn};
use crate::error::SessionError;
use crate::event::{ConnId, DownReason, Event};
use crate::wire::{MessageKind, Notification, Open, RawMessage, RouteRefresh, keepalive};

/// Which of a session's connections something came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Opening(Direction),
    Established,
    Rival,
}

/// How much later than the connection that was established one may come that was opened at the same time.
const CROSSING: Duration = Duration::from_secs(10);

impl Session {
    /// Takes octets that came in; [`Session::next`] makes something of them.
    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(connection) = self.phase.connection_mut(conn) {
            connection.framer.push(bytes);
        }
    }

    /// Handles what has come in on a connection up to the next message for the tables; `None` when
    /// more octets are needed, or the connection is no more.
    pub(crate) fn next(&mut self, turn: &mut Turn<'_>, conn: ConnId) -> Option<Received> {
        loop {
            match self.phase.connection_mut(conn)?.framer.message() {
                Ok(None) => return None,
                Ok(Some(message)) => {
                    count(&mut self.received, message.kind);
                    if let Some(received) = self.message(turn, conn, message) {
                        return Some(received);
                    }
                }
                Err(error) => {
                    self.fail(turn, conn, SessionError::Header(error));
                    return None;
                }
            }
        }
    }

    fn message(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        message: RawMessage,
    ) -> Option<Received> {
        match self.place(conn)? {
            Place::Opening(direction) => {
                // The peer, which is established, has chosen this connection.
                let ready = self.phase.is_ready(direction);
                if ready
                    && matches!(
                        message.kind,
                        MessageKind::Update | MessageKind::RouteRefresh
                    )
                {
                    self.establish(turn, direction);
                    return self.established_message(turn, conn, message);
                }
                self.opening_message(turn, conn, direction, &message);
                None
            }
            Place::Established => self.established_message(turn, conn, message),
            Place::Rival => {
                self.rival_message(turn, &message);
                None
            }
        }
    }

    fn place(&self, conn: ConnId) -> Option<Place> {
        match &self.phase {
            Phase::Idle(_) => None,
            Phase::Opening(opening) => opening.direction_of(conn).map(Place::Opening),
            Phase::Established(it) if it.connection.id == conn => Some(Place::Established),
            Phase::Established(_) => Some(Place::Rival),
        }
    }

    fn opening_message(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        direction: Direction,
        message: &RawMessage,
    ) {
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        let Some(handshake) = opening.slot(direction) else {
            return;
        };
        let state = handshake.state();
        match (message.kind, &handshake.step) {
            (MessageKind::Notification, _) => self.told_goodbye(turn, direction, &message.body),
            (MessageKind::Open, Step::OpenSent) => {
                self.open_received(turn, conn, direction, &message.body);
            }
            (MessageKind::Keepalive, Step::OpenConfirm { .. }) => self.confirmed(turn, direction),
            (kind, _) => {
                self.fail(turn, conn, SessionError::UnexpectedMessage { state, kind });
            }
        }
    }

    /// A NOTIFICATION before the session was one.
    fn told_goodbye(&mut self, turn: &mut Turn<'_>, direction: Direction, body: &[u8]) {
        let Some(notification) = Notification::parse(body) else {
            return;
        };
        let collision = notification == Notification::cease(Notification::COLLISION);
        let cease = notification.code == 6;
        let reason = DownReason::NotificationReceived(notification);
        if cease {
            // The other connection is the one that lives: nothing to tell.
            self.drop_handshake(turn, direction, None, (!collision).then_some(reason));
        } else {
            // RFC 4271, section 6: a NOTIFICATION is never answered by one.
            if let Phase::Opening(opening) = &mut self.phase
                && let Some(handshake) = opening.slot(direction)
            {
                handshake.connection.close(turn, &mut self.sent, None);
            }
            self.lost(turn, reason);
        }
    }

    fn open_received(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        direction: Direction,
        body: &[u8],
    ) {
        let open = match Open::parse(body) {
            Ok(open) => open,
            Err(error) => return self.fail(turn, conn, SessionError::Open(error)),
        };
        self.their_capabilities = Some(open.capabilities.clone());
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        let Some(handshake) = opening.slot(direction) else {
            return;
        };
        let agreed = match turn.terms.judge(&open, handshake.connection.local.ip()) {
            Ok(agreed) => agreed,
            Err(error) => return self.fail(turn, conn, error),
        };
        if let Some(loser) = opening.collision(turn, direction, &open) {
            let cease = Notification::cease(Notification::COLLISION);
            self.drop_handshake(turn, loser, Some(&cease), None);
            if loser == direction {
                return;
            }
        }
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        if let Some(handshake) = opening.slot(direction) {
            handshake.confirm(turn, &mut self.sent, open, agreed);
        }
    }

    /// The peer's KEEPALIVE came. If there is another connection on which the peer's OPEN is still to
    /// come, and section 6.8 will then prefer it, being established now would only mean to flap: the
    /// peer, if it has our OPEN there, closes this connection.
    fn confirmed(&mut self, turn: &mut Turn<'_>, direction: Direction) {
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        let awaited = match direction {
            Direction::Outgoing => opening.incoming.is_some(),
            Direction::Incoming => opening.outgoing.is_some(),
        };
        let Some(handshake) = opening.slot(direction) else {
            return;
        };
        let Step::OpenConfirm { open, agreed } = &handshake.step else {
            return;
        };
        if !awaited || loser(turn, open) != direction {
            return self.establish(turn, direction);
        }
        if !agreed.hold_time.is_zero() {
            handshake.deadline = turn.now + agreed.hold_time;
        }
        handshake.ready_until.get_or_insert(turn.now + SETTLING);
    }

    /// Takes one connection away; the session goes on with the other one, or a new one.
    pub(super) fn drop_handshake(
        &mut self,
        turn: &mut Turn<'_>,
        direction: Direction,
        goodbye: Option<&Notification>,
        reason: Option<DownReason>,
    ) {
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        let Some(mut handshake) = opening.slot(direction).take() else {
            return;
        };
        handshake.connection.close(turn, &mut self.sent, goodbye);
        let alone = opening.handshakes().next().is_none();
        if let Some(reason) = reason {
            let peer = turn.terms.config.name.clone();
            turn.outbox.tell(Event::OpenFailed {
                peer,
                reason: reason.clone(),
            });
            self.last_error = Some(reason);
        }
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        for ready in [Direction::Outgoing, Direction::Incoming] {
            let slot = opening.slot(ready).as_ref();
            if slot.is_some_and(|it| it.ready_until.is_some()) {
                return self.establish(turn, ready);
            }
        }
        if opening.dial == Dial::Connected && direction == Direction::Outgoing || alone {
            if let Dial::Pending { .. } | Dial::Waiting { .. } = opening.dial {
                return;
            }
            self.redial(turn);
        }
    }

    fn established_message(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        message: RawMessage,
    ) -> Option<Received> {
        let Phase::Established(it) = &mut self.phase else {
            return None;
        };
        if it.hold_deadline.is_some() {
            it.hold_deadline = Some(turn.now + it.agreed.hold_time);
        }
        match message.kind {
            MessageKind::Update => return Some(Received::Update(message.body)),
            MessageKind::Keepalive => {}
            MessageKind::RouteRefresh => match RouteRefresh::parse(&message.body) {
                Some(refresh) if it.agreed.enhanced_route_refresh => {
                    return Some(Received::Refresh(refresh));
                }
                Some(refresh) => {
                    return Some(Received::Refresh(RouteRefresh::request(refresh.family)));
                }
                None => {
                    let length = message.body.len();
                    self.fail(turn, conn, SessionError::RouteRefresh { length });
                }
            },
            MessageKind::Notification => {
                if let Some(notification) = Notification::parse(&message.body) {
                    it.connection.close(turn, &mut self.sent, None);
                    self.lost(turn, DownReason::NotificationReceived(notification));
                }
            }
            kind @ MessageKind::Open => {
                let state = State::Established;
                self.fail(turn, conn, SessionError::UnexpectedMessage { state, kind });
            }
        }
        None
    }

    /// Section 6.8: next to an established connection another one is closed when its OPEN comes. If
    /// the peer opened it because it has lost the established one, it does not know that one any
    /// more; a KEEPALIVE on it makes the peer's system say so at once.
    fn rival_message(&mut self, turn: &mut Turn<'_>, message: &RawMessage) {
        let Phase::Established(it) = &mut self.phase else {
            return;
        };
        let Some(mut rival) = it.rival.take() else {
            return;
        };
        // Of a peer that has just come back both sides' connections may cross, and each of its OPENs says that it has restarted.
        let is_its_return = it
            .agreed
            .graceful_restart
            .as_ref()
            .is_some_and(|it| it.restarted)
            && turn.now < self.since + CROSSING;
        if it.agreed.graceful_restart.is_some()
            && !is_its_return
            && has_restarted(turn, &rival, message)
        {
            it.connection.close(turn, &mut self.sent, None);
            let reason = "the peer has restarted and connected anew".to_owned();
            self.lost(turn, DownReason::ConnectionLost { reason });
            if let Phase::Opening(opening) = &mut self.phase {
                let conn = rival.connection.id;
                opening.incoming = Some(rival);
                self.open_received(turn, conn, Direction::Incoming, &message.body);
            }
            return;
        }
        let cease = Notification::cease(Notification::COLLISION);
        let goodbye = (message.kind != MessageKind::Notification).then_some(&cease);
        rival.connection.close(turn, &mut self.sent, goodbye);
        if it.keepalive_at.is_some() {
            it.connection.send(turn, keepalive());
            self.sent.keepalives += 1;
        }
    }
}

impl super::Opening {
    /// Section 6.8: of two connections the one lives that the side with the higher identifier opened
    /// (RFC 6286, section 2.3: with equal ones, the higher AS). Returns the direction of the other,
    /// if there are two whose OPENs have come.
    fn collision(&self, turn: &Turn<'_>, direction: Direction, open: &Open) -> Option<Direction> {
        let other = match direction {
            Direction::Outgoing => self.incoming.as_ref(),
            Direction::Incoming => self.outgoing.as_ref(),
        };
        if other?.state() != State::OpenConfirm {
            return None;
        }
        Some(loser(turn, open))
    }
}

/// RFC 4724, section 5: whether a second connection is the peer's first after a restart, of which the established one has not
/// heard.
fn has_restarted(turn: &Turn<'_>, rival: &Handshake, message: &RawMessage) -> bool {
    let open = || Open::parse(&message.body).ok();
    let agreed = |open| turn.terms.judge(&open, rival.connection.local.ip()).ok();
    (message.kind == MessageKind::Open)
        .then(open)
        .flatten()
        .and_then(agreed)
        .and_then(|agreed| agreed.graceful_restart)
        .is_some_and(|restart| restart.restarted)
}

/// Which of two connections does not live.
fn loser(turn: &Turn<'_>, open: &Open) -> Direction {
    let ours = (turn.terms.router_id, turn.terms.local_asn);
    let theirs = (open.identifier, turn.terms.config.remote_asn);
    if ours < theirs {
        Direction::Outgoing
    } else {
        Direction::Incoming
    }
}

impl Phase {
    /// Whether a connection waits for the other one to be settled.
    fn is_ready(&mut self, direction: Direction) -> bool {
        let Self::Opening(opening) = self else {
            return false;
        };
        opening
            .slot(direction)
            .as_ref()
            .is_some_and(|it| it.ready_until.is_some())
    }

    /// The connection of that name.
    pub(super) fn connection_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        match self {
            Self::Idle(_) => None,
            Self::Opening(opening) => opening
                .outgoing
                .iter_mut()
                .chain(&mut opening.incoming)
                .map(|it| &mut it.connection)
                .find(|it| it.id == conn),
            Self::Established(it) => [
                Some(&mut it.connection),
                it.rival.as_mut().map(|r| &mut r.connection),
            ]
            .into_iter()
            .flatten()
            .find(|it| it.id == conn),
        }
        .filter(|it| !it.closed)
    }
}
