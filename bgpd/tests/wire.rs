//! Messages as octets, in both directions, whole and cut short.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::Ipv4Addr;
use std::time::Duration;

use bgpd::Asn;
use bgpd::wire::{
    Aggregator, AsPath, AttributeCode, Capabilities, Capability, Community, ExtendedCommunity,
    Families, Family, Framer, HeaderError, LargeCommunity, MessageKind, Notification, Open,
    OpenError, Origin, PathAttributes, RefreshKind, RestartCapability, RouteRefresh, Segment,
    SegmentKind, UnknownAttribute, UpdateBuilder, UpdateContext, UpdateFrame, end_of_rib,
    keepalive,
};

const MARKER: &str = "ffffffffffffffffffffffffffffffff";

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn whole(hex: &str) -> Vec<u8> {
    octets(&format!("{MARKER}{hex}"))
}

/// The body of the one message in these octets.
fn body(bytes: &[u8]) -> (MessageKind, Vec<u8>) {
    let mut framer = Framer::default();
    framer.push(bytes);
    let message = framer.message().unwrap().unwrap();
    assert_eq!(framer.message(), Ok(None));
    (message.kind, message.body)
}

fn opens() -> Vec<(Vec<u8>, Open)> {
    let open = |my_as, hold_time, capabilities| Open {
        my_as,
        hold_time,
        identifier: Ipv4Addr::new(10, 1, 0, 0),
        capabilities: Capabilities(capabilities),
    };
    let ours = vec![
        Capability::Multiprotocol(Family::IPV4_UNICAST),
        Capability::RouteRefresh,
        Capability::FourOctetAs(Asn(65551)),
    ];
    let odd = vec![
        Capability::Other {
            code: 73,
            value: b"n".to_vec(),
        },
        // Lengths that the capabilities cannot have: noted, not used.
        Capability::Other {
            code: 2,
            value: vec![7],
        },
        Capability::Other {
            code: 64,
            value: vec![0, 120, 0],
        },
    ];
    let restart = |restarted, notification, seconds, families| {
        Capability::GracefulRestart(RestartCapability {
            restarted,
            notification,
            restart_time: Duration::from_secs(seconds),
            families,
        })
    };
    vec![
        // RFC 4724, section 3, and the N bit of RFC 8538, section 2.
        (
            whole("0027 01 04 fde8 0012 0a010000 0a 0208 4006 c078 00010180"),
            open(
                65000,
                18,
                vec![restart(true, true, 120, vec![(Family::IPV4_UNICAST, true)])],
            ),
        ),
        (
            whole("0023 01 04 fde8 0012 0a010000 06 0204 4002 0fff"),
            open(65000, 18, vec![restart(false, false, 4095, vec![])]),
        ),
        (
            whole("001d 01 04 fde8 0012 0a010000 00"),
            open(65000, 18, vec![]),
        ),
        (
            whole("002d 01 04 5ba0 005a 0a010000 10 020e 010400010001 0200 41040001000f"),
            open(23456, 90, ours),
        ),
        (
            whole("002a 01 04 fde8 0000 0a010000 0d 020b 49016e 020107 4003007800"),
            open(65000, 0, odd),
        ),
    ]
}

#[test]
fn an_open_reads_and_writes_as_the_table_has_it() {
    for (bytes, open) in opens() {
        assert_eq!(body(&bytes), (MessageKind::Open, bytes[19..].to_vec()));
        assert_eq!(Open::parse(&bytes[19..]).as_ref(), Ok(&open));
        assert_eq!(open.emit(), bytes);
    }
}

#[test]
fn parameters_in_the_extended_form_and_in_several_pieces_are_read() {
    // RFC 9072: 255, 255, then lengths of two octets; RFC 5492: one parameter per capability.
    let extended = octets("04 fde8 0012 0a010000 ff ff 0005 02 0002 0200");
    let pieces = octets("04 fde8 0012 0a010000 08 0202 0200 0202 0200");
    for bytes in [extended, pieces] {
        let open = Open::parse(&bytes).unwrap();
        assert_eq!(
            open.capabilities,
            Capabilities(vec![Capability::RouteRefresh])
        );
    }
}

#[test]
fn many_capabilities_take_the_extended_form() {
    let capability = |code| Capability::Other {
        code,
        value: vec![code; 200],
    };
    let open = Open {
        my_as: 1,
        hold_time: 90,
        identifier: Ipv4Addr::new(1, 2, 3, 4),
        capabilities: Capabilities(vec![capability(100), capability(101)]),
    };
    let bytes = open.emit();
    assert_eq!(Open::parse(&bytes[19..]), Ok(open));
}

