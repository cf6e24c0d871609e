//! Telling senders that their packets do not fit.

use std::time::{Duration, Instant};

use esp::{MAX_TOO_BIG_LEN, TokenBucket, too_big};

use super::{DESTINATION, SOURCE, is_valid, parse, pseudo, v4, v6};

const DF: u16 = 0x4000;

fn reply(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let mut reply = [0; MAX_TOO_BIG_LEN];
    let len = too_big(packet, &parse(packet), mtu, &mut reply)?;
    Some(reply[..len].to_vec())
}

#[test]
fn ipv4_senders_learn_the_next_hop_mtu() {
    let packet = v4(17, DF, &[], &[7; 1480]);
    let reply = reply(&packet, 1438).unwrap();
    let outer = parse(&reply);
    assert_eq!(
        (outer.protocol, outer.total_len, reply.len()),
        (1, 576, 576)
    );
    assert_eq!(outer.source(&reply), Some(DESTINATION.into()));
    assert_eq!(outer.destination(&reply), Some(SOURCE.into()));
    assert!(is_valid(&[&reply[..20]]) && is_valid(&[&reply[20..]]));
    assert_eq!(reply[20..22], [3, 4]);
    assert_eq!(reply[26..28], 1438_u16.to_be_bytes());
    assert_eq!(reply[28..], packet[..548]);
}

#[test]
fn ipv6_senders_learn_the_mtu() {
    let packet = v6(17, &[7; 1400]);
    let reply = reply(&packet, 1418).unwrap();
    let outer = parse(&reply);
    assert_eq!(
        (outer.protocol, outer.total_len, reply.len()),
        (58, 1280, 1280)
    );
    assert_eq!(outer.source(&reply), "2001:db8::2".parse().ok());
    assert_eq!(outer.destination(&reply), "2001:db8::1".parse().ok());
    assert!(is_valid(&[&pseudo(&reply, 58, 1240), &reply[40..]]));
    assert_eq!(reply[40..42], [2, 0]);
    assert_eq!(reply[44..48], 1418_u32.to_be_bytes());
    assert_eq!(reply[48..], packet[..1232]);
}

#[test]
fn ipv6_senders_are_never_told_less_than_1280() {
    let told = reply(&v6(17, &[7; 1400]), 1200).unwrap();
    assert_eq!(told[44..48], 1280_u32.to_be_bytes());
    assert_eq!(
        reply(&v6(17, &[7; 1240]), 1200),
        None,
        "it could send nothing smaller"
    );
}

#[test]
fn no_reply_goes_to_errors_fragments_or_groups() {
    let echo = [8, 0, 0, 0, 0, 0, 0, 0];
    assert!(
        reply(&v4(1, DF, &[], &echo), 10).is_some(),
        "an ICMP echo request"
    );
    assert_eq!(reply(&v4(1, DF, &[], &[3; 8]), 10), None, "an ICMP error");
    assert_eq!(
        reply(&v4(1, DF, &[], &[]), 10),
        None,
        "an ICMP packet without a type"
    );
    assert_eq!(
        reply(&v4(17, DF | 5, &[], &[3; 8]), 10),
        None,
        "a later fragment"
    );
    assert!(
        reply(&v6(58, &[128; 1400]), 1300).is_some(),
        "an ICMPv6 echo request"
    );
    assert_eq!(reply(&v6(58, &[1; 1400]), 1300), None, "an ICMPv6 error");
    for (at, octet) in [(16, 224), (16, 255), (16, 127), (12, 0), (12, 239)] {
        let mut packet = v4(17, DF, &[], &[3; 8]);
        packet[at..at + 4].fill(octet);
        assert_eq!(reply(&packet, 10), None, "{octet} at {at}");
    }
}

#[test]
fn replies_are_limited() {
    let start = Instant::now();
    let mut bucket = TokenBucket::new(2, Duration::from_millis(10));
    let mut take = |at| bucket.take(start + Duration::from_millis(at));
    assert_eq!([0, 0, 0, 9].map(&mut take), [true, true, false, false]);
    assert_eq!([10, 11, 25, 29].map(&mut take), [true, false, true, false]);
    assert_eq!([900, 900, 900].map(&mut take), [true, true, false]);
    assert!(!take(0), "time that goes back gives nothing");
}
