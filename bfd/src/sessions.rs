//! All sessions of one system: whose a packet is (RFC 5880, section 6.3; RFC 5881, sections 3 and 5; RFC 5883, section 4).

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use thiserror::Error;

use crate::config::{Hops, ImpossibleTerms, SessionConfig, SessionName};
use crate::event::{Event, Transmit};
use crate::packet::{AuthenticationType, ControlPacket, Discriminator, Malformed};
use crate::session::{Session, Turn};
use crate::view;

/// How many events, and how many packets, wait at most; what is beyond that is lost like a packet on the way.
const MOST_WAITING: usize = 4096;

/// How a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// From whom.
    pub from: IpAddr,
    /// To which of our addresses.
    pub to: IpAddr,
    /// Over which interface, by its name.
    pub interface: Option<&'a str>,
    /// The TTL or hop limit that it arrived with.
    pub ttl: u8,
    /// By which port.
    pub hops: Hops,
}

/// Why a packet was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Error)]
pub enum Discard {
    /// Its syntax is wrong.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// A router has touched it, or somebody far away has made it (RFC 5881, section 5).
    #[error("it came with TTL {0}, and only 255 proves that no router lies between")]
    Ttl(u8),
    /// Its Your Discriminator is no session's of ours.
    #[error("it names a session that does not exist")]
    UnknownDiscriminator,
    /// It names one of our sessions, and comes from somebody else, or by another way.
    #[error("it names a session with another peer or by another way")]
    WrongWay,
    /// Nobody asked for a session with its sender.
    #[error("there is no session with its sender")]
    UnknownPeer,
    /// It is authenticated, and the session is not (RFC 5880, section 6.8.6).
    #[error(
        "it is authenticated ({0}), which is not supported here: switch authentication off at the peer"
    )]
    Authenticated(AuthenticationType),
}

impl Discard {
    /// A short name, for counters.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Ttl(_) => "ttl",
            Self::UnknownDiscriminator => "unknown-discriminator",
            Self::WrongWay => "wrong-way",
            Self::UnknownPeer => "unknown-peer",
            Self::Authenticated(_) => "authenticated",
        }
    }
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    sessions: BTreeMap<Discriminator, Session>,
    /// Those that are wanted; one that says goodbye has no name any more.
    names: BTreeMap<SessionName, Discriminator>,
    rng: StdRng,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    strangers: BTreeMap<&'static str, u64>,
}

