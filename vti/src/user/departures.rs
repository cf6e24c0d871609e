//! Packets that are sealed and wait to be sent: one after the other in one buffer, those of equal length as trains that
//! the kernel takes as one datagram and cuts (`UDP_SEGMENT`).

use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use esp::{DropReason, Encapsulation};
use nix::errno::Errno;

use super::sockets::{Sockets, wait_writable};
use super::state::OutboundEntry;
use super::tunnel::{Stamp, Tunnel};
use crate::sys::datagrams::{self, BATCH, Outgoing};

/// What may wait, in bytes: a packet of the largest size with all of its overhead, and about as much again. Small, so that
/// it stays in the processor's cache.
const CAPACITY: usize = 256 << 10;

/// When enough waits to be worth a system call.
const ENOUGH: usize = 60 << 10;

/// The most segments of a train: `UDP_MAX_SEGMENTS` of the kernels before 6.6.
const MOST_SEGMENTS: usize = 64;

/// The longest datagram.
const MOST_BYTES: usize = 65_507;

/// How long the thread waits for a full socket; packets then wait in the interfaces' queues, which is where they should.
const MOST_WAIT: Duration = Duration::from_millis(20);

/// Packets of equal length, the last one possibly shorter, one after the other in the buffer.
#[derive(Clone, Debug)]
struct Train {
    range: Range<usize>,
    packet_len: usize,
    count: usize,
    tos: u8,
    inner_bytes: usize,
}

impl Train {
    /// Takes this packet as its next one, if it fits behind the others.
    fn append(&mut self, packet: &Range<usize>, tos: u8, inner_len: usize, most: usize) -> bool {
        let len = packet.end - packet.start;
        let is_whole = self.range.len() == self.count * self.packet_len;
        let fits = is_whole
            && self.tos == tos
            && len <= self.packet_len
            && self.count < most
            && self.range.len() + len <= MOST_BYTES
            && self.range.end == packet.start;
        if fits {
            self.range.end = packet.end;
            self.count += 1;
            self.inner_bytes += inner_len;
        }
        fits
    }
}

/// The buffer and the trains in it.
#[derive(Debug)]
pub(super) struct Departures {
    bytes: Box<[u8]>,
    used: usize,
    trains: Vec<Train>,
}

/// What was not sent because the path is known to be narrower.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathRefused(pub(super) bool);

impl Departures {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; CAPACITY].into_boxed_slice(),
            used: 0,
            trains: Vec::with_capacity(BATCH),
        }
    }

    /// Whether a packet of this length, with its overhead, may not fit any more.
    pub(super) const fn is_full_for(&self, len: usize) -> bool {
        CAPACITY - self.used < len
    }

    /// Whether it is time to send.
    pub(super) const fn is_enough(&self) -> bool {
        self.used >= ENOUGH
    }

    /// The buffer, and from where on it is free.
    pub(super) const fn space(&mut self) -> (&mut [u8], usize) {
        (&mut self.bytes, self.used)
    }

    /// Adds the packet that was put into the free space.
    pub(super) fn add(
        &mut self,
        packet: Range<usize>,
        tos: u8,
        inner_len: usize,
        sockets: &Sockets,
        encapsulation: Encapsulation,
    ) {
        let most = match encapsulation {
            Encapsulation::Udp if sockets.segments.load(Ordering::Relaxed) => MOST_SEGMENTS,
            _ => 1,
        };
        self.used = packet.end;
        let appended = self
            .trains
            .last_mut()
            .is_some_and(|train| train.append(&packet, tos, inner_len, most));
        if !appended {
            self.trains.push(Train {
                packet_len: packet.end - packet.start,
                range: packet,
                count: 1,
                tos,
                inner_bytes: inner_len,
            });
        }
    }

    /// Sends all that waits, and counts it as sent or dropped.
    pub(super) fn send(
        &mut self,
        sockets: &Sockets,
        tunnel: &Tunnel,
        sa: &OutboundEntry,
        now: Stamp,
    ) -> PathRefused {
        let mut sending = Sending {
            sockets,
            tunnel,
            sa,
            now,
            bytes: &self.bytes,
            refused: false,
        };
        sending.all(&self.trains);
        let refused = PathRefused(sending.refused);
        self.trains.clear();
        self.used = 0;
        refused
    }
}

