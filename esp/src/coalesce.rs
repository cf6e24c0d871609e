//! Coalescing after decryption (GRO): packets of one flow that arrive one after the other are handed to the host as one,
//! so that its stack works once for all of them.
//!
//! Only what [`Segments`](crate::Segments) would cut into exactly these packets again is merged: the same flow, and
//! nothing in the headers differs but what cutting changes. (The identification of an IPv4 packet with DF may be lost; it
//! means nothing, RFC 6864 section 4.1.) A packet whose transport checksum is wrong is left alone: its receiver has to
//! see that.

use std::ops::Range;

use crate::segment::{
    PSH, TCP, TCP_HEADER_LEN, UDP, UDP_HEADER_LEN, is_fragment, is_intact, pseudo_header,
};
use crate::{Gso, InnerPacket, IpVersion, Transport};

/// The longest headers that are merged: IPv6, and TCP with all the options that fit.
const MAX_HEADERS: usize = 40 + 60;

/// The longest packet that IP can tell the length of.
const MAX_PACKET: usize = 65_535;

const ACK: u8 = 0x10;
const ECE: u8 = 0x40;
/// Reserved, DF, MF.
const DONT_FRAGMENT: u8 = 0x40;

/// Which flow a packet belongs to: protocol, addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    version: IpVersion,
    protocol: u8,
    addresses: [u8; 32],
    ports: [u8; 4],
}

impl Flow {
    /// The flow of a TCP segment or UDP datagram; `None` for anything else, and for fragments.
    #[must_use]
    pub fn of(packet: &[u8], inner: &InnerPacket) -> Option<Self> {
        let (protocol @ (TCP | UDP), at) = inner.transport(packet)? else {
            return None;
        };
        if is_fragment(packet, inner) {
            return None;
        }
        let source = match inner.version {
            IpVersion::V4 => packet.get(12..20)?,
            IpVersion::V6 => packet.get(8..40)?,
        };
        let mut addresses = [0; 32];
        addresses.get_mut(..source.len())?.copy_from_slice(source);
        Some(Self {
            version: inner.version,
            protocol,
            addresses,
            ports: *packet.get(at..)?.first_chunk()?,
        })
    }
}

/// A packet that may be merged with others of its flow: well formed, with data, a right checksum, and nothing special in
/// its headers.
#[derive(Clone, Debug)]
pub struct Mergeable {
    headers: [u8; MAX_HEADERS],
    headers_len: usize,
    transport_at: usize,
    transport: Transport,
    payload_len: usize,
    pseudo: u32,
}

impl Mergeable {
    /// `packet` as a part of something larger, if it may be one.
    #[must_use]
    pub fn of(packet: &[u8], inner: &InnerPacket) -> Option<Self> {
        let packet = packet.get(..inner.total_len)?;
        let plain = match inner.version {
            // No options, no reserved flag, not a fragment.
            IpVersion::V4 => {
                inner.header_len == 20 && matches!(packet.get(6..8)?, [0 | DONT_FRAGMENT, 0])
            }
            // No extension headers.
            IpVersion::V6 => matches!(inner.protocol, TCP | UDP),
        };
        let segment = packet.get(inner.header_len..)?;
        let (transport, transport_len) = match inner.protocol {
            TCP if is_plain_data(segment) => {
                (Transport::Tcp, usize::from(*segment.get(12)? >> 4) * 4)
            }
            UDP if is_plain_datagram(segment) => (Transport::Udp, UDP_HEADER_LEN),
            _ => return None,
        };
        let headers_len = inner.header_len + transport_len;
        let payload_len = packet.len().checked_sub(headers_len)?;
        if !plain || payload_len == 0 {
            return None;
        }
        let mut headers = [0; MAX_HEADERS];
        headers
            .get_mut(..headers_len)?
            .copy_from_slice(packet.get(..headers_len)?);
        let pseudo = pseudo_header(packet, inner, inner.protocol)?;
        is_intact(pseudo, segment).then_some(Self {
            headers,
            headers_len,
            transport_at: inner.header_len,
            transport,
            payload_len,
            pseudo,
        })
    }

