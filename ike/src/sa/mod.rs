//! One IKE SA: its life, its window and its tasks.
//!
//! A state owns exactly what exists in it, and handling a message consumes it and gives the next
//! one. What reaches beyond the SA (a new SA, a failure, children that move) leaves as an
//! [`Effect`], which the endpoint carries out.

pub(crate) mod auth;
pub(crate) mod certificate;
pub(crate) mod channel;
pub(crate) mod established;
pub(crate) mod initiator;
pub(crate) mod intermediate;
pub(crate) mod parts;
pub(crate) mod ppk;
pub(crate) mod responder;
pub(crate) mod task;
pub(crate) mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::Group;

use crate::child::Child;
use crate::connection::{Connection, ConnectionId};
use crate::context::Context;
use crate::error::{Cause, Diagnosis, Negotiation};
use crate::event::{DownReason, Event, IkeSaId, Note, Path, Role, Transmit, TransmitKind};
use crate::wire::fragment::Reassembled;
use crate::wire::sk::{self, OpenError};
use crate::wire::{
    Exchange, Flags, Header, IkeSpi, Message, Notify, NotifyType, Payload, WireError, decode_chain,
};
use channel::Channel;
use established::Established;
use initiator::{AuthSent, InitSent};
use intermediate::IntermediateSent;
use parts::Parts;
use responder::HalfOpen;
use task::Task;
use window::{Arrival, Due, Pace, Window};

/// We send a keepalive after so much silence of ours if there is a NAT in front of us
/// (RFC 3948 section 4).
const KEEPALIVE: Duration = Duration::from_secs(20);

/// How long a finished SA still repeats its last answer.
const LINGER: Duration = Duration::from_secs(20);

/// What an SA wants to happen outside of itself.
pub(crate) enum Effect {
    /// A new SA by rekeying.
    Insert(Box<Sa>),
    /// The SA with this SPI of ours is authenticated.
    Established {
        spi: IkeSpi,
        contact: InitialContact,
    },
    /// Children of a rekeyed SA, for the SA that survives.
    Adopt {
        into: IkeSpi,
        children: BTreeMap<u32, Child>,
        /// What it still has to do about addresses.
        tasks: BTreeSet<Task>,
        update_by: Option<Instant>,
        strays_until: Option<Instant>,
    },
    /// The peer knows the SA with this SPI of ours.
    Confirm { spi: IkeSpi },
    /// The SA that the one with this SPI of ours has replaced is at its end. The peer asks for no answer
    /// there any more: of the children that came along it has those that lost a crossing, or never will.
    Inherited { spi: IkeSpi },
    /// This SA lost against a crossed rekeying; the peer has to delete it.
    Doom { spi: IkeSpi, in_favour_of: IkeSpi },
    /// An exchange failed; the SA may or may not be gone.
    Failed {
        diagnosis: Box<Diagnosis>,
        fatal: bool,
    },
}

/// Who has said INITIAL_CONTACT in IKE_AUTH: that it knows of no other SA (RFC 7296 section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InitialContact {
    pub(crate) sent: bool,
    pub(crate) received: bool,
}

/// What an IKE SA has in every state.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Link {
    /// Our SPI.
    pub(crate) spi: IkeSpi,
    /// The peer's; zero until its first answer.
    pub(crate) peer_spi: IkeSpi,
    /// Ours in the exchange that made this SA.
    pub(crate) role: Role,
    pub(crate) path: Path,
    /// Where the last authentic message came from, and to: a request is answered there (RFC 7296 section 2.11).
    pub(crate) heard_from: Addresses,
    /// When its first message was sent or received.
    pub(crate) born: Instant,
    pub(crate) window: Window,
    /// When we last sent something on the path.
    last_sent: Instant,
}

/// An IKE SA.
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Sa {
    pub(crate) link: Link,
    /// Known from the start as initiator, from IKE_AUTH on as responder.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) state: State,
}

