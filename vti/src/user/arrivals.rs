//! Decrypted packets on their way to the host: those of one flow that follow each other are handed over as one.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use esp::{Coalesced, DropReason, Flow, InnerPacket, Mergeable, Transport};

use super::offloads::TunOffload;
use super::tunnel::{Stamp, Tunnel};
use super::vnet::Vnet;

/// The flows that are collected at the same time. One more lets go of the oldest.
const MOST_FLOWS: usize = 16;

/// The packets that are handed over as one: as many as a train of datagrams has.
const MOST_PACKETS: usize = 64;

/// What a flow has collected.
#[derive(Debug)]
struct Run {
    tunnel: Arc<Tunnel>,
    flow: Flow,
    whole: Coalesced,
    /// Where the payloads are, in the buffer of received datagrams.
    payloads: Vec<Range<usize>>,
}

/// What waits for the end of a batch of received datagrams.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    runs: Vec<Run>,
    /// Emptied, for the next run.
    spare: Vec<Vec<Range<usize>>>,
}

impl Arrivals {
    /// Takes the packet at `at` in the buffer: hands it over now, or keeps it until more of its flow has come or
    /// [`Self::finish`] is called. The bytes must stay as they are until then.
    pub(super) fn take(
        &mut self,
        buffer: &[u8],
        at: Range<usize>,
        inner: &InnerPacket,
        tunnel: &Arc<Tunnel>,
        now: Stamp,
    ) {
        let Some(packet) = buffer.get(at.clone()) else {
            return tunnel.drops.count(DropReason::NoRoom);
        };
        if tunnel.offload < TunOffload::Tcp {
            return deliver_single(tunnel, packet, now);
        }
        let Some(flow) = Flow::of(packet, inner) else {
            // It may belong to any of them, and the order within a flow is kept.
            self.finish(buffer, now);
            return deliver_single(tunnel, packet, now);
        };
        let part = Mergeable::of(packet, inner)
            .filter(|part| may_merge(part, tunnel.offload))
            .map(|part| {
                let payload = part.payload();
                (part, at.start + payload.start..at.start + payload.end)
            });
        let index = self
            .runs
            .iter()
            .position(|run| Arc::ptr_eq(&run.tunnel, tunnel) && run.flow == flow);
        if let Some(index) = index {
            if let Some((part, payload)) = &part
                && let Some(run) = self.runs.get_mut(index)
                && run.whole.append(part)
            {
                run.payloads.push(payload.clone());
                if run.is_complete() {
                    self.hand_over(index, buffer, now);
                }
                return;
            }
            self.hand_over(index, buffer, now);
        }
        match part {
            Some((part, payload)) => self.start(tunnel, flow, part, payload, buffer, now),
            None => deliver_single(tunnel, packet, now),
        }
    }

    /// Hands over all that waits, oldest first.
    pub(super) fn finish(&mut self, buffer: &[u8], now: Stamp) {
        while !self.runs.is_empty() {
            self.hand_over(0, buffer, now);
        }
    }

    fn start(
        &mut self,
        tunnel: &Arc<Tunnel>,
        flow: Flow,
        part: Mergeable,
        payload: Range<usize>,
        buffer: &[u8],
        now: Stamp,
    ) {
        if self.runs.len() >= MOST_FLOWS {
            self.hand_over(0, buffer, now);
        }
        let mut payloads = self.spare.pop().unwrap_or_default();
        payloads.push(payload);
        let run = Run {
            tunnel: Arc::clone(tunnel),
            flow,
            whole: Coalesced::starting(part),
            payloads,
        };
        let complete = run.is_complete();
        self.runs.push(run);
        if complete {
            self.hand_over(self.runs.len() - 1, buffer, now);
        }
    }

    fn hand_over(&mut self, index: usize, buffer: &[u8], now: Stamp) {
        let mut run = self.runs.remove(index);
        let headers = run.whole.headers();
        let vnet = Vnet::before(&headers);
        let mut parts = [IoSlice::new(&[]); 2 + MOST_PACKETS];
        let pieces = [&vnet[..], headers.bytes()].into_iter().chain(
            run.payloads
                .iter()
                .map(|payload| buffer.get(payload.clone()).unwrap_or(&[])),
        );
        let mut used = 0;
        for (to, piece) in parts.iter_mut().zip(pieces) {
            *to = IoSlice::new(piece);
            used += 1;
        }
        let (count, len) = (run.whole.count(), run.whole.total_len());
        match run.tunnel.deliver_parts(parts.get(..used).unwrap_or(&[])) {
            // All that the packets had when they arrived one by one.
            Ok(()) => {
                run.tunnel
                    .inbound
                    .count(count, len + (count - 1) * headers.bytes().len(), now)
            }
            Err(reason) => (0..count).for_each(|_| run.tunnel.drops.count(reason)),
        }
        run.payloads.clear();
        self.spare.push(run.payloads);
    }
}

impl Run {
    const fn is_complete(&self) -> bool {
        self.whole.is_complete() || self.whole.count() >= MOST_PACKETS
    }
}

/// Whether the interface takes packets of this kind as one. A kernel that cannot cut UDP cannot be given it either.
fn may_merge(part: &Mergeable, offload: TunOffload) -> bool {
    part.transport() == Transport::Tcp || offload >= TunOffload::TcpAndUdp
}

fn deliver_single(tunnel: &Tunnel, packet: &[u8], now: Stamp) {
    match tunnel.deliver(packet) {
        Ok(()) => tunnel.inbound.count(1, packet.len(), now),
        Err(reason) => tunnel.drops.count(reason),
    }
}
