//! RFC 7606 case by case: what an UPDATE with a fault comes to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bgpd::wire::{AttributeCode, Families, Family, Treatment, UpdateContext, UpdateFrame};

use Expected::{Clean, Discard, Reset, Withdraw};

/// What is to become of the UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Clean,
    Discard,
    Withdraw,
    /// With this NOTIFICATION subcode.
    Reset(u8),
}

const EXTERNAL: UpdateContext = UpdateContext {
    four_octet_as: true,
    external: true,
    families: Families::IPV4,
    extended_next_hop: false,
};
const INTERNAL: UpdateContext = UpdateContext {
    four_octet_as: true,
    external: false,
    families: Families::IPV4,
    extended_next_hop: false,
};
const OLD: UpdateContext = UpdateContext {
    four_octet_as: false,
    external: true,
    families: Families::IPV4,
    extended_next_hop: false,
};

const ORIGIN: &str = "40010100";
const AS_PATH: &str = "400206 0201 00007c9a";
const NEXT_HOP: &str = "400304 0a010001";
const PREFIX: &str = "18 0a0000";

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn update(attributes: &str, announced: &str) -> Vec<u8> {
    let attributes = octets(attributes);
    let mut body = vec![0, 0];
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend(attributes);
    body.extend(octets(announced));
    body
}

fn outcome(body: &[u8], context: UpdateContext) -> Expected {
    let read = UpdateFrame::parse(body).and_then(|frame| frame.attributes(context));
    let read = match read {
        Ok(read) => read,
        Err(fault) => {
            assert_eq!(fault.notification().code, 3);
            return Reset(fault.notification().subcode);
        }
    };
    let worst = read.faults.iter().map(|fault| fault.treatment).max();
    match worst {
        None => Clean,
        Some(Treatment::AttributeDiscard) => Discard,
        Some(Treatment::TreatAsWithdraw) => {
            assert_eq!(read.set, None, "a set that must not be believed");
            assert_eq!(read.multiprotocol, None, "nor this one");
            Withdraw
        }
        Some(Treatment::SessionReset) => panic!("a fault that should have ended the session"),
    }
}

/// Each case adds one attribute to a sound set, or replaces the one of the same code.
fn check(context: UpdateContext, cases: &[(&str, &str, Expected)]) {
    for (what, attribute, expected) in cases {
        let code = octets(attribute).get(1).copied();
        let sound = [(1, ORIGIN), (2, AS_PATH), (3, NEXT_HOP)];
        let kept = sound
            .iter()
            .filter(|(it, _)| Some(*it) != code)
            .map(|(_, hex)| *hex);
        let attributes: String = kept.chain([*attribute]).collect();
        assert_eq!(
            outcome(&update(&attributes, PREFIX), context),
            *expected,
            "{what}"
        );
    }
}

#[test]
fn well_known_attributes_that_are_malformed_withdraw() {
    check(
        EXTERNAL,
        &[
            ("a sound set", ORIGIN, Clean),
            ("ORIGIN of no octets", "400100", Withdraw),
            ("ORIGIN of two octets", "4001020000", Withdraw),
            ("ORIGIN 3", "40010103", Withdraw),
            ("ORIGIN marked optional", "c0010100", Withdraw),
            ("ORIGIN not transitive", "00010100", Withdraw),
            ("ORIGIN marked partial is fine", "60010100", Clean),
            (
                "AS_PATH with a stray octet",
                "400207 0201 00007c9a 00",
                Withdraw,
            ),
            (
                "AS_PATH with an unknown segment",
                "400206 0501 00007c9a",
                Withdraw,
            ),
            ("AS_PATH with a segment of nothing", "400202 0200", Withdraw),
            (
                "AS_PATH with a segment too long",
                "400206 0202 00007c9a",
                Withdraw,
            ),
            ("AS_PATH with AS 0", "400206 0201 00000000", Withdraw),
            ("AS_PATH with an AS_SET", "400206 0101 00007c9a", Withdraw),
            (
                "AS_PATH with a confederation",
                "400206 0301 00007c9a",
                Withdraw,
            ),
            ("AS_PATH marked optional", "800206 0201 00007c9a", Withdraw),
            ("an empty AS_PATH is sound", "400200", Clean),
            ("NEXT_HOP of three octets", "400303 0a0100", Withdraw),
            ("NEXT_HOP of five octets", "400305 0a01000101", Withdraw),
            ("NEXT_HOP 0.0.0.0", "400304 00000000", Withdraw),
            ("NEXT_HOP 127.0.0.1", "400304 7f000001", Withdraw),
            ("NEXT_HOP 224.0.0.1", "400304 e0000001", Withdraw),
            (
                "an extended length where a short one would do",
                "50030004 0a010001",
                Clean,
            ),
        ],
    );
}

