//! The shape of an ESP packet (RFC 4303 section 2): where each field lies, for each suite.
//!
//! ```text
//! SPI (4) | sequence number (4) | IV | payload | padding | pad length (1) | next header (1) | ICV
//!                                    '------------------- encrypted -------------------'
//! ```

use std::fmt;

use crypto::Suite;

use crate::{DropReason, IpVersion};

/// The length of SPI and sequence number, in bytes.
pub const HEADER_LEN: usize = 8;

/// The most bytes that any suite adds in front of the payload, and behind it. A buffer with this
/// much room on both sides of the payload can be sealed in place whatever was negotiated.
pub const MAX_OVERHEAD: usize = 64;

/// Pad length and next header, in bytes.
pub(crate) const TRAILER_LEN: usize = 2;

/// A Security Parameters Index (RFC 4303 section 2.1), printed as eight hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(pub u32);

impl Spi {
    /// The SPI of an ESP packet, if the packet is long enough to have one.
    #[must_use]
    pub fn of_packet(packet: &[u8]) -> Option<Self> {
        packet
            .first_chunk()
            .map(|bytes| Self(u32::from_be_bytes(*bytes)))
    }

    /// Whether an SA may have it: 0 never appears on the wire, 1 to 255 are reserved by IANA.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        self.0 > 255
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi({self})")
    }
}

/// What the trailer says that the payload is (IANA protocol numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHeader {
    /// An IPv4 packet: 4.
    Ipv4,
    /// An IPv6 packet: 41.
    Ipv6,
    /// Nothing: 59, a dummy packet (RFC 4303 section 2.6).
    None,
}

impl NextHeader {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 4,
            Self::Ipv6 => 41,
            Self::None => 59,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Result<Self, DropReason> {
        match number {
            4 => Ok(Self::Ipv4),
            41 => Ok(Self::Ipv6),
            59 => Ok(Self::None),
            _ => Err(DropReason::NextHeader),
        }
    }
}

impl From<IpVersion> for NextHeader {
    fn from(version: IpVersion) -> Self {
        match version {
            IpVersion::V4 => Self::Ipv4,
            IpVersion::V6 => Self::Ipv6,
        }
    }
}

/// The lengths that a suite gives to the parts of a packet, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The initialisation vector.
    pub iv_len: usize,
    /// The integrity check value.
    pub icv_len: usize,
    /// What the encrypted part is a multiple of: the cipher's block, and never less than 4 because
    /// the ICV is aligned (RFC 4303 section 2.4).
    pub alignment: usize,
    /// What an arriving encrypted part must be a multiple of: the cipher's block alone.
    pub block_len: usize,
}

impl Layout {
    /// The layout of packets of this suite.
    #[must_use]
    pub fn of(suite: Suite) -> Self {
        Self {
            iv_len: suite.iv_len(),
            icv_len: suite.icv_len(),
            alignment: suite.block_len().max(4),
            block_len: suite.block_len(),
        }
    }

    /// What stands in front of the payload: SPI, sequence number and IV.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.iv_len
    }

    /// The padding that a payload needs, without the two bytes of the trailer.
    #[must_use]
    pub const fn pad_len(&self, payload_len: usize) -> usize {
        (payload_len + TRAILER_LEN).next_multiple_of(self.alignment) - payload_len - TRAILER_LEN
    }

    /// The length of the whole ESP packet that carries a payload of this length.
    #[must_use]
    pub const fn sealed_len(&self, payload_len: usize) -> usize {
        self.header_len() + payload_len + self.pad_len(payload_len) + TRAILER_LEN + self.icv_len
    }
}

/// The additional authenticated data of a packet, and what the MAC covers behind the ciphertext.
///
/// AEAD suites authenticate SPI, then the sequence number in full (RFC 4106 section 5); suites with
/// a separate MAC authenticate the header as sent, with the high half of an extended number behind
/// the ciphertext, though it is not sent (RFC 4303 section 2.2.1).
pub(crate) struct Associated {
    bytes: [u8; 12],
    aad_len: usize,
    tail: [u8; 4],
    tail_len: usize,
}

impl Associated {
    pub(crate) fn new(spi: Spi, sequence: u64, esn: bool, aead: bool) -> Self {
        let spi = spi.0.to_be_bytes();
        let full = sequence.to_be_bytes();
        let [h0, h1, h2, h3, l0, l1, l2, l3] = full;
        let [s0, s1, s2, s3] = spi;
        if esn && aead {
            Self {
                bytes: [s0, s1, s2, s3, h0, h1, h2, h3, l0, l1, l2, l3],
                aad_len: 12,
                tail: [0; 4],
                tail_len: 0,
            }
        } else {
            Self {
                bytes: [s0, s1, s2, s3, l0, l1, l2, l3, 0, 0, 0, 0],
                aad_len: 8,
                tail: [h0, h1, h2, h3],
                tail_len: if esn { 4 } else { 0 },
            }
        }
    }

    pub(crate) fn aad(&self) -> &[u8] {
        self.bytes.get(..self.aad_len).unwrap_or(&[])
    }

    pub(crate) fn tail(&self) -> &[u8] {
        self.tail.get(..self.tail_len).unwrap_or(&[])
    }
}

/// The four parts of a packet as the cipher wants them.
pub(crate) struct Parts<'a> {
    pub(crate) header: &'a mut [u8; HEADER_LEN],
    pub(crate) iv: &'a mut [u8],
    pub(crate) body: &'a mut [u8],
    pub(crate) icv: &'a mut [u8],
}

impl<'a> Parts<'a> {
    /// Takes a packet apart; `None` if it is shorter than header, IV, trailer and ICV.
    pub(crate) fn split(packet: &'a mut [u8], layout: &Layout) -> Option<Self> {
        let (header, rest) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
        let (iv, rest) = rest.split_at_mut_checked(layout.iv_len)?;
        let body_len = rest.len().checked_sub(layout.icv_len)?;
        let (body, icv) = rest.split_at_mut_checked(body_len)?;
        (body.len() >= TRAILER_LEN).then_some(Self {
            header,
            iv,
            body,
            icv,
        })
    }
}
