//! What the tunnel needs to know about the packet that it carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::DropReason;

/// The version of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An IP header that fits its packet: the lengths were checked against the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerPacket {
    /// The IP version.
    pub version: IpVersion,
    /// The length of the IPv4 header with its options, or of the fixed IPv6 header, in bytes.
    pub header_len: usize,
    /// The length of the packet, in bytes. The buffer can be longer (padding), never shorter.
    pub total_len: usize,
    /// The IPv4 protocol, or the first IPv6 next header.
    pub protocol: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub tos: u8,
    /// IPv4: the DF bit. IPv6 packets are never fragmented under way, so it is set.
    pub dont_fragment: bool,
    /// IPv4: whether this is a fragment other than the first one.
    pub later_fragment: bool,
}

const V4_HEADER_LEN: usize = 20;
const V6_HEADER_LEN: usize = 40;

impl InnerPacket {
    /// Reads the header of the packet that the buffer begins with. The IPv4 header's checksum is
    /// left to the end host.
    ///
    /// # Errors
    /// [`DropReason::InnerVersion`] if it is not IP, [`DropReason::InnerLength`] if the lengths
    /// contradict each other or the packet is incomplete.
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => Self::parse_v4(packet).ok_or(DropReason::InnerLength),
            Some(6) => Self::parse_v6(packet).ok_or(DropReason::InnerLength),
            _ => Err(DropReason::InnerVersion),
        }
    }

    fn parse_v4(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<V4_HEADER_LEN>()?;
        let [
            version,
            tos,
            len0,
            len1,
            _,
            _,
            frag0,
            frag1,
            _,
            protocol,
            ..,
        ] = *header;
        let header_len = usize::from(version & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([len0, len1]));
        let fragment = u16::from_be_bytes([frag0, frag1]);
        let fits =
            V4_HEADER_LEN <= header_len && header_len <= total_len && total_len <= packet.len();
        fits.then_some(Self {
            version: IpVersion::V4,
            header_len,
            total_len,
            protocol,
            tos,
            dont_fragment: fragment & 0x4000 != 0,
            later_fragment: fragment & 0x1fff != 0,
        })
    }

    /// Jumbograms (RFC 2675) have a payload length of 0 here and count as incomplete.
    fn parse_v6(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<V6_HEADER_LEN>()?;
        let [b0, b1, _, _, len0, len1, protocol, ..] = *header;
        let total_len = V6_HEADER_LEN + usize::from(u16::from_be_bytes([len0, len1]));
        (total_len <= packet.len()).then_some(Self {
            version: IpVersion::V6,
            header_len: V6_HEADER_LEN,
            total_len,
            protocol,
            tos: (b0 << 4) | (b1 >> 4),
            dont_fragment: true,
            later_fragment: false,
        })
    }

    /// The packet's source address; `packet` is what was parsed.
    #[must_use]
    pub fn source(&self, packet: &[u8]) -> Option<IpAddr> {
        match self.version {
            IpVersion::V4 => v4_address(packet, 12),
            IpVersion::V6 => v6_address(packet, 8),
        }
    }

    /// The packet's destination address; `packet` is what was parsed.
    #[must_use]
    pub fn destination(&self, packet: &[u8]) -> Option<IpAddr> {
        match self.version {
            IpVersion::V4 => v4_address(packet, 16),
            IpVersion::V6 => v6_address(packet, 24),
        }
    }

    /// The transport protocol and where its header begins; `None` behind a fragment header, or if
    /// an IPv6 extension header is cut short.
    #[must_use]
    pub fn transport(&self, packet: &[u8]) -> Option<(u8, usize)> {
        match self.version {
            IpVersion::V4 => (!self.later_fragment).then_some((self.protocol, self.header_len)),
            IpVersion::V6 => skip_extension_headers(packet, self.protocol),
        }
    }
}

/// Hop-by-hop options, routing header and destination options (RFC 8200 section 4) share a layout:
/// next header, then the length in units of 8 bytes, not counting the first 8.
fn skip_extension_headers(packet: &[u8], mut protocol: u8) -> Option<(u8, usize)> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    /// More than any sane packet has; each one is at least 8 bytes, so this bounds the work.
    const MOST: usize = 8;

    let mut offset = V6_HEADER_LEN;
    for _ in 0..MOST {
        match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let &[next, units] = packet.get(offset..)?.first_chunk()?;
                protocol = next;
                offset += 8 + usize::from(units) * 8;
            }
            FRAGMENT => return None,
            _ => return (offset <= packet.len()).then_some((protocol, offset)),
        }
    }
    None
}

fn v4_address(packet: &[u8], offset: usize) -> Option<IpAddr> {
    let bytes: &[u8; 4] = packet.get(offset..)?.first_chunk()?;
    Some(Ipv4Addr::from(*bytes).into())
}

fn v6_address(packet: &[u8], offset: usize) -> Option<IpAddr> {
    let bytes: &[u8; 16] = packet.get(offset..)?.first_chunk()?;
    Some(Ipv6Addr::from(*bytes).into())
}
