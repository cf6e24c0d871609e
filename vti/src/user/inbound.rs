//! The inbound thread: from the peers to the TUN interfaces, and IKE messages to the daemon.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use esp::{
    Datagram, DropReason, InnerPacket, IpVersion, Opened, Reader, Spi, TokenBucket, clamp_mss,
    decapsulate_ecn,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;
use tokio::sync::mpsc;

use super::ike;
use super::sockets::Sockets;
use super::state::{InboundEntry, State, Stray};
use super::tunnel::{Clock, Stamp};
use super::worker::Worker;
use crate::plane::{Direction, PlaneEvent};
use crate::sys::datagrams::{self, BATCH, Incoming};

/// The largest datagram, with its IP header on a raw socket. Pages that no datagram has reached
/// take no memory.
const SLOT: usize = 65_536;

/// Which socket something came from.
#[derive(Clone, Copy)]
enum Source {
    Ike,
    Nat,
    Esp,
}

pub(super) struct Inbound {
    sockets: Arc<Sockets>,
    reader: Reader<State>,
    /// [`BATCH`] slots.
    slots: Box<[u8]>,
    delivery: Delivery,
}

/// Where received packets go.
struct Delivery {
    events: mpsc::Sender<PlaneEvent>,
    stray: Arc<Stray>,
    clock: Clock,
    /// How often unknown SPIs are told; anybody can send them.
    unknown_spis: TokenBucket,
}

/// An ESP packet with what the outer headers said.
struct EspPacket<'a> {
    bytes: &'a mut [u8],
    /// The port is 0 without UDP.
    source: SocketAddr,
    tos: u8,
}

impl Inbound {
    pub(super) fn new(
        sockets: &Arc<Sockets>,
        reader: Reader<State>,
        events: mpsc::Sender<PlaneEvent>,
        stray: Arc<Stray>,
        clock: Clock,
    ) -> Self {
        let unknown_spis = TokenBucket::new(1, Duration::from_secs(1));
        Self {
            sockets: Arc::clone(sockets),
            reader,
            slots: vec![0; SLOT * BATCH].into_boxed_slice(),
            delivery: Delivery {
                events,
                stray,
                clock,
                unknown_spis,
            },
        }
    }

    pub(super) fn run(mut self, worker: &Worker) -> io::Result<()> {
        let sockets = Arc::clone(&self.sockets);
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled = [
            readable(worker.as_fd()),
            readable(sockets.ike.as_fd()),
            readable(sockets.nat.as_fd()),
            readable(sockets.esp.as_fd()),
        ];
        while !worker.stopped() {
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let [wake, ike, nat, esp] = polled.each_ref().map(|fd| fd.any() == Some(true));
            if wake {
                worker.look(|| {
                    self.reader.get();
                    Ok(())
                })?;
            }
            for (ready, socket, source) in [
                (ike, &sockets.ike, Source::Ike),
                (nat, &sockets.nat, Source::Nat),
                (esp, &sockets.esp, Source::Esp),
            ] {
                if ready {
                    self.receive(socket, source);
                }
            }
        }
        Ok(())
    }

    /// Takes one batch from a socket. If there is more, poll says so again.
    fn receive(&mut self, socket: &Socket, source: Source) {
        let mut incoming = datagrams::incoming();
        // An error is nothing to read after all, or a pending ICMP error, which reading has
        // cleared.
        let Ok(received) = datagrams::receive(socket.as_fd(), &mut self.slots, SLOT, &mut incoming)
        else {
            return;
        };
        let state = self.reader.get();
        let now = Instant::now();
        for (slot, datagram) in self.slots.chunks_exact_mut(SLOT).zip(received) {
            match slot.get_mut(..datagram.len) {
                Some(bytes) if !datagram.truncated => {
                    self.delivery
                        .datagram(state, &self.sockets, source, bytes, datagram, now);
                }
                _ => self.delivery.stray.drops.count(DropReason::Truncated),
            }
        }
    }
}