#[test]
fn a_missing_mandatory_attribute_withdraws() {
    for missing in [ORIGIN, AS_PATH, NEXT_HOP] {
        let kept: String = [ORIGIN, AS_PATH, NEXT_HOP]
            .into_iter()
            .filter(|it| *it != missing)
            .collect();
        assert_eq!(outcome(&update(&kept, PREFIX), EXTERNAL), Withdraw);
    }
    assert_eq!(outcome(&update("", PREFIX), EXTERNAL), Withdraw);
}

#[test]
fn optional_attributes_have_a_treatment_each() {
    check(
        EXTERNAL,
        &[
            ("MED of three octets", "800403 000000", Withdraw),
            ("MED of five octets", "800405 0000000000", Withdraw),
            ("MED marked transitive", "c00404 00000000", Withdraw),
            ("LOCAL_PREF from outside", "400504 00000064", Discard),
            ("LOCAL_PREF from outside, malformed", "400501 00", Discard),
            ("ATOMIC_AGGREGATE of one octet", "400601 00", Discard),
            ("AGGREGATOR of six octets", "c00706 fde8 01020304", Discard),
            ("AGGREGATOR of AS 0", "c00708 00000000 01020304", Discard),
            ("COMMUNITIES of no octets", "c00800", Withdraw),
            ("COMMUNITIES of five octets", "c00805 0001000200", Withdraw),
            ("ORIGINATOR_ID from outside", "800904 01020304", Discard),
            ("CLUSTER_LIST from outside", "800a04 01020304", Discard),
            (
                "EXTENDED_COMMUNITIES of seven octets",
                "c01007 00000000000000",
                Withdraw,
            ),
            ("EXTENDED_COMMUNITIES of no octets", "c01000", Withdraw),
            (
                "LARGE_COMMUNITIES of eight octets",
                "c02008 0000000000000000",
                Withdraw,
            ),
            (
                "AS4_PATH from a NEW speaker",
                "c01106 0201 00011170",
                Discard,
            ),
            (
                "AS4_AGGREGATOR from a NEW speaker",
                "c01208 00011170 01020304",
                Discard,
            ),
            ("an unknown well-known attribute", "40c801 00", Withdraw),
            ("an unknown transitive attribute", "c0c801 00", Clean),
            ("an unknown non-transitive attribute", "80c801 00", Clean),
        ],
    );
}

#[test]
fn inside_one_as_the_attributes_of_reflection_are_read() {
    check(
        INTERNAL,
        &[
            ("LOCAL_PREF", "400504 00000064", Clean),
            ("LOCAL_PREF of three octets", "400503 000064", Withdraw),
            ("ORIGINATOR_ID", "800904 01020304", Clean),
            (
                "ORIGINATOR_ID of five octets",
                "800905 0102030405",
                Withdraw,
            ),
            ("CLUSTER_LIST of no octets", "800a00", Withdraw),
            ("CLUSTER_LIST of five octets", "800a05 0102030405", Withdraw),
        ],
    );
}

#[test]
fn an_old_speakers_four_octet_attributes_are_discarded_when_malformed() {
    let base = "40010100 400204 0201 7c9a 400304 0a010001";
    let cases = [
        ("sound", "c01106 0201 00011170", Clean),
        ("AS4_PATH of nothing", "c01100", Discard),
        ("AS4_PATH with AS 0", "c01106 0201 00000000", Discard),
        (
            "AS4_PATH with a bad segment",
            "c01106 0901 00011170",
            Discard,
        ),
        (
            "AS4_PATH marked well-known",
            "401106 0201 00011170",
            Discard,
        ),
        (
            "AS4_AGGREGATOR of six octets",
            "c01206 00011170 0102",
            Discard,
        ),
        (
            "AGGREGATOR of eight octets",
            "c00708 0000fde8 01020304",
            Discard,
        ),
    ];
    for (what, attribute, expected) in cases {
        let body = update(&format!("{base}{attribute}"), PREFIX);
        assert_eq!(outcome(&body, OLD), expected, "{what}");
    }
}

