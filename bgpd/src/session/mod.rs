//! One peer's session: its connections, the finite state machine over them, and its timers
//! (RFC 4271, section 8).
//!
//! The RFC's machine runs once per connection, and section 6.8 says which of two connections lives.
//! Here both are parts of one [`Phase`]: while a session is being opened there may be a dial, one
//! connection that we opened and one that the peer opened; once one of them is established the others
//! are turned away. Routes are not known here: [`Session::next`] hands UPDATEs out.

mod connection;
mod lifecycle;
mod negotiate;
mod receive;
mod state;

use std::time::{Duration, Instant};

pub(crate) use negotiate::Terms;
pub use state::State;

use crate::PeerConfig;
use crate::event::{Agreed, ConnId, DownReason};
use crate::outbox::Outbox;
use crate::view::MessageCounts;
use crate::wire::{Capabilities, RouteRefresh};
use connection::{Connection, Direction, Handshake};

/// What a call has at hand.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) terms: Terms<'a>,
    pub(crate) outbox: &'a mut Outbox,
    /// What became of the session, for the tables.
    pub(crate) changes: &'a mut Vec<Change>,
}

/// What the tables have to know of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is established.
    Up(Agreed),
    /// It is no longer.
    Down {
        /// What it had agreed on.
        agreed: Agreed,
        /// How long its routes are kept; `None` is not at all.
        keep: Option<Duration>,
    },
}

/// What a peer sent on an established session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The body of an UPDATE.
    Update(Vec<u8>),
    /// It asks for a family's routes again, or says when it sends its own again.
    Refresh(RouteRefresh),
}

/// A peer's session.
#[derive(Debug)]
pub(crate) struct Session {
    phase: Phase,
    /// Since when the session has been established, or not.
    since: Instant,
    /// Attempts that failed one after the other without anybody's fault.
    failures: u32,
    /// Sessions that ended in an error one after the other.
    errors: u32,
    last_dial_failure: Option<String>,
    last_error: Option<DownReason>,
    their_capabilities: Option<Capabilities>,
    established_count: u32,
    received: MessageCounts,
    sent: MessageCounts,
}

/// Where the session stands.
#[derive(Debug)]
enum Phase {
    /// Not trying.
    Idle(Idle),
    /// Trying.
    Opening(Box<Opening>),
    /// Exchanging routes.
    Established(Box<Established>),
}

/// Why we are not trying.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Idle {
    /// The operator wants it so.
    Disabled { text: String },
    /// The last session ended in an error; we try again later.
    BackOff { until: Instant },
    /// The peer sent too many prefixes, and the operator wants to be asked.
    OverLimit,
}

/// Trying.
#[derive(Debug)]
struct Opening {
    dial: Dial,
    outgoing: Option<Handshake>,
    incoming: Option<Handshake>,
}

/// Our own attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    /// The peer is to connect.
    Passive,
    /// The interface is down.
    Held,
    /// The last attempt failed.
    Waiting { at: Instant },
    /// An attempt is out.
    Pending { conn: ConnId, deadline: Instant },
    /// It has succeeded.
    Connected,
}

/// Exchanging routes.
#[derive(Debug)]
struct Established {
    connection: Connection,
    agreed: Agreed,
    hold_deadline: Option<Instant>,
    keepalive_at: Option<Instant>,
    /// Another connection, whose OPEN will be answered by Cease (section 6.8).
    rival: Option<Handshake>,
}

