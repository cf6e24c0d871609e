//! The control packet: each field both ways, and all that RFC 5880, section 6.8.6 has dropped.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

use std::num::NonZeroU32;
use std::time::Duration;

use bfd::{
    Authentication, AuthenticationType, ControlPacket, Diagnostic, Discriminator, Malformed, State,
};
use proptest::prelude::*;

fn discriminator(value: u32) -> Discriminator {
    Discriminator(NonZeroU32::new(value).expect("not zero"))
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).expect("a digit"))
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn packet() -> ControlPacket {
    ControlPacket {
        diagnostic: Diagnostic::NONE,
        state: State::Down,
        poll: false,
        final_: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: discriminator(1),
        your_discriminator: None,
        desired_min_tx: Duration::from_secs(1),
        required_min_rx: Duration::from_millis(300),
        required_min_echo_rx: Duration::ZERO,
        authentication: None,
    }
}

/// Octets and what they mean, used both ways.
fn known() -> Vec<(&'static str, ControlPacket)> {
    vec![
        (
            "20 40 03 18  00000001 00000000 000f4240 000493e0 00000000",
            packet(),
        ),
        (
            "21 c8 05 18  deadbeef 0badcafe 000186a0 000186a0 0000c350",
            ControlPacket {
                diagnostic: Diagnostic::DETECTION_TIME_EXPIRED,
                state: State::Up,
                control_plane_independent: true,
                detect_mult: 5,
                my_discriminator: discriminator(0xdead_beef),
                your_discriminator: Some(discriminator(0x0bad_cafe)),
                desired_min_tx: Duration::from_millis(100),
                required_min_rx: Duration::from_millis(100),
                required_min_echo_rx: Duration::from_millis(50),
                ..packet()
            },
        ),
        (
            "23 a0 ff 18  00000001 00000002 ffffffff 00000000 00000000",
            ControlPacket {
                diagnostic: Diagnostic::NEIGHBOR_SIGNALED_DOWN,
                state: State::Init,
                poll: true,
                detect_mult: 255,
                your_discriminator: Some(discriminator(2)),
                desired_min_tx: Duration::from_micros(u32::MAX.into()),
                required_min_rx: Duration::ZERO,
                ..packet()
            },
        ),
        (
            "3f 12 01 18  00000001 00000002 00000001 00000001 00000000",
            ControlPacket {
                diagnostic: Diagnostic::new(31).expect("five bits"),
                state: State::AdminDown,
                final_: true,
                demand: true,
                detect_mult: 1,
                your_discriminator: Some(discriminator(2)),
                desired_min_tx: Duration::from_micros(1),
                required_min_rx: Duration::from_micros(1),
                ..packet()
            },
        ),
    ]
}

#[test]
fn each_field_is_read_and_written_where_section_4_1_has_it() {
    for (hex, packet) in known() {
        assert_eq!(
            ControlPacket::parse(&octets(hex)),
            Ok(packet.clone()),
            "{hex}"
        );
        assert_eq!(packet.emit().as_slice(), octets(hex), "{hex}");
    }
}

#[test]
fn authentication_sections_are_read_as_sections_4_2_to_4_4_have_them() {
    let mandatory =
        |length: &str| format!("20 44 03 {length} 00000001 00000000 000f4240 000493e0 00000000");
    let digest = |count: usize| "5a".repeat(count);
    let table = [
        (
            "1c",
            "01 04 07 70".to_owned(),
            AuthenticationType::SimplePassword,
            None,
        ),
        (
            "30",
            format!("02 18 07 00 00000009 {}", digest(16)),
            AuthenticationType::KeyedMd5,
            Some(9),
        ),
        (
            "30",
            format!("03 18 07 00 00000009 {}", digest(16)),
            AuthenticationType::MeticulousKeyedMd5,
            Some(9),
        ),
        (
            "34",
            format!("04 1c 07 00 80000000 {}", digest(20)),
            AuthenticationType::KeyedSha1,
            Some(0x8000_0000),
        ),
        (
            "34",
            format!("05 1c 07 00 00000009 {}", digest(20)),
            AuthenticationType::MeticulousKeyedSha1,
            Some(9),
        ),
    ];
    for (length, section, kind, sequence) in table {
        let hex = format!("{} {section}", mandatory(length));
        let read = ControlPacket::parse(&octets(&hex)).map(|it| it.authentication);
        let expected = Authentication {
            kind,
            key_id: 7,
            sequence,
        };
        assert_eq!(read, Ok(Some(expected)), "{hex}");
    }
}

