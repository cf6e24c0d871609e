//! DSCP and ECN across the tunnel.

use esp::{DropReason, IpVersion, decapsulate_ecn, outer_tos};

use super::{checksum, is_valid, parse, v4, v6};

#[test]
fn the_outer_header_gets_ecn_always_and_dscp_if_asked() {
    let mut packet = v4(17, 0, &[], &[]);
    packet[1] = 0xb9;
    assert_eq!(outer_tos(&parse(&packet), false), 0x01);
    assert_eq!(outer_tos(&parse(&packet), true), 0xb9);
}

fn v4_with_tos(tos: u8) -> Vec<u8> {
    let mut packet = v4(17, 0, &[], &[]);
    packet[1] = tos;
    packet[10..12].fill(0);
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// With the flow label's first four bits set to 5.
fn v6_with_tos(tos: u8) -> Vec<u8> {
    let mut packet = v6(17, &[]);
    (packet[0], packet[1]) = (0x60 | tos >> 4, tos << 4 | 0x5);
    packet
}

#[test]
fn decapsulation_follows_the_table_of_rfc_6040() {
    const DSCP: u8 = 0xb8;
    // Not-ECT, ECT(0), ECT(1), CE: rows for the inner header, columns for the outer one.
    const CODES: [u8; 4] = [0b00, 0b10, 0b01, 0b11];
    let table = [
        [Some(0b00), Some(0b00), Some(0b00), None],
        [Some(0b10), Some(0b10), Some(0b01), Some(0b11)],
        [Some(0b01), Some(0b01), Some(0b01), Some(0b11)],
        [Some(0b11), Some(0b11), Some(0b11), Some(0b11)],
    ];
    for (inner, row) in CODES.into_iter().zip(table) {
        for (outer, expected) in CODES.into_iter().zip(row) {
            for mut packet in [v4_with_tos(DSCP | inner), v6_with_tos(DSCP | inner)] {
                let header = parse(&packet);
                // The outer DSCP must not matter.
                let result = decapsulate_ecn(&mut packet, &header, 0x20 | outer);
                let drop = Err(DropReason::CongestionMark);
                assert_eq!(
                    result,
                    expected.map_or(drop, |_| Ok(())),
                    "{inner:02b} {outer:02b}"
                );
                let after = parse(&packet);
                assert_eq!(
                    after.tos,
                    DSCP | expected.unwrap_or(inner),
                    "{inner:02b} {outer:02b}"
                );
                match after.version {
                    IpVersion::V4 => assert!(is_valid(&[&packet]), "header checksum"),
                    IpVersion::V6 => assert_eq!(packet[1] & 0xf, 0x5, "flow label"),
                }
            }
        }
    }
}
