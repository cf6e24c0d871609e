//! Segmentation before encryption: what the kernel leaves undone on the packets that it hands to a tunnel (TSO, USO and
//! checksum offload) is done here.
//!
//! A local sender, or a forwarded flow that the kernel has merged, arrives as one packet of up to 64 KiB with the
//! headers of the first segment. [`Segments`] writes the packets that it stands for, as a network card would.

use crate::{DropReason, InnerPacket, IpVersion, checksum};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const TCP_HEADER_LEN: usize = 20;
pub(crate) const UDP_HEADER_LEN: usize = 8;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const CWR: u8 = 0x80;

/// The transport protocol of a packet that stands for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A run of one connection's bytes (TCP segmentation offload).
    Tcp,
    /// Datagrams of one flow, equally long but the last (UDP segmentation offload).
    Udp,
}

/// That a packet stands for several, and how they are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// The transport protocol.
    pub transport: Transport,
    /// The payload of each segment but the last, in bytes.
    pub size: u16,
}

/// The segments that a packet stands for.
#[derive(Clone, Debug)]
pub struct Segments {
    inner: InnerPacket,
    gso: Gso,
    /// Where the transport header begins.
    transport_at: usize,
    /// All headers.
    headers_len: usize,
    payload_len: usize,
    /// The sum of the pseudo-header without the length (RFC 9293 section 3.1, RFC 8200 section 8.1).
    pseudo: u32,
}

impl Segments {
    /// The segments of `packet`. Its own lengths and checksums are not used, but for the length of the IP packet.
    ///
    /// # Errors
    /// [`DropReason::InnerVersion`] or [`DropReason::InnerLength`] if the headers are not those of a packet that can be
    /// cut so: another transport protocol, a fragment, a segment size of 0.
    pub fn of(packet: &[u8], gso: Gso) -> Result<Self, DropReason> {
        let inner = InnerPacket::parse(packet)?;
        Self::plan(packet, inner, gso).ok_or(DropReason::InnerLength)
    }

    fn plan(packet: &[u8], inner: InnerPacket, gso: Gso) -> Option<Self> {
        let (protocol, transport_at) = inner.transport(packet)?;
        let header = packet.get(transport_at..inner.total_len)?;
        let transport_len = match (gso.transport, protocol) {
            (Transport::Tcp, TCP) => usize::from(*header.get(12)? >> 4) * 4,
            (Transport::Udp, UDP) => UDP_HEADER_LEN,
            _ => return None,
        };
        let least = match gso.transport {
            Transport::Tcp => TCP_HEADER_LEN,
            Transport::Udp => UDP_HEADER_LEN,
        };
        if gso.size == 0 || transport_len < least || is_fragment(packet, &inner) {
            return None;
        }
        Some(Self {
            inner,
            gso,
            transport_at,
            headers_len: transport_at + transport_len,
            payload_len: header.len().checked_sub(transport_len)?,
            pseudo: pseudo_header(packet, &inner, protocol)?,
        })
    }

    /// What the packet's IP header says. The total length is that of the whole.
    #[must_use]
    pub const fn inner(&self) -> &InnerPacket {
        &self.inner
    }

    /// How many segments there are: one at least.
    #[must_use]
    pub fn count(&self) -> usize {
        self.payload_len.div_ceil(self.size()).max(1)
    }