#[test]
fn an_open_that_contradicts_itself_is_refused() {
    let cases = [
        (
            "03 fde8 0012 0a010000 00",
            OpenError::Version { offered: 3 },
        ),
        ("04 fde8 0012 0a010000 01", OpenError::Malformed),
        ("04 fde8 0012 0a010000 00 00", OpenError::Malformed),
        ("04 fde8 0012 0a010000 02 0201", OpenError::Malformed),
        ("04 fde8 0012 0a010000 04 0202 0205", OpenError::Malformed),
        ("04 fde8 0012 0a010000 ff", OpenError::Malformed),
        ("04 fde8 0012 0a010000 ff ff", OpenError::Malformed),
        (
            "04 fde8 0012 0a010000 ff ff 0003 02 ffff",
            OpenError::Malformed,
        ),
        (
            "04 fde8 0012 0a010000 03 01 01 00",
            OpenError::Parameter { kind: 1 },
        ),
    ];
    for (hex, error) in cases {
        assert_eq!(Open::parse(&octets(hex)), Err(error), "{hex}");
    }
}

#[test]
fn headers_are_judged_before_their_message_is_complete() {
    let cases = [
        ("00", HeaderError::NotSynchronized),
        (
            &*format!("{MARKER}0012 04"),
            HeaderError::BadLength { length: 18 },
        ),
        (
            &*format!("{MARKER}1001 02"),
            HeaderError::BadLength { length: 4097 },
        ),
        (
            &*format!("{MARKER}0014 04"),
            HeaderError::BadLength { length: 20 },
        ),
        (
            &*format!("{MARKER}001c 01"),
            HeaderError::BadLength { length: 28 },
        ),
        (
            &*format!("{MARKER}0016 02"),
            HeaderError::BadLength { length: 22 },
        ),
        (
            &*format!("{MARKER}0014 03"),
            HeaderError::BadLength { length: 20 },
        ),
        (
            &*format!("{MARKER}0013 00"),
            HeaderError::BadType { kind: 0 },
        ),
        (
            &*format!("{MARKER}0013 06"),
            HeaderError::BadType { kind: 6 },
        ),
        (
            &*format!("{MARKER}0013 ff"),
            HeaderError::BadType { kind: 255 },
        ),
    ];
    for (hex, error) in cases {
        let mut framer = Framer::default();
        framer.push(&octets(hex));
        assert_eq!(framer.message(), Err(error), "{hex}");
    }
}

#[test]
fn a_stream_is_the_same_messages_however_it_is_cut() {
    let mut stream = keepalive();
    stream.extend(RouteRefresh::request(Family::IPV4_UNICAST).message());
    stream.extend(end_of_rib(Family::IPV4_UNICAST));
    stream.extend(Notification::cease(2).emit());
    for size in 1..stream.len() {
        let mut framer = Framer::default();
        let mut kinds = Vec::new();
        for piece in stream.chunks(size) {
            framer.push(piece);
            while let Some(message) = framer.message().unwrap() {
                kinds.push(message.kind.code());
            }
        }
        assert_eq!(kinds, [4, 5, 2, 3]);
        assert_eq!(framer.pending(), 0);
    }
}

#[test]
fn a_route_refresh_names_its_family_and_what_it_says() {
    let family = Family { afi: 2, safi: 1 };
    for (octet, kind) in [
        (0, RefreshKind::Request),
        (1, RefreshKind::Begin),
        (2, RefreshKind::End),
        (255, RefreshKind::Unknown(255)),
    ] {
        let refresh = RouteRefresh { family, kind };
        let (message, body) = body(&refresh.message());
        assert_eq!(message, MessageKind::RouteRefresh);
        assert_eq!(body, [0, 2, octet, 1]);
        assert_eq!(RouteRefresh::parse(&body), Some(refresh));
        assert_eq!(RouteRefresh::parse(&body[1..]), None);
        assert_eq!(RouteRefresh::parse(&[&body[..], &[0]].concat()), None);
    }
}