#[test]
fn what_is_repeated_counts_once_but_for_the_prefixes_of_other_families() {
    let base = format!("{ORIGIN}{AS_PATH}{NEXT_HOP}");
    let repeated = update(&format!("{base} 40010102"), PREFIX);
    assert_eq!(outcome(&repeated, EXTERNAL), Discard);
    let frame = UpdateFrame::parse(&repeated).unwrap();
    let set = frame.attributes(EXTERNAL).unwrap().set.unwrap();
    assert_eq!(set.origin as u8, 0, "the first one is believed");
    let reach = "800e0d 0001 01 04 0a010001 00 18 0a0001";
    let twice = update(&format!("{base}{reach}{reach}"), "");
    assert_eq!(outcome(&twice, EXTERNAL), Reset(1));
    let unreach = "800f07 0001 01 18 0a0001";
    assert_eq!(
        outcome(&update(&format!("{unreach}{unreach}"), ""), EXTERNAL),
        Reset(1)
    );
}

#[test]
fn lengths_that_lead_out_of_a_field_end_what_is_inside_it() {
    let base = format!("{ORIGIN}{AS_PATH}{NEXT_HOP}");
    let cases = [
        (
            "an attribute longer than the field",
            format!("{base} 8004ff 00"),
            Withdraw,
        ),
        ("one stray octet", format!("{base} 80"), Withdraw),
        ("two stray octets", format!("{base} 8004"), Withdraw),
        (
            "an extended length of one octet",
            format!("{base} 900400"),
            Withdraw,
        ),
    ];
    for (what, attributes, expected) in cases {
        assert_eq!(
            outcome(&update(&attributes, PREFIX), EXTERNAL),
            expected,
            "{what}"
        );
    }
    let cases = [
        (
            "withdrawn routes longer than the message",
            "0005 18 0a0000",
            Reset(1),
        ),
        (
            "attributes longer than the message",
            "0000 0009 40010100",
            Reset(1),
        ),
        ("no attribute length", "0000 00", Reset(1)),
        (
            "a withdrawn prefix of 33 bits",
            "0006 21 0a00000000 0000",
            Reset(10),
        ),
        ("a withdrawn prefix cut short", "0002 18 0a 0000", Reset(10)),
        (
            "an announced prefix of 33 bits",
            "0000 0000 21 0a00000000",
            Reset(10),
        ),
        (
            "an announced prefix cut short",
            "0000 0000 18 0a",
            Reset(10),
        ),
    ];
    for (what, body, expected) in cases {
        assert_eq!(outcome(&octets(body), EXTERNAL), expected, "{what}");
    }
}

#[test]
fn faults_in_attributes_without_prefixes_end_the_session() {
    // Section 5.2: perhaps the prefixes are what could not be read.
    assert_eq!(outcome(&update("40010103", ""), EXTERNAL), Reset(6));
    assert_eq!(outcome(&update("400601 00", ""), EXTERNAL), Discard);
    assert_eq!(outcome(&update(ORIGIN, ""), EXTERNAL), Clean);
}