/// The stages of an IKE SA's life.
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) enum State {
    /// Our IKE_SA_INIT request is under way.
    InitSent(Box<InitSent>),
    /// Our IKE_INTERMEDIATE request is under way.
    IntermediateSent(Box<IntermediateSent>),
    /// Our IKE_AUTH request is under way.
    AuthSent(Box<AuthSent>),
    /// We have answered IKE_SA_INIT.
    HalfOpen(Box<HalfOpen>),
    /// Both sides are authenticated.
    Established(Box<Established>),
    /// Over; only its last exchange is brought to an end.
    Lingering {
        channel: Box<Channel>,
        until: Instant,
    },
    /// Over.
    Dead,
}

/// Everything that handling one input may use.
pub(crate) struct Turn<'a> {
    pub(crate) cx: &'a mut Context,
    pub(crate) now: Instant,
    pub(crate) link: &'a mut Link,
    pub(crate) connection: &'a Arc<Connection>,
}

impl State {
    pub(crate) const fn channel_mut(&mut self) -> Option<&mut Channel> {
        match self {
            Self::IntermediateSent(s) => Some(&mut s.handshake.channel),
            Self::AuthSent(s) => Some(&mut s.channel),
            Self::HalfOpen(s) => Some(&mut s.channel),
            Self::Established(s) => Some(&mut s.channel),
            Self::Lingering { channel, .. } => Some(channel),
            Self::InitSent(_) | Self::Dead => None,
        }
    }
}

impl Link {
    pub(crate) fn new(now: Instant, spi: IkeSpi, peer_spi: IkeSpi, role: Role, path: Path) -> Self {
        Self {
            spi,
            peer_spi,
            role,
            path,
            heard_from: Addresses {
                local: path.local,
                remote: path.remote,
            },
            born: now,
            window: Window::default(),
            last_sent: now,
        }
    }

    /// Both SPIs in the order of the header.
    pub(crate) const fn spis(&self) -> (IkeSpi, IkeSpi) {
        match self.role {
            Role::Initiator => (self.spi, self.peer_spi),
            Role::Responder => (self.peer_spi, self.spi),
        }
    }

    pub(crate) const fn id(&self) -> IkeSaId {
        let (initiator, responder) = self.spis();
        IkeSaId {
            initiator,
            responder,
        }
    }

    pub(crate) fn header(&self, exchange: Exchange, response: bool, message_id: u32) -> Header {
        let (spi_i, spi_r) = self.spis();
        let flags = Flags {
            initiator: self.role == Role::Initiator,
            response,
        };
        Header {
            spi_i,
            spi_r,
            next_payload: 0,
            exchange,
            flags,
            message_id,
        }
    }

    pub(crate) fn transmit(&mut self, cx: &mut Context, now: Instant, packets: &[Vec<u8>]) {
        self.last_sent = now;
        cx.counters.sent += 1;
        for packet in packets {
            cx.send(&self.path, packet.clone());
        }
    }

    /// Sends an answer to where the request came from.
    fn answer(&mut self, cx: &mut Context, now: Instant, packets: &[Vec<u8>]) {
        self.last_sent = now;
        cx.counters.sent += 1;
        let back = self.path.between(self.heard_from);
        for packet in packets {
            cx.send(&back, packet.clone());
        }
    }

    /// Longest IKE message that fits the connection's packet size, non-ESP marker included.
    fn max_len(&self, connection: &Connection) -> usize {
        let ip = if self.path.remote.is_ipv4() { 20 } else { 40 };
        usize::from(connection.fragment_size.max(576)) - ip - 8 - 4
    }
}