    /// Its transport protocol.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Where the payload lies in the packet.
    #[must_use]
    pub const fn payload(&self) -> Range<usize> {
        self.headers_len..self.headers_len + self.payload_len
    }

    fn network(&self) -> &[u8] {
        self.headers.get(..self.transport_at).unwrap_or(&[])
    }

    fn transport_header(&self) -> &[u8] {
        self.headers
            .get(self.transport_at..self.headers_len)
            .unwrap_or(&[])
    }

    fn id(&self) -> u16 {
        be16(self.network(), 4)
    }

    fn sequence(&self) -> u32 {
        u32::from(be16(self.transport_header(), 4)) << 16
            | u32::from(be16(self.transport_header(), 6))
    }

    fn is_pushed(&self) -> bool {
        self.transport == Transport::Tcp
            && self
                .transport_header()
                .get(13)
                .is_some_and(|flags| flags & PSH != 0)
    }
}

/// A TCP segment that does nothing but carry data: ACK and perhaps PSH or ECE, and no urgent data.
fn is_plain_data(segment: &[u8]) -> bool {
    let Some([.., offset, flags, _, _, _, _, urgent0, urgent1]) =
        segment.first_chunk::<TCP_HEADER_LEN>()
    else {
        return false;
    };
    usize::from(offset >> 4) * 4 >= TCP_HEADER_LEN
        && flags & ACK != 0
        && flags & !(ACK | PSH | ECE) == 0
        && [*urgent0, *urgent1] == [0, 0]
}

/// A datagram with a checksum that fills its packet.
fn is_plain_datagram(datagram: &[u8]) -> bool {
    let Some([_, _, _, _, len0, len1, sum0, sum1]) = datagram.first_chunk::<UDP_HEADER_LEN>()
    else {
        return false;
    };
    usize::from(u16::from_be_bytes([*len0, *len1])) == datagram.len() && [*sum0, *sum1] != [0, 0]
}

/// Packets of one flow that are handed on as one.
#[derive(Clone, Debug)]
pub struct Coalesced {
    first: Mergeable,
    /// Of all of them.
    payload_len: usize,
    count: usize,
    last_id: u16,
    /// A packet shorter than the first, or pushed, is the last one.
    complete: bool,
}

impl Coalesced {
    /// One packet so far.
    #[must_use]
    pub fn starting(first: Mergeable) -> Self {
        Self {
            payload_len: first.payload_len,
            count: 1,
            last_id: first.id(),
            complete: first.is_pushed(),
            first,
        }
    }