#[test]
fn a_notification_says_in_words_what_it_means() {
    let cases = [
        ("0202 fde8", "OPEN error: bad peer AS (2/2), data fd e8"),
        (
            "0201 0004",
            "OPEN error: unsupported version number (2/1): it speaks version 4",
        ),
        ("0400", "hold timer expired (4/0)"),
        (
            "0602 04 6279652e",
            "cease: administrative shutdown (6/2): \"bye.\"",
        ),
        (
            "0602 02 620a",
            "cease: administrative shutdown (6/2): \"b\u{fffd}\"",
        ),
        (
            "0602 ff 62",
            "cease: administrative shutdown (6/2), data ff 62",
        ),
        ("060a", "cease: BFD down (6/10)"),
        (
            "06090602 04 6279652e",
            "cease: hard reset (6/9): cease: administrative shutdown (6/2): \"bye.\"",
        ),
        // One inside another is not followed.
        ("060906090602", "cease: hard reset (6/9), data 06 09 06 02"),
        ("ee07", "an error of unknown code (238/7)"),
    ];
    for (hex, words) in cases {
        let notification = Notification::parse(&octets(hex)).unwrap();
        assert_eq!(notification.to_string(), words);
        assert_eq!(body(&notification.emit()).1, octets(hex));
    }
}

#[test]
fn a_shutdown_text_is_cut_between_characters() {
    let text = "ü".repeat(200);
    let notification = Notification::cease_with_text(2, &text);
    assert_eq!(notification.data[0], 254);
    assert_eq!(notification.text(), Some("ü".repeat(127)));
}

fn rich() -> PathAttributes {
    PathAttributes {
        origin: Origin::Incomplete,
        as_path: AsPath::sequence([31898, 4_200_000_000]),
        next_hop: Some(Ipv4Addr::new(10, 1, 0, 1).into()),
        med: Some(5),
        local_pref: None,
        atomic_aggregate: true,
        aggregator: Some(Aggregator {
            asn: Asn(70000),
            id: Ipv4Addr::new(1, 2, 3, 4),
        }),
        communities: vec![Community(0x0001_0002), Community::NO_EXPORT],
        originator_id: None,
        cluster_list: Vec::new(),
        extended_communities: vec![ExtendedCommunity([0, 2, 0, 1, 0, 0, 0, 9])],
        large_communities: vec![LargeCommunity([1, 2, 3])],
        unknown: vec![
            UnknownAttribute {
                code: AttributeCode(30),
                value: vec![1],
            },
            UnknownAttribute {
                code: AttributeCode(255),
                value: vec![2; 300],
            },
        ],
    }
}

const NEW: UpdateContext = UpdateContext {
    four_octet_as: true,
    external: true,
    families: Families::IPV4,
    extended_next_hop: false,
};
const OLD: UpdateContext = UpdateContext {
    four_octet_as: false,
    external: true,
    families: Families::IPV4,
    extended_next_hop: false,
};

/// What a set of attributes is read as by a peer.
fn read_back(set: &PathAttributes, context: UpdateContext) -> PathAttributes {
    let mut attributes = Vec::new();
    set.emit(context.four_octet_as, &mut attributes);
    let mut bytes = Vec::new();
    let mut builder = UpdateBuilder::announce(&attributes).unwrap();
    builder.push("10.0.0.0/8".parse().unwrap(), &mut bytes);
    assert_eq!(builder.finish(&mut bytes), 1);
    let (_, body) = body(&bytes);
    let read = UpdateFrame::parse(&body)
        .unwrap()
        .attributes(context)
        .unwrap();
    assert_eq!(read.faults, []);
    read.set.unwrap()
}

#[test]
fn every_attribute_survives_the_way_to_a_new_speaker_and_to_an_old_one() {
    assert_eq!(read_back(&rich(), NEW), rich());
    assert_eq!(read_back(&rich(), OLD), rich());
}

#[test]
fn the_canonical_form_is_the_one_that_was_written() {
    let mut bytes = Vec::new();
    rich().emit(true, &mut bytes);
    assert_eq!(PathAttributes::parse_canonical(&bytes), Some(rich()));
    let local = PathAttributes::local(Origin::Igp);
    let mut bytes = Vec::new();
    local.emit(true, &mut bytes);
    assert_eq!(bytes, octets("40 01 01 00 40 02 00"));
    assert_eq!(PathAttributes::parse_canonical(&bytes), Some(local));
}