impl Turn<'_> {
    /// Sends a request on the channel and keeps repeating it.
    pub(crate) fn request(
        &mut self,
        channel: &mut Channel,
        exchange: Exchange,
        payloads: &[Payload],
    ) {
        let header = self
            .link
            .header(exchange, false, self.link.window.next_id());
        let max_len = self.link.max_len(self.connection);
        match channel.seal(header, payloads, max_len, &mut self.cx.rng) {
            Ok(packets) => {
                self.link.transmit(self.cx, self.now, &packets);
                let pace = Pace {
                    retransmission: self.connection.retransmission,
                    give_up: self.connection.liveness.give_up,
                };
                self.link.window.sent(self.now, packets, pace);
            }
            Err(error) => self.local_failure(exchange, &error),
        }
    }

    /// Answers the request that is new in the window.
    pub(crate) fn reply(
        &mut self,
        channel: &mut Channel,
        exchange: Exchange,
        message_id: u32,
        payloads: &[Payload],
    ) {
        let header = self.link.header(exchange, true, message_id);
        let max_len = self.link.max_len(self.connection);
        match channel.seal(header, payloads, max_len, &mut self.cx.rng) {
            Ok(packets) => {
                self.link.answer(self.cx, self.now, &packets);
                self.link.window.replied(packets);
            }
            Err(error) => self.local_failure(exchange, &error),
        }
    }

    /// Reports a failed exchange. A fatal one has ended the SA, so a new one has to wait a while.
    pub(crate) fn fail(&mut self, exchange: Exchange, role: Role, cause: Cause, fatal: bool) {
        let diagnosis = Diagnosis {
            connection: self.connection.id,
            name: self.connection.name.clone(),
            remote: self.link.path.remote,
            exchange,
            role,
            cause,
        };
        self.cx.effects.push_back(Effect::Failed {
            diagnosis: Box::new(diagnosis),
            fatal,
        });
    }

    /// Notes that the peer refused an offer of a rekeying, and that another one follows.
    pub(crate) fn refused(
        &mut self,
        negotiation: Negotiation,
        offered: Option<Group>,
        parts: &Parts,
    ) {
        let Some(error) = parts.error() else { return };
        self.cx.events.push_back(Event::Note(Note::OfferRefused {
            connection: self.connection.id,
            negotiation,
            offered: offered.map(|group| group.to_string()),
            notify: error.kind,
            wanted: parts.wanted_group().map(crate::describe::group),
        }));
    }

    pub(crate) fn local_failure(&mut self, exchange: Exchange, error: &crypto::Error) {
        let cause = Cause::Local {
            what: error.to_string(),
        };
        self.fail(exchange, self.link.role, cause, false);
    }
}

impl Path {
    /// The same between other addresses.
    const fn between(self, at: Addresses) -> Self {
        Self {
            local: at.local,
            remote: at.remote,
            ..self
        }
    }
}

