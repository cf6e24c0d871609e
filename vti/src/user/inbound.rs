//! The inbound thread: from the peers to the TUN interfaces, and IKE messages to the daemon.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
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

use super::arrivals::Arrivals;
use super::ike;
use super::sockets::Sockets;
use super::state::{InboundEntry, State, Stray};
use super::tunnel::Clock;
use super::worker::Worker;
use crate::plane::{Direction, PlaneEvent};
use crate::sys::datagrams::{self, BATCH, Incoming};

/// The largest datagram, with its IP header on a raw socket. Pages that no datagram has reached
/// take no memory.
const SLOT: usize = 65_536;

/// What is received at once if datagrams are trains (`UDP_GRO`): less, so that it stays in the processor's cache.
const BATCH_OF_TRAINS: usize = 8;

/// Longer ones are trains, on average, in bytes.
const TRAIN: usize = 16 << 10;

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
    /// How many of them are filled at once.
    batch: usize,
    delivery: Delivery,
}

/// Where received packets go.
struct Delivery {
    arrivals: Arrivals,
    events: mpsc::Sender<PlaneEvent>,
    stray: Arc<Stray>,
    clock: Clock,
    /// How often unknown SPIs are told; anybody can send them.
    unknown_spis: TokenBucket,
}

/// An ESP packet, by where it lies in the buffer, with what the outer headers said.
struct EspPacket {
    at: Range<usize>,
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
            batch: BATCH,
            delivery: Delivery {
                arrivals: Arrivals::default(),
                events,
                stray,
                clock,
                unknown_spis,
            },
        }
    }

    pub(super) fn run(mut self, worker: &Worker) -> io::Result<()> {
        let sockets = Arc::clone(&self.sockets);
        // IKE comes first: it is little, and it waits for nobody.
        let from: Vec<(&Socket, Source)> = [
            Some((&sockets.ike, Source::Ike)),
            sockets.nat_ike.as_ref().map(|socket| (socket, Source::Nat)),
            Some((&sockets.nat, Source::Nat)),
            Some((&sockets.esp, Source::Esp)),
        ]
        .into_iter()
        .flatten()
        .collect();
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled: Vec<PollFd<'_>> = std::iter::once(readable(worker.as_fd()))
            .chain(from.iter().map(|(socket, _)| readable(socket.as_fd())))
            .collect();
        while !worker.stopped() {
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let mut ready = polled.iter().map(|fd| fd.any() == Some(true));
            if ready.next() == Some(true) {
                worker.look(|| {
                    self.reader.get();
                    Ok(())
                })?;
            }
            for ((socket, source), _) in from.iter().zip(ready).filter(|(_, ready)| *ready) {
                self.receive(socket, *source);
            }
        }
        Ok(())
    }

    /// Takes one batch from a socket. If there is more, poll says so again.
    fn receive(&mut self, socket: &Socket, source: Source) {
        let mut incoming = datagrams::incoming();
        let slots = self.slots.get_mut(..SLOT * self.batch).unwrap_or_default();
        // An error is nothing to read after all, or a pending ICMP error, which reading has
        // cleared.
        let Ok(received) = datagrams::receive(socket.as_fd(), slots, SLOT, &mut incoming) else {
            return;
        };
        let state = self.reader.get();
        let now = Instant::now();
        for (index, datagram) in received.iter().enumerate() {
            if datagram.truncated {
                self.delivery.stray.drops.count(DropReason::Truncated);
                continue;
            }
            let start = index * SLOT;
            let end = start + datagram.len;
            let step = datagram.segment.unwrap_or(datagram.len).max(1);
            // An empty datagram is one as well.
            for at in (start..end.max(start + 1)).step_by(step) {
                let packet = at..end.min(at + step);
                self.delivery
                    .datagram(state, &self.sockets, source, slots, packet, datagram, now);
            }
        }
        self.delivery
            .arrivals
            .finish(slots, self.delivery.clock.stamp(now));
        let bytes: usize = received.iter().map(|datagram| datagram.len).sum();
        let trains = bytes > received.len() * TRAIN;
        self.batch = if trains { BATCH_OF_TRAINS } else { BATCH };
    }
}

