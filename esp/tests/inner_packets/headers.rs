//! Reading the inner header.

use esp::{
    DropReason, InnerPacket, IpVersion, MAX_TOO_BIG_LEN, clamp_mss, decapsulate_ecn, fragments,
    too_big,
};
use proptest::prelude::*;

use super::{DESTINATION, SOURCE, parse, v4, v6};

#[test]
fn fields_are_read_and_padding_is_not_part_of_the_packet() {
    let mut packet = v4(17, 0x4000, &[1; 4], &[7; 9]);
    packet[1] = 0xb9;
    packet.extend_from_slice(&[0; 30]);
    let inner = parse(&packet);
    assert_eq!(
        (inner.version, inner.header_len, inner.total_len),
        (IpVersion::V4, 24, 33)
    );
    assert_eq!(
        (inner.protocol, inner.tos, inner.dont_fragment),
        (17, 0xb9, true)
    );
    assert_eq!(inner.source(&packet), Some(SOURCE.into()));
    assert_eq!(inner.destination(&packet), Some(DESTINATION.into()));

    let mut packet = v6(17, &[7; 9]);
    (packet[0], packet[1]) = (0x6b, 0x90);
    let inner = parse(&packet);
    assert_eq!(
        (inner.version, inner.header_len, inner.total_len),
        (IpVersion::V6, 40, 49)
    );
    assert_eq!(
        (inner.protocol, inner.tos, inner.dont_fragment),
        (17, 0xb9, true)
    );
    assert_eq!(inner.source(&packet), "2001:db8::1".parse().ok());
    assert_eq!(inner.destination(&packet), "2001:db8::2".parse().ok());
}

#[test]
fn a_packet_cut_at_any_length_is_refused() {
    assert_eq!(InnerPacket::parse(&[]), Err(DropReason::InnerVersion));
    for packet in [v4(17, 0, &[1; 8], &[7; 9]), v6(17, &[7; 9])] {
        for len in 1..packet.len() {
            assert_eq!(
                InnerPacket::parse(&packet[..len]),
                Err(DropReason::InnerLength)
            );
        }
    }
}

#[test]
fn contradictory_lengths_and_other_versions_are_refused() {
    let good = v4(17, 0, &[], &[7; 9]);
    let with = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        InnerPacket::parse(&packet)
    };
    assert_eq!(
        with(0, 0x44),
        Err(DropReason::InnerLength),
        "header shorter than 20"
    );
    assert_eq!(
        with(0, 0x48),
        Err(DropReason::InnerLength),
        "header longer than the packet"
    );
    assert_eq!(
        with(3, 19),
        Err(DropReason::InnerLength),
        "packet shorter than its header"
    );
    assert_eq!(with(0, 0x55), Err(DropReason::InnerVersion));
}

#[test]
fn ipv6_extension_headers_are_passed_over() {
    let hop_by_hop = [43, 0, 0, 0, 0, 0, 0, 0];
    let routing = [[6, 1, 0, 0, 0, 0, 0, 0], [0; 8]].concat();
    let packet = v6(0, &[&hop_by_hop[..], &routing, &[9; 20]].concat());
    assert_eq!(parse(&packet).transport(&packet), Some((6, 64)));
    let fragment = v6(44, &[6, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(parse(&fragment).transport(&fragment), None);
    let beyond = v6(0, &[6, 9, 0, 0, 0, 0, 0, 0]);
    assert_eq!(parse(&beyond).transport(&beyond), None);
}

proptest! {
    #[test]
    fn no_bytes_make_any_of_it_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 6..200),
        v6: bool,
        mtu: u16,
    ) {
        // As random as can be, but with lengths that have a chance to fit.
        bytes[0] = bytes[0] & 0xf | if v6 { 0x60 } else { 0x40 };
        (bytes[2], bytes[4]) = (0, 0);
        if let Ok(inner) = InnerPacket::parse(&bytes) {
            prop_assert!(inner.total_len <= bytes.len());
            let _ = inner.transport(&bytes);
            clamp_mss(&mut bytes, &inner, mtu);
            let _ = decapsulate_ecn(&mut bytes, &inner, 3);
            let _ = too_big(&bytes, &inner, mtu, &mut [0; MAX_TOO_BIG_LEN]);
            for fragment in fragments(&bytes, &inner, mtu) {
                prop_assert!(fragment.write(&bytes, &mut [0; 300]).is_some());
            }
        }
    }
}
