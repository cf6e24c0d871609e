//! The endpoint: every connection and every IKE SA of this host.
//!
//! Here a datagram finds its SA, and a command its connection. What follows from that for other SAs
//! is in [`settle`]; what a connection wants over time is in [`tunnel`].

mod command;
mod computing;
#[cfg(feature = "explore")]
mod explore;
mod init;
mod sas;
mod settle;
mod snapshot;
mod tunnel;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crypto::CryptoRng;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::connection::{ConnectionId, Ports};
use crate::context::Context;
use crate::cookie::Cookies;
use crate::event::{Event, Transmit, TransmitKind};
use crate::job::Job;
use crate::sa::{Addresses, State};
use crate::wire::{Exchange, Flags, Header, Message, Notify, NotifyType, Payload, WireError};
use computing::Computing;
use sas::Sas;
use tunnel::Tunnel;

/// Unprotected error messages are sent at most this often, all peers together.
const COMPLAINT: Duration = Duration::from_millis(100);

/// Parameters of the endpoint as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Our ports.
    pub ports: Ports,
    /// From so many half-open handshakes on, a cookie is demanded (RFC 7296 section 2.6).
    pub cookie_threshold: usize,
    /// The same for those of one address.
    pub cookie_threshold_per_source: usize,
    /// With so many half-open handshakes, further ones are dropped.
    pub half_open_limit: usize,
    /// The same for those of one address, which have then brought cookies.
    pub half_open_limit_per_source: usize,
    /// So many computations for IKE_SA_INIT requests with slow groups may be outside ([`Endpoint::poll_job`]); requests beyond that
    /// are dropped, and come again. With 0 none leaves: all are done inline.
    pub job_limit: usize,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            ports: Ports::default(),
            cookie_threshold: 30,
            cookie_threshold_per_source: 5,
            half_open_limit: 1000,
            half_open_limit_per_source: 20,
            job_limit: 0,
        }
    }
}

