//! One TCP connection of a session, and the exchange of OPENs on it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Turn;
use super::state::State;
use crate::event::{Action, Agreed, ConnId};
use crate::view::MessageCounts;
use crate::wire::{Framer, MessageKind, Notification, Open, keepalive};

/// Who dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Outgoing,
    Incoming,
}

/// How long an OPEN or the KEEPALIVE after it may take to come. RFC 4271 suggests four minutes for a
/// network of 1995; a peer that has not answered within this has hung.
pub(super) const OPEN_HOLD: Duration = Duration::from_secs(60);

/// How long a connection that is ready waits for a collision with the other one to show.
pub(super) const SETTLING: Duration = Duration::from_secs(2);

/// The least time that sending may stand still (RFC 9687, section 6).
const SEND_HOLD: Duration = Duration::from_secs(480);

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) direction: Direction,
    pub(super) local: SocketAddr,
    pub(super) framer: Framer,
    /// Octets that the socket has not taken yet.
    pub(super) unsent: usize,
    /// When sending has stood still for too long.
    pub(super) send_deadline: Option<Instant>,
    pub(super) send_hold: Duration,
    pub(super) closed: bool,
}

impl Connection {
    pub(super) fn new(id: ConnId, direction: Direction, local: SocketAddr) -> Self {
        Self {
            id,
            direction,
            local,
            framer: Framer::default(),
            unsent: 0,
            send_deadline: None,
            send_hold: SEND_HOLD,
            closed: false,
        }
    }

    /// The session's hold time is known, and with it how long sending may stand still.
    pub(super) fn agreed(&mut self, hold_time: Duration) {
        self.send_hold = SEND_HOLD.max(hold_time * 2);
    }

    pub(super) fn send(&mut self, turn: &mut Turn<'_>, bytes: Vec<u8>) {
        self.unsent += bytes.len();
        if self.send_deadline.is_none() {
            self.send_deadline = Some(turn.now + self.send_hold);
        }
        turn.outbox.act(Action::Send {
            conn: self.id,
            bytes,
        });
    }

    /// The socket took some octets.
    pub(super) fn sent(&mut self, now: Instant, count: usize) {
        self.unsent = self.unsent.saturating_sub(count);
        self.send_deadline = (self.unsent > 0).then_some(now + self.send_hold);
    }

    /// Says goodbye, if there is something to say, and closes; once.
    pub(super) fn close(
        &mut self,
        turn: &mut Turn<'_>,
        counts: &mut MessageCounts,
        goodbye: Option<&Notification>,
    ) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        if let Some(notification) = goodbye {
            counts.notifications += 1;
            self.send(turn, notification.emit());
        }
        turn.outbox.act(Action::Close { conn: self.id });
    }
}

/// How far the exchange of OPENs has come.
#[derive(Debug)]
pub(super) enum Step {
    /// Our OPEN is out.
    OpenSent,
    /// The peer's OPEN is accepted, our KEEPALIVE is out.
    OpenConfirm { open: Open, agreed: Agreed },
}

/// A connection that is to become a session.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) connection: Connection,
    pub(super) step: Step,
    /// When the peer has taken too long.
    pub(super) deadline: Instant,
    /// When the next KEEPALIVE is due, in OpenConfirm.
    pub(super) keepalive_at: Option<Instant>,
    /// The peer's KEEPALIVE has come, and the session is established when the other connection is
    /// settled, or then at the latest.
    pub(super) ready_until: Option<Instant>,
}

impl Handshake {
    /// Sends our OPEN on a new connection.
    pub(super) fn begin(
        mut connection: Connection,
        turn: &mut Turn<'_>,
        counts: &mut MessageCounts,
    ) -> Self {
        counts.opens += 1;
        let open = turn.terms.open().emit();
        connection.send(turn, open);
        Self {
            connection,
            step: Step::OpenSent,
            deadline: turn.now + OPEN_HOLD,
            keepalive_at: None,
            ready_until: None,
        }
    }

    /// Accepts the peer's OPEN.
    pub(super) fn confirm(
        &mut self,
        turn: &mut Turn<'_>,
        counts: &mut MessageCounts,
        open: Open,
        agreed: Agreed,
    ) {
        counts.keepalives += 1;
        self.connection.agreed(agreed.hold_time);
        self.connection.send(turn, keepalive());
        if !agreed.hold_time.is_zero() {
            self.deadline = turn.now + agreed.hold_time;
            self.keepalive_at = Some(turn.outbox.jittered(turn.now, agreed.keepalive));
        }
        self.step = Step::OpenConfirm { open, agreed };
    }

    pub(super) fn state(&self) -> State {
        match self.step {
            Step::OpenSent => State::OpenSent,
            Step::OpenConfirm { .. } => State::OpenConfirm,
        }
    }

    /// The next moment at which something is due.
    pub(super) fn timeout(&self) -> Instant {
        let others = self.keepalive_at.into_iter().chain(self.ready_until);
        others.fold(self.deadline, Instant::min)
    }
}

/// Counts a message by its type.
pub(super) fn count(counts: &mut MessageCounts, kind: MessageKind) {
    let counter = match kind {
        MessageKind::Open => &mut counts.opens,
        MessageKind::Update => &mut counts.updates,
        MessageKind::Notification => &mut counts.notifications,
        MessageKind::Keepalive => &mut counts.keepalives,
        MessageKind::RouteRefresh => &mut counts.refreshes,
    };
    *counter += 1;
}