    /// The length of the longest segment, headers included, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.headers_len + self.payload_len.min(self.size())
    }

    fn size(&self) -> usize {
        usize::from(self.gso.size)
    }

    /// Writes one segment of `packet`, the one that this was made of, and returns its length. `None` if there is no such
    /// segment or if it does not fit.
    #[must_use]
    pub fn write(&self, packet: &[u8], index: usize, to: &mut [u8]) -> Option<usize> {
        let start = index.checked_mul(self.size())?;
        let end = self.payload_len.min(start + self.size());
        let last = end == self.payload_len;
        if index >= self.count() {
            return None;
        }
        let payload = packet.get(self.headers_len + start..self.headers_len + end)?;
        let len = self.headers_len + payload.len();
        let (headers, body) = to.get_mut(..len)?.split_at_mut_checked(self.headers_len)?;
        headers.copy_from_slice(packet.get(..self.headers_len)?);
        body.copy_from_slice(payload);
        let (network, transport) = headers.split_at_mut_checked(self.transport_at)?;
        self.write_network(network, index, len)?;
        self.write_transport(transport, body, (start, last))?;
        Some(len)
    }

    /// Length, identification and checksum of the IP header.
    fn write_network(&self, header: &mut [u8], index: usize, len: usize) -> Option<()> {
        match self.inner.version {
            IpVersion::V4 => {
                let id = header.get_mut(4..6)?.first_chunk_mut()?;
                // As the kernel does: the numbers count up from the first one's.
                *id = u16::from_be_bytes(*id)
                    .wrapping_add(index as u16)
                    .to_be_bytes();
                put(header, 2, u16::try_from(len).ok()?)?;
                let header = header.get_mut(..self.inner.header_len)?;
                put(header, 10, 0)?;
                let sum = checksum::finish(checksum::add(0, header));
                header.get_mut(10..12)?.copy_from_slice(&sum);
            }
            IpVersion::V6 => {
                let payload = len.checked_sub(self.inner.header_len)?;
                put(header, 4, u16::try_from(payload).ok()?)?;
            }
        }
        Some(())
    }

    /// What differs between segments in the TCP or UDP header, and its checksum.
    fn write_transport(
        &self,
        header: &mut [u8],
        payload: &[u8],
        (start, last): (usize, bool),
    ) -> Option<()> {
        let len = u16::try_from(header.len() + payload.len()).ok()?;
        let checksum_at = match self.gso.transport {
            Transport::Tcp => {
                let sequence = header.get_mut(4..8)?.first_chunk_mut()?;
                *sequence = u32::from_be_bytes(*sequence)
                    .wrapping_add(start as u32)
                    .to_be_bytes();
                let flags = header.get_mut(13)?;
                // Congestion window reduced is said once, with the first; the rest belongs to the end of the run.
                *flags &= if start > 0 { !CWR } else { !0 };
                *flags &= if last { !0 } else { !(FIN | PSH) };
                16
            }
            Transport::Udp => {
                put(header, 4, len)?;
                6
            }
        };
        put(header, checksum_at, 0)?;
        let sum = checksum::add(self.pseudo + u32::from(len), header);
        let sum = checksum::add(sum, payload);
        put_checksum(header, checksum_at, sum, self.gso.transport)
    }
}

/// Completes a checksum that the kernel has left to the device: the field at `start + offset` holds the pseudo-header's
/// sum, and the bytes from `start` to the packet's end are still to be added.
///
/// # Errors
/// [`DropReason::InnerLength`] if the field is outside the packet.
pub fn complete_checksum(packet: &mut [u8], start: usize, offset: usize) -> Result<(), DropReason> {
    let covered = packet.get_mut(start..).ok_or(DropReason::InnerLength)?;
    let sum = checksum::add(0, covered);
    // The offset of UDP's checksum, of the usual protocols no other one's.
    let transport = if offset == 6 {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    put_checksum(covered, offset, sum, transport).ok_or(DropReason::InnerLength)
}

/// Whether the TCP or UDP checksum of `segment`, which is the IP packet's payload, is right.
pub(crate) fn is_intact(pseudo: u32, segment: &[u8]) -> bool {
    let len = segment.len() as u32;
    checksum::finish(checksum::add(pseudo + len, segment)) == [0, 0]
}

/// The sum of the pseudo-header, without the length.
pub(crate) fn pseudo_header(packet: &[u8], inner: &InnerPacket, protocol: u8) -> Option<u32> {
    let addresses = match inner.version {
        IpVersion::V4 => packet.get(12..20)?,
        IpVersion::V6 => packet.get(8..40)?,
    };
    Some(checksum::add(u32::from(protocol), addresses))
}

/// Whether an IPv4 packet is a fragment, the first one included. IPv6 fragments have no transport header that is found.
pub(crate) fn is_fragment(packet: &[u8], inner: &InnerPacket) -> bool {
    const MORE_OR_OFFSET: u16 = 0x3fff;
    inner.version == IpVersion::V4
        && packet
            .get(6..)
            .and_then(|rest| rest.first_chunk())
            .is_none_or(|field| u16::from_be_bytes(*field) & MORE_OR_OFFSET != 0)
}

fn put(header: &mut [u8], at: usize, value: u16) -> Option<()> {
    header
        .get_mut(at..at + 2)?
        .copy_from_slice(&value.to_be_bytes());
    Some(())
}

/// UDP says "no checksum" with 0, so a sum of 0 is sent as its other representation (RFC 768).
fn put_checksum(header: &mut [u8], at: usize, sum: u32, transport: Transport) -> Option<()> {
    let sum = match (transport, checksum::finish(sum)) {
        (Transport::Udp, [0, 0]) => [0xff, 0xff],
        (_, sum) => sum,
    };
    header.get_mut(at..at + 2)?.copy_from_slice(&sum);
    Some(())
}
