//! Lifetimes by packets and bytes (RFC 4301 section 4.4.2.1). Lifetimes by time belong to whoever
//! has the clock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::DropReason;

/// What an SA may carry. `None` is no limit.
///
/// A soft limit asks for a successor, a hard one ends the SA. Bytes are those of the inner packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Packets after which a successor is wanted.
    pub soft_packets: Option<u64>,
    /// Packets after which nothing passes.
    pub hard_packets: Option<u64>,
    /// Bytes after which a successor is wanted.
    pub soft_bytes: Option<u64>,
    /// Bytes after which nothing passes.
    pub hard_bytes: Option<u64>,
}

impl Limits {
    /// The packets that 32-bit sequence numbers allow: 0 is not used and the numbers never cycle
    /// (RFC 4303 section 3.3.3).
    const WITHOUT_ESN: u64 = u32::MAX as u64;

    /// These limits, and for an SA without ESN those that its sequence numbers set: hard at the
    /// last number, soft at seven eighths of them, which leaves a gigabit link of small packets
    /// several minutes.
    #[must_use]
    pub fn within_sequence_space(self, esn: bool) -> Self {
        if esn {
            return self;
        }
        let at_most = |limit: Option<u64>, most: u64| Some(limit.map_or(most, |l| l.min(most)));
        Self {
            soft_packets: at_most(self.soft_packets, Self::WITHOUT_ESN / 8 * 7),
            hard_packets: at_most(self.hard_packets, Self::WITHOUT_ESN),
            ..self
        }
    }
}

/// What an SA has carried so far, and what it may.
#[derive(Debug)]
pub struct Usage {
    limits: Limits,
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Usage {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// The packets carried.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// The bytes of inner packets carried.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the SA wants a successor.
    #[must_use]
    pub fn soft_limit_reached(&self) -> bool {
        reached(self.packets(), self.limits.soft_packets)
            || reached(self.bytes(), self.limits.soft_bytes)
    }

    /// Whether the SA is used up.
    #[must_use]
    pub fn hard_limit_reached(&self) -> bool {
        reached(self.packets(), self.limits.hard_packets)
            || reached(self.bytes(), self.limits.hard_bytes)
    }

    pub(crate) fn permit(&self) -> Result<(), DropReason> {
        if self.hard_limit_reached() {
            Err(DropReason::LifetimeOver)
        } else {
            Ok(())
        }
    }

    pub(crate) fn charge(&self, bytes: usize) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn reached(value: u64, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| value >= limit)
}