    /// How many packets it is.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The length of the whole packet, in bytes.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.first.headers_len + self.payload_len
    }

    /// Whether nothing more can be appended.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Appends a packet of the same flow, if it continues what is here. Returns whether it did.
    pub fn append(&mut self, next: &Mergeable) -> bool {
        let fits = !self.complete
            && next.payload_len <= self.first.payload_len
            && self.total_len() + next.payload_len <= MAX_PACKET
            && self.continues_network(next)
            && self.continues_transport(next);
        if fits {
            self.payload_len += next.payload_len;
            self.count += 1;
            self.last_id = next.id();
            self.complete = next.payload_len < self.first.payload_len || next.is_pushed();
            if next.is_pushed()
                && let Some(flags) = self.first.headers.get_mut(self.first.transport_at + 13)
            {
                *flags |= PSH;
            }
        }
        fits
    }

    fn continues_network(&self, next: &Mergeable) -> bool {
        let (a, b) = (self.first.network(), next.network());
        match (a.len(), b.len()) {
            (20, 20) => {
                // Version and TOS; flags, TTL and protocol; addresses. Between them: length, identification, checksum.
                let same = [0..2, 6..10, 12..20]
                    .into_iter()
                    .all(|range| a.get(range.clone()) == b.get(range));
                let dont_fragment = a.get(6) == Some(&DONT_FRAGMENT);
                same && (dont_fragment || next.id() == self.last_id.wrapping_add(1))
            }
            // All but the length.
            (40, 40) => [0..4, 6..40]
                .into_iter()
                .all(|range| a.get(range.clone()) == b.get(range)),
            _ => false,
        }
    }

    fn continues_transport(&self, next: &Mergeable) -> bool {
        let (a, b) = (self.first.transport_header(), next.transport_header());
        if a.len() != b.len() || self.first.transport != next.transport {
            return false;
        }
        let same = |range: Range<usize>| a.get(range.clone()) == b.get(range);
        match self.first.transport {
            Transport::Udp => same(0..4),
            Transport::Tcp => {
                let expected = self.first.sequence().wrapping_add(self.payload_len as u32);
                let flags = |header: &[u8]| header.get(13).map(|flags| flags & !PSH);
                // Ports; acknowledgement and offset; window; urgent pointer and options.
                next.sequence() == expected
                    && same(0..4)
                    && same(8..13)
                    && flags(a) == flags(b)
                    && same(14..16)
                    && same(18..a.len())
            }
        }
    }

    /// The headers of the whole, with lengths and checksums as the kernel wants them of a packet that is still to be cut:
    /// the IP header's is complete, the transport's is the pseudo-header's sum. Of a single packet they are as they came.
    #[must_use]
    pub fn headers(&self) -> Headers {
        let mut headers = Headers {
            bytes: self.first.headers,
            len: self.first.headers_len,
            gso: None,
            transport_at: self.first.transport_at,
        };
        if self.count > 1 {
            // The ranges are inside the array for every header that was accepted.
            let _ = self.rewrite(&mut headers);
        }
        headers
    }

    fn rewrite(&self, headers: &mut Headers) -> Option<()> {
        use crate::checksum;

        let transport_at = self.first.transport_at;
        let transport_len = self.total_len().checked_sub(transport_at)?;
        headers.gso = Some(Gso {
            transport: self.first.transport,
            size: u16::try_from(self.first.payload_len).ok()?,
        });
        let bytes = &mut headers.bytes;
        let length = |len: usize| u16::try_from(len).ok().map(u16::to_be_bytes);
        if transport_at == 20 {
            let network = bytes.first_chunk_mut::<20>()?;
            network
                .get_mut(2..4)?
                .copy_from_slice(&length(self.total_len())?);
            network.get_mut(10..12)?.fill(0);
            let sum = checksum::finish(checksum::add(0, network));
            network.get_mut(10..12)?.copy_from_slice(&sum);
        } else {
            bytes
                .get_mut(4..6)?
                .copy_from_slice(&length(transport_len)?);
        }
        let transport = bytes.get_mut(transport_at..)?;
        let checksum_at = match self.first.transport {
            Transport::Tcp => 16,
            Transport::Udp => {
                transport
                    .get_mut(4..6)?
                    .copy_from_slice(&length(transport_len)?);
                6
            }
        };
        // Not complemented: the one who cuts adds the rest.
        let [sum0, sum1] =
            checksum::finish(self.first.pseudo + u32::from(u16::try_from(transport_len).ok()?));
        transport
            .get_mut(checksum_at..checksum_at + 2)?
            .copy_from_slice(&[!sum0, !sum1]);
        Some(())
    }
}

/// The headers of a coalesced packet.
#[derive(Clone, Debug)]
pub struct Headers {
    bytes: [u8; MAX_HEADERS],
    len: usize,
    gso: Option<Gso>,
    transport_at: usize,
}

impl Headers {
    /// IP and transport header.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// How the packet is to be cut; `None` if it is a single one.
    #[must_use]
    pub const fn gso(&self) -> Option<Gso> {
        self.gso
    }

    /// Where the transport header begins: what the transport's checksum covers, beside the pseudo-header.
    #[must_use]
    pub const fn transport_at(&self) -> usize {
        self.transport_at
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |value| u16::from_be_bytes(*value))
}
