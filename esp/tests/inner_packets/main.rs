//! What the tunnel does to the packets that it carries, with packets that this file builds by hand.

#![expect(clippy::unwrap_used, reason = "a failed test is told by a panic")]

mod ecn;
mod fragmentation;
mod headers;
mod mss;
mod too_big;
mod udp;

use std::net::{Ipv4Addr, Ipv6Addr};

use esp::InnerPacket;

const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// The Internet checksum, the slow and obvious way.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let sum: u64 = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    !((sum % 0xffff) as u16)
}

/// Whether the checksum among these bytes is right: then all of it sums up to one of the two zeros.
fn is_valid(parts: &[&[u8]]) -> bool {
    [0, 0xffff].contains(&checksum(parts))
}

/// An IPv4 packet with a right header checksum.
fn v4(protocol: u8, flags: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let header_len = 20 + options.len();
    let mut packet = vec![0; 20];
    packet[0] = 0x40 | (header_len / 4) as u8;
    packet[2..4].copy_from_slice(&((header_len + payload.len()) as u16).to_be_bytes());
    packet[4..6].copy_from_slice(&[0xab, 0xcd]);
    packet[6..8].copy_from_slice(&flags.to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&SOURCE.octets());
    packet[16..20].copy_from_slice(&DESTINATION.octets());
    packet.extend_from_slice(options);
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[next_header, 64]);
    packet.extend_from_slice(&address("2001:db8::1"));
    packet.extend_from_slice(&address("2001:db8::2"));
    packet.extend_from_slice(payload);
    packet
}

/// The pseudo-header of a transport checksum.
fn pseudo(packet: &[u8], protocol: u8, len: usize) -> Vec<u8> {
    let addresses = if packet[0] >> 4 == 4 {
        &packet[12..20]
    } else {
        &packet[8..40]
    };
    [addresses, &(len as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat()
}

fn parse(packet: &[u8]) -> InnerPacket {
    InnerPacket::parse(packet).unwrap()
}