impl Delivery {
    #[expect(clippy::too_many_arguments, reason = "the parts of one batch")]
    fn datagram(
        &mut self,
        state: &State,
        sockets: &Sockets,
        from: Source,
        slots: &mut [u8],
        at: Range<usize>,
        datagram: &Incoming,
        now: Instant,
    ) {
        let config = &sockets.config;
        let local = datagram.destination.unwrap_or(config.bind);
        let bytes = slots.get_mut(at.clone()).unwrap_or_default();
        let packet = match from {
            Source::Ike => {
                return self.ike(SocketAddr::new(local, config.ike_port), datagram, bytes);
            }
            Source::Nat => match Datagram::classify(bytes) {
                Datagram::Ike(message) => {
                    return self.ike(SocketAddr::new(local, config.nat_port), datagram, message);
                }
                Datagram::Esp(_) => Ok(EspPacket {
                    at,
                    source: datagram.source,
                    tos: datagram.tos.unwrap_or(0),
                }),
                Datagram::Keepalive => {
                    self.stray.keepalives.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Datagram::Runt => Err(DropReason::Truncated),
            },
            Source::Esp => raw_packet(bytes, at, datagram),
        };
        match packet {
            Ok(packet) => self.esp(state, slots, packet, now),
            Err(reason) => self.stray.drops.count(reason),
        }
    }

    fn ike(&self, local: SocketAddr, datagram: &Incoming, message: &[u8]) {
        let dropped = &self.stray.ike_dropped;
        ike::deliver(&self.events, dropped, local, datagram.source, message);
    }

    fn esp(&mut self, state: &State, slots: &mut [u8], packet: EspPacket, now: Instant) {
        let bytes = slots.get_mut(packet.at.clone()).unwrap_or_default();
        let Some(spi) = Spi::of_packet(bytes) else {
            return self.stray.drops.count(DropReason::Truncated);
        };
        let Some(entry) = state.sas.inbound(spi) else {
            return self.unknown_spi(spi, packet.source, now);
        };
        let stamp = self.clock.stamp(now);
        match self.open(entry, bytes, &packet) {
            Ok((payload, inner)) => {
                let at = packet.at.start + payload.start..packet.at.start + payload.end;
                self.arrivals.take(slots, at, &inner, &entry.tunnel, stamp);
            }
            Err(reason) => {
                entry.tunnel.drops.count(reason);
                if reason == DropReason::LifetimeOver {
                    let tunnel = entry.tunnel.spec.id;
                    entry
                        .told
                        .hard(&self.events, tunnel, spi.0, Direction::Inbound);
                }
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

    /// Where the inner packet lies in the ESP packet, ready for the host.
    fn open(
        &self,
        entry: &InboundEntry,
        bytes: &mut [u8],
        packet: &EspPacket,
    ) -> Result<(Range<usize>, InnerPacket), DropReason> {
        let opened = entry.sa.open(bytes);
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
        let bytes = bytes.get_mut(payload.clone()).ok_or(DropReason::NoRoom)?;
        decapsulate_ecn(bytes, &inner, packet.tos)?;
        if let Some(mtu) = entry.tunnel.clamp_to() {
            clamp_mss(bytes, &inner, mtu);
        }
        Ok((payload, inner))
    }

    fn authentic(&self, entry: &InboundEntry, source: SocketAddr) {
        entry
            .told
            .first(&self.events, entry.tunnel.spec.id, entry.sa.spi().0);
        entry.note_source(source, &self.events);
    }
}

/// A packet as a raw socket gives it: with its header for IPv4 (raw(7)), without for IPv6.
fn raw_packet(
    bytes: &[u8],
    at: Range<usize>,
    datagram: &Incoming,
) -> Result<EspPacket, DropReason> {
    let source = SocketAddr::new(datagram.source.ip(), 0);
    if source.is_ipv6() {
        return Ok(EspPacket {
            at,
            source,
            tos: datagram.tos.unwrap_or(0),
        });
    }
    let outer = InnerPacket::parse(bytes)?;
    if outer.version != IpVersion::V4 {
        return Err(DropReason::InnerVersion);
    }
    Ok(EspPacket {
        at: at.start + outer.header_len..at.start + outer.total_len,
        source,
        tos: outer.tos,
    })
}