/// Where a datagram came from, and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Addresses {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl Sa {
    pub(crate) const fn established(&self) -> Option<&Established> {
        match &self.state {
            State::Established(e) => Some(e),
            _ => None,
        }
    }

    pub(crate) const fn established_mut(&mut self) -> Option<&mut Established> {
        match &mut self.state {
            State::Established(e) => Some(e),
            _ => None,
        }
    }

    pub(crate) const fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead)
    }

    /// Drops the SA without a word to the peer.
    pub(crate) fn discard(&mut self, cx: &mut Context, now: Instant, reason: DownReason) {
        let id = self.link.id();
        match std::mem::replace(&mut self.state, State::Dead) {
            State::AuthSent(s) => s.release(cx),
            State::Established(s) => {
                if let Some(connection) = self.connection {
                    s.abandon(cx, now, connection, id, reason);
                }
            }
            State::InitSent(_)
            | State::IntermediateSent(_)
            | State::HalfOpen(_)
            | State::Lingering { .. }
            | State::Dead => {}
        }
    }

    /// Takes a datagram whose header names this SA.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context,
        now: Instant,
        from: Addresses,
        header: Header,
        bytes: &[u8],
    ) {
        if header.flags.initiator == (self.link.role == Role::Initiator) {
            cx.counters.unexpected += 1;
            return;
        }
        if matches!(self.state, State::InitSent(_)) {
            self.handle_init_response(cx, now, from, bytes);
            return;
        }
        let Some(channel) = self.state.channel_mut() else {
            return;
        };
        let plain = match channel.open(bytes) {
            Ok(plain) => plain,
            Err(OpenError::Authentication) => return self.handle_previous(cx, header, bytes),
            Err(OpenError::Malformed(_)) => return self.handle_unprotected(cx, now, from, bytes),
        };
        let id = header.message_id;
        if header.flags.response {
            if !self.link.window.awaits(id) {
                return cx.counters.bad_message_id += 1;
            }
        } else {
            match self.link.window.arrival(id) {
                Arrival::New => {}
                Arrival::Outside => return cx.counters.bad_message_id += 1,
                Arrival::Repeated(packets) => {
                    cx.counters.repeated_requests += 1;
                    // Of a fragmented request only the first fragment asks again
                    // (RFC 7383 section 2.6.1).
                    if plain.fragment.is_none_or(|(number, _)| number == 1) {
                        let back = self.link.path.between(from);
                        packets
                            .iter()
                            .for_each(|packet| cx.send(&back, packet.clone()));
                    }
                    return;
                }
            }
        }
        self.heard(cx, now, from);
        let Some(channel) = self.state.channel_mut() else {
            return;
        };
        match channel.reassemble(plain) {
            Reassembled::Incomplete => {}
            Reassembled::Refused => cx.counters.bad_fragment += 1,
            Reassembled::Complete { first, body } => {
                // AUTH covers what is in this exchange.
                let octets = match header.exchange {
                    Exchange::IkeIntermediate => sk::intermediate_octets(header, first, &body),
                    _ => Vec::new(),
                };
                self.handle_content(cx, now, header, decode_chain(first, &body), &octets);
            }
        }
    }

    /// Nothing of the present keys: perhaps IKE_INTERMEDIATE again, which our answer has not reached.
    fn handle_previous(&mut self, cx: &mut Context, header: Header, bytes: &[u8]) {
        let plain = match &self.state {
            State::HalfOpen(s) => s.open_with_previous(bytes),
            _ => None,
        };
        let Some(plain) = plain.filter(|_| !header.flags.response) else {
            return cx.counters.bad_integrity += 1;
        };
        match self.link.window.arrival(header.message_id) {
            Arrival::Repeated(packets) => {
                cx.counters.repeated_requests += 1;
                if plain.fragment.is_none_or(|(number, _)| number == 1) {
                    packets
                        .iter()
                        .for_each(|packet| cx.send(&self.link.path, packet.clone()));
                }
            }
            Arrival::New | Arrival::Outside => cx.counters.bad_message_id += 1,
        }
    }

    /// An authentic message has come: the peer lives, and this is where it lives
    /// (RFC 7296 section 2.23).
    fn heard(&mut self, cx: &mut Context, now: Instant, from: Addresses) {
        self.link.heard_from = from;
        let moved = (from.local, from.remote) != (self.link.path.local, self.link.path.remote);
        match &mut self.state {
            State::HalfOpen(_) if moved => {
                self.link.path.local = from.local;
                self.link.path.remote = from.remote;
            }
            State::Established(established) => {
                established.last_heard = now;
                established.unconfirmed_until = None;
                // With MOBIKE the peer says so itself (RFC 4555 section 3.8).
                let follows = !established.mobike;
                if moved && follows && self.link.path.remote_nat && !self.link.path.local_nat {
                    self.move_to(cx, from);
                }
            }
            _ => {}
        }
    }

    /// Changes the outer path of an established SA and its children.
    pub(crate) fn move_to(&mut self, cx: &mut Context, to: Addresses) {
        let path = &mut self.link.path;
        path.local = to.local;
        path.remote = to.remote;
        let path = *path;
        let Some(established) = self.established_mut() else {
            return;
        };
        for child in established.children.values_mut() {
            child.sa.local = path.local;
            child.sa.remote = path.remote;
        }
        if let Some(connection) = self.connection {
            cx.events.push_back(Event::PathChanged { connection, path });
        }
    }

    fn handle_init_response(
        &mut self,
        cx: &mut Context,
        now: Instant,
        from: Addresses,
        bytes: &[u8],
    ) {
        let Some(connection) = self.connection.and_then(|id| cx.connection(id)) else {
            return;
        };
        let Ok(message) = Message::decode(bytes) else {
            return cx.counters.malformed += 1;
        };
        let state = std::mem::replace(&mut self.state, State::Dead);
        let State::InitSent(state) = state else {
            return;
        };
        let mut turn = Turn {
            cx,
            now,
            link: &mut self.link,
            connection: &connection,
        };
        self.state = state.handle(&mut turn, from, message, bytes);
    }

    fn handle_content(
        &mut self,
        cx: &mut Context,
        now: Instant,
        header: Header,
        payloads: Result<Vec<Payload>, WireError>,
        octets: &[u8],
    ) {
        let id = header.message_id;
        let exchange = header.exchange;
        if header.flags.response {
            self.link.window.answered(id);
        }
        let state = std::mem::replace(&mut self.state, State::Dead);
        if let State::HalfOpen(half_open) = state {
            let (connection, state) =
                half_open.handle(cx, now, &mut self.link, header, payloads, octets);
            self.connection = self.connection.or(connection);
            self.state = state;
            return;
        }
        let Some(connection) = self.connection.and_then(|id| cx.connection(id)) else {
            return;
        };
        let mut turn = Turn {
            cx,
            now,
            link: &mut self.link,
            connection: &connection,
        };
        self.state = match (state, payloads) {
            (State::IntermediateSent(s), payloads) if header.flags.response => {
                s.handle(&mut turn, payloads.map(Parts::new), octets)
            }
            (State::AuthSent(s), Ok(payloads)) if header.flags.response => {
                s.handle(&mut turn, Parts::new(payloads))
            }
            (State::AuthSent(s), Err(error)) if header.flags.response => {
                s.malformed(&mut turn, error)
            }
            (State::Established(s), payloads) if header.flags.response => {
                s.handle_response(&mut turn, payloads.map(Parts::new))
            }
            (State::Established(s), Ok(payloads)) => {
                s.handle_request(&mut turn, exchange, id, Parts::new(payloads))
            }
            (State::Established(mut s), Err(error)) => {
                turn.cx.counters.bad_inner += 1;
                let notify = Payload::Notify(answer_to(error));
                turn.reply(&mut s.channel, exchange, id, &[notify]);
                State::Established(s)
            }
            (State::Lingering { .. }, _) if header.flags.response => State::Dead,
            (state, _) => {
                turn.cx.counters.unexpected += 1;
                state
            }
        };
    }

    /// A message without protection for an SA that has keys. It may be forged, so it changes
    /// nothing, but we ask the peer at once (RFC 7296 section 2.4).
    fn handle_unprotected(
        &mut self,
        cx: &mut Context,
        now: Instant,
        from: Addresses,
        bytes: &[u8],
    ) {
        let kinds = [NotifyType::INVALID_IKE_SPI, NotifyType::INVALID_SPI];
        let notify = Message::decode(bytes).ok().and_then(|message| {
            let parts = Parts::new(message.payloads);
            kinds.into_iter().find(|kind| parts.has(*kind))
        });
        let Some(notify) = notify.filter(|_| from.remote.ip() == self.link.path.remote.ip()) else {
            return cx.counters.malformed += 1;
        };
        let Some(connection) = self.connection else {
            return;
        };
        if self.established().is_some_and(Established::ends_by_hearsay) {
            return self.discard(cx, now, DownReason::Administrative);
        }
        if let State::Established(established) = &mut self.state
            && established.suspect(now)
        {
            cx.events
                .push_back(Event::Note(Note::UnprotectedNotify { connection, notify }));
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context, now: Instant) {
        match self.link.window.poll(now) {
            Due::Nothing => {}
            Due::Repeat(packets) => {
                cx.counters.retransmitted += 1;
                self.link.last_sent = now;
                packets
                    .into_iter()
                    .for_each(|packet| cx.send(&self.link.path, packet));
            }
            Due::GiveUp(waited) => return self.give_up(cx, now, waited),
        }
        match &self.state {
            State::HalfOpen(s) if s.expires <= now => self.state = State::Dead,
            State::Lingering { until, .. } if *until <= now => self.state = State::Dead,
            State::Established(_) => self.attend(cx, now),
            _ => {}
        }
        self.keep_alive(cx, now);
    }

    /// Lets an established SA start what it has to do.
    pub(crate) fn attend(&mut self, cx: &mut Context, now: Instant) {
        let Some(connection) = self.connection.and_then(|id| cx.connection(id)) else {
            return;
        };
        let state = std::mem::replace(&mut self.state, State::Dead);
        let mut turn = Turn {
            cx,
            now,
            link: &mut self.link,
            connection: &connection,
        };
        self.state = match state {
            State::Established(s) => s.attend(&mut turn),
            other => other,
        };
    }

    fn give_up(&mut self, cx: &mut Context, now: Instant, waited: Duration) {
        let Some(connection) = self.connection.and_then(|id| cx.connection(id)) else {
            self.state = State::Dead;
            return;
        };
        let state = std::mem::replace(&mut self.state, State::Dead);
        let mut turn = Turn {
            cx,
            now,
            link: &mut self.link,
            connection: &connection,
        };
        let cause = Cause::NoAnswer {
            attempts: 1,
            waited,
        };
        match state {
            State::InitSent(_) => turn.fail(Exchange::IkeSaInit, Role::Initiator, cause, true),
            State::IntermediateSent(_) => {
                turn.fail(Exchange::IkeIntermediate, Role::Initiator, cause, true);
            }
            State::AuthSent(s) => {
                s.release(turn.cx);
                turn.fail(Exchange::IkeAuth, Role::Initiator, cause, true);
            }
            State::Established(s) => s.give_up(&mut turn, waited),
            State::HalfOpen(_) | State::Lingering { .. } | State::Dead => {}
        }
    }

    fn keep_alive(&mut self, cx: &mut Context, now: Instant) {
        if self.keepalive_at().is_some_and(|at| at <= now) {
            self.link.last_sent = now;
            cx.transmits.push_back(Transmit {
                local: self.link.path.local,
                remote: self.link.path.remote,
                payload: vec![0xFF],
                kind: TransmitKind::NatKeepalive,
            });
        }
    }

    fn keepalive_at(&self) -> Option<Instant> {
        let wanted = self.link.path.local_nat && matches!(self.state, State::Established(_));
        wanted.then(|| self.link.last_sent + KEEPALIVE)
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let state = match &self.state {
            State::HalfOpen(s) => Some(s.expires),
            State::Lingering { until, .. } => Some(*until),
            State::Established(s) => s.timeout(&self.link),
            State::InitSent(_) | State::IntermediateSent(_) | State::AuthSent(_) | State::Dead => {
                None
            }
        };
        [state, self.link.window.timeout(), self.keepalive_at()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// How a request that breaks the format is answered (RFC 7296 section 2.21.3).
fn answer_to(error: WireError) -> Notify {
    match error {
        WireError::UnsupportedCritical { payload_type } => {
            Notify::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![payload_type])
        }
        WireError::Truncated { .. }
        | WireError::Length { .. }
        | WireError::Syntax { .. }
        | WireError::Version { .. } => Notify::new(NotifyType::INVALID_SYNTAX),
    }
}