/// One flush.
struct Sending<'a> {
    sockets: &'a Sockets,
    tunnel: &'a Tunnel,
    sa: &'a OutboundEntry,
    now: Stamp,
    bytes: &'a [u8],
    refused: bool,
}

impl Sending<'_> {
    fn all(&mut self, mut rest: &[Train]) {
        while let Some(first) = rest.first() {
            match self.some(rest) {
                Ok(sent) => {
                    for train in rest.get(..sent).unwrap_or(&[]) {
                        self.tunnel
                            .outbound
                            .count(train.count, train.inner_bytes, self.now);
                    }
                    rest = rest.get(sent.max(1)..).unwrap_or(&[]);
                }
                Err(cause) => {
                    self.failed(first, &cause);
                    rest = rest.get(1..).unwrap_or(&[]);
                }
            }
        }
    }

    /// Sends the first of these, and says how many. The error is that of the first one.
    fn some(&self, trains: &[Train]) -> io::Result<usize> {
        let mut outgoing = [Outgoing::to(self.sa.path.remote); BATCH];
        let parts = outgoing.iter_mut().zip(trains);
        let count = parts.len();
        for (to, train) in parts {
            *to = Outgoing {
                payload: self.bytes.get(train.range.clone()).unwrap_or(&[]),
                source: self.sa.path.source(),
                tos: train.tos,
                segment: (train.count > 1).then_some(train.packet_len as u16),
                ..*to
            };
        }
        self.patiently(outgoing.get(..count).unwrap_or(&[]))
    }

    /// Sends, and if the socket's buffer is full waits once for room.
    fn patiently(&self, batch: &[Outgoing<'_>]) -> io::Result<usize> {
        let socket = match self.sa.path.encapsulation {
            Encapsulation::None => self.sockets.esp.as_fd(),
            Encapsulation::Udp => self.sockets.nat.as_fd(),
        };
        match datagrams::send(socket, batch) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_writable(socket, MOST_WAIT);
                datagrams::send(socket, batch)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                datagrams::send(socket, batch)
            }
            result => result,
        }
    }

    fn failed(&mut self, train: &Train, cause: &io::Error) {
        let reason = drop_reason(cause);
        if train.count == 1 {
            self.refused |= reason == DropReason::PathMtu;
            self.tunnel.drops.count(reason);
            return;
        }
        match cause.raw_os_error().map(Errno::from_raw) {
            // The device cannot complete checksums, or IPsec of the kernel's is on the way: it never will. The way to the
            // peer may change, but slower is better than a failed call for each train.
            Some(Errno::EIO | Errno::EOPNOTSUPP) => {
                if self.sockets.segments.swap(false, Ordering::Relaxed) {
                    tracing::info!(
                        %cause,
                        "the kernel does not cut datagrams on the way to this peer: each packet is sent on its own"
                    );
                }
                self.one_by_one(train);
            }
            // A segment is larger than the path is known to carry: each one finds out, so that all are counted.
            Some(Errno::EINVAL | Errno::EMSGSIZE) => self.one_by_one(train),
            _ => {
                for _ in 0..train.count {
                    self.tunnel.drops.count(reason);
                }
            }
        }
    }

    fn one_by_one(&mut self, train: &Train) {
        // Equal outside, they may differ inside by some bytes of padding: the mean.
        let inner_bytes = train.inner_bytes / train.count;
        let singles: Vec<Train> = train
            .range
            .clone()
            .step_by(train.packet_len)
            .map(|start| Train {
                range: start..train.range.end.min(start + train.packet_len),
                packet_len: train.packet_len,
                count: 1,
                tos: train.tos,
                inner_bytes,
            })
            .collect();
        self.all(&singles);
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
