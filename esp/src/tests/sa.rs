//! Sealing and opening: round trips, limits, and everything that must be refused.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::{SPI, SUITES, inner, pair, parameters, seal};
use crate::{DropReason, Error, InboundSa, Limits, NextHeader, OutboundSa, SaParameters, Spi};

const GCM: (crypto::Encryption, Option<crypto::Integrity>) = SUITES[14];
const CBC: (crypto::Encryption, Option<crypto::Integrity>) = SUITES[0];

proptest! {
    #[test]
    fn what_is_sealed_opens_to_the_same_packet(
        suite in 0..SUITES.len(),
        esn: bool,
        len in 20..2000_usize,
        before in 0..0x1_0000_0000_u64,
    ) {
        let (outbound, inbound) = pair(SUITES[suite], esn);
        let before = if esn { before + 0xffff_0000 } else { before.min(0xffff_fffe) };
        outbound.set_last_sequence(before);
        if before > 0 {
            inbound.set_highest_sequence(before);
        }
        let inner = inner(len);
        let mut packet = seal(&outbound, &inner);
        prop_assert_eq!(packet.len(), outbound.layout().sealed_len(len));
        let opened = inbound.open(&mut packet).unwrap();
        prop_assert_eq!(&packet[opened.payload], &inner[..]);
        prop_assert_eq!(opened.sequence, before + 1);
        let next = inbound.open(&mut seal(&outbound, &inner)).unwrap();
        prop_assert_eq!(next.sequence, before + 2);
    }

    #[test]
    fn any_bytes_behind_the_right_spi_are_dropped_without_harm(
        suite in 0..SUITES.len(),
        esn: bool,
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (_, inbound) = pair(SUITES[suite], esn);
        let mut packet = [&SPI.0.to_be_bytes()[..], &rest].concat();
        prop_assert!(inbound.open(&mut packet).is_err());
        prop_assert_eq!(inbound.usage().packets(), 0);
    }

    #[test]
    fn any_changed_bit_is_refused(
        suite in 0..SUITES.len(),
        esn: bool,
        at: prop::sample::Index,
        bit in 0..8,
    ) {
        let (outbound, inbound) = pair(SUITES[suite], esn);
        let mut packet = seal(&outbound, &inner(100));
        let at = at.index(packet.len());
        packet[at] ^= 1_u8 << bit;
        let reason = inbound.open(&mut packet).unwrap_err();
        let expected = match at {
            0..4 => DropReason::UnknownSpi,
            // A changed sequence number can also fall outside of what there is.
            4..8 if matches!(reason, DropReason::Replayed | DropReason::TooOld) => reason,
            _ => DropReason::Authentication,
        };
        prop_assert_eq!(reason, expected);
        // Nothing has moved: the true packet still passes.
        prop_assert_eq!(inbound.highest_sequence(), 0);
    }
}

#[test]
fn a_packet_cut_at_any_length_is_dropped_without_harm() {
    for suite in SUITES {
        let (outbound, inbound) = pair(suite, true);
        let packet = seal(&outbound, &inner(60));
        for len in 0..packet.len() {
            let reason = inbound.open(&mut packet[..len].to_vec()).unwrap_err();
            let expected = [DropReason::Truncated, DropReason::Authentication];
            assert!(expected.contains(&reason), "{len} bytes: {reason}");
        }
        assert_eq!(inbound.highest_sequence(), 0);
        assert!(inbound.open(&mut packet.clone()).is_ok());
    }
}

#[test]
fn a_replayed_packet_is_dropped_before_it_costs_a_decryption() {
    let (outbound, inbound) = pair(GCM, false);
    let packet = seal(&outbound, &inner(60));
    assert!(inbound.open(&mut packet.clone()).is_ok());
    assert_eq!(inbound.open(&mut packet.clone()), Err(DropReason::Replayed));
    // Even a forged one: the window is asked first.
    let mut forged = packet;
    forged[30] ^= 1;
    assert_eq!(inbound.open(&mut forged), Err(DropReason::Replayed));
    assert_eq!(inbound.usage().packets(), 1);
}

#[test]
fn a_forged_packet_far_ahead_does_not_move_the_window() {
    let (outbound, inbound) = pair(GCM, true);
    let mut first = seal(&outbound, &inner(60));
    let mut forged = first.clone();
    forged[4..8].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    assert_eq!(inbound.open(&mut forged), Err(DropReason::Authentication));
    assert!(inbound.open(&mut first).is_ok());
}

