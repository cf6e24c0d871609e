//! The outbound thread: from the TUN interfaces to the peers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use esp::{
    DropReason, InnerPacket, MAX_OVERHEAD, MAX_TOO_BIG_LEN, Reader, Segments, TokenBucket,
    clamp_mss, complete_checksum, fragments, outer_tos, too_big,
};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use tokio::sync::mpsc;

use super::departures::{Departures, PathRefused};
use super::sockets::{Sockets, path_mtu};
use super::state::{OutboundEntry, State};
use super::tunnel::{Clock, Stamp, Tunnel};
use super::vnet::{PartialChecksum, Vnet};
use super::worker::Worker;
use crate::plane::{Direction, Error, PlaneEvent, TunnelId};

/// The largest IP packet, in bytes.
const LONGEST: usize = 65_536;

/// What is read from one interface before the others have their turn.
const MOST_PACKETS: usize = 128;

/// What the wake-up's readiness is called; tunnels have their id.
const WAKE: u64 = u64::MAX;

pub(super) struct Outbound {
    sockets: Arc<Sockets>,
    reader: Reader<State>,
    events: mpsc::Sender<PlaneEvent>,
    clock: Clock,
    epoll: Epoll,
    polled: BTreeMap<TunnelId, Arc<Tunnel>>,
    /// The packet that was read.
    packet: Box<[u8]>,
    departures: Departures,
    rng: StdRng,
    /// How often senders are told that their packets are too big.
    replies: TokenBucket,
}

/// What the packets of one moment have in common.
struct Outgoing<'a> {
    tunnel: &'a Tunnel,
    sa: &'a OutboundEntry,
    /// The largest inner packet.
    mtu: u16,
    now: Instant,
}

impl Outbound {
    pub(super) fn new(
        sockets: &Arc<Sockets>,
        reader: Reader<State>,
        events: mpsc::Sender<PlaneEvent>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let system = |action| {
            move |cause: Errno| Error::System {
                action,
                cause: cause.into(),
            }
        };
        let epoll =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(system("create an epoll"))?;
        let rng = StdRng::try_from_rng(&mut SysRng).map_err(|cause| Error::System {
            action: "get randomness from the system",
            cause: io::Error::other(cause),
        })?;
        Ok(Self {
            sockets: Arc::clone(sockets),
            reader,
            events,
            clock,
            epoll,
            polled: BTreeMap::new(),
            packet: vec![0; LONGEST].into_boxed_slice(),
            departures: Departures::new(),
            rng,
            replies: TokenBucket::new(100, Duration::from_millis(10)),
        })
    }

