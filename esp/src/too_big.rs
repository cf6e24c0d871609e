//! "This packet is too big": what the tunnel answers to the sender of a packet that does not fit
//! and must not be fragmented.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{InnerPacket, checksum};

/// The longest reply that [`too_big`] makes, in bytes.
pub const MAX_TOO_BIG_LEN: usize = 1280;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 64;
/// RFC 8200 section 5: no IPv6 link has a smaller MTU.
const V6_MIN_MTU: u16 = 1280;
/// RFC 1812 section 4.3.2.3: as much of the packet as fits, but the reply is at most 576 bytes.
const V4_REPLY_LEN: usize = 576;

/// Writes the reply to `packet` into `reply` and returns its length: "fragmentation needed and DF
/// set" with the next-hop MTU (RFC 792, RFC 1191 section 4), or "packet too big" (RFC 4443 section
/// 3.2).
///
/// The reply comes from the address that the packet was going to. A router's own address would be
/// the usual source, but the reply enters the host through the tunnel interface, and a packet that
/// arrives with one of the host's own addresses as its source is refused as a martian. The quoted
/// packet is what the sender's stack goes by.
///
/// `None` if no reply may be sent: to an ICMP error, to a later fragment, or where an address is
/// not a single host's (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)); or if `reply` is shorter
/// than [`MAX_TOO_BIG_LEN`]; or if an IPv6 packet is within 1280 bytes, where its sender cannot
/// help.
#[must_use]
pub fn too_big(packet: &[u8], inner: &InnerPacket, mtu: u16, reply: &mut [u8]) -> Option<usize> {
    let packet = packet.get(..inner.total_len)?;
    let reply = reply.get_mut(..MAX_TOO_BIG_LEN)?;
    if inner.later_fragment || is_icmp_error(packet, inner) {
        return None;
    }
    match (inner.source(packet)?, inner.destination(packet)?) {
        (IpAddr::V4(to), IpAddr::V4(from)) if is_host_v4(to) && is_host_v4(from) => {
            fragmentation_needed(packet, from, to, mtu, reply)
        }
        // RFC 4443 section 2.4 (e.3): sent for multicast destinations too, so that they can
        // discover the path's MTU; it needs a source that is not multicast, which we do not have
        // then.
        (IpAddr::V6(to), IpAddr::V6(from)) if is_host_v6(to) && is_host_v6(from) => {
            if packet.len() <= usize::from(V6_MIN_MTU) {
                return None;
            }
            packet_too_big(packet, from, to, mtu.max(V6_MIN_MTU), reply)
        }
        _ => None,
    }
}

fn fragmentation_needed(
    packet: &[u8],
    from: Ipv4Addr,
    to: Ipv4Addr,
    mtu: u16,
    reply: &mut [u8],
) -> Option<usize> {
    let quote = packet.get(..packet.len().min(V4_REPLY_LEN - 28))?;
    let total_len = 28 + quote.len();
    let (header, body) = reply.get_mut(..total_len)?.split_first_chunk_mut::<20>()?;
    let [l0, l1] = u16::try_from(total_len).ok()?.to_be_bytes();
    let [f0, f1, f2, f3] = from.octets();
    let [t0, t1, t2, t3] = to.octets();
    // Version and length, TOS "internetwork control" (RFC 1812 section 4.3.2.5), no ID: it is not a
    // fragment.
    *header = [
        0x45, 0xc0, l0, l1, 0, 0, 0, 0, HOP_LIMIT, ICMP, 0, 0, f0, f1, f2, f3, t0, t1, t2, t3,
    ];
    let sum = checksum::finish(checksum::add(0, header));
    header.get_mut(10..12)?.copy_from_slice(&sum);

    let [m0, m1] = mtu.to_be_bytes();
    // Destination unreachable, fragmentation needed, checksum, unused, next-hop MTU.
    fill_icmp(body, [3, 4, 0, 0, 0, 0, m0, m1], quote, 0)?;
    Some(total_len)
}

fn packet_too_big(
    packet: &[u8],
    from: Ipv6Addr,
    to: Ipv6Addr,
    mtu: u16,
    reply: &mut [u8],
) -> Option<usize> {
    let quote = packet.get(..packet.len().min(MAX_TOO_BIG_LEN - 48))?;
    let total_len = 48 + quote.len();
    let (header, body) = reply.get_mut(..total_len)?.split_first_chunk_mut::<40>()?;
    let payload_len = u16::try_from(body.len()).ok()?;
    let [l0, l1] = payload_len.to_be_bytes();
    let (fixed, addresses) = header.split_first_chunk_mut::<8>()?;
    *fixed = [0x60, 0, 0, 0, l0, l1, ICMPV6, HOP_LIMIT];
    let (source, destination) = addresses.split_at_mut_checked(16)?;
    source.copy_from_slice(&from.octets());
    destination.copy_from_slice(&to.octets());
    // The pseudo-header of RFC 8200 section 8.1: addresses, length, next header.
    let pseudo = checksum::add(u32::from(payload_len) + u32::from(ICMPV6), addresses);

    let [m0, m1] = mtu.to_be_bytes();
    fill_icmp(body, [2, 0, 0, 0, 0, 0, m0, m1], quote, pseudo)?;
    Some(total_len)
}

fn fill_icmp(body: &mut [u8], header: [u8; 8], quote: &[u8], pseudo: u32) -> Option<()> {
    let (start, rest) = body.split_first_chunk_mut::<8>()?;
    *start = header;
    rest.get_mut(..quote.len())?.copy_from_slice(quote);
    let sum = checksum::finish(checksum::add(pseudo, body));
    body.get_mut(2..4)?.copy_from_slice(&sum);
    Some(())
}

fn is_icmp_error(packet: &[u8], inner: &InnerPacket) -> bool {
    let Some((protocol, offset)) = inner.transport(packet) else {
        return false;
    };
    match (protocol, packet.get(offset)) {
        // Destination unreachable, source quench, redirect, time exceeded, parameter problem.
        (ICMP, Some(kind)) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        // RFC 4443 section 2.1: errors have the high bit clear. 137 is a redirect.
        (ICMPV6, Some(kind)) => *kind < 128 || *kind == 137,
        // An ICMP packet without a type: better not answered.
        (ICMP | ICMPV6, None) => true,
        _ => false,
    }
}

const fn is_host_v4(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback()
        || address.octets()[0] >= 240)
}

const fn is_host_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
}
