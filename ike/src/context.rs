//! What every part of the endpoint may use: parameters, randomness, and the queues that lead out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::CryptoRng;
use rand::{Rng as _, RngExt as _};

use crate::connection::{Connection, ConnectionId, Ports};
use crate::event::{DownReason, Event, Path, Transmit, TransmitKind};
use crate::sa::Effect;
use crate::status::Counters;
use crate::wire::IkeSpi;

/// How long a replaced or deleted inbound SA stays for packets under way.
pub(crate) const INBOUND_GRACE: Duration = Duration::from_secs(5);

/// Shared by all SAs of an endpoint; handed down by argument.
pub(crate) struct Context {
    pub(crate) ports: Ports,
    pub(crate) rng: Box<dyn CryptoRng + Send>,
    pub(crate) connections: BTreeMap<ConnectionId, Arc<Connection>>,
    /// Connections that nobody may bring up but `Up`.
    pub(crate) held: BTreeSet<ConnectionId>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) transmits: VecDeque<Transmit>,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) counters: Counters,
    /// Why the last SA of a connection went, for the event that says so.
    pub(crate) reasons: BTreeMap<ConnectionId, DownReason>,
    /// Inbound SPIs in use, those in their grace included.
    spis: BTreeSet<u32>,
    /// Inbound SAs in their grace.
    pub(crate) graves: BTreeMap<u32, (ConnectionId, Instant)>,
    order: u64,
    /// The time of day, in seconds since 1970 began, at a moment.
    clock: Option<(Instant, u64)>,
}

impl Context {
    pub(crate) fn new(ports: Ports, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self {
            ports,
            rng,
            connections: BTreeMap::new(),
            held: BTreeSet::new(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            effects: VecDeque::new(),
            counters: Counters::default(),
            reasons: BTreeMap::new(),
            spis: BTreeSet::new(),
            graves: BTreeMap::new(),
            order: 0,
            clock: None,
        }
    }

    /// The same with another generator; nothing may be waiting in the queues that lead out.
    #[cfg(feature = "explore")]
    pub(crate) fn fork(&self, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self {
            ports: self.ports,
            rng,
            connections: self.connections.clone(),
            held: self.held.clone(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            effects: VecDeque::new(),
            counters: self.counters,
            reasons: self.reasons.clone(),
            spis: self.spis.clone(),
            graves: self.graves.clone(),
            order: self.order,
            clock: self.clock,
        }
    }

    pub(crate) const fn set_clock(&mut self, now: Instant, unix: u64) {
        self.clock = Some((now, unix));
    }

    /// The time of day in seconds since 1970 began, once it was told.
    pub(crate) fn time_of_day(&self, now: Instant) -> Option<u64> {
        let (at, unix) = self.clock?;
        Some(unix + now.saturating_duration_since(at).as_secs())
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        self.connections.get(&id).cloned()
    }

    /// A connection whose peer may bring it up.
    pub(crate) fn answering(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        self.connection(id).filter(|_| !self.held.contains(&id))
    }

    /// A nonce: at least half the PRF's key and 16 bytes (RFC 7296 section 2.10); 32 fits all.
    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; 32];
        self.rng.fill_bytes(&mut nonce);
        nonce
    }

    pub(crate) fn ike_spi(&mut self) -> IkeSpi {
        loop {
            let spi = IkeSpi(self.rng.random());
            if !spi.is_zero() {
                return spi;
            }
        }
    }

    /// An unused inbound SPI; 0 to 255 are reserved (RFC 4303 section 2.1).
    pub(crate) fn child_spi(&mut self) -> u32 {
        loop {
            let spi = self.rng.random_range(256..=u32::MAX);
            if self.spis.insert(spi) {
                return spi;
            }
        }
    }

    /// Gives back an inbound SPI on which nothing was installed.
    pub(crate) fn release_spi(&mut self, spi: u32) {
        self.spis.remove(&spi);
    }

    /// A number that is larger than all before.
    pub(crate) const fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// A time between `low` and `high` percent of `duration`.
    pub(crate) fn share(&mut self, duration: Duration, low: u32, high: u32) -> Duration {
        duration.mul_f64(f64::from(self.rng.random_range(low * 100..=high * 100)) / 10_000.0)
    }

    /// Lets an inbound SA go after its grace.
    pub(crate) fn bury(&mut self, now: Instant, connection: ConnectionId, spi: u32) {
        self.graves.insert(spi, (connection, now + INBOUND_GRACE));
    }

    /// Lets the peer use what was buried of a connection at least until then.
    pub(crate) fn delay_burials(&mut self, connection: ConnectionId, until: Instant) {
        let graves = self.graves.values_mut();
        for (_, at) in graves.filter(|(id, _)| *id == connection) {
            *at = until.max(*at);
        }
    }

    /// Removes the inbound SAs whose grace is over, or all of `connection`'s at once.
    pub(crate) fn exhume(&mut self, now: Instant, connection: Option<ConnectionId>) {
        let due: Vec<u32> = self
            .graves
            .iter()
            .filter(|(_, (id, at))| *at <= now || Some(*id) == connection)
            .map(|(spi, _)| *spi)
            .collect();
        for spi_in in due {
            if let Some((connection, _)) = self.graves.remove(&spi_in) {
                self.spis.remove(&spi_in);
                self.events
                    .push_back(Event::InboundRemove { connection, spi_in });
            }
        }
    }

    pub(crate) fn next_grave(&self) -> Option<Instant> {
        self.graves.values().map(|(_, at)| *at).min()
    }

    pub(crate) fn send(&mut self, path: &Path, payload: Vec<u8>) {
        self.transmits.push_back(Transmit {
            local: path.local,
            remote: path.remote,
            payload,
            kind: TransmitKind::Ike,
        });
    }
}