impl Session {
    /// A session that is not tried yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Idle(Idle::Disabled {
                text: String::new(),
            }),
            since: now,
            failures: 0,
            errors: 0,
            last_dial_failure: None,
            last_error: None,
            their_capabilities: None,
            established_count: 0,
            received: MessageCounts::default(),
            sent: MessageCounts::default(),
        }
    }

    /// The state of whichever connection has come farthest.
    pub(crate) fn state(&self) -> State {
        match &self.phase {
            Phase::Idle(_) => State::Idle,
            Phase::Established(_) => State::Established,
            Phase::Opening(opening) => {
                let dial = match opening.dial {
                    Dial::Pending { .. } => State::Connect,
                    Dial::Held => State::Idle,
                    Dial::Passive | Dial::Waiting { .. } | Dial::Connected => State::Active,
                };
                opening
                    .handshakes()
                    .map(Handshake::state)
                    .max()
                    .map_or(dial, |it| it.max(dial))
            }
        }
    }

    /// Whether a connection, or a dial, is this session's.
    pub(crate) fn owns(&self, conn: ConnId) -> bool {
        match &self.phase {
            Phase::Idle(_) => false,
            Phase::Opening(opening) => {
                matches!(opening.dial, Dial::Pending { conn: it, .. } if it == conn)
                    || opening.handshakes().any(|it| it.connection.id == conn)
            }
            Phase::Established(established) => {
                established.connection.id == conn
                    || established
                        .rival
                        .as_ref()
                        .is_some_and(|it| it.connection.id == conn)
            }
        }
    }

    /// What the established session agreed on.
    pub(crate) fn agreed(&self) -> Option<&Agreed> {
        match &self.phase {
            Phase::Established(established) => Some(&established.agreed),
            _ => None,
        }
    }

    /// Whether the peer may connect, and is connected to.
    pub(crate) fn is_tried(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Idle(Idle::Disabled { .. } | Idle::OverLimit)
        )
    }

    /// Whether there is neither a connection nor a pause after an error nor an order to stay down.
    pub(crate) fn is_without_connection(&self) -> bool {
        match &self.phase {
            Phase::Idle(_) | Phase::Established(_) => false,
            Phase::Opening(opening) => {
                let dials = matches!(opening.dial, Dial::Pending { .. } | Dial::Connected);
                !dials && opening.handshakes().next().is_none()
            }
        }
    }

    /// How many more octets the established session may hand to its socket now.
    pub(crate) fn send_room(&self) -> usize {
        match &self.phase {
            Phase::Established(it) => SEND_WINDOW.saturating_sub(it.connection.unsent),
            _ => 0,
        }
    }

    /// The next moment at which [`Session::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Idle(Idle::BackOff { until }) => Some(*until),
            Phase::Idle(_) => None,
            Phase::Opening(opening) => {
                let dial = match opening.dial {
                    Dial::Waiting { at: it } | Dial::Pending { deadline: it, .. } => Some(it),
                    Dial::Passive | Dial::Held | Dial::Connected => None,
                };
                opening
                    .handshakes()
                    .map(Handshake::timeout)
                    .chain(dial)
                    .min()
            }
            Phase::Established(it) => [
                it.hold_deadline,
                it.keepalive_at,
                it.connection.send_deadline,
                it.rival.as_ref().map(|rival| rival.deadline),
            ]
            .into_iter()
            .flatten()
            .min(),
        }
    }

    /// How long the session has been established, or not.
    pub(crate) fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// What is left of the hold time.
    pub(crate) fn hold_remaining(&self, now: Instant) -> Option<Duration> {
        match &self.phase {
            Phase::Established(it) => Some(it.hold_deadline?.saturating_duration_since(now)),
            _ => None,
        }
    }

    pub(crate) fn last_error(&self) -> Option<&DownReason> {
        self.last_error.as_ref()
    }

    pub(crate) fn their_capabilities(&self) -> Option<&Capabilities> {
        self.their_capabilities.as_ref()
    }

    pub(crate) fn established_count(&self) -> u32 {
        self.established_count
    }

    /// Messages received and sent.
    pub(crate) fn counts(&self) -> (MessageCounts, MessageCounts) {
        (self.received, self.sent)
    }

    /// Why the session is not established, in words; `None` if it is.
    pub(crate) fn obstacle(&self, now: Instant, terms: &Terms<'_>) -> Option<String> {
        let peer = terms.config;
        let last = || {
            self.last_error
                .as_ref()
                .map_or(String::new(), |it| format!("; before: {it}"))
        };
        Some(match &self.phase {
            Phase::Established(_) => return None,
            Phase::Idle(Idle::Disabled { text }) if text.is_empty() => "it is disabled".to_owned(),
            Phase::Idle(Idle::Disabled { text }) => format!("it is disabled: {text}"),
            Phase::Idle(Idle::OverLimit) => {
                format!(
                    "it sent too many prefixes, and waits for a higher max-prefixes or to be enabled{}",
                    last()
                )
            }
            Phase::Idle(Idle::BackOff { until }) => {
                let rest = until.saturating_duration_since(now).as_secs_f32();
                format!("it is tried again in {rest:.1} s{}", last())
            }
            Phase::Opening(opening) => match (opening.handshakes().next(), opening.dial) {
                (Some(it), _) => format!("connected; waiting in {}{}", it.state(), last()),
                (None, Dial::Held) => {
                    let interface = peer.interface.as_deref().unwrap_or("its interface");
                    format!("{interface} is down")
                }
                (None, Dial::Passive) => format!("waiting for it to connect{}", last()),
                (None, _) => {
                    let remote = std::net::SocketAddr::new(peer.address, peer.port);
                    match &self.last_dial_failure {
                        Some(reason) => {
                            let hint = silence(peer);
                            format!("{remote} cannot be reached: {reason}{hint}{}", last())
                        }
                        None => format!("connecting to {remote}{}", last()),
                    }
                }
            },
        })
    }
}

impl Opening {
    fn handshakes(&self) -> impl Iterator<Item = &Handshake> {
        self.outgoing.iter().chain(&self.incoming)
    }

    fn slot(&mut self, direction: Direction) -> &mut Option<Handshake> {
        match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
        }
    }

    /// The direction of a connection, if it is one of ours.
    fn direction_of(&self, conn: ConnId) -> Option<Direction> {
        let handshake = self.handshakes().find(|it| it.connection.id == conn)?;
        Some(handshake.connection.direction)
    }
}

/// What else silence may mean: packets that are signed wrongly, or come from too far away, are dropped without a word.
fn silence(peer: &PeerConfig) -> &'static str {
    match (&peer.md5, peer.min_ttl) {
        (Some(_), None) => "; a TCP MD5 key that differs looks like silence too",
        (None, Some(_)) => {
            "; a peer that is not on our network looks like silence too (ttl-security)"
        }
        (Some(_), Some(_)) => {
            "; a TCP MD5 key that differs, or a peer that is not on our network (ttl-security), looks like silence too"
        }
        (None, None) => "",
    }
}

/// How many octets may wait in front of a socket before no more UPDATEs are written.
const SEND_WINDOW: usize = 64 * 1024;