#[test]
fn an_update_of_the_reference_site_is_these_octets() {
    let mut set = PathAttributes::local(Origin::Incomplete);
    set.as_path = AsPath::sequence([65000]);
    set.next_hop = Some(Ipv4Addr::new(10, 1, 0, 0).into());
    let mut attributes = Vec::new();
    set.emit(true, &mut attributes);
    let mut bytes = Vec::new();
    let mut builder = UpdateBuilder::announce(&attributes).unwrap();
    for prefix in ["192.168.2.0/24", "172.24.0.0/24"] {
        builder.push(prefix.parse().unwrap(), &mut bytes);
    }
    builder.finish(&mut bytes);
    let expected =
        "0033 02 0000 0014 400101 02 400206 0201 0000fde8 400304 0a010000 18 c0a802 18 ac1800";
    assert_eq!(bytes, whole(expected));
}

#[test]
fn an_old_speakers_path_is_completed_from_as4_path() {
    // RFC 6793, section 4.2.3.
    let cases: [(&str, &str, &str); 4] = [
        (
            "0203 fde8 5ba0 5ba0",
            "0202 00011170 00011171",
            "65000 70000 70001",
        ),
        ("0202 5ba0 5ba0", "0202 00011170 00011171", "70000 70001"),
        // Longer than AS_PATH: ignored.
        ("0201 5ba0", "0202 00011170 00011171", "23456"),
        ("0202 fde8 fde9", "", "65000 65001"),
    ];
    for (as_path, as4_path, expected) in cases {
        let mut attributes = octets("40010100 400304 0a000001");
        let as_path = octets(as_path);
        attributes.extend([0x40, 2, as_path.len() as u8]);
        attributes.extend(as_path);
        if !as4_path.is_empty() {
            let as4_path = octets(as4_path);
            attributes.extend([0xc0, 17, as4_path.len() as u8]);
            attributes.extend(as4_path);
        }
        let announced = vec!["10.0.0.0/8".parse().unwrap()];
        let frame = UpdateFrame {
            withdrawn: vec![],
            attributes: &attributes,
            announced,
        };
        let set = frame.attributes(OLD).unwrap().set.unwrap();
        assert_eq!(set.as_path.to_string(), expected);
    }
}

#[test]
fn prepending_opens_a_new_segment_when_the_first_is_full_or_a_set() {
    let mut path = AsPath::sequence(vec![7; 255]);
    path.prepend(Asn(1), 2);
    assert_eq!(
        (path.0.len(), path.hops(), path.first()),
        (2, 257, Some(Asn(1)))
    );
    let mut path = AsPath(vec![Segment {
        kind: SegmentKind::Set,
        asns: vec![Asn(1), Asn(2)],
    }]);
    path.prepend(Asn(9), 1);
    assert_eq!((path.to_string().as_str(), path.hops()), ("9 {1,2}", 2));
}

#[test]
fn every_message_cut_at_every_length_is_refused_or_waited_for_and_never_panics() {
    let mut attributes = Vec::new();
    rich().emit(true, &mut attributes);
    let mut update = Vec::new();
    let mut builder = UpdateBuilder::announce(&attributes).unwrap();
    builder.push("10.128.0.0/9".parse().unwrap(), &mut update);
    builder.finish(&mut update);
    let mut messages: Vec<Vec<u8>> = opens().into_iter().map(|(bytes, _)| bytes).collect();
    messages.extend([
        update,
        keepalive(),
        RouteRefresh::request(Family::IPV4_UNICAST).message(),
    ]);
    messages.push(Notification::cease_with_text(2, "bye").emit());
    for message in messages {
        for length in 0..message.len() {
            let mut framer = Framer::default();
            framer.push(&message[..length]);
            assert_eq!(framer.message(), Ok(None));
            let cut = message.get(19..length).unwrap_or_default();
            let _ = Open::parse(cut);
            let _ = Notification::parse(cut).map(|it| it.to_string());
            if let Ok(frame) = UpdateFrame::parse(cut) {
                let _ = frame.attributes(NEW);
                let _ = frame.attributes(OLD);
            }
            let _ = PathAttributes::parse_canonical(cut);
        }
    }
}

