//! The header that a TUN with `IFF_VNET_HDR` puts before each packet: what is left to be done to it (`struct
//! virtio_net_hdr`, Virtio 1.2 section 5.1.6, in the byte order of the host).

use esp::{DropReason, Gso, Headers, Transport};

/// The header's length, in bytes.
pub(super) const LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// Beside a TCP type: the first segment says that the congestion window was reduced.
const GSO_ECN: u8 = 0x80;

/// Where a checksum lies that is still to be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartialChecksum {
    /// Where what it covers begins, in the packet.
    pub(super) start: usize,
    /// Where the field is, from there.
    pub(super) offset: usize,
}

/// What is left to be done to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vnet {
    pub(super) gso: Option<Gso>,
    pub(super) checksum: Option<PartialChecksum>,
}

impl Vnet {
    /// Reads the header.
    pub(super) fn parse(header: [u8; LEN]) -> Result<Self, DropReason> {
        let [flags, kind, _, _, size0, size1, start0, start1, off0, off1] = header;
        let number = |a, b| u16::from_ne_bytes([a, b]);
        let transport = match kind & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCPV4 | GSO_TCPV6 => Some(Transport::Tcp),
            GSO_UDP_L4 => Some(Transport::Udp),
            // Nothing else was asked for.
            _ => return Err(DropReason::InnerLength),
        };
        Ok(Self {
            gso: transport.map(|transport| Gso {
                transport,
                size: number(size0, size1),
            }),
            checksum: (flags & NEEDS_CSUM != 0).then(|| PartialChecksum {
                start: usize::from(number(start0, start1)),
                offset: usize::from(number(off0, off1)),
            }),
        })
    }

    /// The header before a packet that is complete, of which nothing is known.
    pub(super) const COMPLETE: [u8; LEN] = [0; LEN];

    /// The header before what was coalesced.
    pub(super) fn before(headers: &Headers) -> [u8; LEN] {
        let Some(Gso { transport, size }) = headers.gso() else {
            // Single, but its checksum was verified: the host need not do it again.
            return [DATA_VALID, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        };
        let version = headers.bytes().first().map_or(0, |byte| byte >> 4);
        let (kind, offset) = match (transport, version) {
            (Transport::Udp, _) => (GSO_UDP_L4, 6_u16),
            (Transport::Tcp, 6) => (GSO_TCPV6, 16),
            (Transport::Tcp, _) => (GSO_TCPV4, 16),
        };
        // Both are far below 2^16.
        let [len0, len1] = (headers.bytes().len() as u16).to_ne_bytes();
        let [start0, start1] = (headers.transport_at() as u16).to_ne_bytes();
        let [size0, size1] = size.to_ne_bytes();
        let [off0, off1] = offset.to_ne_bytes();
        [
            NEEDS_CSUM, kind, len0, len1, size0, size1, start0, start1, off0, off1,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_packet_has_nothing_left_to_do() {
        assert_eq!(Vnet::parse(Vnet::COMPLETE), Ok(Vnet::default()));
    }

    #[test]
    fn what_the_kernel_leaves_undone_is_read() {
        let [size0, size1] = 1348_u16.to_ne_bytes();
        let [start0, start1] = 20_u16.to_ne_bytes();
        let [off0, off1] = 16_u16.to_ne_bytes();
        let header = [1, 0x81, 0, 0, size0, size1, start0, start1, off0, off1];
        let expected = Vnet {
            gso: Some(Gso {
                transport: Transport::Tcp,
                size: 1348,
            }),
            checksum: Some(PartialChecksum {
                start: 20,
                offset: 16,
            }),
        };
        assert_eq!(Vnet::parse(header), Ok(expected));
    }

    #[test]
    fn an_offload_that_was_not_asked_for_is_refused() {
        // UDP fragmentation offload: 3.
        let header = [1, 3, 0, 0, 0, 5, 0, 0, 0, 0];
        assert_eq!(Vnet::parse(header), Err(DropReason::InnerLength));
    }
}