#[test]
fn sequence_numbers_go_on_across_2_to_the_32_with_esn() {
    for suite in [GCM, CBC] {
        let (outbound, inbound) = pair(suite, true);
        let before = 0xffff_fff0;
        outbound.set_last_sequence(before);
        inbound.set_highest_sequence(before);
        let mut packets: Vec<_> = (0..32).map(|_| seal(&outbound, &inner(60))).collect();
        // The ones before and after the wrap arrive in the wrong order.
        packets.reverse();
        for (packet, sequence) in packets.iter_mut().zip((before + 1..=before + 32).rev()) {
            assert_eq!(inbound.open(packet).unwrap().sequence, sequence);
        }
        assert_eq!(inbound.highest_sequence(), 0x1_0000_0010);
    }
}

#[test]
fn sequence_numbers_end_at_2_to_the_32_without_esn() {
    let (outbound, _) = pair(GCM, false);
    outbound.set_last_sequence(0xffff_fffe);
    let mut rng = StdRng::seed_from_u64(1);
    let mut buffer = vec![0; 300];
    let mut next = || outbound.seal(&mut buffer, 100..160, NextHeader::Ipv4, &mut rng);
    assert!(next().is_ok());
    assert_eq!(next(), Err(DropReason::SequenceExhausted));
    assert_eq!(next(), Err(DropReason::SequenceExhausted));
}

#[test]
fn the_sequence_number_sets_limits_of_its_own_without_esn() {
    let configured = Limits {
        soft_bytes: Some(5),
        ..Limits::default()
    };
    assert_eq!(configured.within_sequence_space(true), configured);
    let limited = configured.within_sequence_space(false);
    assert_eq!(limited.hard_packets, Some(0xffff_ffff));
    assert!(limited.soft_packets < limited.hard_packets);
    assert_eq!(limited.soft_bytes, Some(5));
    let low = Limits {
        soft_packets: Some(10),
        ..Limits::default()
    };
    assert_eq!(low.within_sequence_space(false).soft_packets, Some(10));
}

#[test]
fn limits_by_packets_and_bytes_hold_in_both_directions() {
    for limits in [
        Limits {
            soft_packets: Some(2),
            hard_packets: Some(3),
            ..Limits::default()
        },
        Limits {
            soft_bytes: Some(120),
            hard_bytes: Some(180),
            ..Limits::default()
        },
    ] {
        let limited = SaParameters {
            limits,
            ..parameters(GCM, true)
        };
        let (free, inbound) = (pair(GCM, true).0, InboundSa::new(&limited, 64).unwrap());
        let outbound = OutboundSa::new(&limited).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let mut soft = Vec::new();
        for _ in 0..3 {
            let mut buffer = vec![0; 300];
            let sealed = outbound
                .seal(&mut buffer, 100..160, NextHeader::Ipv4, &mut rng)
                .unwrap();
            let opened = inbound.open(&mut seal(&free, &inner(60))).unwrap();
            soft.push((sealed.soft_limit, opened.soft_limit));
        }
        assert_eq!(soft, [(false, false), (true, true), (true, true)]);
        let mut buffer = vec![0; 300];
        let sealed = outbound.seal(&mut buffer, 100..160, NextHeader::Ipv4, &mut rng);
        assert_eq!(sealed, Err(DropReason::LifetimeOver));
        let opened = inbound.open(&mut seal(&free, &inner(60)));
        assert_eq!(opened, Err(DropReason::LifetimeOver));
        assert_eq!(outbound.usage().packets(), 3);
        assert_eq!(inbound.usage().bytes(), 180);
    }
}

#[test]
fn a_buffer_without_room_is_refused_and_uses_up_no_sequence_number() {
    let (outbound, _) = pair(CBC, true);
    let mut rng = StdRng::seed_from_u64(1);
    let mut buffer = vec![0; 100];
    for payload in [0..40, 23..60, 30..100, 30..90, 90..200] {
        let sealed = outbound.seal(&mut buffer, payload, NextHeader::Ipv4, &mut rng);
        assert_eq!(sealed, Err(DropReason::NoRoom));
    }
    assert_eq!(outbound.last_sequence(), 0);
    // Header 8 and IV 16 in front; 40 bytes become 48; ICV 12.
    assert!(
        outbound
            .seal(&mut buffer, 24..64, NextHeader::Ipv4, &mut rng)
            .is_ok()
    );
}