#[test]
fn builders_fill_messages_and_never_overfill_them() {
    let mut attributes = Vec::new();
    rich().emit(true, &mut attributes);
    for attributes in [None, Some(attributes.as_slice())] {
        let mut builder = match attributes {
            None => UpdateBuilder::withdraw(Family::IPV4_UNICAST),
            Some(attributes) => UpdateBuilder::announce(attributes).unwrap(),
        };
        let mut bytes = Vec::new();
        for number in 0..5000u32 {
            let length = 8 + (number % 25) as u8;
            let prefix = ipnet::Ipv4Net::new(Ipv4Addr::from(number << 13), length).unwrap();
            builder.push(prefix.trunc().into(), &mut bytes);
        }
        let messages = builder.finish(&mut bytes);
        let mut framer = Framer::default();
        framer.push(&bytes);
        let (mut seen, mut prefixes) = (0, 0);
        while let Some(message) = framer.message().unwrap() {
            let frame = UpdateFrame::parse(&message.body).unwrap();
            prefixes += frame.announced.len() + frame.withdrawn.len();
            seen += 1;
        }
        assert_eq!((seen, prefixes), (messages, 5000));
    }
    assert!(UpdateBuilder::announce(&[0; 4069]).is_none());
}

#[test]
fn builders_of_ipv6_fill_messages_and_never_overfill_them() {
    let mut set = rich();
    let next_hop = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    set.next_hop = Some(next_hop.into());
    let mut attributes = Vec::new();
    set.emit(true, &mut attributes);
    let context = UpdateContext {
        families: Families::BOTH,
        extended_next_hop: true,
        ..NEW
    };
    for family in [Family::IPV4_UNICAST, Family::IPV6_UNICAST] {
        for announces in [true, false] {
            let mut builder = if announces {
                UpdateBuilder::reach(family, next_hop, &attributes).unwrap()
            } else {
                UpdateBuilder::withdraw(family)
            };
            let mut bytes = Vec::new();
            for number in 0..5000_u32 {
                let (length, bits) = ((8 + number % 25) as u8, number << 13);
                let prefix: ipnet::IpNet = if family == Family::IPV4_UNICAST {
                    ipnet::Ipv4Net::new(bits.into(), length).unwrap().into()
                } else {
                    let address = (u128::from(bits) << 96).into();
                    ipnet::Ipv6Net::new(address, length * 4).unwrap().into()
                };
                builder.push(prefix.trunc(), &mut bytes);
            }
            let messages = builder.finish(&mut bytes);
            let mut framer = Framer::default();
            framer.push(&bytes);
            let (mut seen, mut prefixes) = (0, 0);
            while let Some(message) = framer.message().unwrap() {
                let frame = UpdateFrame::parse(&message.body).unwrap();
                let read = frame.attributes(context).unwrap();
                prefixes += frame.withdrawn.len() + read.withdrawn.len() + read.announced.len();
                assert_eq!(read.multiprotocol, announces.then(|| set.clone()));
                assert!(read.announced.iter().all(|it| Family::of(it) == family));
                seen += 1;
            }
            assert_eq!((seen, prefixes), (messages, 5000));
        }
    }
    assert!(UpdateBuilder::reach(Family::IPV6_UNICAST, next_hop, &[0; 4033]).is_none());
    assert!(UpdateBuilder::reach(Family::IPV6_UNICAST, next_hop, &[0; 4031]).is_some());
}

#[test]
fn end_of_rib_of_each_family_has_its_own_form() {
    for (family, expected) in [
        (Family::IPV4_UNICAST, "0000 0000"),
        (Family::IPV6_UNICAST, "0000 0007 900f0003 0002 01"),
    ] {
        let (kind, said) = body(&end_of_rib(family));
        assert_eq!((kind, said), (MessageKind::Update, octets(expected)));
    }
}

#[test]
fn the_capability_for_ipv6_next_hops_reads_and_writes_as_rfc_8950_has_it() {
    let bytes = octets("04 fde8 0012 0a010000 0a 02 08 05 06 0001 0001 0002");
    let open = Open::parse(&bytes).unwrap();
    let pair = (Family::IPV4_UNICAST, 2);
    let expected = Capability::ExtendedNextHop(vec![pair]);
    assert_eq!(open.capabilities, Capabilities(vec![expected]));
    assert!(open.capabilities.extended_next_hop());
    assert_eq!(open.emit()[19..], bytes);
    let cut = octets("04 fde8 0012 0a010000 09 02 07 05 05 0001 0001 00");
    let open = Open::parse(&cut).unwrap();
    assert!(!open.capabilities.extended_next_hop());
}

#[test]
fn a_large_community_that_is_there_twice_counts_once() {
    let mut set = rich();
    let (one, other) = (LargeCommunity([1, 2, 3]), LargeCommunity([1, 2, 4]));
    set.large_communities = vec![one, other, one];
    assert_eq!(read_back(&set, NEW).large_communities, [one, other]);
}