#[test]
fn prefixes_in_multiprotocol_attributes_are_read_for_our_family_only() {
    let base = format!("{ORIGIN}{AS_PATH}");
    let read = |attributes: &str| {
        let body = update(attributes, "");
        let frame = UpdateFrame::parse(&body).unwrap();
        frame.attributes(EXTERNAL).unwrap()
    };
    let ours = read(&format!("{base} 800e0d 0001 01 04 0a010001 00 18 0a0001"));
    assert_eq!(ours.announced, ["10.0.1.0/24".parse().unwrap()]);
    assert_eq!(
        ours.multiprotocol.unwrap().next_hop,
        Some([10, 1, 0, 1].into())
    );
    let ipv6 = "800e1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8";
    let other = read(&format!("{base}{ipv6}"));
    assert!(other.announced.is_empty() && other.multiprotocol.is_none() && other.faults.is_empty());
    assert_eq!(read("800f07 0001 01 18 0a0001").withdrawn.len(), 1);
    assert_eq!(
        read("800f03 0001 01").end_of_rib,
        Some(Family::IPV4_UNICAST)
    );
    assert_eq!(read("800f03 0002 01").end_of_rib, None);
    let cases = [
        (
            "a next hop of 16 octets",
            format!("{base} 800e15 0001 01 10 {} 00", "00".repeat(16)),
            Reset(5),
        ),
        (
            "a next hop that is cut short",
            format!("{base} 800e05 0001 01 04 0a"),
            Reset(5),
        ),
        (
            "a prefix of 33 bits",
            format!("{base} 800e0f 0001 01 04 0a010001 00 21 0a00000000"),
            Reset(10),
        ),
        (
            "a family that is cut short",
            "800f02 0001".to_owned(),
            Reset(5),
        ),
        (
            "a next hop of 0.0.0.0",
            format!("{base} 800e0d 0001 01 04 00000000 00 18 0a0001"),
            Withdraw,
        ),
    ];
    for (what, attributes, expected) in cases {
        assert_eq!(
            outcome(&update(&attributes, ""), EXTERNAL),
            expected,
            "{what}"
        );
    }
}

#[test]
fn the_strongest_of_several_treatments_is_used_and_all_faults_are_told() {
    let body = update(&format!("40010103{AS_PATH}{NEXT_HOP}40060100"), PREFIX);
    assert_eq!(outcome(&body, EXTERNAL), Withdraw);
    let frame = UpdateFrame::parse(&body).unwrap();
    let faults = frame.attributes(EXTERNAL).unwrap().faults;
    let codes: Vec<_> = faults.iter().map(|fault| fault.attribute).collect();
    assert_eq!(
        codes,
        [
            Some(AttributeCode::ORIGIN),
            Some(AttributeCode::ATOMIC_AGGREGATE)
        ]
    );
}

#[test]
fn bits_behind_a_prefix_are_of_no_meaning() {
    let body = update(&format!("{ORIGIN}{AS_PATH}{NEXT_HOP}"), "09 0aff");
    let frame = UpdateFrame::parse(&body).unwrap();
    assert_eq!(frame.announced, ["10.128.0.0/9".parse().unwrap()]);
}

/// A session of both families, with RFC 8950 or without.
const BOTH: UpdateContext = UpdateContext {
    families: Families::BOTH,
    ..EXTERNAL
};
const EXTENDED: UpdateContext = UpdateContext {
    extended_next_hop: true,
    ..BOTH
};

const GLOBAL: &str = "20010db8000000000000000000000001";
const LINK_LOCAL: &str = "fe800000000000000000000000000001";

#[test]
fn ipv6_prefixes_are_read_with_next_hops_of_16_and_of_32_octets() {
    let read = |attributes: &str| {
        let body = update(attributes, "");
        let frame = UpdateFrame::parse(&body).unwrap();
        frame.attributes(BOTH).unwrap()
    };
    let zero = "00".repeat(16);
    let cases = [
        (
            format!("800e1a 0002 01 10 {GLOBAL} 00 20 20010db8"),
            "2001:db8::1",
        ),
        (
            format!("800e2a 0002 01 20 {GLOBAL}{LINK_LOCAL} 00 20 20010db8"),
            "2001:db8::1",
        ),
        (
            format!("800e1a 0002 01 10 {LINK_LOCAL} 00 20 20010db8"),
            "fe80::1",
        ),
        (
            format!("800e2a 0002 01 20 {zero}{LINK_LOCAL} 00 20 20010db8"),
            "fe80::1",
        ),
    ];
    for (reach, next_hop) in cases {
        let read = read(&format!("{reach}{ORIGIN}{AS_PATH}"));
        assert_eq!(read.faults, [], "{reach}");
        assert_eq!(read.announced, ["2001:db8::/32".parse().unwrap()]);
        assert_eq!(read.set, None, "no prefix has NEXT_HOP");
        assert_eq!(
            read.multiprotocol.unwrap().next_hop,
            Some(next_hop.parse().unwrap()),
            "{reach}"
        );
    }
    let withdrawn = read("800f09 0002 01 28 20010db8ff").withdrawn;
    assert_eq!(withdrawn, ["2001:db8:ff00::/40".parse().unwrap()]);
    let end = read("800f03 0002 01");
    assert_eq!(end.end_of_rib, Some(Family::IPV6_UNICAST));
}

