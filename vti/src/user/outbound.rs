//! The outbound thread: from the TUN interfaces to the peers.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use esp::{
    DropReason, Encapsulation, InnerPacket, MAX_OVERHEAD, MAX_TOO_BIG_LEN, Reader, TokenBucket,
    clamp_mss, fragments, outer_tos, too_big,
};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use tokio::sync::mpsc;

use super::sockets::{Sockets, path_mtu, wait_writable};
use super::state::{OutboundEntry, State};
use super::tunnel::{Clock, Stamp, Tunnel};
use super::worker::Worker;
use crate::plane::{Direction, Error, PlaneEvent, TunnelId};
use crate::sys::datagrams::{self, BATCH, Outgoing};

/// A packet's place: the largest IP packet, with room on both sides to seal it in place. Pages that
/// no packet has reached take no memory.
const SLOT: usize = MAX_OVERHEAD + 65_536 + MAX_OVERHEAD;

/// How long the thread waits for a full socket; packets then wait in the interfaces' queues, which
/// is where they should.
const MOST_WAIT: Duration = Duration::from_millis(20);

/// What the wake-up's readiness is called; tunnels have their id.
const WAKE: u64 = u64::MAX;

pub(super) struct Outbound {
    sockets: Arc<Sockets>,
    reader: Reader<State>,
    events: mpsc::Sender<PlaneEvent>,
    clock: Clock,
    epoll: Epoll,
    polled: BTreeMap<TunnelId, Arc<Tunnel>>,
    /// [`BATCH`] slots.
    slots: Box<[u8]>,
    /// One slot, for fragments.
    scratch: Box<[u8]>,
    rng: StdRng,
    /// How often senders are told that their packets are too big.
    replies: TokenBucket,
}

/// A packet in its slot, ready to be sent.
#[derive(Clone, Debug)]
struct Pending {
    slot: usize,
    packet: Range<usize>,
    tos: u8,
    inner_len: usize,
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
            slots: vec![0; SLOT * BATCH].into_boxed_slice(),
            scratch: vec![0; SLOT].into_boxed_slice(),
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