/// All connections and IKE SAs of a host. See the crate's documentation for the order of calls.
pub struct Endpoint {
    config: EndpointConfig,
    cx: Context,
    tunnels: BTreeMap<ConnectionId, Tunnel>,
    sas: Sas,
    /// Connections about which something has changed since the endpoint was last settled.
    stirred: BTreeSet<ConnectionId>,
    /// When each connection has something to do beside its SAs.
    due: BTreeSet<(Instant, ConnectionId)>,
    cookies: Cookies,
    /// Requests that wait for what is computed outside.
    computing: Computing,
    complained: Option<Instant>,
    stopping: bool,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("connections", &self.tunnels.len())
            .field("sas", &self.sas.len())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint without connections. All randomness comes from `seed`: it must be secret and
    /// never used twice outside tests.
    #[must_use]
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        Self::with_rng(config, Box::new(StdRng::from_seed(seed)))
    }

    /// The same with a generator of the caller's, which has to be fit for keys.
    #[must_use]
    pub fn with_rng(config: EndpointConfig, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self {
            config,
            cx: Context::new(config.ports, rng),
            tunnels: BTreeMap::new(),
            sas: Sas::default(),
            stirred: BTreeSet::new(),
            due: BTreeSet::new(),
            cookies: Cookies::default(),
            computing: Computing::default(),
            complained: None,
            stopping: false,
        }
    }

    /// Tells the time of day, in seconds since 1970 began, by which certificates are valid or not. It is counted on from `now`; whoever
    /// may have their clock set tells it again.
    pub const fn set_clock(&mut self, now: Instant, unix: u64) {
        self.cx.set_clock(now, unix);
    }

    /// Takes a datagram that came to `local` from `remote`, without the non-ESP marker.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
    ) {
        self.cx.counters.received += 1;
        let from = Addresses { local, remote };
        match Header::decode(payload) {
            Ok((header, _)) => self.dispatch(now, from, header, payload),
            Err(WireError::Version { .. }) => self.refuse_version(now, from, payload),
            Err(_) => self.cx.counters.malformed += 1,
        }
        self.settle(now);
    }

    fn dispatch(&mut self, now: Instant, from: Addresses, header: Header, bytes: &[u8]) {
        let Flags {
            initiator,
            response,
        } = header.flags;
        if header.exchange == Exchange::IkeSaInit && !response {
            return self.handle_init(now, from, header, bytes);
        }
        let (ours, theirs) = if initiator {
            (header.spi_r, header.spi_i)
        } else {
            (header.spi_i, header.spi_r)
        };
        let known = self
            .sas
            .get(ours)
            .is_some_and(|sa| sa.link.peer_spi == theirs || matches!(sa.state, State::InitSent(_)));
        match self.sas.get_mut(ours).filter(|_| known) {
            Some(sa) => sa.handle(&mut self.cx, now, from, header, bytes),
            None => {
                self.cx.counters.unknown_spi += 1;
                if !response {
                    let notify = Notify::new(NotifyType::INVALID_IKE_SPI);
                    self.complain(now, from, header, notify);
                }
            }
        }
    }

    /// Another major version (RFC 7296 section 2.5): the answer says which one we speak.
    fn refuse_version(&mut self, now: Instant, from: Addresses, bytes: &[u8]) {
        self.cx.counters.bad_version += 1;
        // The header's layout is the same in all versions; read it as if it were ours.
        let mut ours = bytes.to_vec();
        if let Some(version) = ours.get_mut(17) {
            *version = 0x20;
        }
        if let Ok((header, _)) = Header::decode(&ours)
            && !header.flags.response
        {
            let notify = Notify::new(NotifyType::INVALID_MAJOR_VERSION);
            self.complain(now, from, header, notify);
        }
    }

    /// Answers a request without protection: only to the address of a connection, and rarely,
    /// since anybody may have sent it.
    fn complain(&mut self, now: Instant, from: Addresses, header: Header, notify: Notify) {
        let known = self
            .cx
            .connections
            .values()
            .any(|c| c.remote == from.remote.ip());
        let recently = self.complained.is_some_and(|at| now < at + COMPLAINT);
        if known && !recently && !self.stopping {
            self.complained = Some(now);
            self.answer_unprotected(from, header, notify);
        }
    }

    fn answer_unprotected(&mut self, from: Addresses, request: Header, notify: Notify) {
        let flags = Flags {
            initiator: !request.flags.initiator,
            response: true,
        };
        let message = Message {
            header: Header { flags, ..request },
            payloads: vec![Payload::Notify(notify)],
        };
        self.cx.counters.sent += 1;
        self.cx.transmits.push_back(Transmit {
            local: from.local,
            remote: from.remote,
            payload: message.encode(),
            kind: TransmitKind::Ike,
        });
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.computing.expire(now);
        for spi in self.sas.due(now) {
            if let Some(sa) = self.sas.get_mut(spi) {
                sa.handle_timeout(&mut self.cx, now);
            }
        }
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        self.stirred.extend(due.map(|(_, id)| *id));
        self.settle(now);
        // Last: an SA goes after what is sent on its twin has gone elsewhere.
        self.cx.exhume(now, None);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.cx.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.cx.events.pop_front()
    }

    /// The next computation to be done, wherever the caller likes: with [`Job::run`], whose outcome comes back by
    /// [`Self::handle_outcome`]. There is none unless [`EndpointConfig::job_limit`] allows it.
    pub fn poll_job(&mut self) -> Option<Job> {
        self.computing.poll()
    }

    /// When [`Self::handle_timeout`] has to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tunnels = self.due.first().map(|(at, _)| *at);
        [
            self.sas.next_due(),
            tunnels,
            self.cx.next_grave(),
            self.computing.next_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether every SA is gone: after [`crate::Command::Shutdown`] there is nothing left to wait
    /// for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sas.is_empty()
    }
}
