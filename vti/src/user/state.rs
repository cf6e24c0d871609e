//! What the packet threads look at: tunnels, SAs and where packets go.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use esp::{DropCounters, Encapsulation, InboundSa, OutboundSa, SaTable, tunnel_mtu};
use tokio::sync::mpsc;

use super::tunnel::Tunnel;
use crate::plane::{Direction, Encap, Error, PlaneEvent, StrayCounters, TunnelId};

/// A snapshot of everything; cloning it copies pointers.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) tunnels: BTreeMap<TunnelId, Arc<Tunnel>>,
    pub(super) sas: SaTable<TunnelId, InboundEntry, OutboundEntry>,
}

impl State {
    pub(super) fn tunnel(&self, tunnel: TunnelId) -> Result<&Arc<Tunnel>, Error> {
        self.tunnels
            .get(&tunnel)
            .ok_or(Error::NoSuchTunnel { tunnel })
    }
}

/// Where a tunnel's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) local: IpAddr,
    /// The port is 0 without UDP encapsulation, as raw sockets want it.
    pub(super) remote: SocketAddr,
    pub(super) encapsulation: Encapsulation,
}

impl Path {
    pub(super) fn of(local: IpAddr, remote: IpAddr, encap: Encap) -> Self {
        let port = match encap {
            Encap::None => 0,
            Encap::Udp { remote_port, .. } => remote_port,
        };
        Self {
            local,
            remote: SocketAddr::new(remote, port),
            encapsulation: encap.into(),
        }
    }

    /// The source address to ask the kernel for; none if it shall choose.
    pub(super) fn source(&self) -> Option<IpAddr> {
        (!self.local.is_unspecified()).then_some(self.local)
    }

    /// Whether a packet from `source` came the way that this path goes. Without UDP on both sides
    /// only the addresses can be compared: a peer may send plain ESP as well (RFC 7296 section
    /// 2.23).
    fn leads_to(&self, source: SocketAddr) -> bool {
        if self.remote.port() == 0 || source.port() == 0 {
            self.remote.ip() == source.ip()
        } else {
            self.remote == source
        }
    }
}

/// Which of the events that an SA causes once have been delivered.
#[derive(Debug, Default)]
pub(super) struct Told {
    first: AtomicBool,
    soft: AtomicBool,
    hard: AtomicBool,
}

impl Told {
    pub(super) fn first(&self, events: &mpsc::Sender<PlaneEvent>, tunnel: TunnelId, spi: u32) {
        tell_once(&self.first, events, || PlaneEvent::FirstInbound {
            tunnel,
            spi,
        });
    }

    pub(super) fn soft(
        &self,
        events: &mpsc::Sender<PlaneEvent>,
        tunnel: TunnelId,
        spi: u32,
        direction: Direction,
    ) {
        tell_once(&self.soft, events, || PlaneEvent::SoftLimit {
            tunnel,
            spi,
            direction,
        });
    }

    pub(super) fn hard(
        &self,
        events: &mpsc::Sender<PlaneEvent>,
        tunnel: TunnelId,
        spi: u32,
        direction: Direction,
    ) {
        tell_once(&self.hard, events, || PlaneEvent::HardLimit {
            tunnel,
            spi,
            direction,
        });
    }
}

/// Delivers an event that must not be lost: if the channel is full the next packet tries again.
fn tell_once(
    told: &AtomicBool,
    events: &mpsc::Sender<PlaneEvent>,
    event: impl FnOnce() -> PlaneEvent,
) {
    if !told.load(Ordering::Relaxed) && events.try_send(event()).is_ok() {
        told.store(true, Ordering::Relaxed);
    }
}

/// An inbound SA and whose it is.
#[derive(Debug)]
pub(super) struct InboundEntry {
    pub(super) sa: InboundSa,
    pub(super) tunnel: Arc<Tunnel>,
    pub(super) told: Told,
    /// Where its packets are expected from, to notice a changed NAT mapping.
    expected: Mutex<Path>,
}

impl InboundEntry {
    pub(super) fn new(sa: InboundSa, tunnel: Arc<Tunnel>, path: Path) -> Self {
        Self {
            sa,
            tunnel,
            told: Told::default(),
            expected: Mutex::new(path),
        }
    }

    pub(super) fn expect_from(&self, path: Path) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }

    /// Tells if an authentic packet came from somewhere else than the ones before.
    pub(super) fn note_source(&self, source: SocketAddr, events: &mpsc::Sender<PlaneEvent>) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if expected.leads_to(source) {
            return;
        }
        let (tunnel, spi) = (self.tunnel.spec.id, self.sa.spi().0);
        if events
            .try_send(PlaneEvent::NatMapping {
                tunnel,
                spi,
                from: source,
            })
            .is_ok()
        {
            expected.remote = source;
        }
    }
}

/// An outbound SA and where its packets go.
#[derive(Debug)]
pub(super) struct OutboundEntry {
    pub(super) sa: Arc<OutboundSa>,
    pub(super) path: Path,
    pub(super) told: Arc<Told>,
}

impl OutboundEntry {
    pub(super) fn new(sa: OutboundSa, path: Path) -> Self {
        Self {
            sa: Arc::new(sa),
            path,
            told: Arc::default(),
        }
    }

    /// The same SA, sent elsewhere.
    pub(super) fn on_path(&self, path: Path) -> Self {
        Self {
            sa: Arc::clone(&self.sa),
            path,
            told: Arc::clone(&self.told),
        }
    }

    /// The largest inner packet if the path carries `outer_mtu` bytes.
    pub(super) fn inner_mtu(&self, outer_mtu: u16) -> u16 {
        let Path {
            remote,
            encapsulation,
            ..
        } = self.path;
        tunnel_mtu(outer_mtu, self.sa.suite(), encapsulation, remote.is_ipv6())
    }
}

/// What belongs to no tunnel.
#[derive(Debug, Default)]
pub(super) struct Stray {
    pub(super) drops: DropCounters,
    pub(super) ike_dropped: AtomicU64,
    pub(super) keepalives: AtomicU64,
}

impl Stray {
    pub(super) fn snapshot(&self) -> StrayCounters {
        StrayCounters {
            drops: self.drops.snapshot(),
            ike_dropped: self.ike_dropped.load(Ordering::Relaxed),
            keepalives: self.keepalives.load(Ordering::Relaxed),
        }
    }
}