#[test]
fn one_update_of_both_families_has_a_next_hop_for_each() {
    let reach = format!("800e1a 0002 01 10 {GLOBAL} 00 20 20010db8");
    let body = update(&format!("{reach}{ORIGIN}{AS_PATH}{NEXT_HOP}"), PREFIX);
    let read = UpdateFrame::parse(&body).unwrap().attributes(BOTH).unwrap();
    assert_eq!(read.faults, []);
    assert_eq!(read.set.unwrap().next_hop, Some([10, 1, 0, 1].into()));
    let ipv6 = read.multiprotocol.unwrap().next_hop;
    assert_eq!(ipv6, Some("2001:db8::1".parse().unwrap()));
}

#[test]
fn malformed_ipv6_prefixes_and_next_hops_have_a_treatment_each() {
    let zero = "00".repeat(16);
    let multicast = "ff020000000000000000000000000001";
    let loopback = "00000000000000000000000000000001";
    let sound = format!("800e1a 0002 01 10 {GLOBAL} 00 20 20010db8");
    let long = format!("81 {} 00", "20".repeat(16));
    let cases = [
        ("a sound one", sound.clone(), Clean),
        (
            "a next hop of 4 octets",
            "800e09 0002 01 04 0a010001 00".into(),
            Reset(5),
        ),
        (
            "a next hop of 24 octets",
            format!("800e1d 0002 01 18 {} 00", "00".repeat(24)),
            Reset(5),
        ),
        (
            "a next hop that is cut short",
            "800e05 0002 01 10 20".into(),
            Reset(5),
        ),
        (
            "nothing behind the next hop",
            format!("800e14 0002 01 10 {GLOBAL}"),
            Reset(5),
        ),
        (
            "a next hop of ::",
            format!("800e1a 0002 01 10 {zero} 00 20 20010db8"),
            Withdraw,
        ),
        (
            "a multicast next hop",
            format!("800e1a 0002 01 10 {multicast} 00 20 20010db8"),
            Withdraw,
        ),
        (
            "a next hop of ::1",
            format!("800e1a 0002 01 10 {loopback} 00 20 20010db8"),
            Withdraw,
        ),
        (
            "a prefix of 129 bits",
            format!("800e27 0002 01 10 {GLOBAL} 00 {long}"),
            Reset(10),
        ),
        (
            "a prefix that is cut short",
            format!("800e1a 0002 01 10 {GLOBAL} 00 40 20010db8"),
            Reset(10),
        ),
        ("marked transitive", format!("c0{}", &sound[2..]), Withdraw),
        ("twice", format!("{sound}{sound}"), Reset(1)),
        (
            "a withdrawn prefix of 129 bits",
            format!("800f15 0002 01 {long}"),
            Reset(10),
        ),
        (
            "a withdrawn prefix that is cut short",
            "800f08 0002 01 40 20010db8".into(),
            Reset(10),
        ),
        (
            "withdrawn twice",
            "800f03 0002 01 800f03 0002 01".into(),
            Reset(1),
        ),
    ];
    for (what, attribute, expected) in cases {
        let body = update(&format!("{attribute}{ORIGIN}{AS_PATH}"), "");
        assert_eq!(outcome(&body, BOTH), expected, "{what}");
    }
}

#[test]
fn ipv4_prefixes_have_an_ipv6_next_hop_only_where_that_was_agreed() {
    let reach = format!("800e19 0001 01 10 {GLOBAL} 00 18 0a0001");
    let body = update(&format!("{reach}{ORIGIN}{AS_PATH}"), "");
    assert_eq!(outcome(&body, BOTH), Reset(5));
    assert_eq!(outcome(&body, EXTENDED), Clean);
    let frame = UpdateFrame::parse(&body).unwrap();
    let read = frame.attributes(EXTENDED).unwrap();
    assert_eq!(read.announced, ["10.0.1.0/24".parse().unwrap()]);
    let next_hop = read.multiprotocol.unwrap().next_hop;
    assert_eq!(next_hop, Some("2001:db8::1".parse().unwrap()));
}
