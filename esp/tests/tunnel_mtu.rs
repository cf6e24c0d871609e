//! The tunnel's MTU, against the values that cloud providers publish and against real lengths.

#![expect(clippy::unwrap_used, reason = "a failed test is told by a panic")]

use crypto::{Encryption, Integrity, Suite};
use esp::{Encapsulation, Layout, tunnel_mtu};
use proptest::prelude::*;

const GCM: (Encryption, Option<Integrity>) = (Encryption::AesGcm256, None);
const SHA1: (Encryption, Option<Integrity>) = (Encryption::AesCbc256, Some(Integrity::HmacSha1_96));
const SHA256: (Encryption, Option<Integrity>) =
    (Encryption::AesCbc128, Some(Integrity::HmacSha256_128));
const SHA384: (Encryption, Option<Integrity>) =
    (Encryption::AesCbc256, Some(Integrity::HmacSha384_192));

fn suite(of: (Encryption, Option<Integrity>)) -> Suite {
    Suite::new(of.0, of.1).unwrap()
}

#[test]
fn the_mtu_is_as_published() {
    // Outer MTU, suite; IPv4, IPv4 with NAT-T, IPv6, IPv6 with NAT-T.
    let table = [
        (1500, GCM, [1446, 1438, 1426, 1418]),
        (1500, SHA1, [1438, 1422, 1422, 1406]),
        (1500, SHA256, [1438, 1422, 1406, 1406]),
        (1500, SHA384, [1422, 1422, 1406, 1390]),
        (1492, GCM, [1438, 1430, 1418, 1410]),
        (1492, SHA256, [1422, 1422, 1406, 1390]),
        (1460, GCM, [1406, 1398, 1386, 1378]),
        (1440, GCM, [1386, 1378, 1366, 1358]),
    ];
    for (outer_mtu, of, expected) in table {
        let suite = suite(of);
        let of = |encapsulation, v6| tunnel_mtu(outer_mtu, suite, encapsulation, v6);
        let (none, udp) = (Encapsulation::None, Encapsulation::Udp);
        let actual = [
            of(none, false),
            of(udp, false),
            of(none, true),
            of(udp, true),
        ];
        assert_eq!(actual, expected, "{outer_mtu} {suite}");
    }
}

proptest! {
    #[test]
    fn a_packet_of_the_mtu_fits_and_one_byte_more_does_not(
        outer_mtu in 200..=u16::MAX,
        of in prop::sample::select(vec![GCM, SHA1, SHA256, SHA384]),
        udp: bool,
        v6: bool,
    ) {
        let suite = suite(of);
        let encapsulation = if udp { Encapsulation::Udp } else { Encapsulation::None };
        let mtu = usize::from(tunnel_mtu(outer_mtu, suite, encapsulation, v6));
        let around = if v6 { 40 } else { 20 } + encapsulation.overhead();
        let outer = |inner| around + Layout::of(suite).sealed_len(inner);
        prop_assert!(outer(mtu) <= usize::from(outer_mtu));
        prop_assert!(outer(mtu + 1) > usize::from(outer_mtu));
    }
}

#[test]
fn an_outer_mtu_without_room_gives_none() {
    for outer_mtu in [0, 20, 53] {
        assert_eq!(
            tunnel_mtu(outer_mtu, suite(GCM), Encapsulation::None, false),
            0
        );
    }
}