    /// Takes one batch from an interface. If there is more, epoll says so again, after the other
    /// tunnels had their turn.
    fn pump(&mut self, id: TunnelId) {
        let Some(tunnel) = self.polled.get(&id).map(Arc::clone) else {
            return;
        };
        let mut lens = [0; BATCH];
        let mut count = 0;
        for (slot, len) in self.slots.chunks_exact_mut(SLOT).zip(&mut lens) {
            let Some(space) = slot.get_mut(MAX_OVERHEAD..SLOT - MAX_OVERHEAD) else {
                break;
            };
            match tunnel.read(space) {
                Ok(read) => *len = read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.lose(&tunnel, &error);
                    break;
                }
            }
            count += 1;
        }
        let state = Arc::clone(self.reader.get());
        let lens = lens.get(..count).unwrap_or(&[]);
        match state.sas.outbound(id) {
            Some(sa) => self.send_all(&tunnel, sa, lens),
            None => lens
                .iter()
                .for_each(|_| tunnel.drops.count(DropReason::NoOutboundSa)),
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

    /// Seals and sends the packets at the beginning of the slots, in order.
    fn send_all(&mut self, tunnel: &Tunnel, sa: &OutboundEntry, lens: &[usize]) {
        let now = Instant::now();
        let stamp = self.clock.stamp(now);
        let mtu = sa.inner_mtu(tunnel.outer_mtu(stamp));
        let mut pending = Vec::with_capacity(lens.len());
        for (index, &len) in lens.iter().enumerate() {
            match self.seal_slot(tunnel, sa, index, len, mtu) {
                Ok(ready) => pending.push(ready),
                Err(DropReason::TooBig) => {
                    // What came before goes before.
                    self.flush(tunnel, sa, &mut pending, stamp);
                    self.send_too_big(tunnel, sa, (index, len), mtu, now);
                }
                Err(reason) => self.drop_packet(tunnel, sa, reason),
            }
        }
        self.flush(tunnel, sa, &mut pending, stamp);
    }

    fn seal_slot(
        &mut self,
        tunnel: &Tunnel,
        sa: &OutboundEntry,
        index: usize,
        len: usize,
        mtu: u16,
    ) -> Result<Pending, DropReason> {
        let slot = slot_mut(&mut self.slots, index).ok_or(DropReason::NoRoom)?;
        let space = slot
            .get_mut(MAX_OVERHEAD..MAX_OVERHEAD + len)
            .ok_or(DropReason::NoRoom)?;
        let inner = InnerPacket::parse(space)?;
        if inner.total_len > usize::from(mtu) {
            return Err(DropReason::TooBig);
        }
        if tunnel.spec.mss_clamp {
            clamp_mss(space, &inner, mtu);
        }
        let tos = outer_tos(&inner, tunnel.spec.copy_dscp);
        let payload = MAX_OVERHEAD..MAX_OVERHEAD + inner.total_len;
        let sealed = sa
            .sa
            .seal(slot, payload, inner.version.into(), &mut self.rng)?;
        if sealed.soft_limit {
            let spi = sa.sa.spi().0;
            sa.told
                .soft(&self.events, tunnel.spec.id, spi, Direction::Outbound);
        }
        Ok(Pending {
            slot: index,
            packet: sealed.packet,
            tos,
            inner_len: inner.total_len,
        })
    }

    fn drop_packet(&self, tunnel: &Tunnel, sa: &OutboundEntry, reason: DropReason) {
        tunnel.drops.count(reason);
        if matches!(
            reason,
            DropReason::LifetimeOver | DropReason::SequenceExhausted
        ) {
            let spi = sa.sa.spi().0;
            sa.told
                .hard(&self.events, tunnel.spec.id, spi, Direction::Outbound);
        }
    }

    /// A packet that does not fit goes in fragments if it may; else its sender is told (RFC 4301
    /// section 8.2).
    fn send_too_big(
        &mut self,
        tunnel: &Tunnel,
        sa: &OutboundEntry,
        (index, len): (usize, usize),
        mtu: u16,
        now: Instant,
    ) {
        // A copy: rare enough, and it keeps the slot for sealing.
        let packet = slot_mut(&mut self.slots, index)
            .and_then(|slot| slot.get(MAX_OVERHEAD..MAX_OVERHEAD + len))
            .unwrap_or_default()
            .to_vec();
        let Ok(inner) = InnerPacket::parse(&packet) else {
            return;
        };
        let mut pieces = 0;
        for fragment in fragments(&packet, &inner, mtu) {
            pieces += 1;
            let written = slot_mut(&mut self.slots, index)
                .and_then(|slot| slot.get_mut(MAX_OVERHEAD..))
                .and_then(|space| fragment.write(&packet, space));
            let Some(len) = written else { return };
            match self.seal_slot(tunnel, sa, index, len, mtu) {
                Ok(ready) => self.flush(tunnel, sa, &mut vec![ready], self.clock.stamp(now)),
                Err(reason) => self.drop_packet(tunnel, sa, reason),
            }
        }
        if pieces == 0 {
            tunnel.drops.count(DropReason::TooBig);
            if self.replies.take(now) {
                self.reply_too_big(tunnel, &packet, &inner, mtu);
            }
        }
    }

    fn reply_too_big(&mut self, tunnel: &Tunnel, packet: &[u8], inner: &InnerPacket, mtu: u16) {
        let Some(space) = self.scratch.get_mut(..MAX_TOO_BIG_LEN) else {
            return;
        };
        if let Some(len) = too_big(packet, inner, mtu, space) {
            // If the interface does not take it there is nobody to tell.
            let _ = tunnel.deliver(space.get(..len).unwrap_or(&[]));
        }
    }

    /// Sends what is pending, and counts it as sent or dropped.
    fn flush(
        &mut self,
        tunnel: &Tunnel,
        sa: &OutboundEntry,
        pending: &mut Vec<Pending>,
        now: Stamp,
    ) {
        let socket = match sa.path.encapsulation {
            Encapsulation::None => &self.sockets.esp,
            Encapsulation::Udp => &self.sockets.nat,
        };
        let slots = &self.slots;
        let outgoing: Vec<Outgoing<'_>> = pending
            .iter()
            .map(|ready| Outgoing {
                marker: &[],
                payload: slot(slots, ready.slot)
                    .and_then(|slot| slot.get(ready.packet.clone()))
                    .unwrap_or(&[]),
                source: sa.path.source(),
                destination: sa.path.remote,
                tos: ready.tos,
            })
            .collect();
        let mut path_refused = false;
        let mut rest = outgoing.as_slice();
        let mut lens = pending.iter().map(|ready| ready.inner_len);
        while !rest.is_empty() {
            let sent = send_patiently(socket.as_fd(), rest).unwrap_or_else(|cause| {
                let reason = drop_reason(&cause);
                path_refused |= reason == DropReason::PathMtu;
                tunnel.drops.count(reason);
                lens.next();
                rest = rest.get(1..).unwrap_or(&[]);
                0
            });
            lens.by_ref()
                .take(sent)
                .for_each(|len| tunnel.outbound.count(len, now));
            rest = rest.get(sent..).unwrap_or(&[]);
        }
        pending.clear();
        if path_refused {
            self.learn_path_mtu(tunnel, sa, now);
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

fn slot(slots: &[u8], index: usize) -> Option<&[u8]> {
    slots.get(index * SLOT..(index + 1) * SLOT)
}

fn slot_mut(slots: &mut [u8], index: usize) -> Option<&mut [u8]> {
    slots.get_mut(index * SLOT..(index + 1) * SLOT)
}

fn stop_polling(epoll: &Epoll, tunnel: &Tunnel) {
    // It fails only if it was not polled any more.
    let _ = epoll.delete(tunnel);
}

/// Sends, and if the socket's buffer is full waits once for room.
fn send_patiently(socket: BorrowedFd<'_>, batch: &[Outgoing<'_>]) -> io::Result<usize> {
    match datagrams::send(socket, batch) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            wait_writable(socket, MOST_WAIT);
            datagrams::send(socket, batch)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => datagrams::send(socket, batch),
        result => result,
    }
}

fn drop_reason(error: &io::Error) -> DropReason {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMSGSIZE) => DropReason::PathMtu,
        Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => DropReason::SendQueueFull,
        Some(
            Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::ENETDOWN
            | Errno::EADDRNOTAVAIL
            | Errno::EHOSTDOWN
            | Errno::EINVAL,
        ) => DropReason::Unreachable,
        Some(Errno::EPERM | Errno::EACCES) => DropReason::Refused,
        _ => DropReason::SendFailed,
    }
}