impl Sessions {
    /// No session yet. The seed decides discriminators and jitter, and should be nobody's guess.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            sessions: BTreeMap::new(),
            names: BTreeMap::new(),
            rng: StdRng::from_seed(seed),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            strangers: BTreeMap::new(),
        }
    }

    /// A session of that name is to be as the parameters say. Other timers are negotiated while it stays up; another peer, address,
    /// interface or distance is another session.
    ///
    /// # Errors
    /// Terms that no packet can carry; nothing has changed then.
    pub fn set(
        &mut self,
        now: Instant,
        name: &SessionName,
        config: SessionConfig,
    ) -> Result<(), ImpossibleTerms> {
        config.terms.check()?;
        let known = self.names.get(name).copied();
        if let Some((session, mut turn)) = known.and_then(|known| self.session(now, known))
            && session.config.is_of_the_same_way(&config)
        {
            if session.config.passive != config.passive {
                session.set_passive(&mut turn, config.passive);
            }
            if session.config.terms != config.terms {
                session.adapt(&mut turn, config.terms);
            }
            return Ok(());
        }
        self.remove(now, name);
        let discriminator = self.free_discriminator();
        let mut turn = Turn {
            now,
            rng: &mut self.rng,
            transmits: &mut self.transmits,
            events: &mut self.events,
        };
        let session = Session::new(&mut turn, name.clone(), config, discriminator);
        self.sessions.insert(discriminator, session);
        self.names.insert(name.clone(), discriminator);
        self.do_what_is_due(now, discriminator);
        Ok(())
    }

    /// A session is wanted no more. The peer is told so, for as long as it would wait.
    pub fn remove(&mut self, now: Instant, name: &SessionName) {
        if let Some(known) = self.names.remove(name)
            && let Some((session, mut turn)) = self.session(now, known)
        {
            session.leave(&mut turn);
            self.do_what_is_due(now, known);
        }
    }

    /// The names of all sessions that are wanted.
    pub fn names(&self) -> impl Iterator<Item = &SessionName> {
        self.names.keys()
    }

    /// Hears a datagram, or counts it.
    pub fn handle_datagram(&mut self, now: Instant, arrival: &Arrival<'_>, datagram: &[u8]) {
        match self.judge(arrival, datagram) {
            Ok((packet, whose)) => {
                if let Some((session, mut turn)) = self.session(now, whose) {
                    session.handle(&mut turn, &packet);
                }
            }
            Err(why) => self.discard(arrival, why),
        }
        self.limit();
    }

    /// Does what is due. Hand over first what has arrived until `now`: a program that was kept from running must not take what waits
    /// in its own sockets for silence. So no other call ends a session for silence.
    pub fn handle_timeout(&mut self, now: Instant) {
        for session in self.sessions.values_mut() {
            let mut turn = Turn {
                now,
                rng: &mut self.rng,
                transmits: &mut self.transmits,
                events: &mut self.events,
            };
            session.handle_timeout(&mut turn);
        }
        self.sessions.retain(|_, session| !session.is_gone(now));
        self.limit();
    }

    /// Does what one session that was just begun or ended has to do at once.
    fn do_what_is_due(&mut self, now: Instant, whose: Discriminator) {
        if let Some((session, mut turn)) = self.session(now, whose) {
            session.handle_timeout(&mut turn);
        }
        self.limit();
    }

    fn limit(&mut self) {
        self.transmits.truncate(MOST_WAITING);
        self.events.truncate(MOST_WAITING);
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Sessions::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sessions
            .values()
            .filter_map(Session::poll_timeout)
            .min()
    }

    /// Whether nothing is left, not even a session that says goodbye.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// One session.
    #[must_use]
    pub fn view(&self, now: Instant, name: &SessionName) -> Option<view::Session> {
        let session = self.sessions.get(self.names.get(name)?)?;
        Some(session.view(now))
    }

    /// How many packets were dropped that are no session's, by reason.
    #[must_use]
    pub fn strangers(&self) -> &BTreeMap<&'static str, u64> {
        &self.strangers
    }

    fn session(
        &mut self,
        now: Instant,
        discriminator: Discriminator,
    ) -> Option<(&mut Session, Turn<'_>)> {
        let session = self.sessions.get_mut(&discriminator)?;
        let turn = Turn {
            now,
            rng: &mut self.rng,
            transmits: &mut self.transmits,
            events: &mut self.events,
        };
        Some((session, turn))
    }

    /// The packet and whose it is, or why it is not heard, in the order of RFC 5880, section 6.8.6.
    fn judge(
        &self,
        arrival: &Arrival<'_>,
        datagram: &[u8],
    ) -> Result<(ControlPacket, Discriminator), Discard> {
        // RFC 5881, section 5: without authentication nothing else counts on a single hop.
        if arrival.hops == Hops::Single && arrival.ttl != u8::MAX {
            return Err(Discard::Ttl(arrival.ttl));
        }
        let packet = ControlPacket::parse(datagram).map_err(Discard::Malformed)?;
        let whose = match packet.your_discriminator {
            Some(ours) => {
                let session = self
                    .sessions
                    .get(&ours)
                    .ok_or(Discard::UnknownDiscriminator)?;
                if !session.config.is_way_of(arrival) {
                    return Err(Discard::WrongWay);
                }
                ours
            }
            None => self.by_way(arrival).ok_or(Discard::UnknownPeer)?,
        };
        match packet.authentication {
            Some(authentication) => Err(Discard::Authenticated(authentication.kind)),
            None => Ok((packet, whose)),
        }
    }

    /// The session that a packet without a discriminator may begin; the one whose parameters say most, if there are several.
    fn by_way(&self, arrival: &Arrival<'_>) -> Option<Discriminator> {
        let candidates = self
            .sessions
            .iter()
            .filter(|(_, session)| session.config.is_way_of(arrival));
        candidates
            .max_by_key(|(_, session)| {
                let config = &session.config;
                (
                    !session.is_leaving(),
                    config.interface.is_some(),
                    config.local.is_some(),
                )
            })
            .map(|(discriminator, _)| *discriminator)
    }

    /// Counts a packet that is not heard: with the session that its sender has with us, or with the strangers'.
    fn discard(&mut self, arrival: &Arrival<'_>, why: Discard) {
        let whose = self.by_way(arrival);
        match whose.and_then(|whose| self.sessions.get_mut(&whose)) {
            Some(session) => {
                if session.discard(&why) {
                    self.events.push_back(Event::Discarded {
                        session: session.name().clone(),
                        why,
                    });
                }
            }
            None => *self.strangers.entry(why.name()).or_default() += 1,
        }
    }

    /// RFC 5880, section 6.8.1: unique, not zero, and hard to guess.
    fn free_discriminator(&mut self) -> Discriminator {
        loop {
            if let Some(value) = NonZeroU32::new(self.rng.random()) {
                let discriminator = Discriminator(value);
                if !self.sessions.contains_key(&discriminator) {
                    return discriminator;
                }
            }
        }
    }
}

impl SessionConfig {
    /// Whether both are the same session, with other timers at most.
    fn is_of_the_same_way(&self, other: &Self) -> bool {
        let way = |it: &Self| (it.peer, it.local, it.hops);
        way(self) == way(other) && self.interface == other.interface
    }

    /// Whether a packet came by this session's way.
    fn is_way_of(&self, arrival: &Arrival<'_>) -> bool {
        self.peer == arrival.from
            && self.hops == arrival.hops
            && self.local.is_none_or(|local| local == arrival.to)
            && self
                .interface
                .as_deref()
                .is_none_or(|name| Some(name) == arrival.interface)
    }
}
