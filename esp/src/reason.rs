//! Why packets are dropped: one counter each, because a dropped packet is not an error.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)+) => {
        /// Why a packet was dropped. Each reason is a counter ([`DropCounters`]) and a label in
        /// metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $name,)+
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// A stable name for metrics and JSON.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }
        }
    };
}

reasons! {
    /// Inbound: too short to be ESP, or not a whole number of cipher blocks.
    Truncated = "truncated",
    /// Inbound: no SA has this SPI.
    UnknownSpi = "unknown_spi",
    /// Inbound: the sequence number was seen before (RFC 4303 section 3.4.3).
    Replayed = "replayed",
    /// Inbound: the sequence number is left of the replay window.
    TooOld = "too_old",
    /// Inbound: the ICV does not verify.
    Authentication = "authentication",
    /// Inbound: the padding is not 1, 2, 3 … (RFC 4303 section 2.4).
    Padding = "padding",
    /// Inbound: the next header is neither IPv4, IPv6 nor "no next header".
    NextHeader = "next_header",
    /// Inbound: a dummy packet for traffic flow confidentiality (RFC 4303 section 2.6): no fault.
    Dummy = "dummy",
    /// Inbound: the outer header says "congestion experienced", the inner packet cannot (RFC 6040
    /// section 4.2).
    CongestionMark = "congestion_mark",
    /// Either way: the inner packet is not IP, or its version is not what was announced.
    InnerVersion = "inner_version",
    /// Either way: the lengths in the inner header do not fit the packet.
    InnerLength = "inner_length",
    /// Either way: the SA has carried all the packets or bytes that it may.
    LifetimeOver = "lifetime_over",
    /// Outbound: the tunnel has no SA to send on.
    NoOutboundSa = "no_outbound_sa",
    /// Outbound: without ESN, 2^32 - 1 packets are all there is (RFC 4303 section 3.3.3).
    SequenceExhausted = "sequence_exhausted",
    /// Outbound: larger than the tunnel's MTU and not to be fragmented; the sender was told if
    /// possible.
    TooBig = "too_big",
    /// Outbound: the outer packet was larger than what the path is known to carry.
    PathMtu = "path_mtu",
    /// Either way: the buffer has no room. A fault of the caller.
    NoRoom = "no_room",
    /// Outbound: the socket's buffer or the device's queue is full.
    SendQueueFull = "send_queue_full",
    /// Outbound: there is no route to the peer, or its link is down.
    Unreachable = "unreachable",
    /// Outbound: the host's own firewall refused the packet.
    Refused = "refused",
    /// Outbound: the kernel refused to send for another reason.
    SendFailed = "send_failed",
    /// Inbound: the tunnel interface is down or its queue is full.
    InterfaceDown = "interface_down",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

const COUNT: usize = DropReason::ALL.len();

/// One counter per [`DropReason`], for several threads.
#[derive(Debug)]
pub struct DropCounters([AtomicU64; COUNT]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNT])
    }
}

impl DropCounters {
    /// Counts one packet.
    pub fn count(&self, reason: DropReason) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn snapshot(&self) -> DropCounts {
        let mut counts = DropCounts::default();
        for (to, from) in counts.0.iter_mut().zip(&self.0) {
            *to = from.load(Ordering::Relaxed);
        }
        counts
    }
}

/// The values of [`DropCounters`] at one moment.
#[derive(Clone, PartialEq, Eq)]
pub struct DropCounts([u64; COUNT]);

impl fmt::Debug for DropCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Default for DropCounts {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl DropCounts {
    /// How many packets were dropped for this reason.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// Adds packets that somebody else has counted.
    pub fn add(&mut self, reason: DropReason, packets: u64) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count = count.saturating_add(packets);
        }
    }

    /// The reasons that have occurred, with their counts, in the order of [`DropReason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .copied()
            .zip(self.0)
            .filter(|&(_, count)| count > 0)
    }

    /// All dropped packets; dummy packets are no loss and do not count.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter()
            .filter(|(reason, _)| *reason != DropReason::Dummy)
            .map(|(_, count)| count)
            .sum()
    }
}