    pub(super) fn run(mut self, worker: &Worker) -> io::Result<()> {
        self.epoll
            .add(worker, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let mut ready = [EpollEvent::empty(); 16];
        while !worker.stopped() {
            let count = match self.epoll.wait(&mut ready, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            for event in ready.iter().take(count) {
                match event.data() {
                    WAKE => worker.look(|| self.refresh())?,
                    id => self.pump(TunnelId(id as u32)),
                }
            }
        }
        Ok(())
    }

    /// Polls exactly the interfaces that exist.
    fn refresh(&mut self) -> io::Result<()> {
        let state = Arc::clone(self.reader.get());
        let current = |id: &TunnelId, tunnel: &Arc<Tunnel>| {
            state
                .tunnels
                .get(id)
                .is_some_and(|other| Arc::ptr_eq(other, tunnel))
        };
        let epoll = &self.epoll;
        self.polled.retain(|id, tunnel| {
            let keep = current(id, tunnel);
            if !keep {
                stop_polling(epoll, tunnel);
            }
            keep
        });
        for (id, tunnel) in &state.tunnels {
            if !self.polled.contains_key(id) {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(id.0));
                self.epoll.add(tunnel.as_ref(), event)?;
                self.polled.insert(*id, Arc::clone(tunnel));
            }
        }
        Ok(())
    }

    /// Takes a batch from an interface. If there is more, epoll says so again, after the other
    /// tunnels had their turn.
    fn pump(&mut self, id: TunnelId) {
        let Some(tunnel) = self.polled.get(&id).map(Arc::clone) else {
            return;
        };
        let now = Instant::now();
        let mut using: Option<Arc<OutboundEntry>> = None;
        for _ in 0..MOST_PACKETS {
            let (len, vnet) = match tunnel.read(&mut self.packet) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.lose(&tunnel, &error);
                    break;
                }
            };
            // Asked for every packet: one that comes after a change is sent as it says.
            let current = self.reader.get().sas.outbound(id);
            if !is_same(using.as_ref(), current) {
                let current = current.map(Arc::clone);
                if let Some(before) = using {
                    self.flush(&tunnel, &before, now);
                }
                using = current;
            }
            let Some(sa) = &using else {
                tunnel.drops.count(DropReason::NoOutboundSa);
                continue;
            };
            let mut outgoing = Outgoing {
                mtu: sa.inner_mtu(tunnel.outer_mtu(self.clock.stamp(now))),
                tunnel: &tunnel,
                sa,
                now,
            };
            let result = vnet.and_then(|vnet| self.take(&mut outgoing, len, vnet));
            if let Err(reason) = result {
                self.drop_packet(&outgoing, reason);
            }
            if self.departures.is_enough() {
                self.flush(&tunnel, sa, now);
            }
        }
        if let Some(sa) = &using {
            self.flush(&tunnel, sa, now);
        }
    }

    /// The interface was deleted under us: polling it further would spin.
    fn lose(&mut self, tunnel: &Tunnel, cause: &io::Error) {
        let interface = tunnel.spec.interface.as_str();
        tracing::debug!(interface, %cause, "the tunnel's interface is gone");
        stop_polling(&self.epoll, tunnel);
        let _ = self.events.try_send(PlaneEvent::InterfaceLost {
            tunnel: tunnel.spec.id,
        });
    }

    /// Seals the packet that was read, or the segments that it stands for.
    fn take(&mut self, out: &mut Outgoing<'_>, len: usize, vnet: Vnet) -> Result<(), DropReason> {
        let Some(gso) = vnet.gso else {
            let packet = self.packet.get_mut(..len).ok_or(DropReason::NoRoom)?;
            if let Some(PartialChecksum { start, offset }) = vnet.checksum {
                complete_checksum(packet, start, offset)?;
            }
            let inner = InnerPacket::parse(packet)?;
            if inner.total_len > usize::from(out.mtu) {
                self.too_big(out, len, &inner);
                return Ok(());
            }
            if out.tunnel.spec.mss_clamp {
                clamp_mss(packet, &inner, out.mtu);
            }
            return self.seal(out, &inner, inner.total_len, |packet, to| {
                copy(packet.get(..inner.total_len)?, to)
            });
        };
        let packet = self.packet.get(..len).ok_or(DropReason::NoRoom)?;
        let segments = Segments::of(packet, gso)?;
        if segments.longest() > usize::from(out.mtu) {
            return self.too_big_segments(out, len, &segments);
        }
        for index in 0..segments.count() {
            let sealed = self.seal(out, segments.inner(), segments.longest(), |packet, to| {
                segments.write(packet, index, to)
            });
            if let Err(reason) = sealed {
                self.drop_packet(out, reason);
            }
        }
        Ok(())
    }

    /// Seals what `write` makes of the packet that was read, at most `most` bytes, in the place where it waits to be sent.
    fn seal(
        &mut self,
        out: &Outgoing<'_>,
        inner: &InnerPacket,
        most: usize,
        write: impl FnOnce(&[u8], &mut [u8]) -> Option<usize>,
    ) -> Result<(), DropReason> {
        if self.departures.is_full_for(most + 2 * MAX_OVERHEAD) {
            self.flush(out.tunnel, out.sa, out.now);
        }
        let sa = &out.sa.sa;
        let (space, start) = self.departures.space();
        let start = start + sa.layout().header_len();
        let len = space
            .get_mut(start..)
            .and_then(|to| write(&self.packet, to))
            .ok_or(DropReason::NoRoom)?;
        let payload = start..start + len;
        let sealed = sa.seal(space, payload, inner.version.into(), &mut self.rng)?;
        if sealed.soft_limit {
            let (tunnel, spi) = (out.tunnel.spec.id, sa.spi().0);
            out.sa
                .told
                .soft(&self.events, tunnel, spi, Direction::Outbound);
        }
        let tos = outer_tos(inner, out.tunnel.spec.copy_dscp);
        let encapsulation = out.sa.path.encapsulation;
        self.departures
            .add(sealed.packet, tos, len, &self.sockets, encapsulation);
        Ok(())
    }

    fn drop_packet(&self, out: &Outgoing<'_>, reason: DropReason) {
        out.tunnel.drops.count(reason);
        if matches!(
            reason,
            DropReason::LifetimeOver | DropReason::SequenceExhausted
        ) {
            let spi = out.sa.sa.spi().0;
            out.sa
                .told
                .hard(&self.events, out.tunnel.spec.id, spi, Direction::Outbound);
        }
    }

    /// Segments that do not fit, because the path has become narrower than the interface: each one is a packet that does
    /// not fit.
    fn too_big_segments(
        &mut self,
        out: &Outgoing<'_>,
        len: usize,
        segments: &Segments,
    ) -> Result<(), DropReason> {
        let whole = self.packet.get(..len).ok_or(DropReason::NoRoom)?.to_vec();
        for index in 0..segments.count() {
            let len = segments
                .write(&whole, index, &mut self.packet)
                .ok_or(DropReason::NoRoom)?;
            let packet = self.packet.get(..len).ok_or(DropReason::NoRoom)?;
            let inner = InnerPacket::parse(packet)?;
            if inner.total_len > usize::from(out.mtu) {
                self.too_big(out, len, &inner);
            } else {
                let sealed = self.seal(out, &inner, len, |packet, to| copy(packet.get(..len)?, to));
                if let Err(reason) = sealed {
                    self.drop_packet(out, reason);
                }
            }
        }
        Ok(())
    }

    /// A packet that does not fit goes in fragments if it may; else its sender is told (RFC 4301
    /// section 8.2).
    fn too_big(&mut self, out: &Outgoing<'_>, len: usize, inner: &InnerPacket) {
        let mut pieces = 0;
        let packet = self.packet.get(..len).unwrap_or_default();
        for fragment in fragments(packet, inner, out.mtu) {
            pieces += 1;
            let sealed = self.seal(out, inner, fragment.len(), |packet, to| {
                fragment.write(packet, to)
            });
            if let Err(reason) = sealed {
                self.drop_packet(out, reason);
            }
        }
        if pieces == 0 {
            out.tunnel.drops.count(DropReason::TooBig);
            if self.replies.take(out.now) {
                self.reply_too_big(out, len, inner);
            }
        }
    }

    fn reply_too_big(&self, out: &Outgoing<'_>, len: usize, inner: &InnerPacket) {
        let mut reply = [0; MAX_TOO_BIG_LEN];
        let packet = self.packet.get(..len).unwrap_or_default();
        if let Some(len) = too_big(packet, inner, out.mtu, &mut reply) {
            // If the interface does not take it there is nobody to tell.
            let _ = out.tunnel.deliver(reply.get(..len).unwrap_or(&[]));
        }
    }

    /// Sends all that waits, which is of this tunnel and SA.
    fn flush(&mut self, tunnel: &Tunnel, sa: &OutboundEntry, now: Instant) {
        let stamp = self.clock.stamp(now);
        let PathRefused(refused) = self.departures.send(&self.sockets, tunnel, sa, stamp);
        if refused {
            self.learn_path_mtu(tunnel, sa, stamp);
        }
    }

    /// The kernel knows that the path is narrower than we thought: asks how narrow.
    fn learn_path_mtu(&self, tunnel: &Tunnel, sa: &OutboundEntry, now: Stamp) {
        let Ok(outer_mtu) = path_mtu(sa.path.local, sa.path.remote.ip()) else {
            return;
        };
        if tunnel.learn_path_mtu(outer_mtu, now) {
            tunnel.set_inner_mtu(sa.inner_mtu(tunnel.outer_mtu(now)));
            let event = PlaneEvent::PathMtu {
                tunnel: tunnel.spec.id,
                outer_mtu,
            };
            let _ = self.events.try_send(event);
        }
    }
}

fn is_same(using: Option<&Arc<OutboundEntry>>, current: Option<&Arc<OutboundEntry>>) -> bool {
    match (using, current) {
        (Some(using), Some(current)) => Arc::ptr_eq(using, current),
        (None, None) => true,
        _ => false,
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> Option<usize> {
    to.get_mut(..from.len())?.copy_from_slice(from);
    Some(from.len())
}

fn stop_polling(epoll: &Epoll, tunnel: &Tunnel) {
    // It fails only if it was not polled any more.
    let _ = epoll.delete(tunnel);
}
