//! MSS clamping.

use esp::clamp_mss;

use super::{checksum, is_valid, parse, pseudo, v4, v6};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A TCP segment with these options, and a right checksum for the packet that `wrap` makes of it.
fn tcp(flags: u8, options: &[u8], wrap: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 0, 179, 1, 2, 3, 4, 0, 0, 0, 0];
    segment.push((((20 + options.len()) / 4) as u8) << 4);
    segment.push(flags);
    segment.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
    segment.extend_from_slice(options);
    let sum = checksum(&[&pseudo(&wrap(&segment), 6, segment.len()), &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    wrap(&segment)
}

fn clamped(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let mut packet = packet.to_vec();
    let inner = parse(&packet);
    clamp_mss(&mut packet, &inner, mtu).then_some(packet)
}

fn is_valid_tcp(packet: &[u8]) -> bool {
    let (_, offset) = parse(packet).transport(packet).unwrap();
    let segment = &packet[offset..];
    is_valid(&[&pseudo(packet, 6, segment.len()), segment])
}

#[test]
fn a_syn_announces_what_fits_at_any_position_of_the_option() {
    let wrap4 = |segment: &[u8]| v4(6, 0x4000, &[1; 4], segment);
    let wrap6 = |segment: &[u8]| v6(60, &[&[6, 0, 1, 4, 0, 0, 0, 0], segment].concat());
    for nops in 0..5 {
        let mut options = vec![1; nops];
        options.extend_from_slice(&[2, 4, 0x05, 0xb4]);
        options.resize(options.len().next_multiple_of(4), 0);
        for (packet, overhead) in [
            (tcp(SYN, &options, wrap4), 40),
            (tcp(SYN | ACK, &options, wrap6), 60),
        ] {
            assert!(is_valid_tcp(&packet), "the test's own packet");
            let result = clamped(&packet, 1400).unwrap();
            let mss = result.len() - options.len() + nops + 2;
            assert_eq!(result[mss..mss + 2], (1400_u16 - overhead).to_be_bytes());
            assert!(is_valid_tcp(&result), "{nops} no-operations before it");
        }
    }
}

#[test]
fn nothing_is_raised_and_nothing_else_is_touched() {
    let wrap = |segment: &[u8]| v4(6, 0, &[], segment);
    let mss_1460 = [2, 4, 0x05, 0xb4];
    let cases = [
        ("536 is small enough", tcp(SYN, &[2, 4, 0x02, 0x18], wrap)),
        ("no SYN", tcp(ACK, &mss_1460, wrap)),
        ("no MSS option", tcp(SYN, &[1, 1, 1, 1], wrap)),
        (
            "behind the end of the options",
            tcp(SYN, &[[0; 4], mss_1460].concat(), wrap),
        ),
        ("an option without a length", tcp(SYN, &[9, 0, 2, 4], wrap)),
        ("cut short", tcp(SYN, &[1, 1, 2, 4], wrap)),
        ("of another length", tcp(SYN, &[2, 3, 0x05, 0xb4], wrap)),
        ("not TCP", v4(17, 0, &[], &tcp(SYN, &mss_1460, wrap))),
        ("a later fragment", v4(6, 0x0001, &[], &[2; 40])),
    ];
    for (why, packet) in cases {
        assert_eq!(clamped(&packet, 1400), None, "{why}");
    }
}