#[test]
fn cbc_packets_never_share_an_iv() {
    let (outbound, _) = pair(CBC, true);
    let mut rng = StdRng::seed_from_u64(1);
    let ivs: std::collections::BTreeSet<Vec<u8>> = (0..100)
        .map(|_| {
            let mut buffer = vec![0; 300];
            let sealed = outbound
                .seal(&mut buffer, 100..160, NextHeader::Ipv4, &mut rng)
                .unwrap();
            buffer[sealed.packet][8..24].to_vec()
        })
        .collect();
    assert_eq!(ivs.len(), 100);
}

/// An authentic packet with any plaintext: payload, padding and trailer.
fn with_plaintext(body: &[u8]) -> Vec<u8> {
    let parameters = parameters(GCM, false);
    let sealer =
        crypto::Sealer::new(parameters.suite, &parameters.keymat, &parameters.integrity).unwrap();
    let header = [&SPI.0.to_be_bytes()[..], &1_u32.to_be_bytes()].concat();
    let (mut body, mut icv) = (body.to_vec(), [0; 16]);
    sealer
        .seal(&header, &[7; 8], &mut body, &[], &mut icv)
        .unwrap();
    [&header, &[7; 8][..], &body, &icv].concat()
}

#[test]
fn authentic_packets_with_unusable_contents_are_dropped_for_the_right_reason() {
    let v4 = inner(30);
    let mut v6 = vec![0; 48];
    (v6[0], v6[5]) = (0x60, 8);
    let body = |payload: &[u8], trailer: &[u8]| [payload, trailer].concat();
    let cases: [(&str, Vec<u8>, Result<usize, DropReason>); 13] = [
        ("no padding", body(&v4, &[0, 4]), Ok(30)),
        ("padding", body(&v4, &[1, 2, 3, 3, 4]), Ok(30)),
        (
            "wrong padding",
            body(&v4, &[1, 2, 4, 3, 4]),
            Err(DropReason::Padding),
        ),
        (
            "zero padding",
            body(&v4, &[0, 0, 2, 4]),
            Err(DropReason::Padding),
        ),
        (
            "more padding than packet",
            body(&[1, 2], &[3, 4]),
            Err(DropReason::Padding),
        ),
        ("dummy", body(&[9; 20], &[0, 59]), Err(DropReason::Dummy)),
        ("not IP", body(&v4, &[0, 17]), Err(DropReason::NextHeader)),
        (
            "IPv4 called IPv6",
            body(&v4, &[0, 41]),
            Err(DropReason::InnerVersion),
        ),
        (
            "IPv6 called IPv4",
            body(&v6, &[0, 4]),
            Err(DropReason::InnerVersion),
        ),
        ("IPv6", body(&v6, &[0, 41]), Ok(48)),
        (
            "shorter than its header says",
            body(&v4[..29], &[0, 4]),
            Err(DropReason::InnerLength),
        ),
        (
            "TFC padding",
            body(&[&v4[..], &[0; 50]].concat(), &[0, 4]),
            Ok(30),
        ),
        ("empty", vec![0, 4], Err(DropReason::InnerVersion)),
    ];
    for (name, body, expected) in cases {
        let (_, inbound) = pair(GCM, false);
        let result = inbound
            .open(&mut with_plaintext(&body))
            .map(|opened| opened.payload.len());
        assert_eq!(result, expected, "{name}");
        assert_eq!(
            inbound.highest_sequence(),
            1,
            "{name}: the number is used up"
        );
    }
}

#[test]
fn keys_and_spis_that_cannot_be_are_refused() {
    let good = parameters(GCM, true);
    let short = SaParameters {
        keymat: crypto::Secret::from_slice(&[1; 35]),
        ..good.clone()
    };
    assert!(matches!(
        OutboundSa::new(&short),
        Err(Error::Keys { spi: SPI, .. })
    ));
    assert!(matches!(
        InboundSa::new(&short, 64),
        Err(Error::Keys { spi: SPI, .. })
    ));
    let spi = Spi(255);
    let reserved = SaParameters { spi, ..good };
    assert_eq!(
        OutboundSa::new(&reserved).err(),
        Some(Error::ReservedSpi { spi })
    );
    assert_eq!(
        InboundSa::new(&reserved, 64).err(),
        Some(Error::ReservedSpi { spi })
    );
}

#[test]
fn debug_output_shows_no_key() {
    let parameters = parameters(GCM, true);
    let (outbound, inbound) = pair(GCM, true);
    let text = format!("{parameters:?} {outbound:?} {inbound:?}");
    // The key counts up from 1.
    assert!(
        !text.contains("1, 2, 3") && !text.contains("010203"),
        "{text}"
    );
}
