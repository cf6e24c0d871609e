//! The endpoint: every connection and every IKE SA of this host.

use std::net::SocketAddr;
use std::time::Instant;

use crate::connection::{Command, Ports};
use crate::context::Context;
use crate::event::{Event, Transmit};
use crate::status::Status;

/// Parameters of the endpoint as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Our ports.
    pub ports: Ports,
    /// From so many half-open handshakes on, a cookie is demanded (RFC 7296 section 2.6).
    pub cookie_threshold: usize,
    /// With so many half-open handshakes, further ones are dropped.
    pub half_open_limit: usize,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            ports: Ports::default(),
            cookie_threshold: 30,
            half_open_limit: 1000,
        }
    }
}

/// All connections and IKE SAs of a host. See the crate's documentation for the order of calls.
pub struct Endpoint {
    config: EndpointConfig,
    cx: Context,
}

impl Endpoint {
    /// An endpoint without connections. All randomness comes from `seed`: it must be secret and
    /// never used twice outside tests.
    #[must_use]
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            cx: Context::new(config.ports, seed),
        }
    }

    /// Takes a datagram that came to `local` from `remote`, without the non-ESP marker.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
    ) {
        let _ = (now, local, remote, payload, self.config);
        self.cx.counters.received += 1;
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.cx.exhume(now, None);
    }

    /// Takes a command.
    pub fn command(&mut self, now: Instant, command: Command) {
        let _ = (now, command);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.cx.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.cx.events.pop_front()
    }

    /// When [`Self::handle_timeout`] has to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.cx.next_grave()
    }

    /// The picture at `now`.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let _ = now;
        Status {
            connections: Vec::new(),
            half_open: 0,
            counters: self.cx.counters,
        }
    }
}
