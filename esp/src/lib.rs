//! IP Encapsulating Security Payload in tunnel mode (RFC 4303): the packet hot path, and nothing
//! else.
//!
//! The crate turns inner IP packets into ESP packets and back, in the caller's buffers, without an
//! allocation per packet. What it holds:
//!
//! - [`OutboundSa`] and [`InboundSa`]: one security association each, usable from several threads
//!   by shared reference; sequence numbers (with ESN), anti-replay, lifetimes;
//! - [`SaTable`] in a [`Published`] snapshot: which SA a packet belongs to, readable without
//!   blocking;
//! - what a tunnel's end point owes to the packets it carries: [`InnerPacket`] checks, MSS
//!   clamping, "packet too big" replies, fragmentation before encryption, ECN (RFC 6040), MTU
//!   arithmetic;
//! - [`Datagram`]: what a datagram on UDP port 4500 is (RFC 3948).
//!
//! What it is not: it opens no socket, reads no clock (`now` is an argument where time matters),
//! has no source of randomness of its own and negotiates nothing. `ike` makes the keys, `vti` moves
//! the bytes.
//!
//! A packet that cannot be handled is not an error but a [`DropReason`], which is a counter.

mod checksum;
mod coalesce;
mod ecn;
mod fragment;
mod inner;
mod lifetime;
mod mss;
mod mtu;
mod open;
mod packet;
mod publish;
mod rate;
mod reason;
mod replay;
mod seal;
mod segment;
mod table;
#[cfg(test)]
mod tests;
mod too_big;
mod udp;

pub use coalesce::{Coalesced, Flow, Headers, Mergeable};
pub use ecn::{decapsulate_ecn, outer_tos};
pub use fragment::{Fragment, fragments};
pub use inner::{InnerPacket, IpVersion};
pub use lifetime::{Limits, Usage};
pub use mss::clamp_mss;
pub use mtu::{Encapsulation, tunnel_mtu};
pub use open::{InboundSa, Opened};
pub use packet::{HEADER_LEN, Layout, MAX_OVERHEAD, NextHeader, Spi};
pub use publish::{Published, Reader};
pub use rate::TokenBucket;
pub use reason::{DropCounters, DropCounts, DropReason};
pub use replay::ReplayWindow;
pub use seal::{OutboundSa, Sealed};
pub use segment::{Gso, Segments, Transport, complete_checksum};
pub use table::SaTable;
pub use too_big::{MAX_TOO_BIG_LEN, too_big};
pub use udp::{Datagram, KEEPALIVE, NON_ESP_MARKER};

/// The keys, suite and limits of one security association, in either direction.
#[derive(Clone, Debug)]
pub struct SaParameters {
    /// The SPI that stands in the packets.
    pub spi: Spi,
    /// The encryption and integrity algorithms.
    pub suite: crypto::Suite,
    /// The encryption key, followed by the salt for the suites that have one (RFC 4106 section 8.1,
    /// RFC 7634 section 4).
    pub keymat: crypto::Secret,
    /// The integrity key; empty for AEAD suites.
    pub integrity: crypto::Secret,
    /// Whether extended (64-bit) sequence numbers were negotiated.
    pub esn: bool,
    /// When the SA asks for its successor, and when it stops.
    pub limits: Limits,
}

/// Why a security association could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The keys do not fit the suite.
    #[error("the keys of SA {spi} do not fit {suite}: {cause}")]
    Keys {
        /// The SA that they were meant for.
        spi: Spi,
        /// The suite that they were meant for.
        suite: crypto::Suite,
        /// What the cryptography library says.
        cause: crypto::Error,
    },
    /// SPIs 0 to 255 are reserved (RFC 4303 section 2.1).
    #[error("SPI {spi} is reserved: 0x00000100 is the first one that an SA can have")]
    ReservedSpi {
        /// The SPI that was given.
        spi: Spi,
    },
}