impl Delivery {
    fn datagram(
        &mut self,
        state: &State,
        sockets: &Sockets,
        from: Source,
        bytes: &mut [u8],
        datagram: &Incoming,
        now: Instant,
    ) {
        let config = &sockets.config;
        let local = datagram.destination.unwrap_or(config.bind);
        match from {
            Source::Ike => self.ike(SocketAddr::new(local, config.ike_port), datagram, bytes),
            Source::Nat => match Datagram::classify(bytes) {
                Datagram::Ike(message) => {
                    self.ike(SocketAddr::new(local, config.nat_port), datagram, message);
                }
                Datagram::Esp(bytes) => {
                    let tos = datagram.tos.unwrap_or(0);
                    self.esp(
                        state,
                        EspPacket {
                            bytes,
                            source: datagram.source,
                            tos,
                        },
                        now,
                    );
                }
                Datagram::Keepalive => {
                    self.stray.keepalives.fetch_add(1, Ordering::Relaxed);
                }
                Datagram::Runt => self.stray.drops.count(DropReason::Truncated),
            },
            Source::Esp => match raw_packet(bytes, datagram) {
                Ok(packet) => self.esp(state, packet, now),
                Err(reason) => self.stray.drops.count(reason),
            },
        }
    }

    fn ike(&self, local: SocketAddr, datagram: &Incoming, message: &[u8]) {
        let dropped = &self.stray.ike_dropped;
        ike::deliver(&self.events, dropped, local, datagram.source, message);
    }

    fn esp(&mut self, state: &State, packet: EspPacket<'_>, now: Instant) {
        let Some(spi) = Spi::of_packet(packet.bytes) else {
            return self.stray.drops.count(DropReason::Truncated);
        };
        let Some(entry) = state.sas.inbound(spi) else {
            return self.unknown_spi(spi, packet.source, now);
        };
        let stamp = self.clock.stamp(now);
        if let Err(reason) = self.open(entry, packet, stamp) {
            entry.tunnel.drops.count(reason);
            if reason == DropReason::LifetimeOver {
                let tunnel = entry.tunnel.spec.id;
                entry
                    .told
                    .hard(&self.events, tunnel, spi.0, Direction::Inbound);
            }
        }
    }

    fn unknown_spi(&mut self, spi: Spi, from: SocketAddr, now: Instant) {
        self.stray.drops.count(DropReason::UnknownSpi);
        if spi.is_usable() && self.unknown_spis.take(now) {
            let _ = self
                .events
                .try_send(PlaneEvent::UnknownSpi { spi: spi.0, from });
        }
    }

    fn open(
        &self,
        entry: &InboundEntry,
        packet: EspPacket<'_>,
        now: Stamp,
    ) -> Result<(), DropReason> {
        let opened = entry.sa.open(packet.bytes);
        // A dummy packet is authentic too: it shows the peer's new SA and address as any other.
        if matches!(opened, Ok(_) | Err(DropReason::Dummy)) {
            self.authentic(entry, packet.source);
        }
        let Opened {
            payload,
            inner,
            soft_limit,
            ..
        } = opened?;
        if soft_limit {
            let (tunnel, spi) = (entry.tunnel.spec.id, entry.sa.spi().0);
            entry
                .told
                .soft(&self.events, tunnel, spi, Direction::Inbound);
        }
        let bytes = packet.bytes.get_mut(payload).ok_or(DropReason::NoRoom)?;
        decapsulate_ecn(bytes, &inner, packet.tos)?;
        if let Some(mtu) = entry.tunnel.clamp_to() {
            clamp_mss(bytes, &inner, mtu);
        }
        entry.tunnel.deliver(bytes)?;
        entry.tunnel.inbound.count(bytes.len(), now);
        Ok(())
    }

    fn authentic(&self, entry: &InboundEntry, source: SocketAddr) {
        entry
            .told
            .first(&self.events, entry.tunnel.spec.id, entry.sa.spi().0);
        entry.note_source(source, &self.events);
    }
}

/// A packet as a raw socket gives it: with its header for IPv4 (raw(7)), without for IPv6.
fn raw_packet<'a>(bytes: &'a mut [u8], datagram: &Incoming) -> Result<EspPacket<'a>, DropReason> {
    let source = SocketAddr::new(datagram.source.ip(), 0);
    if source.is_ipv6() {
        return Ok(EspPacket {
            bytes,
            source,
            tos: datagram.tos.unwrap_or(0),
        });
    }
    let outer = InnerPacket::parse(bytes)?;
    if outer.version != IpVersion::V4 {
        return Err(DropReason::InnerVersion);
    }
    let bytes = bytes
        .get_mut(outer.header_len..outer.total_len)
        .ok_or(DropReason::Truncated)?;
    Ok(EspPacket {
        bytes,
        source,
        tos: outer.tos,
    })
}