#[test]
fn what_section_6_8_6_drops_is_dropped_for_the_reason_it_gives() {
    let rest = "00000001 00000000 000f4240 000493e0 00000000";
    let length = |field, datagram| Malformed::Length { field, datagram };
    let authentication = |kind, length| Malformed::Authentication { kind, length };
    let table = [
        ("", length(0, 0)),
        ("20 40 03", length(0, 3)),
        (&format!("00 40 03 18 {rest}"), Malformed::Version(0)),
        (&format!("40 40 03 18 {rest}"), Malformed::Version(2)),
        (&format!("20 40 03 17 {rest}"), length(23, 24)),
        (&format!("20 40 03 19 {rest}"), length(25, 24)),
        (&format!("20 44 03 18 {rest}"), length(24, 24)),
        (&format!("20 44 03 19 {rest} 01"), length(25, 25)),
        (&format!("20 40 00 18 {rest}"), Malformed::DetectMult),
        (&format!("20 41 03 18 {rest}"), Malformed::Multipoint),
        (
            "20 40 03 18 00000000 00000000 000f4240 000493e0 00000000",
            Malformed::MyDiscriminator,
        ),
        (
            &format!("20 80 03 18 {rest}"),
            Malformed::YourDiscriminator(State::Init),
        ),
        (
            &format!("20 c0 03 18 {rest}"),
            Malformed::YourDiscriminator(State::Up),
        ),
        (&format!("20 44 03 1a {rest} 00 02"), authentication(0, 2)),
        (
            &format!("20 44 03 1b {rest} 01 03 07"),
            authentication(1, 3),
        ),
        (
            &format!("20 44 03 1b {rest} 01 04 07"),
            authentication(1, 4),
        ),
        (
            &format!("20 44 03 1c {rest} 02 04 07 00"),
            authentication(2, 4),
        ),
        (
            &format!("20 44 03 1c {rest} 06 04 07 00"),
            authentication(6, 4),
        ),
    ];
    for (hex, expected) in table {
        assert_eq!(ControlPacket::parse(&octets(hex)), Err(expected), "{hex}");
    }
}

#[test]
fn a_packet_cut_anywhere_is_malformed_and_one_with_a_tail_is_not() {
    for (hex, packet) in known() {
        let whole = octets(hex);
        for length in 0..whole.len() {
            assert!(
                matches!(
                    ControlPacket::parse(&whole[..length]),
                    Err(Malformed::Length { .. })
                ),
                "{hex} cut to {length}"
            );
        }
        let longer = [whole.as_slice(), &[0xff; 9]].concat();
        assert_eq!(ControlPacket::parse(&longer), Ok(packet));
    }
}

prop_compose! {
    fn any_packet()(
        diagnostic in 0u8..32,
        state in prop::sample::select(vec![State::AdminDown, State::Down, State::Init, State::Up]),
        flags in any::<[bool; 4]>(),
        detect_mult in 1u8..,
        mine in 1u32..,
        yours in 1u32..,
        intervals in any::<[u32; 3]>(),
    ) -> ControlPacket {
        let [poll, final_, control_plane_independent, demand] = flags;
        let [tx, rx, echo] = intervals.map(|it| Duration::from_micros(it.into()));
        ControlPacket {
            diagnostic: Diagnostic::new(diagnostic).expect("five bits"),
            state,
            poll,
            final_,
            control_plane_independent,
            demand,
            detect_mult,
            my_discriminator: discriminator(mine),
            your_discriminator: Some(discriminator(yours)),
            desired_min_tx: tx,
            required_min_rx: rx,
            required_min_echo_rx: echo,
            authentication: None,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(packet in any_packet()) {
        prop_assert_eq!(ControlPacket::parse(&packet.emit()), Ok(packet));
    }

    #[test]
    fn whatever_comes_is_read_or_refused_and_what_is_read_has_no_zero_where_none_may_be(
        head in prop::collection::vec(any::<u8>(), 0..4),
        body in prop::collection::vec(any::<u8>(), 0..80),
        plausible in any::<bool>(),
    ) {
        let mut datagram = [head, body].concat();
        if plausible && let [first, _, _, length, ..] = datagram.as_mut_slice() {
            *first = 0x20 | (*first & 0x1f);
            *length = 24 + *length % 40;
        }
        if let Ok(packet) = ControlPacket::parse(&datagram) {
            prop_assert!(packet.detect_mult > 0);
            prop_assert!(usize::from(datagram[3]) <= datagram.len());
            if packet.authentication.is_none() {
                prop_assert_eq!(packet.emit()[4..].to_vec(), datagram[4..24].to_vec());
            }
        }
    }

    #[test]
    fn an_interval_that_no_field_holds_is_written_as_the_longest(excess in 1u64..u64::MAX / 2) {
        let packet = ControlPacket {
            desired_min_tx: Duration::from_micros(u64::from(u32::MAX).saturating_add(excess)),
            ..packet()
        };
        let read = ControlPacket::parse(&packet.emit()).map(|it| it.desired_min_tx);
        prop_assert_eq!(read, Ok(Duration::from_micros(u32::MAX.into())));
    }
}
